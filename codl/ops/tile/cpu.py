"""Implicit GEMM on CPU devices (`cl/conv_tile.cl`): tile sizes and the launch."""

from __future__ import annotations

from codl.ops.launch import DeviceTraits, KernelProgram, Launch
from codl.ops.residual import tail
from codl.ops.tile.problem import TileProblem, packed
from codl.ops.window import ceil_div

CHUNK = 256
"""Longest piece of k that the CPU kernel stages at once (`conv_tile.cl`)."""
CHUNK_OF_ONE = 4096
"""The same where there is one pixel only: its weights are read once, so long runs of them matter most."""
BLOCKS = 8
"""Most blocks of output channels that one work-item of the CPU kernel computes."""


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


def balanced(total: int, limit: int) -> int:
    """The piece length of the fewest equal pieces of `total` that are no longer than `limit`; 0 of 0."""
    return ceil_div(total, ceil_div(total, limit)) if total else 0
