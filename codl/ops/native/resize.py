"""Linear interpolation along one or two axes (`cl/resize.cl`)."""

from __future__ import annotations

from typing import Any

import numpy as np

from codl.ops.native.abi import LANES, f32, f32_store, i32, integer, kernel, splat, vload, vstore
from codl.ops.native.calls import always_inlined
from codl.ops.native.overlap import overlapping
from codl.ops.window import FLOAT

(
    _OUT, _A, _TABLES, _WEIGHTS, _OUT_AT, _A_AT, _N0, _N1, _N2, _N3, _O0, _O1, _O2, _O3, _A0, _A1, _A2, _A3,
    _LOW1, _HIGH1, _LOW2, _HIGH2, _CHUNK1,
) = range(23)  # fmt: skip
_ZERO, _ONE = np.float32(0.0), np.float32(1.0)


@always_inlined
def _mix(x: Any, y: Any, rest: Any, weight: Any) -> Any:
    return x * rest + y * weight


@always_inlined
def _vectors(n: int, y: int, near: int, far: int, left: int, right: int, along: Any, down: Any) -> None:
    """All n elements of axis 0, at least LANES, where they lie side by side.

    `near` and `far` are the two sources of axis 2, `left` and `right` the offsets of the two of axis 1.
    """
    back, ahead, up, below = splat(_ONE - along), splat(along), splat(_ONE - down), splat(down)
    for i in range(0, n, LANES):
        at = overlapping(i, LANES, n)
        upper = _mix(vload(near, left + at), vload(near, right + at), back, ahead)
        lower = _mix(vload(far, left + at), vload(far, right + at), back, ahead)
        vstore(y, at, _mix(upper, lower, up, below))


@always_inlined
def _floats(slots: int, y: int, near: int, far: int, left: int, right: int, along: Any, down: Any) -> None:
    """The same wherever they lie."""
    step_y, step_a = integer(slots, _O0), integer(slots, _A0)
    for i in range(integer(slots, _N0)):
        at = i * step_a
        upper = _mix(f32(near, left + at), f32(near, right + at), _ONE - along, along)
        lower = _mix(f32(far, left + at), f32(far, right + at), _ONE - along, along)
        f32_store(y, i * step_y, _mix(upper, lower, _ONE - down, down))


@kernel()
def linear(slots: int, i: int, j: int, k: int) -> None:
    tables, weights = integer(slots, _TABLES), integer(slots, _WEIGHTS)
    low1, high1, low2 = integer(slots, _LOW1), integer(slots, _HIGH1), integer(slots, _LOW2)
    step1, step2 = integer(slots, _A1), integer(slots, _A2)
    top = bottom = j
    down = _ZERO
    if low2 >= 0:
        top, bottom = i32(tables, low2 + j), i32(tables, integer(slots, _HIGH2) + j)
        down = f32(weights, low2 + j)
    image = integer(slots, _A) + FLOAT * (integer(slots, _A_AT) + k * integer(slots, _A3))
    y = integer(slots, _OUT) + FLOAT * (integer(slots, _OUT_AT) + k * integer(slots, _O3) + j * integer(slots, _O2))
    near, far = image + FLOAT * top * step2, image + FLOAT * bottom * step2
    n, chunk = integer(slots, _N0), integer(slots, _CHUNK1)
    vectors = n >= LANES and integer(slots, _O0) == 1 and integer(slots, _A0) == 1
    for i1 in range(i * chunk, min((i + 1) * chunk, integer(slots, _N1))):
        left, right = i32(tables, low1 + i1) * step1, i32(tables, high1 + i1) * step1
        along, target = f32(weights, low1 + i1), y + FLOAT * i1 * integer(slots, _O1)
        if vectors:
            _vectors(n, target, near, far, left, right, along, down)
        else:
            _floats(slots, target, near, far, left, right, along, down)
