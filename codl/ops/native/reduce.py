"""Reductions: the twin of `cl/reduce.cl`, which describes layouts and arguments.

A minimum is the largest of the negated elements, negated again: `sign` is -1 for it, else 1.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from codl.ops.native.abi import LANES, f32, f32_store, integer, kernel, memory, real, splat, vload, vmax, vstore
from codl.ops.native.calls import always_inlined, called, out_of_line
from codl.ops.native.lanes import beginning
from codl.ops.reduce import KINDS
from codl.ops.window import FLOAT

(
    _KIND, _OUT, _A, _OUT_AT, _A_AT, _R0, _R1, _N0, _N1, _N2, _B0, _B1, _O0, _O1, _O2, _A0, _A1, _A2, _CHUNK, _SCALE,
) = range(20)  # fmt: skip
"""Slots: the define REDUCE, and arguments."""

_SUM, _MINIMUM = KINDS["sum"], KINDS["min"]
_ZERO, _ONE, _LOWEST = np.float32(0.0), np.float32(1.0), np.float32(-np.inf)
_BLOCK = 64
"""Elements of a partial sum."""
_MANY = 4
"""Vectors reduced side by side: one addition waits for the one before."""
_FOLDED = (_MANY + 1) * LANES
"""Floats of such a group and of one vector."""


@always_inlined
def _add(total: Any, v: Any, sign: Any) -> Any:
    return total + v


@always_inlined
def _larger(total: Any, v: Any, sign: Any) -> Any:
    return vmax(total, v * sign)


def _side_by_side(start: Any, take: Any, vectors: int) -> Any:
    """A function that reduces `vectors` neighbouring vectors, by `take` from `start` on."""
    floats = vectors * LANES

    @always_inlined
    def reduced(out: int, a: int, r0: int, r1: int, b0: int, b1: int, sign: Any) -> None:
        totals, parts = memory(floats), memory(floats)
        for n in range(0, floats, LANES):
            vstore(totals, n, splat(start))
        for j1 in range(r1):
            for first in range(0, r0, _BLOCK):
                for n in range(0, floats, LANES):
                    vstore(parts, n, splat(start))
                for j0 in range(first, min(first + _BLOCK, r0)):
                    for n in range(0, floats, LANES):
                        vstore(parts, n, take(vload(parts, n), vload(a, j0 * b0 + j1 * b1 + n), splat(sign)))
                for n in range(0, floats, LANES):
                    vstore(totals, n, take(vload(totals, n), vload(parts, n), splat(_ONE)))
        for n in range(0, floats, LANES):
            vstore(out, n, vload(totals, n))

    return reduced


_sum_one, _sum_many = (_side_by_side(_ZERO, _add, vectors) for vectors in (1, _MANY))
_max_one, _max_many = (_side_by_side(_LOWEST, _larger, vectors) for vectors in (1, _MANY))


@called
def _one(kind: int, out: int, a: int, r0: int, r1: int, b0: int, b1: int, sign: Any) -> None:
    """Reduce a vector."""
    out_of_line()
    if kind == _SUM:
        _sum_one(out, a, r0, r1, b0, b1, sign)
    else:
        _max_one(out, a, r0, r1, b0, b1, sign)


@called
def _many(kind: int, out: int, a: int, r0: int, r1: int, b0: int, b1: int, sign: Any) -> None:
    """Reduce _MANY neighbouring vectors."""
    out_of_line()
    if kind == _SUM:
        _sum_many(out, a, r0, r1, b0, b1, sign)
    else:
        _max_many(out, a, r0, r1, b0, b1, sign)


@always_inlined
def _take(kind: int, total: Any, x: Any) -> Any:
    """As `_add` and `_larger`, of a float."""
    if kind == _SUM:
        return total + x
    return x if x > total or x != x else total


@always_inlined
def _numbers(kind: int, a: int, r0: int, r1: int, b0: int, b1: int, sign: Any) -> Any:
    """Reduce floats."""
    start = _ZERO if kind == _SUM else _LOWEST
    total = start
    for j1 in range(r1):
        for first in range(0, r0, _BLOCK):
            part = start
            for j0 in range(first, min(first + _BLOCK, r0)):
                part = _take(kind, part, f32(a, j0 * b0 + j1 * b1) * sign)
            total = _take(kind, total, part)
    return total


@always_inlined
def _contiguous(kind: int, a: int, r0: int, r1: int, b0: int, b1: int, sign: Any) -> Any:
    """As `_numbers` where b0 is 1: groups of vectors along the innermost axis, vectors, and what is left."""
    lanes = memory(_FOLDED)
    many = r0 // (_MANY * LANES) * _MANY
    one = r0 // LANES - many
    _many(kind, lanes, a, many // _MANY, r1, _MANY * LANES * b0, b1, sign)
    _one(kind, lanes + FLOAT * _MANY * LANES, a + FLOAT * LANES * many, one, r1, LANES * b0, b1, sign)
    whole = (many + one) * LANES
    total = _numbers(kind, a + FLOAT * whole, r0 - whole, r1, b0, b1, sign)
    for n in range(_FOLDED):
        total = _take(kind, total, f32(lanes, n))
    return total


@kernel("REDUCE")
def reduce(slots: int, i: int, j: int, k: int) -> None:
    kind, r0, r1, b0, b1 = (
        integer(slots, _KIND), integer(slots, _R0), integer(slots, _R1), integer(slots, _B0), integer(slots, _B1),
    )  # fmt: skip
    out, a = beginning(slots, _OUT, _OUT_AT, _O1, j, k), beginning(slots, _A, _A_AT, _A1, j, k)
    o0, a0, chunk = integer(slots, _O0), integer(slots, _A0), integer(slots, _CHUNK)
    sign = -_ONE if kind == _MINIMUM else _ONE
    scale = sign * real(slots, _SCALE)
    first, end = i * chunk, min((i + 1) * chunk, integer(slots, _N0))
    # indices where groups of vectors end, and where single vectors do
    many = first + ((end - first) // (_MANY * LANES) * _MANY * LANES if a0 == o0 == 1 else 0)
    one = many + ((end - many) // LANES * LANES if a0 == o0 == 1 else 0)
    for n in range(first, many, _MANY * LANES):
        _many(kind, out + FLOAT * n, a + FLOAT * n, r0, r1, b0, b1, sign)
    for n in range(many, one, LANES):
        _one(kind, out + FLOAT * n, a + FLOAT * n, r0, r1, b0, b1, sign)
    for n in range(first, one, LANES):
        vstore(out, n, vload(out, n) * splat(scale))
    for n in range(one, end):
        from_n = a + FLOAT * n * a0
        if b0 == 1 and r0 >= LANES:
            total = _contiguous(kind, from_n, r0, r1, b0, b1, sign)
        else:
            total = _numbers(kind, from_n, r0, r1, b0, b1, sign)
        f32_store(out, n * o0, total * scale)
