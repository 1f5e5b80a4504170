"""Loops that combine the elements along some axes: axes kept around axes reduced.

The kernels (`cl/softmax.cl`, `cl/reduce.cl`) take a fixed number of axes of each sort. Most operators fit after
merging; the others first have their input copied to working memory, kept axes first, where it is one box of two axes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import prod

from codl.ops.activation import Define
from codl.ops.launch import DeviceTraits, Launch, Scratch
from codl.ops.strided import WORK_GROUP, Loop, Operand, elementwise, simd_lanes

KEPT_AXES = 3
"""Axes kept that the kernels take."""


@dataclass(frozen=True, slots=True)
class Reduction:
    """Loops with operands (output, input, further ones): `kept` has exactly KEPT_AXES axes, `reduced` as many as were
    asked for.

    `before` and `after` copy into and out of the working memory `scratch` (bytes by key).
    """

    kept: Loop
    reduced: Loop
    before: tuple[Launch, ...] = ()
    after: tuple[Launch, ...] = ()
    scratch: dict[str, int] = field(default_factory=dict)


def reduction(
    extents: Sequence[int], axes: Sequence[int], operands: Sequence[Operand], limit: int, device: DeviceTraits
) -> Reduction:
    """The loops of a reduction over `axes` of a box with these extents.

    Args:
        operands: output, input and what else is read, each of the rank of `extents`. The output's strides on `axes` are
            0 where the result has none.
        limit: axes reduced that the kernel takes.
    """
    kept_axes = [axis for axis in range(len(extents)) if axis not in axes]
    kept = _part(extents, kept_axes, operands).merged()
    reduced = _flipped(_part(extents, axes, _swapped(operands)).merged())
    if len(kept.extents) <= KEPT_AXES and len(reduced.extents) <= limit:
        return Reduction(next(kept.unrolled(KEPT_AXES)), next(reduced.unrolled(limit)))
    target, *sources = operands
    order = [*kept_axes, *axes]
    shape = [extents[axis] for axis in order]
    outer, inner = prod(shape[: len(kept_axes)]), prod(shape[len(kept_axes) :])
    whole = any(target.strides[axis] for axis in axes)  # the result has the reduced axes too
    row = inner if whole else 1
    result = Scratch("result")
    scratch = {"result": 4 * outer * row}
    before: list[Launch] = []
    keeps, reduces = [Operand(result, 0, (row,))], [Operand(result, 0, (1 if whole else 0,))]
    for index, source in enumerate(sources):
        packed = Scratch(f"packed{index}")
        scratch[packed.key] = 4 * outer * inner
        copied = Operand(packed, 0, _row_major(shape))
        before += elementwise(Loop(tuple(shape), (copied, _permuted(source, order))), device)
        keeps.append(Operand(packed, 0, (inner,)))
        reduces.append(Operand(packed, 0, (1,)))
    shown = [extent if whole or position < len(kept_axes) else 1 for position, extent in enumerate(shape)]
    after = elementwise(Loop(tuple(shown), (_permuted(target, order), Operand(result, 0, _row_major(shown)))), device)
    kept, reduced = Loop((outer,), tuple(keeps)), Loop((inner,), tuple(reduces))
    return Reduction(next(kept.unrolled(KEPT_AXES)), next(reduced.unrolled(limit)), tuple(before), after, scratch)


def grid(
    steps: Reduction, chunk: int, device: DeviceTraits
) -> tuple[tuple[Define, ...], tuple[int, ...], tuple[int, ...]]:
    """Defines, global size and local size of the launch of a kernel that reduces.

    Args:
        chunk: indices of the innermost axis kept that a work-item of a CPU device handles.
    """
    if device.cpu:
        tiles = -(-steps.kept.extents[-1] // chunk)
        return (("CPU", 1), ("LANES", simd_lanes(device))), (tiles, *steps.kept.extents[1::-1]), (1, 1, 1)
    members, global_size, local_size = _team(steps.kept, steps.reduced, device)
    return (("CPU", 0), ("TEAM", members)), global_size, local_size


def _team(kept: Loop, reduced: Loop, device: DeviceTraits) -> tuple[int, tuple[int, ...], tuple[int, ...]]:
    """(work-items that share one reduction, global size, local size) on a device that is no CPU."""
    group = min(WORK_GROUP, 1 << (device.max_work_group_size.bit_length() - 1))
    members = group if reduced.size >= group and kept.size < 1024 else 1
    items = kept.size * members
    return members, (-(-items // group) * group, 1, 1), (group, 1, 1)


def _part(extents: Sequence[int], axes: Sequence[int], operands: Sequence[Operand]) -> Loop:
    return Loop(
        tuple(extents[axis] for axis in axes),
        tuple(Operand(o.argument, o.offset, tuple(o.strides[axis] for axis in axes)) for o in operands),
    )


def _swapped(operands: Sequence[Operand]) -> tuple[Operand, ...]:
    """Input before output: the order of axes that suits the input is better where the output has none."""
    return (operands[1], operands[0], *operands[2:])


def _flipped(loop: Loop) -> Loop:
    return Loop(loop.extents, _swapped(loop.operands))


def _permuted(operand: Operand, order: Sequence[int]) -> Operand:
    return Operand(operand.argument, operand.offset, tuple(operand.strides[axis] for axis in order))


def _row_major(shape: Sequence[int]) -> tuple[int, ...]:
    return tuple(prod(shape[axis + 1 :]) for axis in range(len(shape)))
