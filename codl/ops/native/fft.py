"""The transforms of convolution by the fast Fourier transform: twin of `cl/fft.cl`, which describes layouts.

The formulas are Python functions here that write LLVM's code for all numbers of a row at once, so that they stay in
registers as far as those go.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from codl.ops.fft import POINTS, SIDE
from codl.ops.native.abi import LANES, integer, kernel, memory, real, splat, vstore
from codl.ops.native.activation import activate_row
from codl.ops.native.arithmetic import Value
from codl.ops.native.calls import always_inlined, called, once, out_of_line
from codl.ops.native.register_tile import (
    AFTER,
    BEFORE,
    PIXELS,
    ZERO,
    V,
    add,
    channels_at,
    load_vector,
    number,
    put,
    store_vector,
    streamed_products,
)
from codl.ops.window import FLOAT

_HALF = SIDE // 2
_ROW = SIDE * LANES
"""Floats of a row of vectors of a tile."""
_IMAGINARY = _HALF * _ROW
"""Floats from the real parts of a row of frequencies to the imaginary ones."""
_TILE = SIDE * _ROW
_RESULTS = SIDE * SIDE * V

(
    _X, _TRANSFORMED, _X_OFFSET, _X_LIMIT, _X_N, _X_Y, _X_X, _HEIGHT, _WIDTH, _IN_ROWS, _IN_COLUMNS, _IN_OUT_Y,
    _IN_OUT_X, _ORIGIN_Y, _ORIGIN_X, _IN_FIRST, _DEPTH, _IN_APART,
) = range(18)  # fmt: skip
"""Slots of `fft_input`."""
_A, _U, _SUMS, _TILES, _STEPS, _OUTPUTS, _FROM_APART, _TO_APART = range(8)
"""Slots of `fft_products`."""
(
    _ACTIVATION, _RESIDUAL, _PRODUCTS, _B, _Y, _Y_OFFSET, _Y_N, _Y_Y, _Y_X, _Y_C, _ROWS, _COLUMNS, _TILE_ROWS,
    _TILE_COLUMNS, _OUT_Y, _OUT_X, _FIRST, _CHANNELS, _APART, _P, _Q, _Z, _Z_OFFSET, _Z_N, _Z_Y, _Z_X,
) = range(26)  # fmt: skip
"""Slots of `fft_output`: defines, arguments, and the residual's arguments where there is one."""


# -- formulas ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Complex:
    """A vector of complex numbers."""

    re: Value
    im: Value

    def __add__(self, other: Complex) -> Complex:
        return Complex(self.re + other.re, self.im + other.im)

    def __sub__(self, other: Complex) -> Complex:
        return Complex(self.re - other.re, self.im - other.im)

    def turned(self, sixteenths: int) -> Complex:
        """Times exp(-2 pi i sixteenths / 16)."""
        if sixteenths == 0:
            return self
        if sixteenths == 4:
            return Complex(self.im, -self.re)
        angle = 2 * math.pi * sixteenths / SIDE
        c, s = math.cos(angle), math.sin(angle)
        return Complex(c * self.re + s * self.im, c * self.im - s * self.re)

    def conjugate(self) -> Complex:
        return Complex(self.re, -self.im)

    def exchanged(self) -> Complex:
        """Of such numbers a transform gives the inverse times the length, likewise exchanged."""
        return Complex(self.im, self.re)


def _dft4(z: Sequence[Complex]) -> list[Complex]:
    even, rest, odd, turn = z[0] + z[2], z[0] - z[2], z[1] + z[3], (z[1] - z[3]).turned(4)
    return [even + odd, rest + turn, even - odd, rest - turn]


def _dft16(z: Sequence[Complex]) -> list[Complex]:
    """The transform of 16 complex numbers."""
    columns = [_dft4(z[n::4]) for n in range(4)]
    rows = [_dft4([columns[n][k].turned(n * k) for n in range(4)]) for k in range(4)]
    return [rows[k % 4][k // 4] for k in range(SIDE)]


def _real16(d: Sequence[Value]) -> tuple[list[Value], list[Value]]:
    """Frequencies 0 to 8 of 16 real numbers: real parts, and imaginary parts of 1 to 7."""
    ones, two, first = [], [], []
    for n in range(4):
        even, odd = d[n] + d[n + 8], d[n + 4] + d[n + 12]
        ones.append(even + odd)
        two.append(even - odd)
        first.append(Complex(d[n] - d[n + 8], d[n + 12] - d[n + 4]).turned(n))
    z1, z5, z9, z13 = _dft4(first)
    z7, z3 = z9.conjugate(), z13.conjugate()
    near, far = math.sqrt(0.5) * (two[1] - two[3]), math.sqrt(0.5) * (two[1] + two[3])
    even, odd = ones[0] + ones[2], ones[1] + ones[3]
    re = [even + odd, z1.re, two[0] + near, z3.re, ones[0] - ones[2], z5.re, two[0] - near, z7.re, even - odd]
    return re, [z1.im, -(two[2] + far), z3.im, ones[3] - ones[1], z5.im, two[2] - far, z7.im]


def _back16(re: Sequence[Value], im: Sequence[Value]) -> list[Value]:
    """The inverse of `_real16`, times 16."""
    z = [Complex(a, b) for a, b in zip(re[1:], im, strict=False)]
    first = [z[0], z[4], z[6].conjugate(), z[2].conjugate()]
    first = [one.exchanged() for one in _dft4([one.exchanged() for one in first])]
    total, rest = re[0] + re[8], re[0] - re[8]
    ones = [total + 2.0 * re[4], rest - 2.0 * im[3], total - 2.0 * re[4], rest + 2.0 * im[3]]
    c, s = math.sqrt(2) * (re[2] - re[6]), math.sqrt(2) * (im[1] + im[5])
    two = [2.0 * (re[2] + re[6]), c - s, 2.0 * (im[5] - im[1]), -(c + s)]
    results: dict[int, Value] = {}
    for n in range(4):
        turned = first[n].turned(SIDE - n) if n else first[n]
        a, b = 2.0 * turned.re, 2.0 * turned.im
        plus, minus = ones[n] + two[n], ones[n] - two[n]
        results |= {n: plus + a, n + 8: plus - a, n + 4: minus - b, n + 12: minus + b}
    return [results[n] for n in range(SIDE)]


# -- rows of a tile --------------------------------------------------------------------------------------------------


def _writer(formula: Callable[[ir.IRBuilder, Any, Any, Any], None]) -> Any:
    """An intrinsic of three addresses or distances in floats, whose code a formula writes."""

    @intrinsic
    def write(typingctx: Any, first: Any, second: Any, third: Any) -> Any:
        def generate(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
            formula(builder, *args)
            return context.get_dummy_value()

        return types.void(types.int64, types.int64, types.int64), generate

    return write


def _read(builder: ir.IRBuilder, address: ir.Value, step: ir.Value, n: int) -> Value:
    return Value(builder, load_vector(builder, address, builder.mul(step, number(n))))


def _write(value: Value, address: ir.Value, step: ir.Value, n: int) -> None:
    store_vector(value.builder, value.value, address, value.builder.mul(step, number(n)))


def _write_point(z: Complex, address: ir.Value, apart: ir.Value, frequency: int) -> None:
    for n, value in enumerate((z.re + z.im, z.re, z.im)):
        _write(value, address, apart, 3 * frequency + n)


def _read_point(builder: ir.IRBuilder, address: ir.Value, apart: ir.Value, frequency: int) -> Complex:
    first, second, third = (_read(builder, address, apart, 3 * frequency + n) for n in range(3))
    return Complex(first - third, first + second)


def _write_column(builder: ir.IRBuilder, x: Any, step: Any, target: Any) -> None:
    re, im = _real16([_read(builder, x, step, n) for n in range(SIDE)])
    for k, value in enumerate([*re, *im]):
        _write(value, target, number(_ROW), k)


def _write_real_points(builder: ir.IRBuilder, row: Any, target: Any, apart: Any) -> None:
    re, im = _real16([_read(builder, row, number(LANES), n) for n in range(SIDE)])
    zero = re[0] - re[0]
    for k, (a, b) in enumerate(zip(re, [zero, *im, zero], strict=True)):
        _write_point(Complex(a, b), target, apart, k)


def _row_of(builder: ir.IRBuilder, row: Any) -> list[Complex]:
    imaginary = builder.add(row, number(_IMAGINARY * FLOAT))
    return [Complex(*(_read(builder, each, number(LANES), n) for each in (row, imaginary))) for n in range(SIDE)]


def _write_points(builder: ir.IRBuilder, row: Any, target: Any, apart: Any) -> None:
    for k, z in enumerate(_dft16(_row_of(builder, row))):
        _write_point(z, target, apart, k)


def _read_real_points(builder: ir.IRBuilder, source: Any, apart: Any, row: Any) -> None:
    points = [_read_point(builder, source, apart, k) for k in range(_HALF + 1)]
    for n, value in enumerate(_back16([z.re for z in points], [z.im for z in points[1:_HALF]])):
        _write(value, row, number(LANES), n)


def _read_points(builder: ir.IRBuilder, source: Any, apart: Any, row: Any) -> None:
    imaginary = builder.add(row, number(_IMAGINARY * FLOAT))
    points = [_read_point(builder, source, apart, k).exchanged() for k in range(SIDE)]
    for n, z in enumerate(_dft16(points)):
        _write(z.im, row, number(LANES), n)
        _write(z.re, imaginary, number(LANES), n)


def _read_column(builder: ir.IRBuilder, column: Any, bias: Any, results: Any) -> None:
    numbers = [_read(builder, column, number(_ROW), n) for n in range(SIDE)]
    added = _read(builder, bias, number(0), 0)
    for n, value in enumerate(_back16(numbers[: _HALF + 1], numbers[_HALF + 1 :])):
        _write(value + added, results, number(SIDE * V), n)


_column_into = _writer(_write_column)
"""_column_into(x, step, target): the transform of a column of real numbers: rows of 9 real and 7 imaginary parts."""
_real_row_into = _writer(_write_real_points)
"""_real_row_into(row, target, apart): the points of a row of real numbers."""
_row_into = _writer(_write_points)
"""_row_into(row, target, apart): the points of a row of complex numbers."""
_real_row_back = _writer(_read_real_points)
"""_real_row_back(source, apart, row): the inverse of `_real_row_into`."""
_row_back = _writer(_read_points)
"""_row_back(source, apart, row): the inverse of `_row_into`."""
_column_back = _writer(_read_column)
"""_column_back(column, bias, results): the inverse of `_column_into`, plus the bias."""


@always_inlined
def _first_point(k: int) -> int:
    """Number of the first point of frequency (k, 0)."""
    return 0 if k == 0 else 3 * (_HALF + 1 + SIDE * (k - 1))


# -- kernels -----------------------------------------------------------------------------------------------------------


@once
def _copy_column(slots: int, x: int, top: int, channels: int, to: int) -> None:
    """Copy a column of a tile, a vector of `channels` or more channels from address x on: zeros outside the map."""
    limit = integer(slots, _X) + integer(slots, _X_LIMIT) * FLOAT
    for i in range(SIDE):
        at, source = to + i * LANES * FLOAT, x + i * integer(slots, _X_Y) * FLOAT
        if top + i < 0 or top + i >= integer(slots, _HEIGHT):
            vstore(at, 0, splat(ZERO))
        else:
            vstore(at, 0, channels_at(source, channels, limit))


@once
def _columns_into(slots: int, x: int, top: int, left: int, channels: int, column: int, half_way: int) -> None:
    """Transform all columns of a tile, whose first input is at address x."""
    inner = top >= 0 and top + SIDE <= integer(slots, _HEIGHT) and channels >= LANES
    for j in range(SIDE):
        source, target = x + j * integer(slots, _X_X) * FLOAT, half_way + j * LANES * FLOAT
        if left + j < 0 or left + j >= integer(slots, _WIDTH):
            for k in range(SIDE):
                vstore(target, k * _ROW, splat(ZERO))
        elif inner:
            _column_into(source, integer(slots, _X_Y), target)
        else:
            _copy_column(slots, source, top, channels, column)
            _column_into(column, LANES, target)


@kernel()
def fft_input(slots: int, i: int, j: int, k: int) -> None:
    half_way, column = memory(_TILE), memory(_ROW)
    apart, depth = integer(slots, _IN_APART), integer(slots, _DEPTH)
    tile = integer(slots, _IN_FIRST) + j
    line, c = tile // integer(slots, _IN_COLUMNS), tile % integer(slots, _IN_COLUMNS)
    n, r = line // integer(slots, _IN_ROWS), line % integer(slots, _IN_ROWS)
    top = r * integer(slots, _IN_OUT_Y) + integer(slots, _ORIGIN_Y)
    left = c * integer(slots, _IN_OUT_X) + integer(slots, _ORIGIN_X)
    first = integer(slots, _X_OFFSET) + n * integer(slots, _X_N) + top * integer(slots, _X_Y)
    x = integer(slots, _X) + (first + left * integer(slots, _X_X)) * FLOAT
    to = integer(slots, _TRANSFORMED) + j * POINTS * apart * FLOAT
    for channel in range(i * V, min(i * V + V, depth), LANES):
        _columns_into(slots, x + channel * FLOAT, top, left, depth - channel, column, half_way)
        for row in range(_HALF + 1):
            target = to + (_first_point(row) * apart + channel) * FLOAT
            if row == 0 or row == _HALF:
                _real_row_into(half_way + row * _ROW * FLOAT, target, apart)
            else:
                _row_into(half_way + row * _ROW * FLOAT, target, apart)


_multiply = streamed_products(range(1, PIXELS + 1))


@kernel()
def fft_products(slots: int, i: int, j: int, k: int) -> None:
    zeros = memory(V)
    vstore(zeros, 0, splat(ZERO))
    vstore(zeros, LANES, splat(ZERO))
    tiles, depth = integer(slots, _TILES), integer(slots, _STEPS)
    apart, to_apart = integer(slots, _FROM_APART), integer(slots, _TO_APART)
    register_tiles = (tiles + PIXELS - 1) // PIXELS
    size, pace = (tiles + register_tiles - 1) // register_tiles, (V + register_tiles - 1) // register_tiles
    blocks, panel = (integer(slots, _OUTPUTS) + V - 1) // V, depth * V * FLOAT
    a, sums = integer(slots, _A) + i * apart * FLOAT, integer(slots, _SUMS) + i * to_apart * FLOAT
    for block in range(blocks):
        weights = integer(slots, _U) + (i * blocks + block) * panel
        soon = weights + panel  # what is read next: it comes from memory, which the processor foresees too late
        for tile in range(0, tiles, size):
            kept = sums + (tile * POINTS * to_apart + block * V) * FLOAT
            _multiply(
                min(size, tiles - tile), a + tile * POINTS * apart * FLOAT, POINTS * apart, weights, depth, zeros, 0,
                kept, POINTS * to_apart, soon, pace,
            )  # fmt: skip
            soon += pace * depth * FLOAT


@called
def _finish(slots: int, results: int, y: int, z: int, high: int, wide: int, channels: int) -> None:
    """Write `high` x `wide` outputs of a tile, with the residual and the activation."""
    out_of_line()
    residual, code, p, q = integer(slots, _RESIDUAL), integer(slots, _ACTIVATION), real(slots, _P), real(slots, _Q)
    for i in range(high):
        row = results + i * SIDE * V * FLOAT
        if residual == BEFORE:
            _add_residual(slots, row, z + i * integer(slots, _Z_Y) * FLOAT, wide, channels)
        activate_row(row, row, wide * V, code, p, q)
        if residual == AFTER:
            _add_residual(slots, row, z + i * integer(slots, _Z_Y) * FLOAT, wide, channels)
        for j in range(wide):
            at = y + (i * integer(slots, _Y_Y) + j * integer(slots, _Y_X)) * FLOAT
            put(row + j * V * FLOAT, at, integer(slots, _Y_C), channels)


@always_inlined
def _add_residual(slots: int, row: int, z: int, wide: int, channels: int) -> None:
    for j in range(wide):
        add(row + j * V * FLOAT, z + j * integer(slots, _Z_X) * FLOAT, channels)


@kernel("ACTIVATION", "RESIDUAL")
def fft_output(slots: int, i: int, j: int, k: int) -> None:
    half_way, results = memory(_TILE), memory(_RESULTS)
    apart, channel = integer(slots, _APART), i * V
    out_y, out_x = integer(slots, _OUT_Y), integer(slots, _OUT_X)
    tile = integer(slots, _FIRST) + j
    line, c = tile // integer(slots, _TILE_COLUMNS), tile % integer(slots, _TILE_COLUMNS)
    n, r = line // integer(slots, _TILE_ROWS), line % integer(slots, _TILE_ROWS)
    source = integer(slots, _PRODUCTS) + (j * POINTS * apart + channel) * FLOAT
    for half in range(0, V, LANES):
        for row in range(_HALF + 1):
            at = source + (_first_point(row) * apart + half) * FLOAT
            if row == 0 or row == _HALF:
                _real_row_back(at, apart, half_way + row * _ROW * FLOAT)
            else:
                _row_back(at, apart, half_way + row * _ROW * FLOAT)
        bias = integer(slots, _B) + (channel + half) * FLOAT
        for column in range(out_x):
            _column_back(half_way + column * LANES * FLOAT, bias, results + (column * V + half) * FLOAT)
    row, column = r * out_y, c * out_x
    to = n * integer(slots, _Y_N) + row * integer(slots, _Y_Y) + column * integer(slots, _Y_X)
    y = integer(slots, _Y) + (integer(slots, _Y_OFFSET) + to + channel * integer(slots, _Y_C)) * FLOAT
    z = 0
    if integer(slots, _RESIDUAL) != 0:
        added = n * integer(slots, _Z_N) + row * integer(slots, _Z_Y) + column * integer(slots, _Z_X)
        z = integer(slots, _Z) + (integer(slots, _Z_OFFSET) + added + channel) * FLOAT
    high, wide = min(out_y, integer(slots, _ROWS) - row), min(out_x, integer(slots, _COLUMNS) - column)
    _finish(slots, results, y, z, high, wide, integer(slots, _CHANNELS) - channel)
