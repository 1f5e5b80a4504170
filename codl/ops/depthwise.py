"""Depthwise convolution: every channel by itself, vectors along the channels."""

from __future__ import annotations

import numpy as np

from codl.graph import Graph, Node
from codl.ops import activation as activations
from codl.ops.launch import Constant, Input, KernelProgram, KernelRequest, Launch, Output
from codl.ops.packing import LazyConstants
from codl.ops.tile import Strided, one_each, simd
from codl.ops.tile.dealing import makespan
from codl.ops.window import Window, ceil_div, has_bias
from codl.ops.windowed import origin
from codl.region import Range

_AN_ITEM, _FIXED = 400_000, 20_000
"""Products of about 20 us, and what beginning a work-item costs, in products."""
_MANY = 200
"""So many work-items are dealt evenly, whatever their size."""


def program(request: KernelRequest) -> KernelProgram:
    """One launch of `cl/depthwise.cl` (CPU devices) or `cl/depthwise_gpu.cl`.

    Weights are [tap][channel] for the channels of `request.out` only.
    """
    graph, node, out = request.graph, request.node, request.out
    _, _, height, width = graph.tensor(node.inputs[0]).shape
    window = Window.of(node)
    batch, channels, rows, columns = out.ranges
    read = Strided.of(request.inputs[0], (batch[0], channels[0], 0, 0))
    write = Strided.of(request.output, (batch[0], channels[0], rows[0], columns[0]))
    n, c, h, w = out.shape
    key = f"{node.name}[{channels[0]}:{channels[1]}]"
    constants = LazyConstants(
        {
            f"{key}/weights/tap-major": lambda: _weights(graph, node, channels),
            f"{key}/bias": lambda: channel_bias(graph, node, channels),
        }
    )
    weights, bias = (Constant(name) for name in constants)
    arguments = (
        Input(0), weights, bias, Output(), read.offset, read.n, read.y, read.x, height, width,
        write.offset, write.n, write.y, write.x, h, w, c,
        *window.kernel, *window.stride, *origin(window, out), *window.dilation,
    )  # fmt: skip
    params = activations.parameters(node.activation)
    chosen = activations.define(node.activation)
    if not request.device.cpu:
        size, local = one_each(out.size)
        launch = Launch("cl/depthwise_gpu.cl", "depthwise_gpu", (chosen,), (*arguments, out.size, *params), size, local)
        return KernelProgram((launch,), constants)
    short = (window.kernel, window.dilation) == ((3, 3), (1, 1)) and window.stride[1] in (1, 2)
    pairs = short and window.stride == (1, 1)
    at_once = rows_per_item(h, w * c * window.taps, request.device.compute_units, n, 2 if pairs else 1)
    defines = (("SIMD", simd(request.device)), ("QUAD", window.stride[1] if short else 0), chosen)
    size = (ceil_div(h, at_once), 1, n)
    launch = Launch("cl/depthwise.cl", "depthwise", defines, (*arguments, at_once, *params), size)
    return KernelProgram((launch,), constants)


def rows_per_item(rows: int, products: int, cores: int = 1, images: int = 1, together: int = 1) -> int:
    """Rows of a work-item of at most about 20 us, with which all cores end at the same time.

    Args:
        rows: of one of `images`; work-items do not reach from one to the next.
        products: multiplications (or comparisons) of a row.
        together: rows that the kernel computes at once.
    """
    most = max(1, min(rows, max(together, _AN_ITEM // max(1, products))))
    if cores == 1 or images * rows > _MANY * most:
        return most

    def taken(at_once: int) -> float:
        items = [min(at_once, rows - at) * products + _FIXED for at in range(0, rows, at_once)]
        return makespan(items * images, cores)

    return min(range(most - most % together or most, 0, -together), key=taken)


def _weights(graph: Graph, node: Node, channels: Range) -> np.ndarray:
    weights = graph.constants[node.inputs[1]][channels[0] : channels[1]]
    return np.ascontiguousarray(weights.reshape(weights.shape[0], -1).T, dtype=np.float32)


def channel_bias(graph: Graph, node: Node, channels: Range) -> np.ndarray:
    """The bias of a range of output channels; zeros where the node has none."""
    if not has_bias(node):
        return np.zeros(channels[1] - channels[0], dtype=np.float32)
    return np.ascontiguousarray(graph.constants[node.inputs[2]][channels[0] : channels[1]], dtype=np.float32)
