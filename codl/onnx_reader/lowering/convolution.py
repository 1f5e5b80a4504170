"""Convolutions and poolings: padding modes become numbers."""

from __future__ import annotations

import numpy as np

from codl.errors import ModelError
from codl.graph import Attribute
from codl.onnx_reader.network import Network, OnnxNode, Operator

Pads = tuple[int, int, int, int]


def conv(network: Network, node: OnnxNode) -> list[Operator] | None:
    """Conv on images with constant weights."""
    window = _weights(network, node)
    if window is None:
        return None
    kernel, stride, dilation = window
    size = network.shape(node.input(0))[2:]
    pads = _pads(node, size, kernel, stride, dilation)
    if pads is None:
        return None
    attributes: dict[str, Attribute] = {
        "kernel": kernel, "stride": stride, "pads": pads, "dilation": dilation,
        "group": int(node.attribute("group", 1)),
    }  # fmt: skip
    return [Operator(node.name, "conv", _inputs(node), [node.outputs[0]], attributes)]


def conv_transpose(network: Network, node: OnnxNode) -> list[Operator] | None:
    """ConvTranspose on images with constant weights; `output_shape` and `auto_pad` become pads."""
    window = _weights(network, node)
    if window is None:
        return None
    kernel, stride, dilation = window
    size, out = network.shape(node.input(0))[2:], network.shape(node.outputs[0])[2:]
    extra = node.ints("output_padding", (0, 0))
    mode = node.attribute("auto_pad", "NOTSET")
    if node.ints("output_shape") or mode in ("SAME_UPPER", "SAME_LOWER"):
        begin, end = [], []
        for axis in (0, 1):
            total = stride[axis] * (size[axis] - 1) + extra[axis] + (kernel[axis] - 1) * dilation[axis] + 1 - out[axis]
            if total < 0:  # the output is larger than what the kernel reaches: more padding at the end of the output
                extra = (extra[0] - total, extra[1]) if axis == 0 else (extra[0], extra[1] - total)
                total = 0
            small = total // 2
            begin.append(small if mode == "SAME_UPPER" else total - small)
            end.append(total - begin[-1])
        pads: Pads = (begin[0], begin[1], end[0], end[1])
    else:
        explicit = node.ints("pads", (0, 0, 0, 0)) if mode == "NOTSET" else (0, 0, 0, 0)
        if min(explicit) < 0:
            return None
        pads = (explicit[0], explicit[1], explicit[2], explicit[3])
    attributes: dict[str, Attribute] = {
        "kernel": kernel, "stride": stride, "pads": pads, "dilation": dilation,
        "group": int(node.attribute("group", 1)), "output_padding": extra,
    }  # fmt: skip
    return [Operator(node.name, "conv_transpose", _inputs(node), [node.outputs[0]], attributes)]


def pool(network: Network, node: OnnxNode) -> list[Operator] | None:
    """MaxPool and AveragePool on images. `ceil_mode` shows in the shape of the output only."""
    if not _image(network, node) or any(node.outputs[1:]):
        return None
    size = network.shape(node.input(0))[2:]
    kernel = node.ints("kernel_shape")
    stride, dilation = node.ints("strides", (1, 1)), node.ints("dilations", (1, 1))
    pads = _pads(node, size, kernel, stride, dilation)
    if pads is None:
        return None
    mode = "max" if node.type == "MaxPool" else "average"
    return [_pool(node, mode, kernel, stride, pads, dilation, int(node.attribute("count_include_pad", 0)))]


def global_pool(network: Network, node: OnnxNode) -> list[Operator] | None:
    """GlobalMaxPool and GlobalAveragePool: a window of the whole map."""
    if not _image(network, node):
        return None
    kernel = network.shape(node.input(0))[2:]
    mode = "max" if node.type == "GlobalMaxPool" else "average"
    return [_pool(node, mode, kernel, (1, 1), (0, 0, 0, 0), (1, 1), 0)]


def _pool(
    node: OnnxNode, mode: str, kernel: tuple[int, ...], stride: tuple[int, ...], pads: Pads, dilation: tuple[int, ...],
    include: int,
) -> Operator:  # fmt: skip
    attributes: dict[str, Attribute] = {
        "mode": mode, "kernel": kernel, "stride": stride, "pads": pads, "dilation": dilation,
        "count_include_pad": include,
    }  # fmt: skip
    return Operator(node.name, "pool", [node.input(0)], [node.outputs[0]], attributes)


def _image(network: Network, node: OnnxNode) -> bool:
    return network.is_variable(node.input(0)) and len(network.shape(node.input(0))) == 4


def _weights(network: Network, node: OnnxNode) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]] | None:
    """Kernel, stride and dilation; None unless input and weights are those of a two-dimensional float convolution."""
    weight, bias = network.constant(node.input(1)), network.constant(node.input(2))
    if not _image(network, node) or weight is None or weight.dtype != np.float32 or weight.ndim != 4:
        return None
    if node.input(2) and (bias is None or bias.dtype != np.float32):
        return None
    _fits(network, node, weight, bias)
    return weight.shape[2:], node.ints("strides", (1, 1)), node.ints("dilations", (1, 1))


def _fits(network: Network, node: OnnxNode, weight: np.ndarray, bias: np.ndarray | None) -> None:
    """What ONNX's shape inference leaves unchecked: channels, groups and the length of the bias."""
    group, channels = int(node.attribute("group", 1)), network.shape(node.input(0))[1]
    transposed = node.type == "ConvTranspose"
    wanted = weight.shape[0] if transposed else weight.shape[1] * group
    out = weight.shape[1] * group if transposed else weight.shape[0]
    size = "x".join(map(str, weight.shape))
    if group < 1 or wanted != channels or wanted % group or out % group:
        problem = f"weights of {size} in {group} group(s) do not take {channels} channels"
    elif node.ints("kernel_shape", weight.shape[2:]) != weight.shape[2:]:
        problem = f"kernel_shape is not that of its weights, {size}"
    elif bias is not None and bias.shape != (out,):
        problem = f"its bias must hold {out} numbers, not {'x'.join(map(str, bias.shape))}"
    else:
        return
    raise ModelError(f"{network.source.where}: {node} does not fit its inputs: {problem}")


def _inputs(node: OnnxNode) -> list[str]:
    return [value for value in node.inputs[:3] if value]


def _pads(
    node: OnnxNode, size: tuple[int, ...], kernel: tuple[int, ...], stride: tuple[int, ...], dilation: tuple[int, ...]
) -> Pads | None:
    """(top, left, bottom, right); None for padding that cuts away."""
    mode = node.attribute("auto_pad", "NOTSET")
    if mode == "VALID":
        return (0, 0, 0, 0)
    if mode == "NOTSET":
        given = node.ints("pads", (0, 0, 0, 0))
        return None if min(given) < 0 else (given[0], given[1], given[2], given[3])
    begin, end = [], []
    for axis in (0, 1):
        out = -(-size[axis] // stride[axis])
        total = max((out - 1) * stride[axis] + (kernel[axis] - 1) * dilation[axis] + 1 - size[axis], 0)
        begin.append(total // 2 if mode == "SAME_UPPER" else total - total // 2)
        end.append(total - begin[-1])
    return (begin[0], begin[1], end[0], end[1])


RULES = {
    "Conv": conv,
    "ConvTranspose": conv_transpose,
    "MaxPool": pool,
    "AveragePool": pool,
    "GlobalMaxPool": global_pool,
    "GlobalAveragePool": global_pool,
}
