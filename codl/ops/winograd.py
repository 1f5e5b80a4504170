"""Convolution with stride 1 by Winograd's minimal filtering F(m x m, r x r): F(2, 3), F(3, 4) and F(4, 3).

Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks" (2016): tiles of m x m outputs cost (m + r - 1)^2
multiplications instead of (m r)^2. A larger kernel is a sum of kernels of r x r taps, each of which reads the inputs
shifted by so many rows and columns (its `part` of the taps), and whose products are added before they are transformed
back: 7 x 7 taps in four parts of F(3, 4) cost 16 multiplications an output instead of 49, 5 x 5 in four of F(4, 3) 9
instead of 25, 9 x 9 in nine 20 instead of 81. Weights are transformed here, in float64.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from codl.graph import Graph, Node
from codl.ops.launch import Constant, DeviceTraits, Input, KernelProgram, KernelRequest, Launch, Output, Scratch
from codl.ops.packing import LazyConstants, padded
from codl.ops.residual import Residual, residual_of, tail
from codl.ops.tile import Strided, TileProblem, end_of, joined, one_each, register_pixels, simd
from codl.ops.tile import program as tile_program
from codl.ops.tile.dealing import shared_out
from codl.ops.window import FLOAT, Pair, Window, ceil_div, has_bias

TAPS = {2: 3, 3: 4, 4: 3}
"""r of F(m, r), by m."""
MOST_TAPS = 9
"""Rows and columns of the largest kernel that is divided: transformed inputs and weights take room for every part."""
SIDES = {m: m + r - 1 for m, r in TAPS.items()}
"""Inputs that a tile reads along one axis, and points, by m."""
POINTS: dict[int, tuple[float, ...]] = {
    4: (0, 1, -1),
    6: (0, 0.5**0.5, -(0.5**0.5), 2**0.5, -(2**0.5)),
}
"""Where the polynomials are evaluated, by side; and at infinity. The transforms of inputs and sums are written out for
these points in `cl/winograd_transforms.cl`.

Those of six were chosen for small errors, half as large as with the usual 1, -1, 2 and -2, and the largest a quarter:
what a point's product is off by grows with the norms of its rows in all three transforms. Barabasz, Anderson,
Soodhalter and Gregg, "Error Analysis and Improving the Accuracy of Winograd Convolution for Deep Neural Networks"
(2020).
"""


def weight_transform(m: int) -> NDArray[np.float64]:
    """G of F(m, r) by Toom and Cook's construction: (m + r - 1) x r."""
    points, powers = np.array(POINTS[SIDES[m]]), np.arange(TAPS[m])
    rows = [points[i] ** powers / np.prod(points[i] - np.delete(points, i)) for i in range(len(points))]
    return np.array([*rows, powers == powers[-1]])


ALGORITHMS = {f"winograd{m}": m for m in TAPS}
CHUNK = 128
"""Most input channels that `winograd.cl` transforms at once; half as many where there are no more."""
MOST_TILES = {2: 48, 3: 24, 4: 24}
"""Tiles of a work-item on a CPU device, by m: transformed inputs and sums should stay in a core's cache."""
LEAST_TILES = 4
"""Tiles that the smallest register tile holds: its sums are as many as a core's multiply-adds in flight."""
MOST_CHANNELS = 256
"""Output channels of a work-item on a CPU device."""
_TRANSFORM = {2: 120.0, 3: 400.0, 4: 400.0}
"""What transforming a tile of one channel costs, by m, in multiply-accumulates of the vector units: counted."""
WEIGHT = FLOAT / 0.4
"""What streaming a weight costs: 0.4 bytes come in the time of one multiply-accumulate."""


def costs(out_shape: tuple[int, ...], depth: int, kernel: Pair) -> dict[str, float]:
    """What `direct` and those of the `ALGORITHMS` that suit a kernel of so many taps cost on a CPU core: 3 x 3 taps are
    computed by tiles of 2 or 4 outputs, others, up to `MOST_TAPS`, by what multiplies least.

    An estimate in multiply-accumulates of the vector units, per input and output channel: products, transforms, and
    weights streamed once for every work-item of tiles.
    """
    images, channels, rows, columns = out_shape

    def cost(points: int, count: int, at_once: int, transform: float) -> float:
        products = max(count, LEAST_TILES) * points
        transforms = transform * count * (ceil_div(channels, MOST_CHANNELS) / channels + 1 / depth)
        return products + transforms + points * WEIGHT * ceil_div(count, at_once)

    def multiplications(m: int) -> float:
        return parts_of(kernel, m) * SIDES[m] ** 2 / m**2

    found = {"direct": cost(kernel[0] * kernel[1], images * rows * columns, 48, 0.0)}
    if max(kernel) <= MOST_TAPS:
        for m in (4, 2) if kernel == (3, 3) else (min((4, 3), key=multiplications),):
            count = images * ceil_div(rows, m) * ceil_div(columns, m)
            each = cost(SIDES[m] ** 2, count, MOST_TILES[m], _TRANSFORM[m])
            found[f"winograd{m}"] = parts_of(kernel, m) * each
    return found


def parts_of(kernel: Pair, m: int) -> int:
    """The number of parts into which F(m, r) divides a kernel's taps."""
    return ceil_div(kernel[0], TAPS[m]) * ceil_div(kernel[1], TAPS[m])


def transformed_weights(weights: np.ndarray, m: int) -> np.ndarray:
    """G w G' of every part of (OC, IC, rows, columns) weights, as ((m + r - 1)^2, OC, parts * IC)."""
    g, taps = weight_transform(m), TAPS[m]
    both = np.kron(g, g)  # row i * (m + r - 1) + j applies G's row i to the kernel's rows and j to its columns
    channels, depth, *kernel = weights.shape
    rows, columns = (ceil_div(extent, taps) for extent in kernel)
    filled = np.zeros((channels, depth, rows * taps, columns * taps), np.float64)
    filled[:, :, : kernel[0], : kernel[1]] = weights
    parts = filled.reshape(channels, depth, rows, taps, columns, taps).transpose(0, 2, 4, 1, 3, 5)
    spread = both @ parts.reshape(-1, taps * taps).T
    return spread.astype(np.float32).reshape(-1, channels, rows * columns * depth)


def streamed_weights(weights: np.ndarray, m: int, width: int, chunk: int) -> np.ndarray:
    """Transformed weights as `winograd.cl` reads them, one after the other: for each part of the taps and each `chunk`
    of input channels, [(m + r - 1)^2][ceil(OC / width)][channels of the chunk][width], filled up with zeros. Flat."""
    points, (channels, depth, *kernel) = SIDES[m] ** 2, weights.shape
    blocks, parts = ceil_div(channels, width), parts_of((kernel[0], kernel[1]), m)
    packed = np.zeros((parts, depth * points * blocks * width), dtype=np.float32)
    for block in range(blocks):
        block_weights = transformed_weights(weights[block * width : (block + 1) * width], m)
        for part in range(parts):
            columns = block_weights[:, :, part * depth : (part + 1) * depth].transpose(0, 2, 1)
            for start in range(0, depth, chunk):
                stop = min(start + chunk, depth)
                panels = packed[part, start * points * blocks * width : stop * points * blocks * width]
                panels = panels.reshape(points, blocks, stop - start, width)
                panels[:, block, :, : columns.shape[2]] = columns[:, start:stop]
    return packed.reshape(-1)


@dataclass(frozen=True, slots=True)
class _Setting:
    """What both variants need: views, extents, origin, the parts of the taps, and the constants' makers."""

    read: Strided
    write: Strided
    images: int
    channels: int
    rows: int
    columns: int
    extent: Pair
    depth: int
    origin: Pair
    parts: Pair
    key: str
    weights: np.ndarray
    bias: np.ndarray
    residual: Residual | None


def _setting(request: KernelRequest, m: int) -> _Setting:
    graph, node, out = request.graph, request.node, request.out
    _, depth, height, width = graph.tensor(node.inputs[0]).shape
    window = Window.of(node)
    batch, channels, rows, columns = out.ranges
    weights = graph.constants[node.inputs[1]][channels[0] : channels[1]]
    return _Setting(
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
        parts=(ceil_div(window.kernel[0], TAPS[m]), ceil_div(window.kernel[1], TAPS[m])),
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
    setting = _setting(request, m)
    return _cpu(request, setting, m) if request.device.cpu else _gpu(request, setting, m)


def _cpu(request: KernelRequest, setting: _Setting, m: int) -> KernelProgram:
    width = 2 * simd(request.device)
    chunk = CHUNK if setting.depth > CHUNK // 2 else CHUNK // 2
    weights, bias = f"{setting.key}/weights/stream{width}", f"{setting.key}/bias/padded{width}"
    constants = LazyConstants(
        {
            weights: lambda: streamed_weights(setting.weights, m, width, chunk),
            bias: lambda: padded(setting.bias, width),
        }
    )
    tiles, blocks = _sizes(setting, request.device, m)
    r, w = setting.read, setting.write
    ends, last = tail(request.node.activation, setting.residual)
    arguments = (
        Input(0), Constant(weights), Constant(bias), Output(),
        r.offset, end_of(request.inputs[0]), r.n, r.y, r.x, *setting.extent,
        w.offset, w.n, w.y, w.x, w.c, setting.rows, setting.columns, setting.images,
        *setting.origin, *setting.parts, setting.depth, setting.channels, tiles, blocks, *last,
    )  # fmt: skip
    defines = (
        ("SIMD", width // 2),
        ("PIXELS", register_pixels(request.device)),
        ("LEAST", LEAST_TILES),
        ("OUT", m),
        ("TAPS", TAPS[m]),
        ("MOST", _most_tiles(request.device, m)),
        ("CHUNK", chunk),
        ("BLOCKS", MOST_CHANNELS // width),
        *ends,
    )
    size = (ceil_div(_count(setting, m), tiles), ceil_div(ceil_div(setting.channels, width), blocks), 1)
    return KernelProgram((Launch("cl/winograd.cl", "winograd", defines, arguments, size),), constants)


def _count(setting: _Setting, m: int) -> int:
    """Tiles of all images."""
    return setting.images * ceil_div(setting.rows, m) * ceil_div(setting.columns, m)


def _most_tiles(device: DeviceTraits, m: int) -> int:
    """`MOST_TILES` in whole register tiles."""
    pixels = register_pixels(device)
    return max(1, round(MOST_TILES[m] / pixels)) * pixels


def _sizes(setting: _Setting, device: DeviceTraits, m: int) -> tuple[int, int]:
    """(tiles, blocks of channels) of a work-item, within the limits above."""
    width = 2 * simd(device)
    count, blocks = _count(setting, m), ceil_div(setting.channels, width)
    depth = setting.parts[0] * setting.parts[1] * setting.depth
    limits = (_most_tiles(device, m), MOST_CHANNELS // width)
    return balanced_sizes(m, (count, blocks), limits, width, depth, device.compute_units)


@lru_cache(maxsize=1024)
def balanced_sizes(m: int, extent: Pair, limits: Pair, width: int, depth: int, cores: int) -> Pair:
    """The pieces of at most `limits` into which `extent`, tiles and blocks of `width` channels, is cut.

    More tiles read weights less often, more channels transform inputs less often.
    """
    points = SIDES[m] ** 2

    def cost(tiles: int, blocks: int, last: bool) -> float:
        """Of a work-item and one input channel, in multiply-accumulates."""
        channels = width * blocks
        products, weights = points * max(tiles, LEAST_TILES) * channels, points * channels * WEIGHT
        return products + _TRANSFORM[m] * tiles * (1 + channels / depth) + weights

    return shared_out(extent, limits, cores, cost)


def _gpu(request: KernelRequest, setting: _Setting, m: int) -> KernelProgram:
    """Transformed inputs [xi][tile][channel] and products [xi][tile][output channel] go through scratch buffers."""
    count, points = _count(setting, m), SIDES[m] ** 2
    depth = setting.parts[0] * setting.parts[1] * setting.depth
    grid = (ceil_div(setting.rows, m), ceil_div(setting.columns, m))
    r, w = setting.read, setting.write
    into = Launch(
        "cl/winograd_gpu.cl", "winograd_input", (("OUT", m), ("TAPS", TAPS[m])),
        (
            Input(0), Scratch("transformed"), r.offset, r.n, r.y, r.x, *setting.extent, *grid, count, *setting.origin,
            *setting.parts, setting.depth,
        ),
        *one_each(depth * count),
    )  # fmt: skip
    products = tile_program(
        TileProblem(
            key=setting.key,
            source=Scratch("transformed"),
            target=Scratch("products"),
            read=Strided(0, 0, 0, depth, 1, count * depth),
            read_end=points * count * depth,
            write=Strided(0, 0, 0, setting.channels, 1, count * setting.channels),
            extent=(1, count),
            batch=1,
            rows=1,
            columns=count,
            groups=points,
            channels=setting.channels,
            depth=depth,
            weights=lambda: transformed_weights(setting.weights, m),
            bias=lambda: np.zeros((points, setting.channels), dtype=np.float32),
        ),
        request.device,
    )
    bias = f"{setting.key}/bias"
    ends, arguments = tail(request.node.activation, setting.residual)
    back = Launch(
        "cl/winograd_gpu.cl", "winograd_output", (("OUT", m), ("TAPS", TAPS[m]), *ends),
        (
            Scratch("products"), Constant(bias), Output(), w.offset, w.n, w.y, w.x, w.c, setting.rows, setting.columns,
            *grid, count, setting.channels, *arguments,
        ),
        *one_each(setting.channels * count),
    )  # fmt: skip
    scratch = {
        "transformed": points * count * depth * FLOAT,
        "products": points * count * setting.channels * FLOAT,
    }
    last = KernelProgram((back,), LazyConstants({bias: lambda: np.ascontiguousarray(setting.bias)}), scratch)
    return joined([KernelProgram((into,)), products, last])
