"""Matrix products of a batch: the twin of `cl/matmul.cl`, which describes layouts and arguments."""

from __future__ import annotations

import numpy as np

from codl.ops.matmul import TILE_ROWS
from codl.ops.native.abi import LANES, f32, f32_store, inlined, integer, kernel, memory, splat, vfma, vload, vstore
from codl.ops.native.lanes import beginning

(
    _OUT, _A, _B, _OUT_AT, _A_AT, _B_AT, _ROWS, _COLUMNS, _DEPTH, _N0, _O_0, _O_1, _A_0, _A_1, _B_0, _B_1,
    _O_ROW, _A_ROW, _A_K, _B_ROW,
) = range(20)  # fmt: skip
"""Slots: the arguments."""

_ZERO = np.float32(0.0)
_WIDTH = 2 * LANES
_SUMS = TILE_ROWS * _WIDTH
"""Floats of a tile's sums, row by row."""


@inlined
def _tile(slots: int, out: int, a: int, b: int, first: int, left: int) -> None:
    """TILE_ROWS rows x 2 vectors of columns; the last tiles overlap those before them."""
    rows, columns, depth = integer(slots, _ROWS), integer(slots, _COLUMNS), integer(slots, _DEPTH)
    a_row, a_k, b_row, o_row = (
        integer(slots, _A_ROW), integer(slots, _A_K), integer(slots, _B_ROW), integer(slots, _O_ROW),
    )  # fmt: skip
    j0, j1 = min(left, columns - LANES), min(left + LANES, columns - LANES)
    sums = memory(_SUMS)
    for n in range(0, _SUMS, LANES):
        vstore(sums, n, splat(_ZERO))
    for k in range(depth):
        b0, b1 = vload(b, k * b_row + j0), vload(b, k * b_row + j1)
        for i in range(TILE_ROWS):
            value, n = splat(f32(a, min(first + i, rows - 1) * a_row + k * a_k)), i * _WIDTH
            vstore(sums, n, vfma(value, b0, vload(sums, n)))
            vstore(sums, n + LANES, vfma(value, b1, vload(sums, n + LANES)))
    for i in range(TILE_ROWS):
        row = min(first + i, rows - 1) * o_row
        vstore(out, row + j0, vload(sums, i * _WIDTH))
        vstore(out, row + j1, vload(sums, i * _WIDTH + LANES))


@inlined
def _numbers(slots: int, out: int, a: int, b: int, first: int) -> None:
    """TILE_ROWS rows of fewer columns than a vector has, one by one."""
    depth, a_row, a_k, b_row = (
        integer(slots, _DEPTH), integer(slots, _A_ROW), integer(slots, _A_K), integer(slots, _B_ROW),
    )  # fmt: skip
    for i in range(first, min(first + TILE_ROWS, integer(slots, _ROWS))):
        for j in range(integer(slots, _COLUMNS)):
            total = _ZERO
            for k in range(depth):
                total += f32(a, i * a_row + k * a_k) * f32(b, k * b_row + j)
            f32_store(out, i * integer(slots, _O_ROW) + j, total)


@kernel()
def matmul(slots: int, i: int, j: int, k: int) -> None:
    z0, z1 = k % integer(slots, _N0), k // integer(slots, _N0)
    out = beginning(slots, _OUT, _OUT_AT, _O_0, z0, z1)
    a, b = beginning(slots, _A, _A_AT, _A_0, z0, z1), beginning(slots, _B, _B_AT, _B_0, z0, z1)
    if integer(slots, _COLUMNS) < LANES:
        _numbers(slots, out, a, b, j * TILE_ROWS)
    else:
        _tile(slots, out, a, b, j * TILE_ROWS, i * _WIDTH)
