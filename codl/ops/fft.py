"""Convolution of large kernels with stride 1 by the fast Fourier transform, on CPU devices: overlapping tiles of 16 x
16 inputs (overlap-save), of which each gives (17 - rows) x (17 - columns) outputs.

Convolution becomes a product of complex numbers for each of 130 frequencies (the other 126 are their conjugates), and a
complex product three real ones: 390 multiplications for a tile and pair of channels, whatever the kernel. 7 x 7 taps
cost 3.9 an output instead of 49, 9 x 9 6.1 instead of 81. Errors are those of the transforms, as small as a direct
sum's. Mathieu, Henaff and LeCun, "Fast Training of Convolutional Networks through FFTs" (2014); tiles: Highlander and
Rodriguez, "Very Efficient Training of Convolutional Neural Networks using Fast Fourier Transform and Overlap-and-Add"
(2015). Three products: Gauss.

Three launches (`cl/fft.cl`): inputs transformed, one matrix product for each point, sums transformed back. Transformed
weights take 1,560 bytes for each pair of channels, and are read once.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from codl.ops.activation import Define
from codl.ops.depthwise import channel_bias
from codl.ops.launch import Argument, Constant, Input, KernelProgram, KernelRequest, Launch, Output, Scratch
from codl.ops.packing import LazyConstants, padded, panels
from codl.ops.residual import residual_of, tail
from codl.ops.tile import Strided, end_of, register_pixels, simd
from codl.ops.tile.dealing import balanced
from codl.ops.window import FLOAT, Pair, Window, ceil_div
from codl.ops.winograd import WEIGHT

ALGORITHM = "fft"
SIDE = 16
"""Rows and columns of a tile."""
MOST_TILES = 96
"""Tiles that are transformed and multiplied before the next ones: what they become should stay in a shared cache."""
LEAST_TAPS, MOST_TAPS = 6, 11
"""Rows and columns of kernels. Smaller ones multiply less by Winograd's algorithm, whose weights take less memory."""
_TRANSFORM = 8000.0
"""What transforming a tile of one channel costs, in multiply-accumulates of the vector units: measured."""
_HALF = SIDE // 2
FREQUENCIES = tuple((row, at) for row in range(_HALF + 1) for at in range(_HALF + 1 if row in (0, _HALF) else SIDE))
"""(row's, column's): one of each pair of conjugates."""
POINTS = 3 * len(FREQUENCIES)
"""Real products of a tile and pair of channels."""
_LINE = 16
"""Floats of a cache line: points are an odd number of lines apart, since a transform touches all of them and they must
not share cache sets."""


def outputs(kernel: Pair) -> Pair:
    """Rows and columns of outputs of one tile."""
    return SIDE + 1 - kernel[0], SIDE + 1 - kernel[1]


def suits(kernel: Pair) -> bool:
    """Whether kernels of so many taps are computed so."""
    return min(kernel) >= LEAST_TAPS and max(kernel) <= MOST_TAPS


def cost(out_shape: tuple[int, ...], depth: int, kernel: Pair) -> float:
    """An estimate as `codl.ops.winograd.costs`, and to be compared with it."""
    images, channels, rows, columns = out_shape
    tile = outputs(kernel)
    count = images * ceil_div(rows, tile[0]) * ceil_div(columns, tile[1])
    weights = POINTS * WEIGHT * ceil_div(count, MOST_TILES)
    return POINTS * count + _TRANSFORM * count * (1 / channels + 1 / depth) + weights


def transformed_weights(weights: np.ndarray) -> np.ndarray:
    """(OC, IC, rows, columns) weights as (POINTS, OC, IC) float32: of the conjugate c + di of their transform over 256
    the numbers c, d - c and c + d, for each frequency."""
    rows, columns = np.array(FREQUENCIES).T
    points = np.empty((len(FREQUENCIES), 3, *weights.shape[:2]), np.float32)
    for channel, of_channel in enumerate(weights.astype(np.float64)):
        spectrum = np.fft.fft2(of_channel, (SIDE, SIDE))[:, rows, columns].T / SIDE**2
        c, d = spectrum.real, -spectrum.imag
        points[:, 0, channel], points[:, 1, channel], points[:, 2, channel] = c, d - c, c + d
    return points.reshape(POINTS, *weights.shape[:2])


@dataclass(frozen=True, slots=True)
class _Points:
    """Where transformed inputs or products lie in working memory: [tiles][POINTS][channels], filled up."""

    name: str
    tiles: int
    channels: int

    @property
    def apart(self) -> int:
        """Floats from one point to the next."""
        lines = ceil_div(self.channels, _LINE)
        return (lines + (lines + 1) % 2) * _LINE

    @property
    def size(self) -> int:
        """Floats of all."""
        return self.tiles * POINTS * self.apart

    @property
    def argument(self) -> Scratch:
        return Scratch(self.name)


def program(request: KernelRequest) -> KernelProgram:
    """Three launches for every `MOST_TILES` tiles, for a CPU device."""
    graph, node, out = request.graph, request.node, request.out
    _, depth, height, width = graph.tensor(node.inputs[0]).shape
    window = Window.of(node)
    batch, channels, rows, columns = out.ranges
    tile = outputs(window.kernel)
    grid = (ceil_div(out.shape[2], tile[0]), ceil_div(out.shape[3], tile[1]))
    count, block = out.shape[0] * grid[0] * grid[1], 2 * simd(request.device)
    at_once = balanced(count, MOST_TILES)
    extent = window.reads(0, rows, height)[1], window.reads(1, columns, width)[1]  # beyond may lie anything
    source, target = _Points("transformed", at_once, depth), _Points("products", at_once, out.shape[1])
    read = Strided.of(request.inputs[0], (batch[0], 0, 0, 0))
    write = Strided.of(request.output, (batch[0], channels[0], rows[0], columns[0]))
    weights = graph.constants[node.inputs[1]][channels[0] : channels[1]]
    key = f"{node.name}[{channels[0]}:{channels[1]}]/{ALGORITHM}"
    packed, bias = f"{key}/weights/panels{block}", f"{key}/bias/padded{block}"
    ends, last = tail(node.activation, residual_of(request, channels[0]))

    def launch(entry: str, arguments: tuple[Argument, ...], size: Pair, *defines: Define) -> Launch:
        sizes = ("SIMD", simd(request.device)), ("PIXELS", register_pixels(request.device))
        return Launch("cl/fft.cl", entry, (*sizes, *defines), arguments, (*size, 1))

    def launches(first: int, tiles: int) -> Iterator[Launch]:
        into = (
            Input(0), source.argument, read.offset, end_of(request.inputs[0]), read.n, read.y, read.x, *extent,
            *grid, *tile, rows[0] - window.pads[0], columns[0] - window.pads[1], first, depth, source.apart,
        )  # fmt: skip
        yield launch("fft_input", into, (ceil_div(depth, block), tiles))
        sums = tiles, depth, out.shape[1], source.apart, target.apart
        yield launch("fft_products", (source.argument, Constant(packed), target.argument, *sums), (POINTS, 1))
        back = (
            target.argument, Constant(bias), Output(), write.offset, write.n, write.y, write.x, write.c, *out.shape[2:],
            *grid, *tile, first, out.shape[1], target.apart, *last,
        )  # fmt: skip
        yield launch("fft_output", back, (ceil_div(out.shape[1], block), tiles), *ends)

    constants = LazyConstants(
        {
            packed: lambda: panels(transformed_weights(weights), block, depth),
            bias: lambda: padded(channel_bias(graph, node, channels)[None], block),
        }
    )
    pieces = ((first, min(at_once, count - first)) for first in range(0, count, at_once))
    return KernelProgram(
        tuple(each for piece in pieces for each in launches(*piece)),
        constants,
        {each.name: each.size * FLOAT for each in (source, target)},
    )
