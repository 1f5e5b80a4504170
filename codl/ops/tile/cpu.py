"""Implicit GEMM on CPU devices (`cl/conv_tile.cl`): tile sizes and the launch."""

from __future__ import annotations

from codl.ops.launch import DeviceTraits, KernelProgram, Launch
from codl.ops.residual import tail
from codl.ops.tile.dealing import balanced, shared_out
from codl.ops.tile.problem import TileProblem, packed
from codl.ops.window import ceil_div

CHUNK = 256
"""Longest piece of k that the CPU kernel stages at once (`conv_tile.cl`)."""
CHUNK_OF_ONE = 4096
"""The same where there is one pixel only: its weights are read once, so long runs of them matter most."""
BLOCKS = 8
"""Most blocks of output channels that one work-item of the CPU kernel computes."""
_A_TILE, _A_BLOCK, _FIXED = 0.25, 0.5, 200
"""What a work-item costs beside its products, in products of a register tile and a block: a tile's inputs, a block's
weights; and the rest, in steps of k. Fitted to 15 shapes (docs/performance.md)."""


def simd(device: DeviceTraits) -> int:
    """Floats in a vector of the CPU kernels: 4, 8 or 16."""
    return 16 if device.simd_width >= 16 else 8 if device.simd_width >= 8 else 4


def register_pixels(device: DeviceTraits) -> int:
    """Pixels of a register tile, 2 vectors each: 28 of AVX-512's 32 registers, 12 of AVX2's 16."""
    return 14 if simd(device) == 16 else 6


def cpu_program(problem: TileProblem, device: DeviceTraits) -> KernelProgram:
    """One launch, with its packed weights."""
    width = 2 * simd(device)
    pixels, tiles, blocks = tile_sizes(problem, device)
    chunk = ceil_div(max(1, balanced(problem.k, CHUNK_OF_ONE if pixels == 1 else CHUNK)), 8) * 8
    weights, bias, constants = packed(problem, width, chunk)
    ends, last = tail(problem.activation, problem.residual)
    arguments = (
        problem.source, weights, bias, problem.target, *problem.geometry(), chunk, tiles, blocks, *last,
    )  # fmt: skip
    size = (
        ceil_div(problem.pixels, tiles * pixels),
        ceil_div(ceil_div(problem.channels, width), blocks),
        problem.groups,
    )
    defines = (("SIMD", simd(device)), ("PIXELS", pixels), ("WEIGHT_BYTES", problem.weight_bytes), *ends)
    return KernelProgram((Launch("cl/conv_tile.cl", "conv_tile", defines, arguments, size),), constants)


def tile_sizes(problem: TileProblem, device: DeviceTraits) -> tuple[int, int, int]:
    """(pixels of a register tile, tiles and blocks of output channels of a work-item) on a CPU device.

    Large work-items reuse weights and staged pixels; `shared_out` weighs that against cores that wait.
    """
    pixels = 1 if problem.pixels == 1 else register_pixels(device)
    all_tiles, all_blocks = ceil_div(problem.pixels, pixels), ceil_div(problem.channels, 2 * simd(device))
    most = {1: 1, 6: 8, 14: 4}[pixels]
    rest = problem.channels - (all_blocks - 1) * 2 * simd(device)
    half = 0.5 if rest <= simd(device) else 0.0  # of the last block nothing is computed
    fixed = _FIXED / max(problem.k, 1)  # a phase of a transposed convolution may have no tap

    def cost(tiles: int, blocks: int, last: bool) -> float:
        computed = blocks - half * last
        return tiles * computed + _A_TILE * tiles + _A_BLOCK * computed + fixed

    extent = all_tiles, all_blocks
    return pixels, *shared_out(extent, (most, BLOCKS), device.compute_units, cost, problem.groups)
