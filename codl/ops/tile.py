"""Implicit GEMM: the one kernel behind convolution, transposed convolution, matrix products and Winograd's products.

A `TileProblem` says which pixels are computed from which elements; `launch` chooses tile sizes for a device. The
kernels are `cl/conv_tile.cl` (CPU devices) and `cl/conv_tile_gpu.cl`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from codl.graph import Activation
from codl.ops import activation as activations
from codl.ops.launch import Argument, Constant, DeviceTraits, KernelProgram, Launch, View
from codl.ops.packing import LazyConstants, padded, panels
from codl.ops.window import Pair, ceil_div


@dataclass(frozen=True, slots=True)
class Strided:
    """Where the elements of a batch of maps lie: element (n, y, x, c) of group g, all counted from 0."""

    offset: int
    n: int
    y: int
    x: int
    c: int
    group: int = 0

    @staticmethod
    def of(view: View, start: tuple[int, int, int, int], group: int = 0) -> Strided:
        """A feature map's view, with (n, c, y, x) counted from `start`; groups are `group` channels apart."""
        n, c, y, x = view.strides
        offset = view.offset + sum(a * b for a, b in zip(start, view.strides, strict=True))
        return Strided(offset, n, y, x, c, group * c)


def end_of(view: View) -> int:
    """The first element after the box that a view holds, in the buffer."""
    last = (stop - 1 for _, stop in view.region.ranges)
    return view.offset + sum(at * stride for at, stride in zip(last, view.strides, strict=True)) + 1


@dataclass(frozen=True)
class TileProblem:
    """`batch` x `rows` x `columns` pixels of `channels` outputs in each of `groups` groups.

    Output row r, tap row t reads the input row `r * step[0] + origin[0] + t * dilation[0]`, columns likewise; outside
    `extent` lies padding (zeros). `weights()` gives (groups, channels, taps * depth), taps row by row, channels within
    a tap; `bias()` (groups, channels). Both are named by `key`.
    """

    key: str
    source: Argument
    target: Argument
    read: Strided
    read_end: int
    write: Strided
    extent: Pair
    batch: int
    rows: int
    columns: int
    groups: int
    channels: int
    depth: int
    weights: Callable[[], np.ndarray]
    bias: Callable[[], np.ndarray]
    kernel: Pair = (1, 1)
    step: Pair = (1, 1)
    origin: Pair = (0, 0)
    dilation: Pair = (1, 1)
    activation: Activation | None = None

    @property
    def pixels(self) -> int:
        return self.batch * self.rows * self.columns

    @property
    def k(self) -> int:
        """Length of each output's sum."""
        return self.kernel[0] * self.kernel[1] * self.depth

    @property
    def plain(self) -> bool:
        """A matrix product: pixel (n, y, x) reads the input pixel (n, y, x) and no other."""
        return (self.kernel, self.step, self.origin) == ((1, 1), (1, 1), (0, 0))

    def geometry(self) -> tuple[Argument, ...]:
        """The arguments that both kernels begin with, after the buffers."""
        r, w = self.read, self.write
        return (
            r.offset, self.read_end, r.n, r.y, r.x, r.c, r.group, *self.extent, w.offset, w.n, w.y, w.x, w.c, w.group,
            self.rows, self.columns, self.pixels, *self.kernel, *self.step, *self.origin, *self.dilation,
            self.depth, self.channels,
        )  # fmt: skip


CHUNK = 256
"""Longest piece of k that the CPU kernel stages at once (`conv_tile.cl`)."""
CHUNK_OF_ONE = 4096
"""The same where there is one pixel only: its weights are read once, so long runs of them matter most."""
BLOCKS = 8
"""Most blocks of output channels that one work-item of the CPU kernel computes."""
GPU_TILE = 64
"""Pixels and output channels of a work-group's tile (`conv_tile_gpu.cl`)."""


def program(problem: TileProblem, device: DeviceTraits) -> KernelProgram:
    """One launch, with its packed weights."""
    return _cpu(problem, device) if device.cpu else _gpu(problem)


def _constants(problem: TileProblem, width: int, chunk: int) -> tuple[Constant, Constant, LazyConstants]:
    weights, bias = f"{problem.key}/weights/panels{width}x{chunk}", f"{problem.key}/bias/padded{width}"
    makers: dict[str, Callable[[], np.ndarray]] = {
        weights: lambda: panels(problem.weights(), width, chunk),
        bias: lambda: padded(problem.bias(), width),
    }
    return Constant(weights), Constant(bias), LazyConstants(makers)


def simd(device: DeviceTraits) -> int:
    """Floats in a vector of the CPU kernels: 4, 8 or 16."""
    return 16 if device.simd_width >= 16 else 8 if device.simd_width >= 8 else 4


def register_pixels(device: DeviceTraits) -> int:
    """Pixels of a register tile, 2 vectors each: 28 of AVX-512's 32 registers, 12 of AVX2's 16."""
    return 14 if simd(device) == 16 else 6


def _cpu(problem: TileProblem, device: DeviceTraits) -> KernelProgram:
    width = 2 * simd(device)
    pixels, tiles, blocks = tile_sizes(problem, device)
    chunk = ceil_div(max(1, balanced(problem.k, CHUNK_OF_ONE if pixels == 1 else CHUNK)), 8) * 8
    weights, bias, constants = _constants(problem, width, chunk)
    arguments = (
        problem.source, weights, bias, problem.target, *problem.geometry(), chunk, tiles, blocks,
        *activations.parameters(problem.activation),
    )  # fmt: skip
    size = (
        ceil_div(problem.pixels, tiles * pixels),
        ceil_div(ceil_div(problem.channels, width), blocks),
        problem.groups,
    )
    defines = (("SIMD", simd(device)), ("PIXELS", pixels), activations.define(problem.activation))
    return KernelProgram((Launch("cl/conv_tile.cl", "conv_tile", defines, arguments, size),), constants)


def tile_sizes(problem: TileProblem, device: DeviceTraits) -> tuple[int, int, int]:
    """(pixels of a register tile, tiles and blocks of output channels of a work-item) on a CPU device.

    Large work-items reuse weights and staged pixels; but every core should get several, each of at least about 20 us.
    """
    pixels = 1 if problem.pixels == 1 else register_pixels(device)
    all_tiles = ceil_div(problem.pixels, pixels)
    all_blocks = ceil_div(problem.channels, 2 * simd(device))
    most = {1: 1, 6: 8, 14: 4}[pixels]
    tiles, blocks = balanced(all_tiles, most), balanced(all_blocks, BLOCKS)
    wanted = 4 * device.compute_units if device.compute_units > 1 else 1

    def items() -> int:
        return ceil_div(all_tiles, tiles) * ceil_div(all_blocks, blocks) * problem.groups

    def cost() -> float:
        """Of one work-item, in units of about 20 us: 2 Mflop, or 256 KiB of weights."""
        products = problem.k * blocks * 2 * simd(device)
        return max(2.0 * products * tiles * pixels / 2e6, 4.0 * products / 2**18)

    while items() < wanted and cost() > 2 and (tiles > 1 or blocks > 1):
        if blocks > 1 and (blocks >= tiles or tiles == 1):
            blocks = balanced(all_blocks, blocks - 1)
        else:
            tiles = balanced(all_tiles, tiles - 1)
    return pixels, tiles, blocks


def _gpu(problem: TileProblem) -> KernelProgram:
    weights, bias, constants = _constants(problem, GPU_TILE, max(1, problem.k))
    arguments = (
        problem.source, weights, bias, problem.target, *problem.geometry(), *activations.parameters(problem.activation),
    )  # fmt: skip
    if problem.pixels <= 4 and problem.plain:
        entry = "gemv_gpu"
        size = (ceil_div(problem.channels, 16) * 256, problem.pixels, problem.groups)
    else:
        entry = "conv_tile_gpu"
        size = (ceil_div(problem.pixels, GPU_TILE) * 256, ceil_div(problem.channels, GPU_TILE), problem.groups)
    defines = (activations.define(problem.activation),)
    return KernelProgram((Launch(f"cl/{entry}.cl", entry, defines, arguments, size, (256, 1, 1)),), constants)


def balanced(total: int, limit: int) -> int:
    """The piece length of the fewest equal pieces of `total` that are no longer than `limit`; 0 of 0."""
    return ceil_div(total, ceil_div(total, limit)) if total else 0


def joined(programs: list[KernelProgram]) -> KernelProgram:
    """Several programs as one task: their launches in order."""
    launches: tuple[Launch, ...] = ()
    constants = LazyConstants({})
    scratch: dict[str, int] = {}
    for each in programs:
        launches += each.launches
        if isinstance(each.constants, LazyConstants):
            constants = constants | each.constants
        scratch.update(each.scratch)
    return KernelProgram(launches, constants, scratch)
