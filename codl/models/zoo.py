"""The networks of the CoDL paper (and ResNet-50) as connected ONNX graphs.

Their convolutions, poolings and fully connected layers are the rows of the packaged operator lists, one by one; what
lies between (additions, concatenations, enlarged maps) follows the original networks. Weights are random but seeded.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import onnx

from codl.models.building import NetworkBuilder
from codl.models.operator_list import Row

_DAMPED = 0.5
"""Gain of the last convolution of a residual branch: a sum of many branches must not grow."""


def vgg16(net: NetworkBuilder) -> list[str]:
    """VGG-16 (Simonyan & Zisserman, 2015), 224x224, up to the logits."""
    x = net.input("input", (1, 3, 224, 224))
    for convolutions in (2, 2, 3, 3, 3):
        for _ in range(convolutions):
            x = net.conv(x)
        x = net.pool(x)
    return [net.dense(net.dense(net.dense(x)), "", out="output")]


def yolov2(net: NetworkBuilder) -> list[str]:
    """YOLOv2 (Redmon & Farhadi, 2017), 416x416. The list's last row reads 125 of 1536 channels: so does this."""
    x = net.input("input", (1, 3, 416, 416))
    for convolutions in (1, 1, 3, 3, 5):
        for _ in range(convolutions):
            x = net.conv(x, "LeakyRelu")
        x = net.pool(x)
    for _ in range(8):
        x = net.conv(x, "LeakyRelu")
    return [net.conv(net.channels("detections", x, 125), "", out="output")]


def posenet(net: NetworkBuilder) -> list[str]:
    """Convolutional pose machine (Wei et al., 2016), 256x256, 21 heat maps refined in three stages."""
    x = net.input("input", (1, 3, 256, 256))
    for convolutions in (2, 2, 4):
        for _ in range(convolutions):
            x = net.conv(x)
        x = net.pool(x)
    for _ in range(7):
        x = net.conv(x)
    features = x
    heat_maps = net.conv(net.conv(features), "")
    for stage in (2, 3):
        x = net.concat(f"stage{stage}", [features, heat_maps])
        for _ in range(6):
            x = net.conv(x)
        heat_maps = net.conv(x, "", out="output" if stage == 3 else "")
    return [heat_maps]


def fst(net: NetworkBuilder) -> list[str]:
    """Fast style transfer (Johnson et al., 2016), 480x640: five residual blocks between down- and upsampling."""
    x = net.input("input", (1, 3, 480, 640))
    for _ in range(3):
        x = net.conv(x)
    for block in range(5):
        branch = net.conv(net.conv(x), "", gain=_DAMPED)
        x = net.add(f"block{block}", x, branch)
    x = net.conv_transpose("up0", x, 64)
    x = net.conv_transpose("up1", x, 32)
    return [net.conv(x, "Tanh", out="output")]


def resnet50(net: NetworkBuilder) -> list[str]:
    """ResNet-50 (He et al., 2016) as timed: 640x640, strides in the 3x3 of a stage's last block, no projections."""
    maps = _backbone(net)
    return [net.conv(maps[-1], out="output")]


def retinaface(net: NetworkBuilder) -> list[str]:
    """RetinaFace (Deng et al., 2020), 640x640: ResNet-50, a feature pyramid, and context modules with heads on five
    levels. Outputs are raw: 12 box and 6 score channels a level."""
    c2, c3, c4, c5 = _backbone(net)
    p5 = net.conv(c5)
    p4 = _level(net, "p4", p5, c4)
    p3 = _level(net, "p3", p4, c3)
    p2 = _level(net, "p2", p3, c2)
    levels = {"p2": p2, "p3": p3, "p4": p4, "p5": p5, "p6": net.subsample("p6", p5)}
    contexts, boxes = {}, []
    for name, level in levels.items():
        parts = [net.conv(level) for _ in range(3)]
        contexts[name] = net.conv(net.concat(f"{name}.context", parts))
        boxes.append(net.conv(contexts[name], "", out=f"boxes_{name}"))
    scores = [net.conv(context, "", out=f"scores_{name}") for name, context in contexts.items()]
    return [*boxes, *scores]


def _level(net: NetworkBuilder, name: str, above: str, lateral: str) -> str:
    """One level of the pyramid: the level above, enlarged and convolved, plus the backbone's map of this size."""
    top = net.conv(net.enlarge(f"{name}.enlarged", above))
    return net.add(name, top, net.conv(lateral))


def _backbone(net: NetworkBuilder) -> tuple[str, str, str, str]:
    """ResNet-50 up to its last block: the maps that the pyramid reads, of 160, 80, 40 and 20 rows.

    A block has a shortcut where its input and output agree; a stage's last block halves the map. The pyramid's
    lateral convolutions want 256, 256, 512 and 2048 channels: the last map before a stage ends, and those after.
    """
    x = net.pool(net.conv(net.input("input", (1, 3, 640, 640))))
    blocks: list[str] = []
    for block in range(16):
        first = net.conv(x)
        second = net.conv(first)
        last = net.upcoming
        missing = last.in_w - net.shapes[second][3]
        if missing:  # row 45 of retinaface is listed without its side pads: the next row gets them back
            second = net.pad(f"block{block:02d}.pad", second, (0, missing // 2, 0, missing - missing // 2))
        if net.shapes[x] == (1, last.out_channels, last.out_h, last.out_w):
            x = net.add(f"block{block:02d}", x, net.conv(second, "", gain=_DAMPED), "Relu")
        else:
            x = net.conv(second)
        blocks.append(x)
    return blocks[1], blocks[2], blocks[6], blocks[15]


Network = Callable[[NetworkBuilder], list[str]]

NETWORKS: dict[str, tuple[Network, str]] = {
    "retinaface": (retinaface, "retinaface"),
    "yolov2": (yolov2, "yolov2"),
    "vgg16": (vgg16, "vgg16"),
    "posenet": (posenet, "posenet"),
    "fst": (fst, "fst"),
    "resnet50": (resnet50, "resnet50v1"),
}
"""Network and operator list by name."""


def build(name: str, rows: Sequence[Row], *, contents: bool = True) -> onnx.ModelProto:
    """The ONNX model of a network of `NETWORKS`, from the rows of its list."""
    net = NetworkBuilder(name, rows, contents=contents)
    return net.finish(NETWORKS[name][0](net))
