"""Convolution and matrix product as implicit GEMM: twin of `cl/conv_tile.cl`, which describes layouts and blocking.

Where a register tile's pixels and channels are whole and the activation is a clamp, as nearly everywhere, sums go from
registers to the output, with what is added before the activation; else a tile is finished in memory.

`_locate`, `_gather` and `_finish` are calls, since each keeps its own numbers in registers; in line they were slower.
"""

from __future__ import annotations

from itertools import product
from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from codl.ops.native.abi import (
    LANES,
    f32,
    f32_store,
    integer,
    integer_store,
    kernel,
    memory,
    real,
    splat,
    splatted,
    vload,
    vstore,
)
from codl.ops.native.activation import activate_row
from codl.ops.native.calls import always_inlined, called, once, out_of_line
from codl.ops.native.register_tile import (
    AFTER,
    BEFORE,
    HIGHEST,
    LONG,
    LOWEST,
    PIXELS,
    WORD,
    ZERO,
    Factors,
    Tile,
    V,
    add,
    bounds,
    clamped,
    dispatched,
    element,
    load_vector,
    number,
    prefetch,
    put,
    store_vector,
)
from codl.ops.native.register_tile import products as sums_of_products
from codl.ops.tile.cpu import BLOCKS, CHUNK, CHUNK_OF_ONE
from codl.ops.window import FLOAT

_TILES = 4 if PIXELS == 14 else 8
"""Most register tiles of a work-item (`codl.ops.tile.cpu.tile_sizes`)."""
_MOST = _TILES * PIXELS
_ROW = CHUNK + 16
"""Floats from one staged pixel to the next: no power of two, since rows must not share cache sets; and room to write
beyond the end."""
_STAGE = max(_MOST * _ROW, CHUNK_OF_ONE + 16)
_DONE = BLOCKS * _MOST * V
"""Where in `sums` those of a tile are finished, after all that wait for the next chunk: always in the cache."""
_SUMS = _DONE + PIXELS * V

(
    _PIXELS, _WEIGHT_BYTES, _ACTIVATION, _RESIDUAL,
    _X, _W, _B, _Y, _X_OFFSET, _X_LIMIT, _X_N, _X_Y, _X_X, _X_C, _X_GROUP, _HEIGHT, _WIDTH,
    _Y_OFFSET, _Y_N, _Y_Y, _Y_X, _Y_C, _Y_GROUP, _ROWS, _COLUMNS, _ALL_PIXELS,
    _KH, _KW, _STEP_Y, _STEP_X, _ORIGIN_Y, _ORIGIN_X, _DILATION_Y, _DILATION_X,
    _DEPTH, _CHANNELS, _CHUNK, _USED_TILES, _BLOCKS_PER_ITEM, _P, _Q, _Z, _Z_OFFSET, _Z_N, _Z_Y, _Z_X,
) = range(46)  # fmt: skip
"""Slots: defines, arguments, and the residual's arguments where there is one."""

_FROM, _TO, _ADDED, _IN_Y, _IN_X, _INNER, _KEPT = (_MOST * WORD * n for n in range(7))
"""Lists of an integer a pixel, as bytes from their beginning. Addresses of its first tap, its first output, and the
residual's; row and column of its first tap; whether all taps lie in the map and whole vectors can be read up to the
end; and where the pixels of the first register tile keep their sums between chunks."""
_LISTS = 7 * _MOST * WORD // FLOAT


# -- the register tile -------------------------------------------------------------------------------------------------

_VARIANTS = tuple(
    Tile(pixels, halves, weight_bytes, row)
    for (pixels, row), halves, weight_bytes in product(((PIXELS, _ROW), (PIXELS, None), (1, None)), (2, 1), (4, 2))
)


@once
def _variant(pixels: int, in_place: bool, halves: int, weight_bytes: int) -> int:
    """The index in `_VARIANTS`."""
    return (8 if pixels == 1 else 4 * in_place) + 2 * (halves == 1) + (weight_bytes == 2)


@intrinsic
def _products(
    typingctx: Any, variant: Any, a: Any, apart: Any, w: Any, steps: Any, start: Any, start_apart: Any, ends: Any,
    end_shift: Any, added: Any, added_shift: Any, low: Any, high: Any,
) -> Any:  # fmt: skip
    """Products of a register tile, of those that `_VARIANTS` lists.

    Args:
        a, apart, w, steps: `Factors`.
        start, start_apart: where the sums of the first pixel begin, and floats from there to the next pixel's.
        ends, end_shift: list of the addresses where the pixels' sums go, so many floats from there.
        added, added_shift: list of the addresses of what is added to them, so many floats from there; 0 for nothing.
        low, high: what they are clamped to after that.
    """

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
        which, a, apart, w, steps, start, start_apart, ends, end_shift, added, added_shift, low, high = args
        low, high = splatted(builder, low), splatted(builder, high)
        adds = builder.icmp_signed("!=", added, number(0))

        def one(index: int) -> None:
            tile = _VARIANTS[index]
            each = [(i, half * LANES) for i in range(tile.pixels) for half in range(tile.halves)]

            def vectors(addresses: ir.Value, shift: ir.Value) -> list[tuple[ir.Value, ir.Value]]:
                """Address and index of every vector of the tile, by a list of the pixels' addresses."""
                found = [builder.load(element(builder, addresses, number(i), LONG)) for i in range(tile.pixels)]
                return [(found[i], builder.add(shift, number(half))) for i, half in each]

            with builder.if_then(adds):  # in time: after the loop the processor would wait for each pixel's
                for pixel in vectors(added, added_shift)[:: tile.halves]:
                    prefetch(builder, element(builder, *pixel))
            begins = [builder.add(builder.mul(start_apart, number(i)), number(half)) for i, half in each]
            begin = [load_vector(builder, start, at) for at in begins]
            sums = sums_of_products(builder, tile, Factors(a, apart, w, steps), begin)
            targets = vectors(ends, end_shift)

            def leave(values: list[ir.Value]) -> None:
                for value, target in zip(values, targets, strict=True):
                    store_vector(builder, clamped(builder, value, low, high), *target)

            with builder.if_else(adds) as (addition, nothing):
                with addition:
                    others = [load_vector(builder, *at) for at in vectors(added, added_shift)]
                    leave([builder.fadd(value, other) for value, other in zip(sums, others, strict=True)])
                with nothing:
                    leave(sums)

        dispatched(builder, which, range(len(_VARIANTS)), one)
        return context.get_dummy_value()

    return types.void(*[types.int64] * 11, types.float32, types.float32), generate


# -- inputs ------------------------------------------------------------------------------------------------------------


@once
def _copy(to: int, x: int, n: int, limit: int) -> None:
    """Copy n floats; may write up to LANES - 1 floats beyond them, and reads beyond them up to address `limit`."""
    whole = n // LANES * LANES
    for i in range(0, whole, LANES):
        vstore(to, i, vload(x, i))
    if whole < n:
        if x + (whole + LANES) * FLOAT <= limit:
            vstore(to, whole, vload(x, whole))
        else:
            for i in range(whole, n):
                f32_store(to, i, f32(x, i))


@always_inlined
def _zero(to: int, n: int) -> None:
    for i in range(0, n, LANES):
        vstore(to, i, splat(ZERO))


@called
def _locate(slots: int, lists: int, first: int, count: int, group: int) -> Any:
    """Fill the lists for `count` pixels from `first` on; whether their inputs can be read in place: there is one tap,
    and pixel follows pixel in memory."""
    out_of_line()
    rows, columns, depth = integer(slots, _ROWS), integer(slots, _COLUMNS), integer(slots, _DEPTH)
    x_n, x_y, x_x = integer(slots, _X_N), integer(slots, _X_Y), integer(slots, _X_X)
    y_n, y_y, y_x = integer(slots, _Y_N), integer(slots, _Y_Y), integer(slots, _Y_X)
    height, width = integer(slots, _HEIGHT), integer(slots, _WIDTH)
    step_y, step_x = integer(slots, _STEP_Y), integer(slots, _STEP_X)
    origin_y, origin_x = integer(slots, _ORIGIN_Y), integer(slots, _ORIGIN_X)
    x = integer(slots, _X) + (integer(slots, _X_OFFSET) + group * integer(slots, _X_GROUP)) * FLOAT
    y = integer(slots, _Y) + (integer(slots, _Y_OFFSET) + group * integer(slots, _Y_GROUP)) * FLOAT
    z, z_n, z_y, z_x = 0, 0, 0, 0
    if integer(slots, _RESIDUAL) != 0:
        z = integer(slots, _Z) + (integer(slots, _Z_OFFSET) + group * integer(slots, _Y_GROUP)) * FLOAT
        z_n, z_y, z_x = integer(slots, _Z_N), integer(slots, _Z_Y), integer(slots, _Z_X)
    limit = integer(slots, _X) + integer(slots, _X_LIMIT) * FLOAT
    tall = (integer(slots, _KH) - 1) * integer(slots, _DILATION_Y)
    broad = (integer(slots, _KW) - 1) * integer(slots, _DILATION_X)
    reach = (max(tall * x_y + broad * x_x, 0) + depth + LANES) * FLOAT
    vectors = integer(slots, _X_C) == 1
    in_place = integer(slots, _KH) * integer(slots, _KW) == 1 and count % integer(slots, _PIXELS) == 0

    row, column = first // columns, first % columns
    begin, m = 0, 0
    while m < count:  # row by row
        image, in_y, in_x = row // rows, row % rows * step_y + origin_y, column * step_x + origin_x
        source = x + (image * x_n + in_y * x_y + in_x * x_x) * FLOAT
        target = y + (image * y_n + row % rows * y_y + column * y_x) * FLOAT
        added = z + (image * z_n + row % rows * z_y + column * z_x) * FLOAT
        inside = vectors and in_y >= 0 and in_y + tall < height
        if m == 0:
            begin = source
        for n in range(m, min(m + columns - column, count)):
            inner = inside & (in_x >= 0) & (in_x + broad < width) & (source + reach <= limit)
            in_place &= inner & (source == begin + n * x_x * FLOAT)
            integer_store(lists + _FROM, n, source)
            integer_store(lists + _TO, n, target)
            integer_store(lists + _ADDED, n, added)
            integer_store(lists + _IN_Y, n, in_y)
            integer_store(lists + _IN_X, n, in_x)
            integer_store(lists + _INNER, n, inner)
            in_x += step_x
            source += step_x * x_x * FLOAT
            target += y_x * FLOAT
            added += z_x * FLOAT
        m += columns - column
        row, column = row + 1, 0
    return in_place


@called
def _gather(slots: int, lists: int, stage: int, count: int, k0: int, k1: int) -> None:
    """Copy the inputs of `count` pixels for k from k0 to k1 to `stage`."""
    out_of_line()
    kw, depth = integer(slots, _KW), integer(slots, _DEPTH)
    x_y, x_x, x_c = integer(slots, _X_Y), integer(slots, _X_X), integer(slots, _X_C)
    height, width = integer(slots, _HEIGHT), integer(slots, _WIDTH)
    dilation_y, dilation_x = integer(slots, _DILATION_Y), integer(slots, _DILATION_X)
    limit = integer(slots, _X) + integer(slots, _X_LIMIT) * FLOAT
    dense = x_c == 1 and dilation_x == 1 and x_x == depth  # neighbouring taps are neighbours in memory
    k = k0
    while k < k1:
        tap = k // depth
        c, ky = k - tap * depth, tap // kw
        kx = tap - ky * kw
        shift = (ky * dilation_y * x_y + kx * dilation_x * x_x + c * x_c) * FLOAT
        length = min((kw - kx if dense else 1) * depth - c, k1 - k)
        vectors = (length + LANES - 1) // LANES
        last = kx + (c + length - 1) // depth  # the segment's last tap column
        for m in range(count):
            target, source = stage + (m * _ROW + k - k0) * FLOAT, integer(lists + _FROM, m) + shift
            if integer(lists + _INNER, m) != 0:
                vstore(target, 0, vload(source, 0))
                if vectors > 1:
                    vstore(target, LANES, vload(source, LANES))
                    for n in range(2, vectors):
                        vstore(target, n * LANES, vload(source, n * LANES))
                continue
            row, in_x = integer(lists + _IN_Y, m) + ky * dilation_y, integer(lists + _IN_X, m)
            left, right = in_x + kx * dilation_x, in_x + last * dilation_x
            if row < 0 or row >= height or right < 0 or left >= width:
                _zero(target, length)
            elif left < 0 or right >= width:  # only a dense segment of several taps can lie across the border
                for i in range(length):
                    column = left + (c + i) // depth
                    f32_store(target, i, f32(source, i) if 0 <= column < width else ZERO)
            elif x_c == 1:
                _copy(target, source, length, limit)
            else:
                for i in range(length):
                    f32_store(target, i, f32(source, i * x_c))
        k += length


# -- sums --------------------------------------------------------------------------------------------------------------


@called
def _finish(slots: int, lists: int, sums: int, pixels: int, channel: int) -> None:
    """Write `pixels` pixels, the lists' first ones, for the block that begins at `channel`."""
    out_of_line()
    residual, y_c, channels = integer(slots, _RESIDUAL), integer(slots, _Y_C), integer(slots, _CHANNELS) - channel
    if residual == BEFORE:
        for m in range(pixels):
            add(sums + m * V * FLOAT, integer(lists + _ADDED, m) + channel * FLOAT, channels)
    activate_row(sums, sums, pixels * V, integer(slots, _ACTIVATION), real(slots, _P), real(slots, _Q))
    if residual == AFTER:
        for m in range(pixels):
            add(sums + m * V * FLOAT, integer(lists + _ADDED, m) + channel * FLOAT, channels)
    for m in range(pixels):
        put(sums + m * V * FLOAT, integer(lists + _TO, m) + channel * y_c * FLOAT, y_c, channels)


@once
def _multiply(
    slots: int,
    lists: int,
    stage: int,
    sums: int,
    j: int,
    group: int,
    count: int,
    in_place: bool,
    k0: int,
    k1: int,
) -> None:
    """Add the products of k from k0 to k1 to all sums; after the last ones, write the results."""
    pixels, weight_bytes, channels = integer(slots, _PIXELS), integer(slots, _WEIGHT_BYTES), integer(slots, _CHANNELS)
    blocks, k_all = (channels + V - 1) // V, integer(slots, _KH) * integer(slots, _KW) * integer(slots, _DEPTH)
    first_block = j * integer(slots, _BLOCKS_PER_ITEM)
    last_block = min(first_block + integer(slots, _BLOCKS_PER_ITEM), blocks)
    clamps, floor, ceiling = bounds(integer(slots, _ACTIVATION), real(slots, _P), real(slots, _Q))
    residual = integer(slots, _RESIDUAL)
    straight = clamps and residual != AFTER and integer(slots, _Y_C) == 1
    weights = integer(slots, _W) + (group * k_all + k0) * blocks * V * weight_bytes
    begin, x_x, last = integer(lists + _FROM, 0), integer(slots, _X_X), k1 == k_all
    for block in range(first_block, last_block):
        panel = weights + block * (k1 - k0) * V * weight_bytes
        bias = integer(slots, _B) + (group * blocks + block) * V * FLOAT
        filled = channels - block * V
        variant = _variant(pixels, in_place, 1 if filled <= LANES else 2, weight_bytes)
        whole = straight and last and (filled >= V or filled == LANES)
        for at in range(0, count, pixels):
            # Of each tile's first pixel: where its inputs lie, and its sums between chunks.
            a = begin + (at * x_x + k0) * FLOAT if in_place else stage + at * _ROW * FLOAT
            place = ((block - first_block) * _MOST + at) * V
            kept = sums + place * FLOAT
            left = min(count - at, pixels)
            direct = whole and left == pixels
            _products(
                variant, a, x_x, panel, k1 - k0, bias if k0 == 0 else kept, 0 if k0 == 0 else V,
                lists + (_TO + at * WORD if direct else _KEPT), block * V if direct else _DONE if last else place,
                lists + _ADDED + at * WORD if direct and residual == BEFORE else 0, block * V,
                floor if direct else LOWEST, ceiling if direct else HIGHEST,
            )  # fmt: skip
            if last and not direct:
                _finish(slots, lists + at * WORD, sums + _DONE * FLOAT, left, block * V)


@kernel("PIXELS", "WEIGHT_BYTES", "ACTIVATION", "RESIDUAL")
def conv_tile(slots: int, i: int, j: int, k: int) -> None:
    stage, sums, lists = memory(_STAGE), memory(_SUMS), memory(_LISTS)
    pixels, chunk = integer(slots, _PIXELS), integer(slots, _CHUNK)
    first = i * integer(slots, _USED_TILES) * pixels
    count = min(integer(slots, _USED_TILES) * pixels, integer(slots, _ALL_PIXELS) - first)
    in_place = _locate(slots, lists, first, count, k)
    for m in range(pixels):
        integer_store(lists + _KEPT, m, sums + m * V * FLOAT)
    for m in range(count, (count + pixels - 1) // pixels * pixels):  # a last tile's surplus: computed, never stored
        _zero(stage + m * _ROW * FLOAT, chunk)
    k_all = integer(slots, _KH) * integer(slots, _KW) * integer(slots, _DEPTH)
    k0 = 0
    while k0 == 0 or k0 < k_all:
        k1 = min(k0 + chunk, k_all)
        if not in_place:
            _gather(slots, lists, stage, count, k0, k1)
        _multiply(slots, lists, stage, sums, j, k, count, in_place, k0, k1)
        k0 += chunk
