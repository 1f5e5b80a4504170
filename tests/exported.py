"""Networks as exporters write them: small, seeded, and full of what real models are full of."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


class Exporter:
    """Builds an ONNX model node by node; values are named after their nodes."""

    def __init__(self, opset: int = 17, seed: int = 0) -> None:
        self.opset = opset
        self.rng = np.random.default_rng(seed)
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def constant(self, array: Any, dtype: Any = np.float32) -> str:
        name = f"k{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(array, dtype), name))
        return name

    def ints(self, *values: int) -> str:
        return self.constant(values, np.int64)

    def weights(self, *shape: int, fan_in: int) -> str:
        return self.constant(self.rng.standard_normal(shape) * (1.5 / fan_in) ** 0.5)

    def op(self, kind: str, *inputs: str, outputs: int = 1, **attributes: Any) -> Any:
        names = [f"{kind.lower()}{len(self.nodes)}" + (f"_{k}" if outputs > 1 else "") for k in range(outputs)]
        self.nodes.append(helper.make_node(kind, inputs, names, name=f"{kind}_{len(self.nodes)}", **attributes))
        return names if outputs > 1 else names[0]

    def conv(self, x: str, ic: int, oc: int, kernel: int = 3, stride: int = 1, groups: int = 1) -> str:
        fan_in = ic // groups * kernel * kernel
        weights = self.weights(oc, ic // groups, kernel, kernel, fan_in=fan_in)
        bias = self.constant(0.1 * self.rng.standard_normal(oc))
        return self.op("Conv", x, weights, bias, kernel_shape=[kernel] * 2, strides=[stride] * 2,
                       pads=[kernel // 2] * 4, group=groups)  # fmt: skip

    def linear(self, x: str, ic: int, oc: int) -> str:
        product = self.op("MatMul", x, self.weights(ic, oc, fan_in=ic))
        return self.op("Add", product, self.constant(0.1 * self.rng.standard_normal(oc)))

    def model(self, inputs: dict[str, Any], outputs: dict[str, Any], ints: tuple[str, ...] = ()) -> onnx.ModelProto:
        """`inputs`, `outputs`: shapes, symbols included; `ints`: inputs of int64."""
        values = [
            helper.make_tensor_value_info(n, TensorProto.INT64 if n in ints else TensorProto.FLOAT, shape)
            for n, shape in inputs.items()
        ]
        results = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in outputs.items()]
        graph = helper.make_graph(self.nodes, "exported", values, results, self.constants)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", self.opset)], ir_version=8)
        onnx.checker.check_model(model, full_check=True)
        return model


def detector() -> onnx.ModelProto:
    """As YOLOv8: Swish as Sigmoid and Mul, Split and Concat blocks, pools in a row, two scales, boxes by a softmax over
    distances; the last shapes come from Shape, Gather and Concat. Batch is symbolic."""
    e = Exporter()

    def block(x: str, ic: int, oc: int, kernel: int = 3, stride: int = 1) -> str:
        y = e.conv(x, ic, oc, kernel, stride)
        return e.op("Mul", y, e.op("Sigmoid", y))

    def c2f(x: str, channels: int) -> str:
        a, b = e.op("Split", block(x, channels, channels, 1), e.ints(channels // 2, channels // 2), outputs=2, axis=1)
        c = e.op("Add", b, block(block(b, channels // 2, channels // 2), channels // 2, channels // 2))
        return block(e.op("Concat", a, b, c, axis=1), channels * 3 // 2, channels, 1)

    fine = c2f(block(block("images", 3, 8, 3, 2), 8, 16, 3, 2), 16)
    x = block(block(fine, 16, 32, 3, 2), 32, 16, 1)
    pools = [x]
    for _ in range(3):
        pools.append(e.op("MaxPool", pools[-1], kernel_shape=[5, 5], pads=[2] * 4, strides=[1, 1]))
    coarse = block(e.op("Concat", *pools, axis=1), 64, 32, 1)
    up = e.op("Resize", coarse, "", e.constant([1, 1, 2, 2]), mode="nearest", nearest_mode="floor",
              coordinate_transformation_mode="asymmetric")  # fmt: skip
    fine = c2f(block(e.op("Concat", up, fine, axis=1), 48, 32, 1), 32)
    batch = e.op("Gather", e.op("Shape", "images"), e.constant(0, np.int64), axis=0)
    shape = e.op("Concat", e.op("Unsqueeze", batch, e.ints(0)), e.ints(37, -1), axis=0)
    heads = [e.op("Reshape", e.conv(scale, 32, 37, 1), shape) for scale in (fine, coarse)]
    boxes, classes = e.op("Split", e.op("Concat", *heads, axis=2), e.ints(32, 5), outputs=2, axis=1)
    spread = e.op("Transpose", e.op("Reshape", boxes, e.ints(0, 4, 8, -1)), perm=[0, 2, 1, 3])
    distances = e.op("Conv", e.op("Softmax", spread, axis=1), e.constant(np.arange(8).reshape(1, 8, 1, 1)))
    distances = e.op("Reshape", distances, e.ints(0, 4, -1))
    low = e.op("Slice", distances, e.ints(0), e.ints(2), e.ints(1))
    high = e.op("Slice", distances, e.ints(2), e.ints(4), e.ints(1))
    anchors = e.constant(e.rng.uniform(0, 16, (1, 2, 320)))
    first, second = e.op("Sub", anchors, low), e.op("Add", anchors, high)
    centre = e.op("Div", e.op("Add", first, second), e.constant(2))
    sizes = e.op("Mul", e.op("Concat", centre, e.op("Sub", second, first), axis=1), e.constant(np.full((1, 320), 8)))
    e.nodes.append(helper.make_node("Concat", [sizes, e.op("Sigmoid", classes)], ["output0"], axis=1))
    return e.model({"images": ["batch", 3, 64, 64]}, {"output0": ["batch", 9, 320]})


def transformer() -> onnx.ModelProto:
    """A vision transformer's block on an image in NHWC: patches, a class token that is expanded to the batch, layer
    normalisation as an operator and spelt out, attention by Gather, Gelu by Erf and by its approximation."""
    e = Exporter()
    dim, heads = 48, 4
    image = e.op("Transpose", "image", perm=[0, 3, 1, 2])
    patches = e.op("Conv", image, e.weights(dim, 3, 8, 8, fan_in=192), kernel_shape=[8, 8], strides=[8, 8])
    tokens = e.op("Transpose", e.op("Reshape", patches, e.ints(0, dim, -1)), perm=[0, 2, 1])
    batch = e.op("Slice", e.op("Shape", "image"), e.ints(0), e.ints(1))
    token = e.op("Expand", e.weights(1, 1, dim, fan_in=1), e.op("Concat", batch, e.ints(1, dim), axis=0))
    x = e.op("Add", e.op("Concat", token, tokens, axis=1), e.weights(1, 17, dim, fan_in=4))

    def attention(x: str) -> str:
        qkv = e.op("Reshape", e.linear(x, dim, 3 * dim), e.ints(0, 17, 3, heads, dim // heads))
        qkv = e.op("Transpose", qkv, perm=[2, 0, 3, 1, 4])
        q, k, v = (e.op("Gather", qkv, e.constant(index, np.int64), axis=0) for index in range(3))
        scores = e.op(
            "MatMul", e.op("Mul", q, e.constant((dim / heads) ** -0.5)), e.op("Transpose", k, perm=[0, 1, 3, 2])
        )
        mixed = e.op("MatMul", e.op("Softmax", scores, axis=-1), v)
        return e.linear(e.op("Reshape", e.op("Transpose", mixed, perm=[0, 2, 1, 3]), e.ints(0, 17, dim)), dim, dim)

    def affine() -> tuple[str, str]:
        return e.constant(1 + 0.1 * e.rng.standard_normal(dim)), e.constant(0.1 * e.rng.standard_normal(dim))

    x = e.op("Add", x, attention(e.op("LayerNormalization", x, *affine(), axis=-1)))
    centred = e.op("Sub", x, e.op("ReduceMean", x, axes=[-1]))
    variance = e.op("ReduceMean", e.op("Pow", centred, e.constant(2)), axes=[-1])
    scale, shift = affine()
    deviation = e.op("Sqrt", e.op("Add", variance, e.constant(1e-6)))
    y = e.op("Add", e.op("Mul", e.op("Div", centred, deviation), scale), shift)
    y = e.linear(y, dim, 2 * dim)
    gate = e.op("Add", e.op("Erf", e.op("Div", y, e.constant(2**0.5))), e.constant(1))
    y = e.op("Mul", e.op("Mul", y, gate), e.constant(0.5))
    y = e.linear(y, 2 * dim, 2 * dim)
    cube = e.op("Mul", e.constant(0.044715), e.op("Pow", y, e.constant(3)))
    inner = e.op("Mul", e.op("Add", y, cube), e.constant((2 / np.pi) ** 0.5))
    half = e.op("Mul", e.constant(0.5), e.op("Add", e.op("Tanh", inner), e.constant(1)))
    y = e.op("Mul", y, half)
    x = e.op("Add", x, e.linear(y, 2 * dim, dim))
    first = e.op("Gather", x, e.constant(0, np.int64), axis=1)
    e.nodes.append(helper.make_node("Gemm", [first, e.weights(10, dim, fan_in=dim)], ["logits"], transB=1))
    return e.model({"image": ["batch", 32, 32, 3]}, {"logits": ["batch", 10]})


def style() -> onnx.ModelProto:
    """A style transfer network: reflected borders, instance normalisation, residual blocks, enlarging, tanh."""
    e = Exporter(opset=11)

    def layer(x: str, ic: int, oc: int, stride: int = 1) -> str:
        padded = e.op("Pad", x, e.ints(0, 0, 1, 1, 0, 0, 1, 1), mode="reflect")
        y = e.op("Conv", padded, e.weights(oc, ic, 3, 3, fan_in=9 * ic), strides=[stride] * 2, kernel_shape=[3, 3])
        scale, shift = e.constant(1 + 0.2 * e.rng.standard_normal(oc)), e.constant(0.2 * e.rng.standard_normal(oc))
        return e.op("InstanceNormalization", y, scale, shift)

    x = e.op("Relu", layer(e.op("Relu", layer("image", 3, 12)), 12, 24, 2))
    x = e.op("Add", x, layer(e.op("Relu", layer(x, 24, 24)), 24, 24))
    up = e.op("Resize", x, e.constant([]), e.constant([1, 1, 2, 2]), mode="nearest", nearest_mode="floor",
              coordinate_transformation_mode="asymmetric")  # fmt: skip
    y = e.op("Tanh", layer(e.op("Relu", layer(up, 24, 12)), 12, 3))
    e.nodes.append(helper.make_node("Mul", [y, e.constant(150)], ["styled"]))
    return e.model({"image": [1, 3, 48, 40]}, {"styled": [1, 3, 48, 40]})


def mobile() -> onnx.ModelProto:
    """As MobileNetV3: HardSwish spelt out, squeeze and excitation, depthwise 5x5, and two outputs."""
    e = Exporter(opset=13)

    def hard_swish(x: str) -> str:
        gate = e.op("Clip", e.op("Add", x, e.constant(3)), e.constant(0), e.constant(6))
        return e.op("Div", e.op("Mul", x, gate), e.constant(6))

    def excited(x: str, channels: int) -> str:
        squeezed = e.op("Relu", e.conv(e.op("GlobalAveragePool", x), channels, channels // 4, 1))
        return e.op("Mul", x, e.op("HardSigmoid", e.conv(squeezed, channels // 4, channels, 1), alpha=1 / 6))

    x = hard_swish(e.conv("image", 3, 16, 3, 2))
    y = hard_swish(e.conv(x, 16, 32, 1))
    y = excited(hard_swish(e.conv(y, 32, 32, 5, 1, groups=32)), 32)
    x = e.op("Add", x, e.conv(y, 32, 16, 1))
    e.nodes.append(helper.make_node("ReduceMean", [x], ["features"], axes=[2, 3], keepdims=0))
    pooled = e.op("Flatten", e.op("GlobalAveragePool", hard_swish(e.conv(x, 16, 40, 1))))
    e.nodes.append(helper.make_node("Softmax", [e.linear(pooled, 40, 7)], ["classes"], axis=1))
    return e.model({"image": [2, 3, 40, 40]}, {"features": [2, 16], "classes": [2, 7]})


def speech() -> onnx.ModelProto:
    """Signals, a recurrent layer and an embedding looked up by integers: two inputs, and operators that only ONNX
    Runtime has."""
    e = Exporter(opset=14)
    x = e.op("Relu", e.op("Conv", "signal", e.weights(12, 1, 9, fan_in=9), strides=[4], pads=[4, 4]))
    x = e.op("Conv", x, e.weights(16, 12, 3, fan_in=36), e.constant(np.zeros(16)), pads=[1, 1])
    x = e.op("MaxPool", e.op("Elu", x), kernel_shape=[2], strides=[2])
    steps = e.op("Transpose", x, perm=[2, 0, 1])
    hidden = e.op(
        "LSTM", steps, e.weights(1, 32, 16, fan_in=16), e.weights(1, 32, 8, fan_in=8), outputs=1, hidden_size=8
    )
    states = e.op("Squeeze", hidden, e.ints(1))
    embedded = e.op("Gather", e.weights(11, 8, fan_in=1), "speaker", axis=0)
    joined = e.op("Add", states, embedded)
    e.nodes.append(helper.make_node("MatMul", [joined, e.weights(8, 5, fan_in=8)], ["phonemes"]))
    return e.model({"signal": [1, 1, 256], "speaker": [1]}, {"phonemes": [32, 1, 5]}, ints=("speaker",))


NETWORKS = {"detector": detector, "transformer": transformer, "style": style, "mobile": mobile, "speech": speech}
SHAPES = {"detector": {"images": (1, 3, 64, 64)}, "transformer": {"image": (2, 32, 32, 3)}}
"""Where sizes are symbolic."""
