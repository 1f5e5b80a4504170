"""Implicit GEMM on GPU devices (`cl/conv_tile_gpu.cl`, `cl/gemv_gpu.cl`): tile sizes, sums in parts, launches."""

from __future__ import annotations

from codl.ops import activation as activations
from codl.ops.launch import Argument, DeviceTraits, KernelProgram, Launch, Scratch
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
    pm, pn = tile_shape(problem, device.compute_units)
    m, n = 16 * pm, 16 * pn
    weights, bias, constants = packed(problem, n, max(1, problem.k))
    parts, k_part = parts_of_sum(problem, ceil_div(problem.pixels, m) * ceil_div(problem.channels, n), device)
    r, w = problem.read, problem.write
    read_vectors = r.c == 1 and not any(v % 4 for v in (problem.depth, r.offset, r.n, r.y, r.x, r.group))
    write_vectors = not problem.channels % 4 and (
        parts > 1 or (w.c == 1 and not any(v % 4 for v in (w.offset, w.n, w.y, w.x, w.group)))
    )
    code, params = activations.define(problem.activation), activations.parameters(problem.activation)
    defines = (
        ("PM", pm), ("PN", pn), ("VECTOR_X", int(read_vectors)), ("VECTOR_Y", int(write_vectors)),
        ("PARTIAL", int(parts > 1)), ("ACTIVATION", 0) if parts > 1 else code,
    )  # fmt: skip
    target: Argument = Scratch("parts") if parts > 1 else problem.target
    size = (ceil_div(problem.pixels, m) * 256, ceil_div(problem.channels, n), problem.groups * parts)
    main = Launch(
        "cl/conv_tile_gpu.cl", "conv_tile_gpu", defines,
        (problem.source, weights, bias, target, *problem.geometry(), problem.groups, k_part, *params),
        size, (256, 1, 1),
    )  # fmt: skip
    if parts == 1:
        return KernelProgram((main,), constants)
    outputs = problem.groups * problem.pixels * problem.channels
    last = Launch(
        "cl/tile_sum_gpu.cl", "tile_sum_gpu", (code,),
        (
            Scratch("parts"), bias, problem.target, w.offset, w.n, w.y, w.x, w.c, w.group, problem.rows,
            problem.columns, problem.pixels, problem.groups, problem.channels, ceil_div(problem.channels, n) * n,
            parts, *params,
        ),
        *one_each(outputs),
    )  # fmt: skip
    return KernelProgram((main, last), constants, {"parts": parts * outputs * FLOAT})


def tile_shape(problem: TileProblem, compute_units: int) -> tuple[int, int]:
    """Pixels and channels that one work-item computes: the largest that still keeps every compute unit busy.

    Larger tiles read less local memory for each multiplication, but make fewer work-groups.
    """
    shapes = ((8, 8), (8, 4), (4, 4)) if problem.channels > 64 else ((8, 4), (4, 4))
    for pm, pn in shapes:
        if ceil_div(problem.pixels, 16 * pm) * ceil_div(problem.channels, 16 * pn) * problem.groups >= compute_units:
            return pm, pn
    return shapes[-1]


def parts_of_sum(problem: TileProblem, tiles: int, device: DeviceTraits) -> tuple[int, int]:
    """(parts, steps of k in each): enough for two work-groups a compute unit, of at least 8 rounds each."""
    wanted = ceil_div(2 * device.compute_units, max(1, tiles * problem.groups))
    most = problem.k // (8 * STEP)
    parts = max(1, min(wanted, most, 32)) if 2 * tiles * problem.groups <= device.compute_units * 3 else 1
    k_part = ceil_div(ceil_div(max(1, problem.k), parts), STEP) * STEP
    return max(1, ceil_div(problem.k, k_part)), k_part


def _gemv(problem: TileProblem) -> KernelProgram:
    weights, bias, constants = packed(problem, GEMV_PANEL, max(1, problem.k))
    launch = Launch(
        "cl/gemv_gpu.cl", "gemv_gpu", (activations.define(problem.activation),),
        (
            problem.source, weights, bias, problem.target, *problem.geometry(),
            *activations.parameters(problem.activation),
        ),
        (ceil_div(problem.channels, 16) * 256, problem.pixels, problem.groups), (256, 1, 1),
    )  # fmt: skip
    return KernelProgram((launch,), constants)


def one_each(work_items: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Global and local size for at least so many work-items on a GPU device."""
    return (ceil_div(work_items, 128) * 128, 1, 1), (128, 1, 1)
