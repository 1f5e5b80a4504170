"""Loops over boxes of one or two operands with any strides (`cl/elementwise.cl`)."""

from __future__ import annotations

from typing import Any

from codl.ops.native.abi import LANES, f32, f32_store, inlined, integer, kernel, real, splat, vload, vstore
from codl.ops.native.activation import STRAIGHT, activate, activate_row, vstraight
from codl.ops.native.calls import always_inlined
from codl.ops.native.combine import (
    ADD,
    DIV,
    MAX,
    MIN,
    MUL,
    POW,
    PRELU,
    SUB,
    combine,
    vadd,
    vdiv,
    vlarger,
    vmul,
    vprelu,
    vsmaller,
    vsub,
)  # fmt: skip
from codl.ops.native.lanes import gather
from codl.ops.native.overlap import overlapping
from codl.ops.window import FLOAT

_BINARY, _ACTIVATION, _OUT, _A, _OUT_AT, _A_AT = range(6)
_N, _O, _STRIDES_A = 6, 12, 18  # each the first of six
_CHUNK0, _CHUNK1, _P, _Q = range(24, 28)
_B, _B_AT, _STRIDES_B = 28, 29, 30  # only with a binary kind


@inlined
def _offset(slots: int, strides: int, i0: int, i1: int, rest: int) -> int:
    """Where the element is with indices i0, i1 and, over axes 2 to 5, `rest`; its six strides begin at a slot."""
    offset: int = i0 * integer(slots, strides) + i1 * integer(slots, strides + 1)
    for axis in range(2, 6):
        n = integer(slots, _N + axis)
        offset += rest % n * integer(slots, strides + axis)
        rest //= n
    return offset


@inlined
def _single(slots: int, y: int, a: int, n: int, rows: int) -> None:
    """`rows` rows of n elements of one operand, the first at addresses y and a."""
    code, p, q = integer(slots, _ACTIVATION), real(slots, _P), real(slots, _Q)
    step_y, step_a = integer(slots, _O), integer(slots, _STRIDES_A)
    next_y, next_a = FLOAT * integer(slots, _O + 1), FLOAT * integer(slots, _STRIDES_A + 1)
    if n >= LANES and step_y == 1 and step_a == 1:
        if code == 0:
            _copied(y, next_y, a, next_a, n, rows)
            return
        for row in range(rows):
            activate_row(a + row * next_a, y + row * next_y, n, code, p, q)
    elif code == 0:
        _moved(y, next_y, step_y, a, next_a, step_a, n, rows)
    else:
        for row in range(rows):
            for i in range(n):
                x = f32(a + row * next_a, i * step_a)
                f32_store(y + row * next_y, i * step_y, activate(x, code, p, q))


@inlined
def _copied(y: int, next_y: int, a: int, next_a: int, n: int, rows: int) -> None:
    for _ in range(rows):
        for i in range(0, n - LANES, LANES):
            vstore(y, i, vload(a, i))
        vstore(y, n - LANES, vload(a, n - LANES))  # overlaps the one before
        y += next_y
        a += next_a


@inlined
def _moved(y: int, next_y: int, step_y: int, a: int, next_a: int, step_a: int, n: int, rows: int) -> None:
    for _ in range(rows):
        if step_y == 1 and n >= LANES:
            for i in range(0, n, LANES):
                at = overlapping(i, LANES, n)
                vstore(y, at, gather(a + FLOAT * at * step_a, step_a, LANES))
        else:
            for i in range(n):
                f32_store(y, i * step_y, f32(a, i * step_a))
        y += next_y
        a += next_a


@inlined
def _double(slots: int, y: int, a: int, b: int, n: int, rows: int) -> None:
    """The same of two operands."""
    kind, steps = integer(slots, _BINARY), integer(slots, _STRIDES_A) + integer(slots, _STRIDES_B)
    within = integer(slots, _STRIDES_A) < 2 and integer(slots, _STRIDES_B) < 2 and integer(slots, _O) == 1
    if kind == POW or n < LANES or not within or steps == 0:
        _floats(slots, y, a, b, n, rows)
    elif kind == ADD:
        _vectors(vadd, slots, y, a, b, n, rows)
    elif kind == SUB:
        _vectors(vsub, slots, y, a, b, n, rows)
    elif kind == MUL:
        _vectors(vmul, slots, y, a, b, n, rows)
    elif kind == DIV:
        _vectors(vdiv, slots, y, a, b, n, rows)
    elif kind == PRELU:
        _vectors(vprelu, slots, y, a, b, n, rows)
    elif kind == MAX:
        _vectors(vlarger, slots, y, a, b, n, rows)
    elif kind == MIN:
        _vectors(vsmaller, slots, y, a, b, n, rows)


@inlined
def _floats(slots: int, y: int, a: int, b: int, n: int, rows: int) -> None:
    kind, code, p, q = integer(slots, _BINARY), integer(slots, _ACTIVATION), real(slots, _P), real(slots, _Q)
    step_y, step_a, step_b = integer(slots, _O), integer(slots, _STRIDES_A), integer(slots, _STRIDES_B)
    for _ in range(rows):
        for i in range(n):
            f32_store(y, i * step_y, activate(combine(f32(a, i * step_a), f32(b, i * step_b), kind), code, p, q))
        y += FLOAT * integer(slots, _O + 1)
        a += FLOAT * integer(slots, _STRIDES_A + 1)
        b += FLOAT * integer(slots, _STRIDES_B + 1)


@always_inlined
def _vectors(of: Any, slots: int, y: int, a: int, b: int, n: int, rows: int) -> None:
    """of(a, b) by vectors; on axis 0 one of the operands may be the same value again and again."""
    code, p, q = integer(slots, _ACTIVATION), real(slots, _P), real(slots, _Q)
    for _ in range(rows):
        if integer(slots, _STRIDES_B) == 0:
            w = splat(f32(b, 0))
            for i in range(0, n, LANES):
                at = overlapping(i, LANES, n)
                vstore(y, at, vstraight(of(vload(a, at), w), code, p, q))
        elif integer(slots, _STRIDES_A) == 0:
            v = splat(f32(a, 0))
            for i in range(0, n, LANES):
                at = overlapping(i, LANES, n)
                vstore(y, at, vstraight(of(v, vload(b, at)), code, p, q))
        else:
            for i in range(0, n, LANES):
                at = overlapping(i, LANES, n)
                vstore(y, at, vstraight(of(vload(a, at), vload(b, at)), code, p, q))
        if code > STRAIGHT:
            activate_row(y, y, n, code, p, q)
        y += FLOAT * integer(slots, _O + 1)
        a += FLOAT * integer(slots, _STRIDES_A + 1)
        b += FLOAT * integer(slots, _STRIDES_B + 1)


@kernel("BINARY", "ACTIVATION")
def map(slots: int, i: int, j: int, k: int) -> None:
    first0, first1 = i * integer(slots, _CHUNK0), j * integer(slots, _CHUNK1)
    n = min(integer(slots, _CHUNK0), integer(slots, _N) - first0)
    rows = min(integer(slots, _CHUNK1), integer(slots, _N + 1) - first1)
    y = integer(slots, _OUT) + FLOAT * (integer(slots, _OUT_AT) + _offset(slots, _O, first0, first1, k))
    a = integer(slots, _A) + FLOAT * (integer(slots, _A_AT) + _offset(slots, _STRIDES_A, first0, first1, k))
    if integer(slots, _BINARY) == 0:
        _single(slots, y, a, n, rows)
    else:
        b = integer(slots, _B) + FLOAT * (integer(slots, _B_AT) + _offset(slots, _STRIDES_B, first0, first1, k))
        _double(slots, y, a, b, n, rows)
