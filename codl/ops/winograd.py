"""3 x 3 convolution with stride 1 by Winograd's minimal filtering F(m x m, 3 x 3), m = 2 or 4.

Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks" (2016): tiles of m x m outputs cost (m + 2)^2
multiplications instead of 9 m^2. Weights are transformed here, in float64.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from codl.graph import Graph, Node
from codl.ops import activation as activations
from codl.ops.launch import Constant, DeviceTraits, Input, KernelProgram, KernelRequest, Launch, Output, Scratch
from codl.ops.packing import LazyConstants, padded
from codl.ops.tile import Strided, TileProblem, balanced, end_of, joined, one_each, register_pixels, simd
from codl.ops.tile import program as tile_program
from codl.ops.window import FLOAT, Window, ceil_div, has_bias

_G: dict[int, NDArray[np.float64]] = {
    2: np.array([[1, 0, 0], [1 / 2, 1 / 2, 1 / 2], [1 / 2, -1 / 2, 1 / 2], [0, 0, 1]]),
    4: np.array(
        [
            [1 / 4, 0, 0],
            [-1 / 6, -1 / 6, -1 / 6],
            [-1 / 6, 1 / 6, -1 / 6],
            [1 / 24, 1 / 12, 1 / 6],
            [1 / 24, -1 / 12, 1 / 6],
            [0, 0, 1],
        ]
    ),
}
"""Transform of the weights, by m; the points are 0, 1, -1 (m = 2) and 2, -2 besides (m = 4), and infinity."""

ALGORITHMS = {"winograd2": 2, "winograd4": 4}


def by_preference(out_shape: tuple[int, ...], depth: int) -> tuple[str, ...]:
    """`winograd4`, `winograd2` and `direct`, the one expected to be fastest on a CPU core first.

    An estimate in multiply-accumulates of the vector units, per input and output channel: products, transforms (about
    400 and 120 a tile and channel, counted from the code), and weights streamed once for every work-item of tiles, at
    0.4 bytes in the time of one multiply-accumulate.
    """
    images, channels, rows, columns = out_shape

    def cost(points: int, count: int, at_once: int, transform: float) -> float:
        products = ceil_div(count, 6) * 6 * points
        transforms = transform * count * (ceil_div(channels, 128) / channels + 1 / depth)
        return products + transforms + points * FLOAT / 0.4 * ceil_div(count, at_once)

    costs = {
        f"winograd{m}": cost((m + 2) ** 2, images * ceil_div(rows, m) * ceil_div(columns, m), at_once, transform)
        for m, at_once, transform in ((4, 24, 400.0), (2, 48, 120.0))
    }
    costs["direct"] = cost(9, images * rows * columns, 48, 0.0)
    return tuple(sorted(costs, key=lambda name: costs[name]))


def transformed_weights(weights: np.ndarray, m: int) -> np.ndarray:
    """G w G' of (OC, IC, 3, 3) weights, as ((m + 2)^2, OC, IC)."""
    both = np.kron(_G[m], _G[m])  # row i * (m + 2) + j applies G's row i to the kernel's rows and j to its columns
    spread = both @ weights.reshape(-1, 9).T.astype(np.float64)
    return spread.astype(np.float32).reshape(-1, *weights.shape[:2])


CHUNK = 64
"""Input channels that `winograd.cl` transforms at once."""


def streamed_weights(weights: np.ndarray, m: int, width: int) -> np.ndarray:
    """Transformed weights as `winograd.cl` reads them, one after the other: for each block of `width` output channels
    and each CHUNK of input channels, [(m + 2)^2][channels of the chunk][width]."""
    points, (channels, depth) = (m + 2) ** 2, weights.shape[:2]
    packed = np.zeros((ceil_div(channels, width), depth * points, width), dtype=np.float32)
    for block in range(len(packed)):
        part = transformed_weights(weights[block * width : (block + 1) * width], m).transpose(0, 2, 1)
        for start in range(0, depth, CHUNK):
            stop = min(start + CHUNK, depth)
            packed[block, start * points : stop * points, : part.shape[2]] = part[:, start:stop].reshape(
                -1, part.shape[2]
            )
    return packed


@dataclass(frozen=True, slots=True)
class _Parts:
    """What both variants need: views, extents, origin, and the constants' makers."""

    read: Strided
    write: Strided
    images: int
    channels: int
    rows: int
    columns: int
    extent: tuple[int, int]
    depth: int
    origin: tuple[int, int]
    key: str
    weights: np.ndarray
    bias: np.ndarray


def _parts(request: KernelRequest) -> _Parts:
    graph, node, out = request.graph, request.node, request.out
    _, depth, height, width = graph.tensor(node.inputs[0]).shape
    window = Window.of(node)
    batch, channels, rows, columns = out.ranges
    weights = graph.constants[node.inputs[1]][channels[0] : channels[1]]
    return _Parts(
        read=Strided.of(request.inputs[0], (batch[0], 0, 0, 0)),
        write=Strided.of(request.output, (batch[0], channels[0], rows[0], columns[0])),
        images=out.shape[0],
        channels=out.shape[1],
        rows=out.shape[2],
        columns=out.shape[3],
        # A last tile's surplus outputs read beyond the input box, where anything may lie, and the transforms mix it in.
        extent=(window.reads(0, rows, height)[1], window.reads(1, columns, width)[1]),
        depth=depth,
        origin=(rows[0] - window.pads[0], columns[0] - window.pads[1]),
        key=f"{node.name}[{channels[0]}:{channels[1]}]/{request.algorithm}",
        weights=weights,
        bias=_bias(graph, node, channels),
    )


def _bias(graph: Graph, node: Node, channels: tuple[int, int]) -> np.ndarray:
    if not has_bias(node):
        return np.zeros((1, channels[1] - channels[0]), dtype=np.float32)
    return graph.constants[node.inputs[2]].reshape(1, -1)[:, channels[0] : channels[1]]


def program(request: KernelRequest) -> KernelProgram:
    """One launch of `cl/winograd.cl` (CPU devices), or three: transform, products, inverse transform."""
    m = ALGORITHMS[request.algorithm]
    parts = _parts(request)
    return _cpu(request, parts, m) if request.device.cpu else _gpu(request, parts, m)


def _cpu(request: KernelRequest, parts: _Parts, m: int) -> KernelProgram:
    width = 2 * simd(request.device)
    weights, bias = f"{parts.key}/weights/stream{width}", f"{parts.key}/bias/padded{width}"
    constants = LazyConstants(
        {
            weights: lambda: streamed_weights(parts.weights, m, width),
            bias: lambda: padded(parts.bias, width),
        }
    )
    pixels, tiles, blocks = _sizes(parts, request.device, m)
    r, w = parts.read, parts.write
    arguments = (
        Input(0), Constant(weights), Constant(bias), Output(),
        r.offset, end_of(request.inputs[0]), r.n, r.y, r.x, *parts.extent,
        w.offset, w.n, w.y, w.x, w.c, parts.rows, parts.columns, parts.images,
        *parts.origin, parts.depth, parts.channels, tiles, blocks,
        *activations.parameters(request.node.activation),
    )  # fmt: skip
    defines = (
        ("SIMD", width // 2),
        ("PIXELS", pixels),
        ("OUT", m),
        activations.define(request.node.activation),
    )
    size = (ceil_div(_count(parts, m), tiles * pixels), ceil_div(ceil_div(parts.channels, width), blocks), 1)
    return KernelProgram((Launch("cl/winograd.cl", "winograd", defines, arguments, size),), constants)


def _count(parts: _Parts, m: int) -> int:
    """Tiles of all images."""
    return parts.images * ceil_div(parts.rows, m) * ceil_div(parts.columns, m)


def _sizes(parts: _Parts, device: DeviceTraits, m: int) -> tuple[int, int, int]:
    """(pixels of a register tile, register tiles and blocks of channels of a work-item); limits as in `winograd.cl`.

    Splitting the channels among work-items repeats the input's transform, so tiles are shared out first.
    """
    pixels = max(6, register_pixels(device))
    all_tiles, all_blocks = ceil_div(_count(parts, m), pixels), ceil_div(parts.channels, 2 * simd(device))
    tiles = balanced(all_tiles, (4 if pixels == 6 else 2) * (2 if m == 2 else 1))
    blocks = balanced(all_blocks, 64 // simd(device))
    wanted = 4 * device.compute_units if device.compute_units > 1 else 1
    while tiles > 1 and ceil_div(all_tiles, tiles) * ceil_div(all_blocks, blocks) < wanted:
        tiles = balanced(all_tiles, tiles - 1)
    while blocks > 1 and ceil_div(all_tiles, tiles) * ceil_div(all_blocks, blocks) < wanted:
        blocks = balanced(all_blocks, blocks - 1)
    return pixels, tiles, blocks


def _gpu(request: KernelRequest, parts: _Parts, m: int) -> KernelProgram:
    """Transformed inputs [xi][tile][channel] and products [xi][tile][output channel] go through scratch buffers."""
    count, points = _count(parts, m), (m + 2) ** 2
    grid = (ceil_div(parts.rows, m), ceil_div(parts.columns, m))
    r, w = parts.read, parts.write
    into = Launch(
        "cl/winograd_gpu.cl", "winograd_input", (("OUT", m),),
        (
            Input(0), Scratch("transformed"), r.offset, r.n, r.y, r.x, *parts.extent, *grid, count, *parts.origin,
            parts.depth,
        ),
        *one_each(parts.depth * count),
    )  # fmt: skip
    products = tile_program(
        TileProblem(
            key=parts.key,
            source=Scratch("transformed"),
            target=Scratch("products"),
            read=Strided(0, 0, 0, parts.depth, 1, count * parts.depth),
            read_end=points * count * parts.depth,
            write=Strided(0, 0, 0, parts.channels, 1, count * parts.channels),
            extent=(1, count),
            batch=1,
            rows=1,
            columns=count,
            groups=points,
            channels=parts.channels,
            depth=parts.depth,
            weights=lambda: transformed_weights(parts.weights, m),
            bias=lambda: np.zeros((points, parts.channels), dtype=np.float32),
        ),
        request.device,
    )
    bias = f"{parts.key}/bias"
    back = Launch(
        "cl/winograd_gpu.cl", "winograd_output", (("OUT", m), activations.define(request.node.activation)),
        (
            Scratch("products"), Constant(bias), Output(), w.offset, w.n, w.y, w.x, w.c, parts.rows, parts.columns,
            *grid, count, parts.channels, *activations.parameters(request.node.activation),
        ),
        *one_each(parts.channels * count),
    )  # fmt: skip
    scratch = {
        "transformed": points * count * parts.depth * FLOAT,
        "products": points * count * parts.channels * FLOAT,
    }
    last = KernelProgram((back,), LazyConstants({bias: lambda: np.ascontiguousarray(parts.bias)}), scratch)
    return joined([KernelProgram((into,)), products, last])
