"""Convolution by Winograd's algorithm: twin of `cl/winograd.cl`, which describes layouts and blocking.

The transforms of `cl/winograd_transforms.cl` are Python functions here that write LLVM's code, as do the loops over the
points of a tile, so that a tile's vectors become registers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from codl.ops.native.abi import (
    LANES,
    integer,
    integer_store,
    kernel,
    memory,
    real,
    splat,
    splatted,
    vstore,
)
from codl.ops.native.activation import activate_row
from codl.ops.native.arithmetic import Value
from codl.ops.native.calls import always_inlined, once
from codl.ops.native.register_tile import (
    AFTER,
    BEFORE,
    HIGHEST,
    LOWEST,
    PIXELS,
    WORD,
    ZERO,
    V,
    add,
    bounds,
    channels_at,
    clamped,
    dispatched,
    load_vector,
    number,
    put,
    store_vector,
    streamed_products,
)
from codl.ops.window import FLOAT
from codl.ops.winograd import CHUNK, LEAST_TILES, MOST_CHANNELS, MOST_TILES, POINTS, SIDES

_MOST = max(MOST_TILES.values()) + PIXELS
"""No work-item has more tiles."""
_ROW = CHUNK + 16
_PADDING = 16
"""Floats between the points of transformed inputs and of sums, a cache line, since a transform touches all points
together and they must not share cache sets."""
_POINTS = {m: SIDES[m] ** 2 for m in MOST_TILES}
_TRANSFORMED = max(_POINTS[m] * ((MOST_TILES[m] + PIXELS) * _ROW + _PADDING) for m in MOST_TILES)
_SUMS = max(_POINTS[m] * ((MOST_TILES[m] + PIXELS) * V + _PADDING) for m in MOST_TILES) * (MOST_CHANNELS // V)
_TILE = max(_POINTS.values()) * V
"""Room for the inputs or the outputs of one tile."""

(
    _MOST_TILES, _OUT, _TAPS, _CHUNK, _ACTIVATION, _RESIDUAL,
    _X, _U, _B, _Y, _X_OFFSET, _X_LIMIT, _X_N, _X_Y, _X_X, _HEIGHT, _WIDTH,
    _Y_OFFSET, _Y_N, _Y_Y, _Y_X, _Y_C, _ROWS, _COLUMNS, _IMAGES, _ORIGIN_Y, _ORIGIN_X,
    _PARTS_Y, _PARTS_X, _DEPTH, _CHANNELS, _TILES, _BLOCKS_PER_ITEM, _P, _Q, _Z, _Z_OFFSET, _Z_N, _Z_Y, _Z_X,
) = range(40)  # fmt: skip
"""Slots: defines, arguments, and the residual's arguments where there is one."""

_FROM, _TO, _ADDED, _IN_Y, _IN_X = (_MOST * WORD * n for n in range(5))
"""Lists of an integer a tile, as bytes from their beginning: addresses of its first input, its first output, and the
residual's; row and column of its first input."""
_LISTS = 5 * _MOST * WORD // FLOAT


# -- transforms --------------------------------------------------------------------------------------------------------


_P_, _Q_ = (POINTS[6][n] for n in (1, 3))
_P2, _Q2 = round(_P_**2, 6), round(_Q_**2, 6)


def _input_transform(d: Sequence[Value]) -> list[Value]:
    """TRANSFORM_INPUT: B' of 4 or 6 inputs."""
    if len(d) == 4:
        return [d[2] - d[0], d[2] + d[1], d[2] - d[1], d[3] - d[1]]
    p_even, p_odd = d[4] - _Q2 * d[2], _P_ * (d[3] - _Q2 * d[1])
    q_even, q_odd = d[4] - _P2 * d[2], _Q_ * (d[3] - _P2 * d[1])
    first = _P2 * _Q2 * d[0] - (_P2 + _Q2) * d[2] + d[4]
    last = _P2 * _Q2 * d[1] - (_P2 + _Q2) * d[3] + d[5]
    return [first, p_even + p_odd, p_even - p_odd, q_even + q_odd, q_even - q_odd, last]


def _output_transform(d: Sequence[Value], out: int) -> list[Value]:
    """TRANSFORM_OUTPUT: A' of 4 or 6 sums, `out` outputs."""
    if len(d) == 4:
        return [d[0] + d[1] + d[2], d[1] - d[2] + d[3]]
    p_sum, p_rest, q_sum, q_rest = d[1] + d[2], _P_ * (d[1] - d[2]), d[3] + d[4], _Q_ * (d[3] - d[4])
    powers = [d[0] + p_sum + q_sum, p_rest + q_rest, _P2 * p_sum + _Q2 * q_sum, _P2 * p_rest + _Q2 * q_rest][:out]
    return [*powers[:-1], powers[-1] + d[5]]


def _both_ways(
    transform: Callable[[Sequence[Value]], list[Value]], points: int, at: Callable[[int, int], Value]
) -> list[list[Value]]:
    """Columns transformed first, then rows, of the `points` x `points` vectors `at(row, column)`."""
    columns = [transform([at(i, j) for i in range(points)]) for j in range(points)]
    return [transform(row) for row in zip(*columns, strict=True)]


def _at(builder: ir.IRBuilder, strides: tuple[ir.Value, ir.Value], i: int, j: int) -> ir.Value:
    """The index of row i, column j."""
    return builder.add(builder.mul(strides[0], number(i)), builder.mul(strides[1], number(j)))


@intrinsic
def _transform(typingctx: Any, side: Any, x: Any, x_y: Any, x_x: Any, target: Any, apart: Any) -> Any:
    """Write B' x B of one tile of `side` x `side` inputs and vector of channels, its points `apart` floats apart."""

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
        side, x, x_y, x_x, target, apart = args

        def one(points: int) -> None:
            def read(i: int, j: int) -> Value:
                return Value(builder, load_vector(builder, x, _at(builder, (x_y, x_x), i, j)))

            results = _both_ways(_input_transform, points, read)
            for xi, result in enumerate(result for row in results for result in row):
                store_vector(builder, result.value, target, builder.mul(apart, number(xi)))

        dispatched(builder, side, sorted(POINTS), one)
        return context.get_dummy_value()

    return types.void(*[types.int64] * 6), generate


@intrinsic
def _transform_back(
    typingctx: Any, out: Any, sums: Any, apart: Any, bias: Any, y: Any, y_y: Any, y_x: Any, low: Any, high: Any
) -> Any:
    """Write the `out` x `out` outputs of one tile and vector of channels, with the bias, clamped, from sums whose
    points are `apart` floats apart."""

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
        out, sums, apart, bias, y, y_y, y_x, low, high = args
        low, high = splatted(builder, low), splatted(builder, high)

        def one(m: int) -> None:
            def read(i: int, j: int) -> Value:
                index = builder.mul(apart, number(i * SIDES[m] + j))
                return Value(builder, load_vector(builder, sums, index))

            constant = Value(builder, load_vector(builder, bias, number(0)))
            for i, row in enumerate(_both_ways(partial(_output_transform, out=m), SIDES[m], read)):
                for j, result in enumerate(row):
                    value = clamped(builder, (result + constant).value, low, high)
                    store_vector(builder, value, y, _at(builder, (y_y, y_x), i, j))

        dispatched(builder, out, sorted(MOST_TILES), one)
        return context.get_dummy_value()

    return types.void(*[types.int64] * 7, types.float32, types.float32), generate


# -- inputs ------------------------------------------------------------------------------------------------------------


@always_inlined
def _side(slots: int) -> Any:
    """Inputs that a tile reads along one axis."""
    return integer(slots, _OUT) + integer(slots, _TAPS) - 1


@once
def _locate(slots: int, lists: int, first: int, count: int) -> None:
    """Fill the lists for `count` tiles from `first` on."""
    out, residual = integer(slots, _OUT), integer(slots, _RESIDUAL)
    tile_rows = (integer(slots, _ROWS) + out - 1) // out
    tile_columns = (integer(slots, _COLUMNS) + out - 1) // out
    x = integer(slots, _X) + integer(slots, _X_OFFSET) * FLOAT
    y = integer(slots, _Y) + integer(slots, _Y_OFFSET) * FLOAT
    for m in range(count):
        line, column = (first + m) // tile_columns, (first + m) % tile_columns
        n, row, column = line // tile_rows, line % tile_rows * out, column * out
        in_y, in_x = row + integer(slots, _ORIGIN_Y), column + integer(slots, _ORIGIN_X)
        source = n * integer(slots, _X_N) + in_y * integer(slots, _X_Y) + in_x * integer(slots, _X_X)
        target = n * integer(slots, _Y_N) + row * integer(slots, _Y_Y) + column * integer(slots, _Y_X)
        integer_store(lists + _FROM, m, x + source * FLOAT)
        integer_store(lists + _TO, m, y + target * FLOAT)
        integer_store(lists + _IN_Y, m, in_y)
        integer_store(lists + _IN_X, m, in_x)
        if residual != 0:
            added = n * integer(slots, _Z_N) + row * integer(slots, _Z_Y) + column * integer(slots, _Z_X)
            z = integer(slots, _Z) + (integer(slots, _Z_OFFSET) + added) * FLOAT
            integer_store(lists + _ADDED, m, z)


@once
def _copy_padded(slots: int, x: int, in_y: int, in_x: int, n: int, padded: int) -> None:
    """Copy a tile's inputs, a vector of `n` or more channels from address x on, to `padded`: zeros outside the map."""
    x_y, x_x, limit = integer(slots, _X_Y), integer(slots, _X_X), integer(slots, _X) + integer(slots, _X_LIMIT) * FLOAT
    side = _side(slots)
    for i in range(side):
        for j in range(side):
            to, source = padded + (i * side + j) * LANES * FLOAT, x + (i * x_y + j * x_x) * FLOAT
            row, column = in_y + i, in_x + j
            if row < 0 or row >= integer(slots, _HEIGHT) or column < 0 or column >= integer(slots, _WIDTH):
                vstore(to, 0, splat(ZERO))
            else:
                vstore(to, 0, channels_at(source, n, limit))


@once
def _transform_inputs(
    slots: int, lists: int, transformed: int, padded: int, count: int, part: int, c0: int, length: int, apart: int
) -> None:
    """Transform `length` channels from c0 on of all tiles, for a part of the taps."""
    side, x_y, x_x = _side(slots), integer(slots, _X_Y), integer(slots, _X_X)
    limit = integer(slots, _X) + integer(slots, _X_LIMIT) * FLOAT
    down = part // integer(slots, _PARTS_X) * integer(slots, _TAPS)
    right = part % integer(slots, _PARTS_X) * integer(slots, _TAPS)
    shift = (down * x_y + right * x_x + c0) * FLOAT
    for m in range(count):
        x = integer(lists + _FROM, m) + shift
        in_y, in_x = integer(lists + _IN_Y, m) + down, integer(lists + _IN_X, m) + right
        inner = (
            in_y >= 0 and in_x >= 0 and in_y + side <= integer(slots, _HEIGHT) and in_x + side <= integer(slots, _WIDTH)
        )
        inner = inner and x + ((side - 1) * (x_y + x_x) + length + LANES) * FLOAT <= limit
        for c in range(0, length, LANES):
            source = x + c * FLOAT
            if not inner:
                _copy_padded(slots, source, in_y, in_x, length - c, padded)
            _transform(
                side, source if inner else padded, x_y if inner else side * LANES, x_x if inner else LANES,
                transformed + (m * (integer(slots, _CHUNK) + _PADDING) + c) * FLOAT, apart,
            )  # fmt: skip


# -- products ----------------------------------------------------------------------------------------------------------

_SIZES = tuple(range(LEAST_TILES, PIXELS + 1, 1 if PIXELS == 6 else 2))
"""Tiles of a register tile."""
_products = streamed_products(_SIZES)


@always_inlined
def _large_enough(tiles: int) -> int:
    """The smallest of `_SIZES` that holds so many tiles. What it computes beyond them is never used."""
    step = _SIZES[1] - _SIZES[0]
    return max((tiles + step - 1) // step * step, LEAST_TILES)


@once
def _multiply(
    slots: int,
    transformed: int,
    sums: int,
    zeros: int,
    j: int,
    count: int,
    done: int,
    length: int,
    apart: int,
    row: int,
) -> None:
    """Add the products of `length` channels to the sums of all points, blocks and tiles, where those of `done` are
    there already."""
    side, most = _side(slots), integer(slots, _MOST_TILES)
    blocks = (integer(slots, _CHANNELS) + V - 1) // V
    first_block = j * integer(slots, _BLOCKS_PER_ITEM)
    used_blocks = min(integer(slots, _BLOCKS_PER_ITEM), blocks - first_block)
    register_tiles = (count + PIXELS - 1) // PIXELS
    size = _large_enough((count + register_tiles - 1) // register_tiles)
    pace = (V + register_tiles - 1) // register_tiles
    panel = length * V * FLOAT
    for xi in range(side * side):
        weights = integer(slots, _U) + done * side * side * blocks * V * FLOAT + (xi * blocks + first_block) * panel
        for block in range(used_blocks):
            # What is read next, asked for little by little: from here the processor would not guess it in time.
            soon = weights + panel if block + 1 < used_blocks else weights + (blocks - used_blocks + 1) * panel
            for tile in range(0, count, size):
                kept = sums + ((block * side * side + xi) * (most * V + _PADDING) + tile * V) * FLOAT
                _products(
                    min(size, _large_enough(count - tile)), transformed + (xi * apart + tile * row) * FLOAT, row,
                    weights, length, zeros if done == 0 else kept, 0 if done == 0 else V, kept, V, soon, pace,
                )  # fmt: skip
                soon += pace * length * FLOAT
            weights += panel


# -- outputs -----------------------------------------------------------------------------------------------------------


@once
def _write_tile(slots: int, lists: int, sums: int, results: int, m: int, channel: int) -> None:
    """Transform the sums of tile m and the block that begins at `channel` back, and write its outputs."""
    out, residual, code = integer(slots, _OUT), integer(slots, _RESIDUAL), integer(slots, _ACTIVATION)
    p, q = real(slots, _P), real(slots, _Q)
    y_y, y_x, y_c = integer(slots, _Y_Y), integer(slots, _Y_X), integer(slots, _Y_C)
    y = integer(lists + _TO, m) + channel * y_c * FLOAT
    z = integer(lists + _ADDED, m) + channel * FLOAT
    high = min(out, integer(slots, _ROWS) + integer(slots, _ORIGIN_Y) - integer(lists + _IN_Y, m))
    wide = min(out, integer(slots, _COLUMNS) + integer(slots, _ORIGIN_X) - integer(lists + _IN_X, m))
    channels = integer(slots, _CHANNELS) - channel
    clamps, floor, ceiling = bounds(code, p, q)
    straight = clamps and residual == 0 and y_c == 1 and channels >= V and high == out and wide == out
    apart, bias = integer(slots, _MOST_TILES) * V + _PADDING, integer(slots, _B) + channel * FLOAT
    for half in range(0, V, LANES):
        _transform_back(
            out, sums + half * FLOAT, apart, bias + half * FLOAT, (y if straight else results) + half * FLOAT,
            y_y if straight else out * V, y_x if straight else V,
            floor if straight else LOWEST, ceiling if straight else HIGHEST,
        )  # fmt: skip
    if straight:
        return
    if residual == BEFORE:
        _add_residual(slots, results, z, high, wide, channels)
    activate_row(results, results, out * out * V, code, p, q)
    if residual == AFTER:
        _add_residual(slots, results, z, high, wide, channels)
    for i in range(high):
        for j in range(wide):
            put(results + (i * out + j) * V * FLOAT, y + (i * y_y + j * y_x) * FLOAT, y_c, channels)


@always_inlined
def _add_residual(slots: int, results: int, z: int, high: int, wide: int, channels: int) -> None:
    """Add the residual of a tile, from address z on, to `high` x `wide` outputs."""
    out, z_y, z_x = integer(slots, _OUT), integer(slots, _Z_Y), integer(slots, _Z_X)
    for i in range(high):
        for j in range(wide):
            add(results + (i * out + j) * V * FLOAT, z + (i * z_y + j * z_x) * FLOAT, channels)


@kernel("MOST", "OUT", "TAPS", "CHUNK", "ACTIVATION", "RESIDUAL")
def winograd(slots: int, i: int, j: int, k: int) -> None:
    transformed, sums, lists = memory(_TRANSFORMED), memory(_SUMS), memory(_LISTS)
    tile, zeros = memory(_TILE), memory(V)
    vstore(zeros, 0, splat(ZERO))
    vstore(zeros, LANES, splat(ZERO))
    out, chunk, depth = integer(slots, _OUT), integer(slots, _CHUNK), integer(slots, _DEPTH)
    most, row = integer(slots, _MOST_TILES), chunk + _PADDING
    all_tiles = ((integer(slots, _ROWS) + out - 1) // out) * ((integer(slots, _COLUMNS) + out - 1) // out)
    first = i * integer(slots, _TILES)
    count = min(integer(slots, _TILES), integer(slots, _IMAGES) * all_tiles - first)
    apart, points = most * row + _PADDING, _side(slots) * _side(slots)
    _locate(slots, lists, first, count)
    for part in range(integer(slots, _PARTS_Y) * integer(slots, _PARTS_X)):
        for c0 in range(0, depth, chunk):
            length = min(chunk, depth - c0)
            _transform_inputs(slots, lists, transformed, tile, count, part, c0, length, apart)
            _multiply(slots, transformed, sums, zeros, j, count, part * depth + c0, length, apart, row)
    blocks = (integer(slots, _CHANNELS) + V - 1) // V
    first_block = j * integer(slots, _BLOCKS_PER_ITEM)
    for block in range(min(integer(slots, _BLOCKS_PER_ITEM), blocks - first_block)):
        for m in range(count):
            at = sums + (block * points * (most * V + _PADDING) + m * V) * FLOAT
            _write_tile(slots, lists, at, tile, m, (first_block + block) * V)
