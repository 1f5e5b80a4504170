"""Convolution with very few output channels on CPU devices: vectors along the input channels (`cl/narrow.cl`)."""

from __future__ import annotations

from typing import Any

import numpy as np

from codl.graph import Graph, Node
from codl.ops import activation as activations
from codl.ops.depthwise import channel_bias, rows_per_item
from codl.ops.launch import Constant, Input, KernelProgram, KernelRequest, Launch, Output
from codl.ops.packing import LazyConstants
from codl.ops.tile import Strided, simd
from codl.ops.window import Window, ceil_div
from codl.ops.windowed import origin
from codl.region import Range

MOST_CHANNELS = 4
LEAST_DEPTH = 16
"""With fewer input channels there is too little to sum along them."""
_SUMS, _MOST_PIXELS = 12, 6
"""Vectors of sums that the registers hold beside weights and inputs, and of neighbouring pixels."""


def pixels_at_once(channels: Any) -> Any:
    """Neighbouring pixels that the kernel computes at once; `channels` may be an array."""
    return np.clip(_SUMS // channels, 1, _MOST_PIXELS)


def program(request: KernelRequest) -> KernelProgram:
    """One launch; weights are [output channel][tap][input channel] for the channels of `request.out` only."""
    graph, node, out = request.graph, request.node, request.out
    _, depth, height, width = graph.tensor(node.inputs[0]).shape
    window = Window.of(node)
    batch, channels, rows, columns = out.ranges
    read = Strided.of(request.inputs[0], (batch[0], 0, 0, 0))
    write = Strided.of(request.output, (batch[0], channels[0], rows[0], columns[0]))
    n, c, h, w = out.shape
    key = f"{node.name}[{channels[0]}:{channels[1]}]"
    constants = LazyConstants(
        {
            f"{key}/weights/channel-major": lambda: _weights(graph, node, channels),
            f"{key}/bias": lambda: channel_bias(graph, node, channels),
        }
    )
    weights, bias = (Constant(name) for name in constants)
    products = w * c * window.taps * depth // simd(request.device)
    at_once = rows_per_item(h, products, request.device.compute_units, n)
    arguments = (
        Input(0), weights, bias, Output(), read.offset, read.n, read.y, read.x, height, width,
        write.offset, write.n, write.y, write.x, write.c, h, w, depth, *window.kernel, *window.stride,
        *origin(window, out), *window.dilation, at_once, *activations.parameters(node.activation),
    )  # fmt: skip
    defines = (
        ("SIMD", simd(request.device)), ("CHANNELS", c), ("PIXELS", int(pixels_at_once(c))),
        activations.define(node.activation),
    )  # fmt: skip
    size = (ceil_div(h, at_once), 1, n)
    return KernelProgram((Launch("cl/narrow.cl", "narrow", defines, arguments, size),), constants)


def _weights(graph: Graph, node: Node, channels: Range) -> np.ndarray:
    weights = graph.constants[node.inputs[1]][channels[0] : channels[1]]
    return np.ascontiguousarray(weights.transpose(0, 2, 3, 1), dtype=np.float32)
