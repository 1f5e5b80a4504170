"""Pooling (`cl/pool.cl`): rows of one image, for a range of channels."""

from __future__ import annotations

from typing import Any

import numpy as np

from codl.ops.native.abi import (
    LANES,
    LINE,
    ask_for,
    f32,
    f32_store,
    inlined,
    integer,
    kernel,
    splat,
    vload,
    vselect,
    vstore,
)
from codl.ops.native.calls import always_inlined
from codl.ops.native.combine import vadd
from codl.ops.window import FLOAT

(
    _AVERAGE, _COUNT_PADDING, _X, _Y,
    _X_OFFSET, _X_N, _X_Y, _X_X, _HEIGHT, _WIDTH, _Y_OFFSET, _Y_N, _Y_Y, _Y_X, _ROWS, _COLUMNS, _CHANNELS,
    _KH, _KW, _STEP_Y, _STEP_X, _ORIGIN_Y, _ORIGIN_X, _DILATION_Y, _DILATION_X,
    _PAD_TOP, _PAD_LEFT, _PAD_BOTTOM, _PAD_RIGHT, _AT_ONCE, _CHANNELS_AT_ONCE,
) = range(31)  # fmt: skip
_ZERO, _ONE, _NOTHING = np.float32(0.0), np.float32(1.0), np.float32(-np.inf)


@inlined
def _first_tap(at: int, dilation: int, low: int) -> int:
    """The first of taps at `at`, at + dilation, ... that is at `low` or after it."""
    return (low - at + dilation - 1) // dilation if at < low else 0


@inlined
def _taps_before(at: int, dilation: int, high: int, taps: int) -> int:
    """How many of the taps come before `high`. Divisions are slow, and seldom needed."""
    if at + (taps - 1) * dilation < high:
        return taps
    return (high - 1 - at) // dilation + 1 if at < high else 0


@always_inlined
def _vlarger(kept: Any, v: Any) -> Any:
    """`kept` where v is NaN."""
    return vselect(kept, v, v, kept)


@always_inlined
def _larger(kept: Any, x: Any) -> Any:
    return x if kept < x else kept


@always_inlined
def _sum(kept: Any, x: Any) -> Any:
    return kept + x


@always_inlined
def _pixel(
    x: int, next_y: int, next_x: int, soon: int, high: int, wide: int, y: int, channels: int, start: Any, factor: Any,
    vtake: Any, take: Any,
) -> None:  # fmt: skip
    """All channels of one output: `high` x `wide` taps from address x on, taken together from `start` on.

    `next_y`, `next_x`: from one tap to the next, in bytes; `soon`: to what is asked for ahead, since the processor does
    not foresee a range of channels. `vtake`, `take`: the functions of vectors and floats.
    """
    c = 0
    while c + 4 * LANES <= channels:  # 4 sums at a time, since each addition waits for the one before
        i = j = k = m = splat(start)
        line = x + FLOAT * c
        for _ in range(high):
            at = line
            for _ in range(wide):
                for n in range(0, 4 * LANES, LINE):
                    ask_for(at + soon + n * FLOAT)
                i, j = vtake(i, vload(at, 0)), vtake(j, vload(at, LANES))
                k, m = vtake(k, vload(at, 2 * LANES)), vtake(m, vload(at, 3 * LANES))
                at += next_x
            line += next_y
        vstore(y, c, i * splat(factor))
        vstore(y, c + LANES, j * splat(factor))
        vstore(y, c + 2 * LANES, k * splat(factor))
        vstore(y, c + 3 * LANES, m * splat(factor))
        c += 4 * LANES
    if channels >= LANES:
        while c < channels:
            c = min(c, channels - LANES)  # the last one overlaps others
            i = splat(start)
            for ky in range(high):
                for kx in range(wide):
                    i = vtake(i, vload(x + ky * next_y + kx * next_x, c))
            vstore(y, c, i * splat(factor))
            c += LANES
    else:
        for c in range(channels):
            kept = start
            for ky in range(high):
                for kx in range(wide):
                    kept = take(kept, f32(x + ky * next_y + kx * next_x, c))
            f32_store(y, c, kept * factor)


@inlined
def _row(slots: int, x: int, y: int, row: int, channels: int) -> None:
    height, width, kh, kw = integer(slots, _HEIGHT), integer(slots, _WIDTH), integer(slots, _KH), integer(slots, _KW)
    dilation_y, dilation_x = integer(slots, _DILATION_Y), integer(slots, _DILATION_X)
    x_y, x_x, counted = integer(slots, _X_Y), integer(slots, _X_X), integer(slots, _COUNT_PADDING)
    in_y = row * integer(slots, _STEP_Y) + integer(slots, _ORIGIN_Y)
    top = _first_tap(in_y, dilation_y, 0)
    high = tall = _taps_before(in_y, dilation_y, height, kh) - top
    if counted:
        tall = _taps_before(in_y, dilation_y, height + integer(slots, _PAD_BOTTOM), kh)
        tall -= _first_tap(in_y, dilation_y, -integer(slots, _PAD_TOP))
    for column in range(integer(slots, _COLUMNS)):
        in_x = column * integer(slots, _STEP_X) + integer(slots, _ORIGIN_X)
        left = _first_tap(in_x, dilation_x, 0)
        wide = broad = _taps_before(in_x, dilation_x, width, kw) - left
        if counted:
            broad = _taps_before(in_x, dilation_x, width + integer(slots, _PAD_RIGHT), kw)
            broad -= _first_tap(in_x, dilation_x, -integer(slots, _PAD_LEFT))
        source = x + FLOAT * ((in_y + top * dilation_y) * x_y + (in_x + left * dilation_x) * x_x)
        target = y + FLOAT * (row * integer(slots, _Y_Y) + column * integer(slots, _Y_X))
        next_y, next_x = FLOAT * dilation_y * x_y, FLOAT * dilation_x * x_x
        soon = FLOAT * 2 * integer(slots, _STEP_X) * x_x
        if integer(slots, _AVERAGE):
            factor = _ONE / np.float32(tall * broad)
            _pixel(source, next_y, next_x, soon, high, wide, target, channels, _ZERO, factor, vadd, _sum)
        else:
            _pixel(source, next_y, next_x, soon, high, wide, target, channels, _NOTHING, _ONE, _vlarger, _larger)


@kernel("AVERAGE", "COUNT_PADDING")
def pool(slots: int, i: int, j: int, k: int) -> None:
    at_once, share = integer(slots, _AT_ONCE), integer(slots, _CHANNELS_AT_ONCE)
    c = j * share
    channels = min(share, integer(slots, _CHANNELS) - c)
    x = integer(slots, _X) + FLOAT * (integer(slots, _X_OFFSET) + k * integer(slots, _X_N) + c)
    y = integer(slots, _Y) + FLOAT * (integer(slots, _Y_OFFSET) + k * integer(slots, _Y_N) + c)
    for row in range(i * at_once, min((i + 1) * at_once, integer(slots, _ROWS))):
        _row(slots, x, y, row, channels)
