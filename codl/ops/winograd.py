"""3 x 3 convolution with stride 1 by Winograd's minimal filtering F(m x m, 3 x 3), m = 2 or 4.

Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks" (2016): tiles of m x m outputs cost (m + 2)^2
multiplications instead of 9 m^2. Weights are transformed here, in float64.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from codl.graph import Graph, Node
from codl.ops.launch import Constant, DeviceTraits, Input, KernelProgram, KernelRequest, Launch, Output, Scratch
from codl.ops.packing import LazyConstants, padded
from codl.ops.residual import Residual, residual_of, tail
from codl.ops.tile import Strided, TileProblem, balanced, end_of, joined, one_each, register_pixels, simd
from codl.ops.tile import program as tile_program
from codl.ops.window import FLOAT, Window, ceil_div, has_bias

POINTS: dict[int, tuple[float, ...]] = {
    2: (0, 1, -1),
    4: (0, 0.5**0.5, -(0.5**0.5), 2**0.5, -(2**0.5)),
}
"""Where the polynomials are evaluated, by m; and at infinity. The transforms of inputs and sums are written out for
these points in `cl/winograd_transforms.cl`.

Those of m = 4 were chosen for small errors, half as large as with the usual 1, -1, 2 and -2, and the largest a quarter:
what a point's product is off by grows with the norms of its rows in all three transforms. Barabasz, Anderson,
Soodhalter and Gregg, "Error Analysis and Improving the Accuracy of Winograd Convolution for Deep Neural Networks"
(2020).
"""


def weight_transform(m: int) -> NDArray[np.float64]:
    """G of F(m, 3) by Toom and Cook's construction: (m + 2) x 3."""
    points = np.array(POINTS[m])
    rows = [points[i] ** np.arange(3) / np.prod(points[i] - np.delete(points, i)) for i in range(len(points))]
    return np.array([*rows, (0, 0, 1)])


ALGORITHMS = {f"winograd{m}": m for m in POINTS}
CHUNK = 128
"""Most input channels that `winograd.cl` transforms at once; half as many where there are no more."""
MOST_TILES = {2: 48, 4: 24}
"""Tiles of a work-item on a CPU device, by m: transformed inputs and sums should stay in a core's cache."""
LEAST_TILES = 4
"""Tiles that the smallest register tile holds: its sums are as many as a core's multiply-adds in flight."""
MOST_CHANNELS = 256
"""Output channels of a work-item on a CPU device."""


def by_preference(out_shape: tuple[int, ...], depth: int) -> tuple[str, ...]:
    """`direct` and the `ALGORITHMS`, the one expected to be fastest on a CPU core first.

    An estimate in multiply-accumulates of the vector units, per input and output channel: products, transforms (about
    400 and 120 a tile and channel, counted from the code), and weights streamed once for every work-item of tiles, at
    0.4 bytes in the time of one multiply-accumulate.
    """
    images, channels, rows, columns = out_shape

    def cost(points: int, count: int, at_once: int, transform: float) -> float:
        products = max(count, LEAST_TILES) * points
        transforms = transform * count * (ceil_div(channels, MOST_CHANNELS) / channels + 1 / depth)
        return products + transforms + points * FLOAT / 0.4 * ceil_div(count, at_once)

    costs = {
        f"winograd{m}": cost((m + 2) ** 2, images * ceil_div(rows, m) * ceil_div(columns, m), MOST_TILES[m], transform)
        for m, transform in ((4, 400.0), (2, 120.0))
    }
    costs["direct"] = cost(9, images * rows * columns, 48, 0.0)
    return tuple(sorted(costs, key=lambda name: costs[name]))


def transformed_weights(weights: np.ndarray, m: int) -> np.ndarray:
    """G w G' of (OC, IC, 3, 3) weights, as ((m + 2)^2, OC, IC)."""
    g = weight_transform(m)
    both = np.kron(g, g)  # row i * (m + 2) + j applies G's row i to the kernel's rows and j to its columns
    spread = both @ weights.reshape(-1, 9).T.astype(np.float64)
    return spread.astype(np.float32).reshape(-1, *weights.shape[:2])


def streamed_weights(weights: np.ndarray, m: int, width: int, chunk: int) -> np.ndarray:
    """Transformed weights as `winograd.cl` reads them, one after the other: for each `chunk` of input channels,
    [(m + 2)^2][ceil(OC / width)][channels of the chunk][width], filled up with zeros. Flat."""
    points, (channels, depth) = (m + 2) ** 2, weights.shape[:2]
    blocks = ceil_div(channels, width)
    packed = np.zeros(depth * points * blocks * width, dtype=np.float32)
    for block in range(blocks):
        part = transformed_weights(weights[block * width : (block + 1) * width], m).transpose(0, 2, 1)
        for start in range(0, depth, chunk):
            stop = min(start + chunk, depth)
            panels = packed[start * points * blocks * width : stop * points * blocks * width]
            panels = panels.reshape(points, blocks, stop - start, width)
            panels[:, block, :, : part.shape[2]] = part[:, start:stop]
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
    residual: Residual | None


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
        residual=residual_of(request, channels[0]),
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
    chunk = CHUNK if parts.depth > CHUNK // 2 else CHUNK // 2
    weights, bias = f"{parts.key}/weights/stream{width}", f"{parts.key}/bias/padded{width}"
    constants = LazyConstants(
        {
            weights: lambda: streamed_weights(parts.weights, m, width, chunk),
            bias: lambda: padded(parts.bias, width),
        }
    )
    tiles, blocks = _sizes(parts, request.device, m)
    r, w = parts.read, parts.write
    ends, last = tail(request.node.activation, parts.residual)
    arguments = (
        Input(0), Constant(weights), Constant(bias), Output(),
        r.offset, end_of(request.inputs[0]), r.n, r.y, r.x, *parts.extent,
        w.offset, w.n, w.y, w.x, w.c, parts.rows, parts.columns, parts.images,
        *parts.origin, parts.depth, parts.channels, tiles, blocks, *last,
    )  # fmt: skip
    defines = (
        ("SIMD", width // 2),
        ("PIXELS", register_pixels(request.device)),
        ("LEAST", LEAST_TILES),
        ("OUT", m),
        ("MOST", _most_tiles(request.device, m)),
        ("CHUNK", chunk),
        ("BLOCKS", MOST_CHANNELS // width),
        *ends,
    )
    size = (ceil_div(_count(parts, m), tiles), ceil_div(ceil_div(parts.channels, width), blocks), 1)
    return KernelProgram((Launch("cl/winograd.cl", "winograd", defines, arguments, size),), constants)


def _count(parts: _Parts, m: int) -> int:
    """Tiles of all images."""
    return parts.images * ceil_div(parts.rows, m) * ceil_div(parts.columns, m)


def _most_tiles(device: DeviceTraits, m: int) -> int:
    """`MOST_TILES` in whole register tiles."""
    pixels = register_pixels(device)
    return max(1, round(MOST_TILES[m] / pixels)) * pixels


def _sizes(parts: _Parts, device: DeviceTraits, m: int) -> tuple[int, int]:
    """(tiles, blocks of channels) of a work-item, within the limits above.

    Splitting the tiles among work-items repeats the reading of weights, splitting the channels the input's transform,
    which costs less.
    """
    count, all_blocks = _count(parts, m), ceil_div(parts.channels, 2 * simd(device))
    tiles, blocks = balanced(count, _most_tiles(device, m)), balanced(all_blocks, MOST_CHANNELS // (2 * simd(device)))
    wanted = 4 * device.compute_units if device.compute_units > 1 else 1
    least = max(1, 64 // (2 * simd(device)))
    for smallest_blocks, smallest_tiles in ((least, register_pixels(device)), (1, LEAST_TILES)):
        while blocks > smallest_blocks and ceil_div(count, tiles) * ceil_div(all_blocks, blocks) < wanted:
            blocks = balanced(all_blocks, blocks - 1)
        while tiles > smallest_tiles and ceil_div(count, tiles) * ceil_div(all_blocks, blocks) < wanted:
            tiles = balanced(count, tiles - 1)
    return tiles, blocks


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
    ends, arguments = tail(request.node.activation, parts.residual)
    back = Launch(
        "cl/winograd_gpu.cl", "winograd_output", (("OUT", m), *ends),
        (
            Scratch("products"), Constant(bias), Output(), w.offset, w.n, w.y, w.x, w.c, parts.rows, parts.columns,
            *grid, count, parts.channels, *arguments,
        ),
        *one_each(parts.channels * count),
    )  # fmt: skip
    scratch = {
        "transformed": points * count * parts.depth * FLOAT,
        "products": points * count * parts.channels * FLOAT,
    }
    last = KernelProgram((back,), LazyConstants({bias: lambda: np.ascontiguousarray(parts.bias)}), scratch)
    return joined([KernelProgram((into,)), products, last])
