"""Copies with a table of sources along some axes (`cl/move.cl`)."""

from __future__ import annotations

from codl.ops.native.abi import LANES, f32, f32_store, i32, integer, kernel, real, vload, vstore
from codl.ops.native.calls import always_inlined
from codl.ops.window import FLOAT

_OUT, _A, _TABLES, _OUT_AT, _A_AT = range(5)
_N, _O, _STRIDES_A, _T = 5, 11, 17, 23  # each the first of six
_CHUNK0, _CHUNK1, _VALUE = range(29, 32)


@always_inlined
def _source(slots: int, axis: int, index: int) -> int:
    """The source's index on an axis."""
    place = integer(slots, _T + axis)
    return i32(integer(slots, _TABLES), place - 1 + index) if place else index


@always_inlined
def _copied_row(slots: int, y: int, a: int, first: int, last: int) -> None:
    """Elements `first` to `last` of axis 0; y and a belong to element 0."""
    step_y, step_a, looked_up = integer(slots, _O), integer(slots, _STRIDES_A), integer(slots, _T)
    if not looked_up and step_y == 1 and step_a == 1 and last - first >= LANES:
        for i in range(first, last - LANES, LANES):
            vstore(y, i, vload(a, i))
        vstore(y, last - LANES, vload(a, last - LANES))
        return
    for i in range(first, last):
        source = _source(slots, 0, i)
        f32_store(y, i * step_y, real(slots, _VALUE) if source < 0 else f32(a, source * step_a))


@always_inlined
def _empty_row(slots: int, y: int, first: int, last: int) -> None:
    value, step = real(slots, _VALUE), integer(slots, _O)
    for i in range(first, last):
        f32_store(y, i * step, value)


@kernel()
def gather(slots: int, i: int, j: int, k: int) -> None:
    y, a, rest, inside = integer(slots, _OUT_AT), integer(slots, _A_AT), k, True
    for axis in range(2, 6):
        n = integer(slots, _N + axis)
        index = rest % n
        rest //= n
        source = _source(slots, axis, index)
        inside = inside and source >= 0
        y += index * integer(slots, _O + axis)
        a += source * integer(slots, _STRIDES_A + axis)
    y, a = integer(slots, _OUT) + FLOAT * y, integer(slots, _A) + FLOAT * a
    first0, first1 = i * integer(slots, _CHUNK0), j * integer(slots, _CHUNK1)
    last0 = min(first0 + integer(slots, _CHUNK0), integer(slots, _N))
    last1 = min(first1 + integer(slots, _CHUNK1), integer(slots, _N + 1))
    for row in range(first1, last1):
        source = _source(slots, 1, row)
        target = y + FLOAT * row * integer(slots, _O + 1)
        if inside and source >= 0:
            _copied_row(slots, target, a + FLOAT * source * integer(slots, _STRIDES_A + 1), first0, last0)
        else:
            _empty_row(slots, target, first0, last0)
