"""Implicit GEMM on GPU devices (`cl/conv_tile_gpu.cl`, `cl/gemv_gpu.cl`): tile sizes, sums in parts, launches."""

from __future__ import annotations

from typing import Any

import numpy as np

from codl.ops.launch import Argument, DeviceTraits, KernelProgram, Launch, Scratch
from codl.ops.residual import tail
from codl.ops.tile.problem import TileProblem, packed
from codl.ops.window import FLOAT, ceil_div

GPU_TILE = 64
"""Pixels and output channels of the smallest tile that a work-group computes (`conv_tile_gpu.cl`)."""
GEMV_PANEL = 64
"""Channels of a panel of weights for `gemv_gpu.cl`."""
GEMV_PIXELS = 4
"""Up to so many pixels, reading the weights dominates."""
STEP = 16
"""Steps of k that a work-group stages at once (`conv_tile_gpu.cl`)."""


def gpu_program(problem: TileProblem, device: DeviceTraits) -> KernelProgram:
    """One launch; two where the sums are so long and so few that they are computed in parts."""
    if problem.pixels <= GEMV_PIXELS and problem.plain:
        return _gemv(problem)
    pm, pn, parts, k_part = tiling(problem, device)
    m, n = 16 * pm, 16 * pn
    weights, bias, constants = packed(problem, n, max(1, problem.k))
    r, w = problem.read, problem.write
    read_vectors = r.c == 1 and not any(v % 4 for v in (problem.depth, r.offset, r.n, r.y, r.x, r.group))
    write_vectors = not problem.channels % 4 and (
        parts > 1
        or (
            w.c == 1
            and not any(v % 4 for v in (w.offset, w.n, w.y, w.x, w.group))
            and (problem.residual is None or problem.residual.in_vectors)
        )
    )
    ends, arguments = tail(problem.activation, problem.residual)
    defines = (
        ("PM", pm), ("PN", pn), ("VECTOR_X", int(read_vectors)), ("VECTOR_Y", int(write_vectors)),
        ("PARTIAL", int(parts > 1)), *((("ACTIVATION", 0),) if parts > 1 else ends),
    )  # fmt: skip
    target: Argument = Scratch("parts") if parts > 1 else problem.target
    size = (ceil_div(problem.pixels, m) * 256, ceil_div(problem.channels, n), problem.groups * parts)
    main = Launch(
        "cl/conv_tile_gpu.cl", "conv_tile_gpu", defines,
        (
            problem.source, weights, bias, target, *problem.geometry(), problem.groups, k_part,
            *((0.0, 0.0) if parts > 1 else arguments),
        ),
        size, (256, 1, 1),
    )  # fmt: skip
    if parts == 1:
        return KernelProgram((main,), constants)
    outputs = problem.groups * problem.pixels * problem.channels
    last = Launch(
        "cl/tile_sum_gpu.cl", "tile_sum_gpu", ends,
        (
            Scratch("parts"), bias, problem.target, w.offset, w.n, w.y, w.x, w.c, w.group, problem.rows,
            problem.columns, problem.pixels, problem.groups, problem.channels, ceil_div(problem.channels, n) * n,
            parts, *arguments,
        ),
        *one_each(outputs),
    )  # fmt: skip
    return KernelProgram((main, last), constants, {"parts": parts * outputs * FLOAT})


SHAPES = ((8, 8, 1.0), (8, 4, 0.85), (4, 4, 0.6))
"""(pixels, channels) of a work-item's tile, and the share of the peak that it reaches: larger tiles read less local
memory for each multiplication."""
# a large GPU's (an H100's), in flop and bytes a second, and seconds: they weigh sums in parts against idle units
_FLOPS_A_UNIT, _BYTES, _LAUNCH = 0.3e12, 2e12, 4e-6
_NEVER = 1e9  # seconds


def tiling(problem: TileProblem, device: DeviceTraits) -> tuple[int, int, int, int]:
    """(pixels, channels of a work-item's tile; parts of the sums; steps of k in each): the fastest by an estimate."""
    pm, pn, parts, k_part = tilings(problem.pixels, problem.channels, problem.groups, problem.k, device.compute_units)
    return int(pm), int(pn), int(parts), int(k_part)


def tilings(pixels: Any, channels: Any, groups: Any, k: Any, units: int) -> tuple[Any, Any, Any, Any]:
    """As `tiling`, by plain arithmetic, so that all but `units` may also be arrays (of many problems at once).

    A compute unit works at full speed on two work-groups or more. Sums in parts make more work-groups, and cost
    writing and reading the parts and another launch.
    """
    best: Any = float("inf")
    chosen: list[Any] = [4, 4, 1, 0]
    outputs, k = groups * pixels * channels, k + (k < 1)
    for pm, pn, share in SHAPES:
        tiles = ceil_div(pixels, 16 * pm) * ceil_div(channels, 16 * pn) * groups
        for wanted in (1, 2, 3, 4, 6, 8, 12, 16, 24, 32):
            k_part = ceil_div(ceil_div(k, wanted), STEP) * STEP
            parts = ceil_div(k, k_part)
            waves = ceil_div(tiles * parts, units)
            speed = share * (0.6 + 0.4 * (waves > 1)) * _FLOPS_A_UNIT
            seconds = waves * 2 * 256 * pm * pn * k_part / speed
            seconds = seconds + (parts > 1) * (_LAUNCH + parts * outputs * 2 * FLOAT / _BYTES)
            if wanted > 1:
                seconds = seconds + _NEVER * ((parts < wanted) | (k_part < 8 * STEP))
            better = seconds < best
            best = np.where(better, seconds, best)
            chosen = [np.where(better, new, old) for new, old in zip((pm, pn, parts, k_part), chosen, strict=True)]
    return chosen[0], chosen[1], chosen[2], chosen[3]


def _gemv(problem: TileProblem) -> KernelProgram:
    weights, bias, constants = packed(problem, GEMV_PANEL, max(1, problem.k))
    ends, last = tail(problem.activation, problem.residual)
    launch = Launch(
        "cl/gemv_gpu.cl", "gemv_gpu", ends,
        (problem.source, weights, bias, problem.target, *problem.geometry(), *last),
        (ceil_div(problem.channels, 16) * 256, problem.pixels, problem.groups), (256, 1, 1),
    )  # fmt: skip
    return KernelProgram((launch,), constants)


def one_each(work_items: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Global and local size for at least so many work-items on a GPU device."""
    return (ceil_div(work_items, 128) * 128, 1, 1), (128, 1, 1)
