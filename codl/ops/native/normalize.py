"""Normalisation over one axis: the twin of `cl/normalize.cl`, which describes layouts and arguments."""

from __future__ import annotations

from typing import Any

import numpy as np

from codl.ops.native.abi import (
    LANES,
    f32,
    f32_store,
    integer,
    kernel,
    real,
    splat,
    vfma,
    vload,
    vsqrt,
    vstore,
    vsum,
)
from codl.ops.native.calls import always_inlined
from codl.ops.native.lanes import beginning, gather, scatter
from codl.ops.window import FLOAT

(
    _OUT, _A, _S, _T, _OUT_AT, _A_AT, _S_AT, _T_AT, _R, _N0, _N1, _N2,
    _RO, _O0, _O1, _O2, _RA, _A0, _A1, _A2, _RS, _S0, _S1, _S2, _RT, _T0, _T1, _T2, _CHUNK, _EPSILON,
) = range(30)  # fmt: skip
"""Slots: the arguments."""

_ZERO, _ONE = np.float32(0.0), np.float32(1.0)
_BLOCK = 64
"""Vectors of a partial sum."""


@always_inlined
def _square(v: Any, mean: Any) -> Any:
    return (v - mean) * (v - mean)


@always_inlined
def _sum_along(a: int, r: int) -> Any:
    """The sum of a contiguous axis."""
    whole, total = r // LANES * LANES, splat(_ZERO)
    for first in range(0, whole, _BLOCK * LANES):
        part = splat(_ZERO)
        for n in range(first, min(first + _BLOCK * LANES, whole), LANES):
            part += vload(a, n)
        total += part
    rest = vsum(total)
    for n in range(whole, r):
        rest += f32(a, n)
    return rest


@always_inlined
def _squares_along(a: int, r: int, mean: Any) -> Any:
    """The sum of the squared distances from `mean`."""
    whole, total = r // LANES * LANES, splat(_ZERO)
    for first in range(0, whole, _BLOCK * LANES):
        part = splat(_ZERO)
        for n in range(first, min(first + _BLOCK * LANES, whole), LANES):
            part += _square(vload(a, n), splat(mean))
        total += part
    rest = vsum(total)
    for n in range(whole, r):
        rest += _square(f32(a, n), mean)
    return rest


@always_inlined
def _factors(address: int, step: int, n: int) -> Any:
    """A vector of the scale or shift of a contiguous axis, which is contiguous (step 1) or one number (0)."""
    return vload(address, n) if step else splat(f32(address, 0))


@always_inlined
def _along(slots: int, out: int, a: int, s: int, t: int) -> None:
    """Vectors along a contiguous axis; scale and shift are contiguous or one number."""
    r, rs, rt = integer(slots, _R), integer(slots, _RS), integer(slots, _RT)
    whole = r // LANES * LANES
    mean = _sum_along(a, r) / np.float32(r)
    variance = _squares_along(a, r, mean) / np.float32(r)
    factor = _ONE / np.sqrt(variance + real(slots, _EPSILON))
    for n in range(0, whole, LANES):
        normal = (vload(a, n) - splat(mean)) * splat(factor)
        vstore(out, n, vfma(normal, _factors(s, rs, n), _factors(t, rt, n)))
    for n in range(whole, r):
        f32_store(out, n, (f32(a, n) - mean) * factor * f32(s, n * rs) + f32(t, n * rt))


@always_inlined
def _sum_across(a: int, r: int, ra: int, a0: int, count: int) -> Any:
    """The sums of `count` neighbours of axis 0."""
    total = splat(_ZERO)
    for first in range(0, r, _BLOCK):
        part = splat(_ZERO)
        for n in range(first, min(first + _BLOCK, r)):
            part += gather(a + FLOAT * n * ra, a0, count)
        total += part
    return total


@always_inlined
def _squares_across(a: int, r: int, ra: int, a0: int, count: int, mean: Any) -> Any:
    """The sums of their squared distances from their `mean`."""
    total = splat(_ZERO)
    for first in range(0, r, _BLOCK):
        part = splat(_ZERO)
        for n in range(first, min(first + _BLOCK, r)):
            part += _square(gather(a + FLOAT * n * ra, a0, count), mean)
        total += part
    return total


@always_inlined
def _across(slots: int, out: int, a: int, s: int, t: int, count: int) -> None:
    """`count` neighbours of axis 0 at once, each with its own mean and variance."""
    r, ro, o0, ra, a0 = (
        integer(slots, _R), integer(slots, _RO), integer(slots, _O0), integer(slots, _RA), integer(slots, _A0),
    )  # fmt: skip
    rs, s0, rt, t0 = integer(slots, _RS), integer(slots, _S0), integer(slots, _RT), integer(slots, _T0)
    elements = splat(np.float32(r))
    mean = _sum_across(a, r, ra, a0, count) / elements
    variance = _squares_across(a, r, ra, a0, count, mean) / elements
    factor = splat(_ONE) / vsqrt(variance + splat(real(slots, _EPSILON)))
    for n in range(r):
        normal = (gather(a + FLOAT * n * ra, a0, count) - mean) * factor
        scale, shift = gather(s + FLOAT * n * rs, s0, count), gather(t + FLOAT * n * rt, t0, count)
        scatter(out + FLOAT * n * ro, o0, count, vfma(normal, scale, shift))


@kernel()
def normalized(slots: int, i: int, j: int, k: int) -> None:
    out, a = beginning(slots, _OUT, _OUT_AT, _O1, j, k), beginning(slots, _A, _A_AT, _A1, j, k)
    s, t = beginning(slots, _S, _S_AT, _S1, j, k), beginning(slots, _T, _T_AT, _T1, j, k)
    o0, a0, s0, t0 = integer(slots, _O0), integer(slots, _A0), integer(slots, _S0), integer(slots, _T0)
    rs, rt = integer(slots, _RS), integer(slots, _RT)
    first, end = i * integer(slots, _CHUNK), min((i + 1) * integer(slots, _CHUNK), integer(slots, _N0))
    contiguous = integer(slots, _RO) == 1 and integer(slots, _RA) == 1 and 0 <= rs <= 1 and 0 <= rt <= 1
    if contiguous and integer(slots, _R) >= LANES:
        for n in range(first, end):
            _along(slots, out + FLOAT * n * o0, a + FLOAT * n * a0, s + FLOAT * n * s0, t + FLOAT * n * t0)
    else:
        for n in range(first, end, LANES):
            _across(slots, out + FLOAT * n * o0, a + FLOAT * n * a0, s + FLOAT * n * s0, t + FLOAT * n * t0, end - n)
