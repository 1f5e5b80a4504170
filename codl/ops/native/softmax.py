"""Softmax: the twin of `cl/softmax.cl`, which describes layouts and arguments."""

from __future__ import annotations

from typing import Any

import numpy as np

from codl.ops.native.abi import LANES, f32, f32_store, integer, kernel, memory, splat, vload, vselect, vstore, vsum
from codl.ops.native.activation import vexp
from codl.ops.native.calls import always_inlined
from codl.ops.native.lanes import beginning, gather, scatter
from codl.ops.window import FLOAT

(
    _OUT, _A, _OUT_AT, _A_AT, _R, _N0, _N1, _N2, _RO, _O0, _O1, _O2, _RA, _A0, _A1, _A2, _CHUNK,
) = range(17)  # fmt: skip
"""Slots: the arguments."""

_ZERO, _LOWEST, _VANISHING = np.float32(0.0), np.float32(-np.inf), np.float32(-87.0)


@always_inlined
def _larger(a: Any, b: Any) -> Any:
    return vselect(a, b, b, a)


@always_inlined
def _power(v: Any) -> Any:
    """exp(v) for v <= 0, exactly 0 where `vexp` stays above it: what -inf masks must get nothing."""
    return vselect(v, splat(_VANISHING), splat(_ZERO), vexp(v))


@always_inlined
def _along(out: int, a: int, r: int) -> None:
    """Vectors along a contiguous axis; the last one, which is not whole, goes through memory."""
    whole, rest, lanes = r // LANES * LANES, memory(LANES), memory(LANES)
    vstore(rest, 0, splat(_LOWEST))
    for n in range(whole, r):
        f32_store(rest, n - whole, f32(a, n))
    highs = vload(rest, 0)
    for n in range(0, whole, LANES):
        highs = _larger(highs, vload(a, n))
    vstore(lanes, 0, highs)
    high = f32(lanes, 0)
    for n in range(1, LANES):
        high = max(high, f32(lanes, n))
    last = _power(vload(rest, 0) - splat(high))
    sums = last
    for n in range(0, whole, LANES):
        power = _power(vload(a, n) - splat(high))
        sums += power
        vstore(out, n, power)
    total = splat(vsum(sums))
    for n in range(0, whole, LANES):
        vstore(out, n, vload(out, n) / total)
    scatter(out + FLOAT * whole, 1, r - whole, last / total)


@always_inlined
def _across(out: int, a: int, r: int, count: int, ro: int, o0: int, ra: int, a0: int) -> None:
    """`count` neighbours of axis 0 at once, each with its own maximum and sum."""
    high, total = gather(a, a0, count), splat(_ZERO)
    for n in range(1, r):
        high = _larger(high, gather(a + FLOAT * n * ra, a0, count))
    for n in range(r):
        power = _power(gather(a + FLOAT * n * ra, a0, count) - high)
        total += power
        scatter(out + FLOAT * n * ro, o0, count, power)
    for n in range(r):
        at = out + FLOAT * n * ro
        scatter(at, o0, count, gather(at, o0, count) / total)


@kernel()
def softmax(slots: int, i: int, j: int, k: int) -> None:
    out, a = beginning(slots, _OUT, _OUT_AT, _O1, j, k), beginning(slots, _A, _A_AT, _A1, j, k)
    r, ro, o0, ra, a0 = (
        integer(slots, _R), integer(slots, _RO), integer(slots, _O0), integer(slots, _RA), integer(slots, _A0),
    )  # fmt: skip
    first, end = i * integer(slots, _CHUNK), min((i + 1) * integer(slots, _CHUNK), integer(slots, _N0))
    if ro == 1 and ra == 1 and r >= LANES:
        for n in range(first, end):
            _along(out + FLOAT * n * o0, a + FLOAT * n * a0, r)
    else:
        for n in range(first, end, LANES):
            _across(out + FLOAT * n * o0, a + FLOAT * n * a0, r, end - n, ro, o0, ra, a0)
