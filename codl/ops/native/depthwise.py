"""Depthwise convolution (`cl/depthwise.cl`): rows of one image, 4 pixels x one vector of channels at a time."""

from __future__ import annotations

from typing import Any

import numpy as np

from codl.ops.native.abi import LANES, f32, f32_store, inlined, integer, kernel, real, splat, vfma, vload, vstore
from codl.ops.native.activation import STRAIGHT, activate, activate_row, vstraight
from codl.ops.native.calls import always_inlined
from codl.ops.native.overlap import overlapping
from codl.ops.window import FLOAT

(
    _QUAD, _ACTIVATION, _X, _W, _B, _Y,
    _X_OFFSET, _X_N, _X_Y, _X_X, _HEIGHT, _WIDTH, _Y_OFFSET, _Y_N, _Y_Y, _Y_X, _ROWS, _COLUMNS, _CHANNELS,
    _KH, _KW, _STEP_Y, _STEP_X, _ORIGIN_Y, _ORIGIN_X, _DILATION_Y, _DILATION_X, _AT_ONCE, _P, _Q,
) = range(30)  # fmt: skip
"""The slots."""
_ZERO = np.float32(0.0)


# -- 3 x 3 without dilation --------------------------------------------------------------------------------------------


@inlined
def _two_rows(slots: int, x: int, y: int, row: int) -> None:
    """Two rows of outputs at step 1."""
    columns, in_y = integer(slots, _COLUMNS), row + integer(slots, _ORIGIN_Y)
    for block in range(0, columns, 4):
        column = overlapping(block, 4, columns)
        in_x = column + integer(slots, _ORIGIN_X)
        left, right = in_x >= 0, in_x + 5 < integer(slots, _WIDTH)
        source = x + FLOAT * (in_y * integer(slots, _X_Y) + in_x * integer(slots, _X_X))
        target = y + FLOAT * (row * integer(slots, _Y_Y) + column * integer(slots, _Y_X))
        if left and right:  # twice, so that LLVM leaves out what is not needed inside the map
            _eight(slots, source, in_y, target, True, True)
        else:
            _eight(slots, source, in_y, target, left, right)
        _finish(slots, target, 4)
        _finish(slots, target + FLOAT * integer(slots, _Y_Y), 4)


@always_inlined
def _eight(slots: int, x: int, in_y: int, y: int, left: bool, right: bool) -> None:
    """All channels of 4 neighbouring outputs of two rows, which share two of the four rows read; x is the first element
    of these, even where it lies in padding. `left`, `right`: the first, the last column read lies in the map."""
    w, b = integer(slots, _W), integer(slots, _B)
    x_y, x_x, y_y, y_x = integer(slots, _X_Y), integer(slots, _X_X), integer(slots, _Y_Y), integer(slots, _Y_X)
    channels, below = integer(slots, _CHANNELS), integer(slots, _HEIGHT) - in_y
    code, p, q = integer(slots, _ACTIVATION), real(slots, _P), real(slots, _Q)
    for channel in range(0, channels, LANES):
        c = overlapping(channel, LANES, channels)
        first, second, third = w + FLOAT * c, w + FLOAT * (c + 3 * channels), w + FLOAT * (c + 6 * channels)
        bias = vload(b, c)
        upper = lower = (bias, bias, bias, bias)
        if in_y >= 0 and below > 0:
            seen = _six(x + FLOAT * c, x_x, left, right)
            upper = _three_taps(first, channels, upper, seen)
        if in_y >= -1 and below > 1:
            seen = _six(x + FLOAT * (x_y + c), x_x, left, right)
            upper = _three_taps(second, channels, upper, seen)
            lower = _three_taps(first, channels, lower, seen)
        if in_y >= -2 and below > 2:
            seen = _six(x + FLOAT * (2 * x_y + c), x_x, left, right)
            upper = _three_taps(third, channels, upper, seen)
            lower = _three_taps(second, channels, lower, seen)
        if in_y >= -3 and below > 3:
            seen = _six(x + FLOAT * (3 * x_y + c), x_x, left, right)
            lower = _three_taps(third, channels, lower, seen)
        _store(y + FLOAT * c, y_x, upper, 4, code, p, q)
        _store(y + FLOAT * (y_y + c), y_x, lower, 4, code, p, q)


@inlined
def _short_row(slots: int, x: int, y: int, row: int) -> None:
    """One row of outputs, at column step QUAD."""
    columns, quad = integer(slots, _COLUMNS), integer(slots, _QUAD)
    in_y = row * integer(slots, _STEP_Y) + integer(slots, _ORIGIN_Y)
    first, below = max(0, -in_y), min(3, integer(slots, _HEIGHT) - in_y)  # tap rows inside the map
    for block in range(0, columns, 4):
        column = overlapping(block, 4, columns)
        in_x = column * quad + integer(slots, _ORIGIN_X)
        left, right = in_x >= 0, in_x + 3 * quad + 2 < integer(slots, _WIDTH)
        source = x + FLOAT * (in_y * integer(slots, _X_Y) + in_x * integer(slots, _X_X))
        target = y + FLOAT * (row * integer(slots, _Y_Y) + column * integer(slots, _Y_X))
        if quad == 1:
            _four(slots, source, first, below, target, left, right, _six, _three_taps)
        elif left and right:
            _four(slots, source, first, below, target, True, True, _nine, _three_taps_apart)
        else:
            _four(slots, source, first, below, target, left, right, _nine, _three_taps_apart)
        _finish(slots, target, 4)


@always_inlined
def _four(
    slots: int, x: int, first: int, below: int, y: int, left: bool, right: bool, seen: Any, three_taps: Any
) -> None:
    """All channels of 4 neighbouring outputs, of the tap rows from `first` on; x belongs to tap row 0.

    `seen`, `three_taps`: the functions for one step or the other.
    """
    w, b, channels = integer(slots, _W), integer(slots, _B), integer(slots, _CHANNELS)
    x_y, x_x, y_x = integer(slots, _X_Y), integer(slots, _X_X), integer(slots, _Y_X)
    code, p, q = integer(slots, _ACTIVATION), real(slots, _P), real(slots, _Q)
    line, weight_row = FLOAT * x_y, FLOAT * 3 * channels
    for channel in range(0, channels, LANES):
        c = overlapping(channel, LANES, channels)
        at, weights = x + FLOAT * c, w + FLOAT * c
        bias = vload(b, c)
        sums = (bias, bias, bias, bias)
        if first <= 0 < below:
            sums = three_taps(weights, channels, sums, seen(at, x_x, left, right))
        if first <= 1 < below:
            sums = three_taps(weights + weight_row, channels, sums, seen(at + line, x_x, left, right))
        if first <= 2 < below:
            sums = three_taps(weights + 2 * weight_row, channels, sums, seen(at + 2 * line, x_x, left, right))
        _store(y + FLOAT * c, y_x, sums, 4, code, p, q)


@always_inlined
def _border(x: int, at: int, inside: bool) -> Any:
    """A vector of a column that may lie in padding."""
    return vload(x, at) if inside else splat(_ZERO)


@always_inlined
def _six(x: int, x_x: int, left: bool, right: bool) -> Any:
    """The columns that 4 outputs at step 1 read; `left`, `right`: the first, the last lies in the map."""
    return (
        _border(x, 0, left), vload(x, x_x), vload(x, 2 * x_x),
        vload(x, 3 * x_x), vload(x, 4 * x_x), _border(x, 5 * x_x, right),
    )  # fmt: skip


@always_inlined
def _nine(x: int, x_x: int, left: bool, right: bool) -> Any:
    """The same at step 2."""
    return (
        _border(x, 0, left), vload(x, x_x), vload(x, 2 * x_x), vload(x, 3 * x_x), vload(x, 4 * x_x),
        vload(x, 5 * x_x), vload(x, 6 * x_x), vload(x, 7 * x_x), _border(x, 8 * x_x, right),
    )  # fmt: skip


@always_inlined
def _three_taps(w: int, channels: int, sums: Any, seen: Any) -> Any:
    """A row of taps added to 4 outputs at step 1."""
    sums = _tap(vload(w, 0), sums, seen[0], seen[1], seen[2], seen[3])
    sums = _tap(vload(w, channels), sums, seen[1], seen[2], seen[3], seen[4])
    return _tap(vload(w, 2 * channels), sums, seen[2], seen[3], seen[4], seen[5])


@always_inlined
def _three_taps_apart(w: int, channels: int, sums: Any, seen: Any) -> Any:
    """The same at step 2."""
    sums = _tap(vload(w, 0), sums, seen[0], seen[2], seen[4], seen[6])
    sums = _tap(vload(w, channels), sums, seen[1], seen[3], seen[5], seen[7])
    return _tap(vload(w, 2 * channels), sums, seen[2], seen[4], seen[6], seen[8])


@always_inlined
def _tap(weight: Any, sums: Any, a: Any, b: Any, c: Any, d: Any) -> Any:
    return (
        vfma(weight, a, sums[0]), vfma(weight, b, sums[1]), vfma(weight, c, sums[2]), vfma(weight, d, sums[3])
    )  # fmt: skip


@always_inlined
def _store(y: int, y_x: int, sums: Any, count: int, code: int, p: Any, q: Any) -> None:
    """`count` of 4 finished outputs, the first at address y; tails with curves follow later (`_finish`)."""
    vstore(y, 0, vstraight(sums[0], code, p, q))
    if count > 1:
        vstore(y, y_x, vstraight(sums[1], code, p, q))
    if count > 2:
        vstore(y, 2 * y_x, vstraight(sums[2], code, p, q))
    if count > 3:
        vstore(y, 3 * y_x, vstraight(sums[3], code, p, q))


@always_inlined
def _finish(slots: int, y: int, pixels: int) -> None:
    """A tail with curves, on all channels of `pixels` neighbouring outputs, the first at address y."""
    if integer(slots, _ACTIVATION) > STRAIGHT:
        for n in range(pixels):
            pixel = y + FLOAT * n * integer(slots, _Y_X)
            activate_row(
                pixel, pixel, integer(slots, _CHANNELS), integer(slots, _ACTIVATION), real(slots, _P), real(slots, _Q)
            )


# -- any other ---------------------------------------------------------------------------------------------------------


@always_inlined
def _taps_inside(slots: int, in_y: int) -> tuple[int, int]:
    """The first tap row inside the map, and the one after the last."""
    dilation, height = integer(slots, _DILATION_Y), integer(slots, _HEIGHT)
    first = (dilation - 1 - in_y) // dilation if in_y < 0 else 0
    below = (height - 1 - in_y) // dilation + 1 if in_y < height else 0
    return first, min(integer(slots, _KH), below)


@inlined
def _row(slots: int, x: int, y: int, row: int) -> None:
    """One row of outputs, of any kernel."""
    columns, step, width = integer(slots, _COLUMNS), integer(slots, _STEP_X), integer(slots, _WIDTH)
    reach = 3 * step + (integer(slots, _KW) - 1) * integer(slots, _DILATION_X)
    for column in range(0, columns, 4):
        in_x, count = column * step + integer(slots, _ORIGIN_X), min(4, columns - column)
        target = y + FLOAT * (row * integer(slots, _Y_Y) + column * integer(slots, _Y_X))
        if count == 4 and in_x >= 0 and in_x + reach < width:
            _pixels(slots, x, row, in_x, target, 4, True)
        else:
            _pixels(slots, x, row, in_x, target, count, False)
        _finish(slots, target, count)


@always_inlined
def _pixels(slots: int, x: int, row: int, in_x: int, y: int, count: int, inner: bool) -> None:
    """All channels of `count` neighbouring outputs, at most 4; `inner`: 4, and what they read lies in the map."""
    w, b, channels = integer(slots, _W), integer(slots, _B), integer(slots, _CHANNELS)
    kw, step, dilation = integer(slots, _KW), integer(slots, _STEP_X), integer(slots, _DILATION_X)
    x_x, y_x, width = integer(slots, _X_X), integer(slots, _Y_X), integer(slots, _WIDTH)
    in_y = row * integer(slots, _STEP_Y) + integer(slots, _ORIGIN_Y)
    first, below = _taps_inside(slots, in_y)
    code, p, q = integer(slots, _ACTIVATION), real(slots, _P), real(slots, _Q)
    for channel in range(0, channels, LANES):
        c = overlapping(channel, LANES, channels)
        bias = vload(b, c)
        sums = (bias, bias, bias, bias)
        for ky in range(first, below):
            line = x + FLOAT * ((in_y + ky * integer(slots, _DILATION_Y)) * integer(slots, _X_Y) + c)
            weights = w + FLOAT * (ky * kw * channels + c)
            for kx in range(kw):
                at = in_x + kx * dilation
                sums = _tap(
                    vload(weights, kx * channels),
                    sums,
                    _border(line, at * x_x, inner or 0 <= at < width),
                    _border(line, (at + step) * x_x, inner or (count > 1 and 0 <= at + step < width)),
                    _border(line, (at + 2 * step) * x_x, inner or (count > 2 and 0 <= at + 2 * step < width)),
                    _border(line, (at + 3 * step) * x_x, inner or (count > 3 and 0 <= at + 3 * step < width)),
                )
        _store(y + FLOAT * c, y_x, sums, count, code, p, q)


@inlined
def _narrow_row(slots: int, x: int, y: int, row: int) -> None:
    """One row of outputs of too few channels for a vector."""
    w, b = integer(slots, _W), integer(slots, _B)
    x_y, x_x, y_y, y_x = integer(slots, _X_Y), integer(slots, _X_X), integer(slots, _Y_Y), integer(slots, _Y_X)
    width, channels, kw = integer(slots, _WIDTH), integer(slots, _CHANNELS), integer(slots, _KW)
    code, p, q = integer(slots, _ACTIVATION), real(slots, _P), real(slots, _Q)
    in_y = row * integer(slots, _STEP_Y) + integer(slots, _ORIGIN_Y)
    first, below = _taps_inside(slots, in_y)
    for column in range(integer(slots, _COLUMNS)):
        in_x = column * integer(slots, _STEP_X) + integer(slots, _ORIGIN_X)
        for c in range(channels):
            total = f32(b, c)
            for ky in range(first, below):
                line = (in_y + ky * integer(slots, _DILATION_Y)) * x_y + c
                for kx in range(kw):
                    at = in_x + kx * integer(slots, _DILATION_X)
                    if 0 <= at < width:
                        total += f32(x, line + at * x_x) * f32(w, (ky * kw + kx) * channels + c)
            f32_store(y, row * y_y + column * y_x + c, activate(total, code, p, q))


# -- the kernel --------------------------------------------------------------------------------------------------------


@kernel("QUAD", "ACTIVATION")
def depthwise(slots: int, i: int, j: int, k: int) -> None:
    x = integer(slots, _X) + FLOAT * (integer(slots, _X_OFFSET) + k * integer(slots, _X_N))
    y = integer(slots, _Y) + FLOAT * (integer(slots, _Y_OFFSET) + k * integer(slots, _Y_N))
    quad, channels, columns = integer(slots, _QUAD), integer(slots, _CHANNELS), integer(slots, _COLUMNS)
    at_once = integer(slots, _AT_ONCE)
    row, last = i * at_once, min((i + 1) * at_once, integer(slots, _ROWS))
    # 4 columns may reach into padding by one on either side
    short = quad > 0 and channels >= LANES and columns >= 4 and integer(slots, _ORIGIN_X) >= -1
    short = short and (columns - 1) * quad + 3 + integer(slots, _ORIGIN_X) <= integer(slots, _WIDTH) + 1
    pairs = short and quad == 1 and integer(slots, _STEP_Y) == 1
    while row < last:
        if pairs and row + 1 < last:
            _two_rows(slots, x, y, row)
            row += 2
            continue
        if short:
            _short_row(slots, x, y, row)
        elif channels < LANES:
            _narrow_row(slots, x, y, row)
        else:
            _row(slots, x, y, row)
        row += 1
