"""Convolution with at most 4 output channels: the twin of `cl/narrow.cl`, which describes layouts and arguments.

Of a row of outputs, those whose tap columns all lie in the map are computed PIXELS at a time with their sums in
registers; the others, at its left and right end, with their sums in memory, tap by tap.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from codl.ops.narrow import MOST_CHANNELS, pixels_at_once
from codl.ops.native.abi import (
    LANES,
    f32,
    f32_store,
    integer,
    kernel,
    memory,
    real,
    splat,
    vfma,
    vload,
    vselect,
    vstore,
    vsum,
)
from codl.ops.native.activation import activate_row
from codl.ops.native.calls import always_inlined, called, out_of_line
from codl.ops.window import FLOAT

(
    _CHANNELS, _PIXELS, _ACTIVATION, _X, _W, _B, _Y,
    _X_OFFSET, _X_N, _X_Y, _X_X, _HEIGHT, _WIDTH, _Y_OFFSET, _Y_N, _Y_Y, _Y_X, _Y_C, _ROWS, _COLUMNS, _DEPTH,
    _KH, _KW, _STEP_Y, _STEP_X, _ORIGIN_Y, _ORIGIN_X, _DILATION_Y, _DILATION_X, _AT_ONCE, _P, _Q,
) = range(32)  # fmt: skip
"""Slots: defines and arguments."""

_ZERO = np.float32(0.0)
_MOST = max(channels * int(pixels_at_once(channels)) for channels in range(1, MOST_CHANNELS + 1))
_SUMS = _MOST * LANES
_TOTALS = -(-_MOST // LANES) * LANES
"""Floats that hold the sums of all outputs computed at once: a vector each, then one float each, in whole vectors."""


@always_inlined
def _tap_rows(slots: int, row: int) -> tuple[int, int]:
    """First tap row of an output row that lies in the map, and the one after the last."""
    y, dilation = row * integer(slots, _STEP_Y) + integer(slots, _ORIGIN_Y), integer(slots, _DILATION_Y)
    return max(-(y // dilation), 0), min((integer(slots, _HEIGHT) - 1 - y) // dilation + 1, integer(slots, _KH))


@always_inlined
def _source(slots: int, image: int, row: int, column: int) -> Any:
    """Where the input of an output's first tap is, or would be beside the map."""
    y = row * integer(slots, _STEP_Y) + integer(slots, _ORIGIN_Y)
    x = column * integer(slots, _STEP_X) + integer(slots, _ORIGIN_X)
    first = integer(slots, _X_OFFSET) + image * integer(slots, _X_N)
    return integer(slots, _X) + FLOAT * (first + y * integer(slots, _X_Y) + x * integer(slots, _X_X))


@always_inlined
def _from(v: Any, first: int, numbers: Any) -> Any:
    """A vector with zeros before lane `first`: the last vector of some channels overlaps the one before it."""
    return vselect(numbers, splat(np.float32(first)), splat(_ZERO), v)


def _tile(pixels: int, channels: int) -> Any:
    """A function that computes the sums of `pixels` neighbouring outputs, all tap columns of which lie in the map.
    `top` and `bottom`: their tap rows."""
    floats = pixels * channels * LANES

    @called
    def tile(slots: int, source: int, top: int, bottom: int, sums: int, numbers: Any) -> None:
        out_of_line()
        kw, depth = integer(slots, _KW), integer(slots, _DEPTH)
        step = integer(slots, _STEP_X) * integer(slots, _X_X)
        next_row = integer(slots, _DILATION_Y) * integer(slots, _X_Y)
        next_column = integer(slots, _DILATION_X) * integer(slots, _X_X)
        apart = integer(slots, _KH) * kw * depth
        whole = depth // LANES * LANES
        kept = memory(floats)
        for n in range(0, floats, LANES):
            vstore(kept, n, splat(_ZERO))
        for ky in range(top, bottom):
            for kx in range(kw):
                x = source + FLOAT * (ky * next_row + kx * next_column)
                w = integer(slots, _W) + FLOAT * (ky * kw + kx) * depth
                for c in range(0, whole, LANES):
                    for p in range(pixels):
                        v = vload(x, p * step + c)
                        for o in range(channels):
                            n = (p * channels + o) * LANES
                            vstore(kept, n, vfma(v, vload(w, o * apart + c), vload(kept, n)))
                if whole < depth:
                    for p in range(pixels):
                        v = _from(vload(x, p * step + depth - LANES), whole + LANES - depth, numbers)
                        for o in range(channels):
                            n = (p * channels + o) * LANES
                            vstore(kept, n, vfma(v, vload(w, o * apart + depth - LANES), vload(kept, n)))
        for n in range(0, floats, LANES):
            vstore(sums, n, vload(kept, n))

    return tile


_tile_1, _tile_2, _tile_3, _tile_4 = (_tile(int(pixels_at_once(o)), o) for o in range(1, MOST_CHANNELS + 1))


@always_inlined
def _edge(slots: int, source: int, column: int, count: int, top: int, bottom: int, sums: int, numbers: Any) -> None:
    """The sums of `count` neighbouring outputs, of those taps that lie in the map."""
    channels, depth, kw = integer(slots, _CHANNELS), integer(slots, _DEPTH), integer(slots, _KW)
    step, width = integer(slots, _STEP_X), integer(slots, _WIDTH)
    for n in range(count * channels):
        vstore(sums, n * LANES, splat(_ZERO))
    for ky in range(top, bottom):
        for kx in range(kw):
            in_x = column * step + integer(slots, _ORIGIN_X) + kx * integer(slots, _DILATION_X)
            row_at = ky * integer(slots, _DILATION_Y) * integer(slots, _X_Y)
            x = source + FLOAT * (row_at + kx * integer(slots, _DILATION_X) * integer(slots, _X_X))
            for p in range(count):
                if 0 <= in_x + p * step < width:
                    at = x + FLOAT * p * step * integer(slots, _X_X)
                    for o in range(channels):
                        w = integer(slots, _W) + FLOAT * ((o * integer(slots, _KH) + ky) * kw + kx) * depth
                        n = (p * channels + o) * LANES
                        vstore(sums, n, _dot(at, w, depth, vload(sums, n), numbers))


@always_inlined
def _dot(x: int, w: int, depth: int, total: Any, numbers: Any) -> Any:
    """A vector of sums plus the products of `depth` floats."""
    whole = depth // LANES * LANES
    for c in range(0, whole, LANES):
        total = vfma(vload(x, c), vload(w, c), total)
    if whole < depth:
        v = _from(vload(x, depth - LANES), whole + LANES - depth, numbers)
        total = vfma(v, vload(w, depth - LANES), total)
    return total


@always_inlined
def _finish(slots: int, image: int, row: int, column: int, count: int, sums: int, totals: int) -> None:
    """Write `count` neighbouring outputs from their sums, a vector each."""
    channels = integer(slots, _CHANNELS)
    for p in range(count):
        for o in range(channels):
            n = p * channels + o
            f32_store(totals, n, vsum(vload(sums, n * LANES)) + f32(integer(slots, _B), o))
    code, alpha, beta = integer(slots, _ACTIVATION), real(slots, _P), real(slots, _Q)
    activate_row(totals, totals, -(-count * channels // LANES) * LANES, code, alpha, beta)  # whole vectors
    first = integer(slots, _Y_OFFSET) + image * integer(slots, _Y_N) + row * integer(slots, _Y_Y)
    y = integer(slots, _Y) + FLOAT * (first + column * integer(slots, _Y_X))
    for p in range(count):
        for o in range(channels):
            f32_store(y, p * integer(slots, _Y_X) + o * integer(slots, _Y_C), f32(totals, p * channels + o))


@always_inlined
def _inner_columns(slots: int) -> tuple[int, int]:
    """The first output column all tap columns of which lie in the map, and the one after the last."""
    step, origin, columns = integer(slots, _STEP_X), integer(slots, _ORIGIN_X), integer(slots, _COLUMNS)
    reach = (integer(slots, _KW) - 1) * integer(slots, _DILATION_X)
    first = min(max(-(origin // step), 0), columns)
    end = min(max((integer(slots, _WIDTH) - 1 - reach - origin) // step + 1, first), columns)
    return first, end if end - first >= integer(slots, _PIXELS) else first


@always_inlined
def _tile_at(slots: int, column: int, left: int, right: int) -> tuple[int, int]:
    """First column and number of the outputs computed together with that at `column`, of those in a row that nothing
    has computed before; columns from `left` to `right` are the inner ones."""
    pixels, columns = integer(slots, _PIXELS), integer(slots, _COLUMNS)
    if left <= column < right:
        return min(column, right - pixels), pixels  # the last ones overlap those before
    return column, min(pixels, (left if column < left else columns) - column)


@always_inlined
def _lane_numbers() -> Any:
    """The vector 0, 1, 2, ..."""
    numbers = memory(LANES)
    for lane in range(LANES):
        f32_store(numbers, lane, np.float32(lane))
    return vload(numbers, 0)


@kernel("CHANNELS", "PIXELS", "ACTIVATION")
def narrow(slots: int, i: int, j: int, k: int) -> None:
    at_once, columns, channels = integer(slots, _AT_ONCE), integer(slots, _COLUMNS), integer(slots, _CHANNELS)
    left, right = _inner_columns(slots)
    sums, totals, numbers = memory(_SUMS), memory(_TOTALS), _lane_numbers()
    for n in range(_TOTALS):
        f32_store(totals, n, _ZERO)
    for row in range(i * at_once, min((i + 1) * at_once, integer(slots, _ROWS))):
        top, bottom = _tap_rows(slots, row)
        column = 0
        while column < columns:
            first, count = _tile_at(slots, column, left, right)
            source = _source(slots, k, row, first)
            if column < left or column >= right:
                _edge(slots, source, first, count, top, bottom, sums, numbers)
            elif channels == 1:
                _tile_1(slots, source, top, bottom, sums, numbers)
            elif channels == 2:
                _tile_2(slots, source, top, bottom, sums, numbers)
            elif channels == 3:
                _tile_3(slots, source, top, bottom, sums, numbers)
            else:
                _tile_4(slots, source, top, bottom, sums, numbers)
            _finish(slots, k, row, first, count, sums, totals)
            column = first + count
