"""Building an ONNX network around an operator list: the list gives the convolutions, poolings and fully connected
layers, the builder adds weights and whatever connects them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper

from codl.models.operator_list import Row
from codl.models.weights import VARIANCE_AFTER, VARIANCE_AFTER_POOL, biases, filters

OPSET = 17
IR_VERSION = 8
_LEAKY_SLOPE = 0.1


class NetworkBuilder:
    """A network under construction. Values are named by strings; `shapes` and `variances` are known for each.

    Args:
        name: of the network; seeds the weights.
        rows: its operator list. `conv`, `pool` and `dense` take the rows in their order.
        contents: False leaves the weights without data, which suffices to describe the network.
    """

    def __init__(self, name: str, rows: Sequence[Row], *, contents: bool = True) -> None:
        self.name = name
        self.shapes: dict[str, tuple[int, ...]] = {}
        self._variances: dict[str, float] = {}
        self._rows = list(rows)
        self._next = 0
        self._contents = contents
        self._nodes: list[onnx.NodeProto] = []
        self._inputs: list[onnx.ValueInfoProto] = []
        self._model = onnx.ModelProto()  # constants go straight into it: half a gigabyte is not copied twice

    def input(self, name: str, shape: tuple[int, ...]) -> str:
        """A network input, expected to be standard normal."""
        self._inputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))
        return self._declare(name, shape, 1.0)

    @property
    def upcoming(self) -> Row:
        """The row that the next operator will be."""
        return self._rows[self._next]

    # -- the operators of the list ---------------------------------------------------------------------------------

    def conv(self, x: str, activation: str = "Relu", *, gain: float = 1.0, out: str = "") -> str:
        """The next row, a convolution. Its pads are what the list's padded size has more than `x`, split evenly, an
        odd one at the bottom or right (TensorFlow's SAME)."""
        row = self._take("conv")
        _, channels, height, width = self.shapes[x]
        high, wide = row.in_h - height, row.in_w - width
        if channels != row.in_channels or min(high, wide) < 0:
            raise ValueError(f"{self.name}: row {row.op} does not fit its input of {channels}x{height}x{width}")
        name = f"conv{row.op:02d}"
        filters = (row.out_channels, row.in_channels // row.groups, row.kernel_h, row.kernel_w)
        inputs = [x, *self._weights(name, row.op, filters, 0, float(np.prod(filters[1:])), x, gain)]
        attributes = {
            "kernel_shape": (row.kernel_h, row.kernel_w), "strides": (row.stride_h, row.stride_w), "group": row.groups,
            "pads": (high // 2, wide // 2, high - high // 2, wide - wide // 2), "dilations": (1, 1),
        }  # fmt: skip
        shape = (1, row.out_channels, row.out_h, row.out_w)
        return self._activated("Conv", name, inputs, shape, activation, gain, out, attributes)

    def pool(self, x: str) -> str:
        """The next row, a max pooling without padding."""
        row = self._take("pool")
        if self.shapes[x] != (1, row.in_channels, row.in_h, row.in_w):
            raise ValueError(f"{self.name}: row {row.op} does not fit its input of {self.shapes[x]}")
        shape = (1, row.out_channels, row.out_h, row.out_w)
        kernel, strides = (row.kernel_h, row.kernel_w), (row.stride_h, row.stride_w)
        variance = self._variances[x] * VARIANCE_AFTER_POOL / VARIANCE_AFTER["Relu"]
        return self._node("MaxPool", f"pool{row.op:02d}", [x], shape, variance, kernel_shape=kernel, strides=strides)

    def dense(self, x: str, activation: str = "Relu", *, out: str = "") -> str:
        """The next row, a fully connected layer; a map is flattened first."""
        row = self._take("fc")
        name = f"fc{row.op:02d}"
        features = row.in_channels * row.in_h * row.in_w
        if len(self.shapes[x]) == 4:
            x = self._node("Flatten", f"flatten{row.op:02d}", [x], (1, features), self._variances[x], axis=1)
        if self.shapes[x] != (1, features):
            raise ValueError(f"{self.name}: row {row.op} does not fit its input of {self.shapes[x]}")
        inputs = [x, *self._weights(name, row.op, (features, row.out_channels), 1, float(features), x, 1.0)]
        return self._activated("Gemm", name, inputs, (1, row.out_channels), activation, 1.0, out, {})

    # -- what connects them ----------------------------------------------------------------------------------------

    def conv_transpose(self, name: str, x: str, channels: int) -> str:
        """A 3x3 transposed convolution of stride 2 that doubles the map, with Relu."""
        _, depth, height, width = self.shapes[x]
        layer = 1000 + len(self._nodes)
        # With stride 2 an output element is reached by 9/4 of the kernel's elements in the mean.
        inputs = [x, *self._weights(name, layer, (depth, channels, 3, 3), 1, depth * 9 / 4, x, 1.0)]
        attributes = {"kernel_shape": (3, 3), "strides": (2, 2), "pads": (0, 0, 1, 1)}
        shape = (1, channels, 2 * height, 2 * width)
        return self._activated("ConvTranspose", name, inputs, shape, "Relu", 1.0, "", attributes)

    def add(self, name: str, a: str, b: str, activation: str = "") -> str:
        """The sum of two maps of one shape."""
        variance = self._variances[a] + self._variances[b]
        value = self._node("Add", name, [a, b], self.shapes[a], variance)
        if not activation:
            return value
        return self._node(activation, f"{name}.{activation.lower()}", [value], self.shapes[a], variance)

    def concat(self, name: str, values: Sequence[str]) -> str:
        """Maps joined along the channels."""
        channels = sum(self.shapes[value][1] for value in values)
        variance = sum(self._variances[value] * self.shapes[value][1] for value in values) / channels
        return self._node("Concat", name, list(values), (1, channels, *self.shapes[values[0]][2:]), variance, axis=1)

    def enlarge(self, name: str, x: str) -> str:
        """A map of twice the height and width, each element repeated."""
        scales = self._constant(f"{name}.scales", np.array([1, 1, 2, 2], np.float32))
        shape = (*self.shapes[x][:2], 2 * self.shapes[x][2], 2 * self.shapes[x][3])
        return self._node(
            "Resize", name, [x, "", scales], shape, self._variances[x],
            mode="nearest", coordinate_transformation_mode="asymmetric", nearest_mode="floor",
        )  # fmt: skip

    def subsample(self, name: str, x: str) -> str:
        """Every second row and column."""
        _, channels, height, width = self.shapes[x]
        shape = (1, channels, (height + 1) // 2, (width + 1) // 2)
        return self._slice(name, x, (2, 3), (0, 0), (height, width), (2, 2), shape)

    def channels(self, name: str, x: str, stop: int) -> str:
        """The first channels of a map."""
        return self._slice(name, x, (1,), (0,), (stop,), (1,), (1, stop, *self.shapes[x][2:]))

    def pad(self, name: str, x: str, pads: tuple[int, int, int, int]) -> str:
        """A map with zeros around it: top, left, bottom, right."""
        top, left, bottom, right = pads
        amounts = self._constant(f"{name}.amounts", np.array([0, 0, top, left, 0, 0, bottom, right], np.int64))
        _, channels, height, width = self.shapes[x]
        shape = (1, channels, height + top + bottom, width + left + right)
        return self._node("Pad", name, [x, amounts], shape, self._variances[x])

    def finish(self, outputs: Sequence[str]) -> onnx.ModelProto:
        """The model. Every row of the list must have been used."""
        if self._next != len(self._rows):
            raise ValueError(f"{self.name}: {len(self._rows) - self._next} rows of its list are not used")
        model = self._model
        model.ir_version, model.producer_name = IR_VERSION, "codl"
        model.opset_import.append(helper.make_opsetid("", OPSET))
        model.graph.name = self.name
        model.graph.node.extend(self._nodes)
        model.graph.input.extend(self._inputs)
        model.graph.output.extend(
            helper.make_tensor_value_info(name, TensorProto.FLOAT, self.shapes[name]) for name in outputs
        )
        return model

    # -- pieces ----------------------------------------------------------------------------------------------------

    def _take(self, kind: str) -> Row:
        row = self._rows[self._next]
        if row.kind != kind:
            raise ValueError(f"{self.name}: row {row.op} is a {row.kind}, not a {kind}")
        self._next += 1
        return row

    def _declare(self, name: str, shape: tuple[int, ...], variance: float) -> str:
        self.shapes[name] = shape
        self._variances[name] = variance
        return name

    def _weights(
        self, name: str, layer: int, shape: tuple[int, ...], outputs: int, fan_in: float, x: str, gain: float
    ) -> tuple[str, str]:
        channels = shape[outputs]
        if not self._contents:
            for suffix, dims in (("weight", shape), ("bias", (channels,))):
                self._model.graph.initializer.add(name=f"{name}.{suffix}", data_type=TensorProto.FLOAT, dims=dims)
            return f"{name}.weight", f"{name}.bias"
        values = filters(
            self.name, layer, shape, outputs=outputs, fan_in=fan_in, variance=self._variances[x], gain=gain
        )  # fmt: skip
        return (
            self._constant(f"{name}.weight", values),
            self._constant(f"{name}.bias", biases(self.name, layer, channels)),
        )

    def _constant(self, name: str, array: np.ndarray) -> str:
        data_type = helper.np_dtype_to_tensor_dtype(array.dtype)
        self._model.graph.initializer.add(name=name, data_type=data_type, dims=array.shape, raw_data=array.tobytes())
        return name

    def _activated(
        self, op: str, name: str, inputs: list[str], shape: tuple[int, ...], activation: str, gain: float, out: str,
        attributes: Mapping[str, Any],
    ) -> str:  # fmt: skip
        """A node and the activation after it; `out` names the last value."""
        linear = "" if activation else out
        value = self._node(op, name, inputs, shape, gain * gain, out=linear, **attributes)
        if not activation:
            return value
        extra = {"alpha": _LEAKY_SLOPE} if activation == "LeakyRelu" else {}
        variance = gain * gain * VARIANCE_AFTER[activation]
        return self._node(activation, f"{name}.{activation.lower()}", [value], shape, variance, out=out, **extra)

    def _node(
        self, op: str, name: str, inputs: list[str], shape: tuple[int, ...], variance: float, out: str = "",
        **attributes: Any,
    ) -> str:  # fmt: skip
        value = out or f"{name}.out"
        self._nodes.append(helper.make_node(op, inputs, [value], name=name, **attributes))
        return self._declare(value, shape, variance)

    def _slice(
        self, name: str, x: str, axes: tuple[int, ...], starts: tuple[int, ...], stops: tuple[int, ...],
        steps: tuple[int, ...], shape: tuple[int, ...],
    ) -> str:  # fmt: skip
        numbers = [
            self._constant(f"{name}.{what}", np.array(values, np.int64))
            for what, values in (("starts", starts), ("stops", stops), ("axes", axes), ("steps", steps))
        ]
        return self._node("Slice", name, [x, *numbers], shape, self._variances[x])
