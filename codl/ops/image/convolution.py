"""Convolutions from image to image: dense and grouped (`cl/image_conv.cl`), depthwise (`cl/image_depthwise.cl`)."""

from __future__ import annotations

import numpy as np

from codl.graph import Graph, Node
from codl.ops import activation as activations
from codl.ops.image.layout import CHANNELS, Layout, blocks_of, launch, start_of, takes
from codl.ops.launch import Argument, Constant, Input, KernelProgram, KernelRequest, Output
from codl.ops.packing import LazyConstants
from codl.ops.residual import AFTER, POSITION, has_residual
from codl.ops.window import Window, ceil_div, groups, has_bias
from codl.region import Range

_PIXELS = 4
"""Neighbouring pixels that a work-item computes."""


def takes_convolution(graph: Graph, node: Node) -> bool:
    """Whether there is a kernel on images: constant weights, and groups of whole texels or one channel each."""
    variable = [position for position, _ in graph.variable_inputs(node)]
    if not takes(graph, node) or variable != [0, POSITION][: 1 + has_residual(node)]:
        return False
    count = groups(node)
    outputs, depth = graph.tensor(node.inputs[1]).shape[:2]
    per_group = outputs // count
    return (
        count == 1
        or (depth == 1 and per_group == 1 and not has_residual(node))
        or not (per_group % CHANNELS or depth % CHANNELS)
    )


def convolution(request: KernelRequest) -> KernelProgram:
    """Any convolution that `takes_convolution` accepts and that is not depthwise."""
    graph, node, out = request.graph, request.node, request.out
    outputs, depth = graph.tensor(node.inputs[1]).shape[:2]
    count = groups(node)
    most = 1 if count > 1 else 4 if request.device.cpu else 2  # a CPU reads a texel by a call, and has registers enough
    at_once = next(number for number in (4, 2, 1) if number <= min(most, blocks_of(out)))
    parts = ceil_div(blocks_of(out), at_once) * at_once
    channels = out.ranges[1]
    key = f"{node.name}[{channels[0]}:{channels[1]}]/image"
    constants = LazyConstants(
        {
            f"{key}/weights{parts}": lambda: _weights(graph, node, channels, parts),
            f"{key}/bias{parts}": lambda: _bias(graph, node, channels, parts),
        }
    )
    blocks = (ceil_div(depth, CHANNELS), ceil_div(outputs // count, CHANNELS))
    size = (ceil_div(out.shape[3], _PIXELS), parts // at_once, out.shape[0] * out.shape[2])
    defines = (("BLOCKS", at_once), activations.define(node.activation), ("RESIDUAL", _residual(node)))
    arguments = _arguments(request, constants, blocks)
    if has_residual(node):
        arguments += (Input(1), *Layout.of(request.inputs[1].region).place)
    return KernelProgram((launch("image_conv", defines, arguments, size),), constants)


def depthwise(request: KernelRequest) -> KernelProgram:
    """A convolution of every channel by itself."""
    graph, node, out = request.graph, request.node, request.out
    channels, parts = out.ranges[1], blocks_of(out)
    key = f"{node.name}[{channels[0]}:{channels[1]}]/image"
    constants = LazyConstants(
        {
            f"{key}/weights": lambda: _depthwise_weights(graph, node, channels, parts),
            f"{key}/bias{parts}": lambda: _bias(graph, node, channels, parts),
        }
    )
    size = (ceil_div(out.shape[3], _PIXELS), parts, out.shape[0] * out.shape[2])
    defines = (activations.define(node.activation),)
    return KernelProgram((launch("image_depthwise", defines, _arguments(request, constants, ()), size),), constants)


def _arguments(request: KernelRequest, constants: LazyConstants, blocks: tuple[int, ...]) -> tuple[Argument, ...]:
    graph, node, out = request.graph, request.node, request.out
    weights, bias = (Constant(name) for name in constants)
    window = Window.of(node)
    return (
        Input(0), weights, bias, Output(), *Layout.of(request.inputs[0].region).place,
        *graph.tensor(node.inputs[0]).shape[2:], *Layout.of(request.output.region).place,
        *start_of(out), out.shape[2], out.shape[3], out.ranges[1][1],
        *window.kernel, *window.stride, *window.pads[:2], *window.dilation, *blocks,
        *activations.parameters(node.activation),
    )  # fmt: skip


def _residual(node: Node) -> int:
    return (2 if node.attributes["residual"] == AFTER else 1) if has_residual(node) else 0


def _weights(graph: Graph, node: Node, channels: Range, parts: int) -> np.ndarray:
    """[out block][tap][in block][4 in][4 out] of a range of output channels that begins with a whole block."""
    chosen = graph.constants[node.inputs[1]][channels[0] : channels[1]]
    count, depth = chosen.shape[:2]
    inputs = ceil_div(depth, CHANNELS)
    filled = np.zeros((parts * CHANNELS, inputs * CHANNELS, *chosen.shape[2:]), dtype=np.float32)
    filled[:count, :depth] = chosen
    blocks = filled.reshape(parts, CHANNELS, inputs, CHANNELS, -1)
    return np.ascontiguousarray(blocks.transpose(0, 4, 2, 3, 1))


def _depthwise_weights(graph: Graph, node: Node, channels: Range, parts: int) -> np.ndarray:
    """[block][tap][4]"""
    chosen = graph.constants[node.inputs[1]][channels[0] : channels[1]].reshape(channels[1] - channels[0], -1)
    filled = np.zeros((parts * CHANNELS, chosen.shape[1]), dtype=np.float32)
    filled[: len(chosen)] = chosen
    return np.ascontiguousarray(filled.reshape(parts, CHANNELS, -1).transpose(0, 2, 1))


def _bias(graph: Graph, node: Node, channels: Range, parts: int) -> np.ndarray:
    filled = np.zeros(parts * CHANNELS, dtype=np.float32)
    if has_bias(node):
        filled[: channels[1] - channels[0]] = graph.constants[node.inputs[2]].reshape(-1)[channels[0] : channels[1]]
    return filled
