"""The register tile: `pixels` x 2 vectors of sums that a loop over k keeps in registers (`cl/register_tile.cl`).

What macros repeat for every pixel there, Python repeats here while it writes LLVM's code: loops over `pixels` below are
unrolled. Also how single vectors leave a tile, with the residual (`cl/residual.cl`) and the activation.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from codl.ops.activation import CODES
from codl.ops.native.abi import (
    LANES,
    LINE,
    ask,
    f32,
    f32_store,
    fma,
    memory,
    splat,
    splatted,
    vload,
    vstore,
)
from codl.ops.native.calls import always_inlined
from codl.ops.window import FLOAT

V = 2 * LANES
"""Channels of a block."""
PIXELS = 14 if LANES == 16 else 6
"""Pixels of the largest register tile."""
WORD = 8
"""Bytes of an integer."""
ZERO = np.float32(0.0)
LOWEST, HIGHEST = np.float32(-np.inf), np.float32(np.inf)
BEFORE, AFTER = 1, 2
"""RESIDUAL: where it is added, seen from the activation."""
_RELU, _CLIP = CODES["relu"], CODES["clip"]
_FLOAT, _HALF, LONG = ir.FloatType(), ir.HalfType(), ir.IntType(64)
_VECTOR, _HALVES = ir.VectorType(_FLOAT, LANES), ir.VectorType(_HALF, LANES)


# -- LLVM code ---------------------------------------------------------------------------------------------------------


def number(value: int) -> ir.Constant:
    """A 64-bit constant."""
    return ir.Constant(LONG, value)


def element(builder: ir.IRBuilder, address: ir.Value, index: ir.Value, kind: ir.Type = _FLOAT) -> ir.Value:
    """A pointer to the element `index` from `address`."""
    return builder.gep(builder.inttoptr(address, kind.as_pointer()), [index])


def load_vector(builder: ir.IRBuilder, address: ir.Value, index: ir.Value) -> ir.Value:
    """The vector that begins at the float `index` from `address`."""
    return _unaligned(builder.load(_as_vector(builder, element(builder, address, index))), FLOAT)


def store_vector(builder: ir.IRBuilder, value: ir.Value, address: ir.Value, index: ir.Value) -> None:
    """Write a vector there."""
    _unaligned(builder.store(value, _as_vector(builder, element(builder, address, index))), FLOAT)


def clamped(builder: ir.IRBuilder, value: ir.Value, low: ir.Value, high: ir.Value) -> ir.Value:
    """CLIP of `cl/activation.cl`: NaN stays."""
    raised = builder.select(builder.fcmp_ordered("<", value, low), low, value)
    return builder.select(builder.fcmp_ordered(">", raised, high), high, raised)


def dispatched(builder: ir.IRBuilder, which: ir.Value, cases: Iterable[int], generate: Callable[[int], None]) -> None:
    """The code that `generate(case)` writes for the case that `which` is; nothing for others."""
    end = builder.append_basic_block("end")
    switch = builder.switch(which, end)
    for case in cases:
        block = builder.append_basic_block(f"case{case}")
        switch.add_case(number(case), block)
        builder.position_at_end(block)
        generate(case)
        builder.branch(end)
    builder.position_at_end(end)


@dataclass(frozen=True)
class Tile:
    """A register tile.

    Args:
        halves: vectors of a block that are computed; 1 where the upper half lies beyond the last channel.
        weight_bytes: 4, or 2 (float16).
        row: floats from one pixel's inputs to the next, where that is known: it saves registers.
        prefetch: whether weights further on are asked for.
    """

    pixels: int
    halves: int = 2
    weight_bytes: int = 4
    row: int | None = None
    prefetch: bool = False


@dataclass(frozen=True)
class Factors:
    """What is multiplied, in values of LLVM.

    Args:
        inputs: address of the first pixel's inputs.
        apart: floats from one pixel's inputs to the next.
        weights: address of `steps` x V weights.
        steps: length of k.
        soon: address of weights to ask for, and how many floats it moves each step; if the tile prefetches.
    """

    inputs: ir.Value
    apart: ir.Value
    weights: ir.Value
    steps: ir.Value
    soon: ir.Value | None = None
    pace: ir.Value | None = None


def products(builder: ir.IRBuilder, tile: Tile, factors: Factors, sums: list[ir.Value]) -> list[ir.Value]:
    """The `sums`, a list of `halves` vectors a pixel, plus the products of all steps: the loop over k."""
    apart = factors.apart if tile.row is None else number(tile.row)
    rows = [element(builder, factors.inputs, builder.mul(apart, number(i))) for i in range(tile.pixels)]
    before = builder.block
    head, body, end = (builder.append_basic_block(name) for name in ("steps", "step", "done"))
    builder.branch(head)

    builder.position_at_end(head)
    k = builder.phi(LONG)
    k.add_incoming(number(0), before)
    running = [builder.phi(_VECTOR) for _ in sums]
    for phi, start in zip(running, sums, strict=True):
        phi.add_incoming(start, before)
    builder.cbranch(builder.icmp_signed("<", k, factors.steps), body, end)

    builder.position_at_end(body)
    if tile.prefetch:
        prefetch(builder, element(builder, factors.soon, builder.mul(k, factors.pace)))
    weights = [_weights(builder, tile, factors.weights, k, half) for half in range(tile.halves)]
    values = [splatted(builder, builder.load(builder.gep(row, [k]))) for row in rows]
    following = [
        fma(builder, value, weight, running[i * tile.halves + half])
        for i, value in enumerate(values)
        for half, weight in enumerate(weights)
    ]
    k.add_incoming(builder.add(k, number(1)), builder.block)
    for phi, after in zip(running, following, strict=True):
        phi.add_incoming(after, builder.block)
    builder.branch(head)

    builder.position_at_end(end)
    return running


def streamed_products(sizes: Sequence[int]) -> Any:
    """An intrinsic: products of a register tile of one of the `sizes`, whose next weights are asked for."""

    @intrinsic
    def multiply(
        typingctx: Any, size: Any, a: Any, apart: Any, w: Any, steps: Any, start: Any, start_apart: Any, kept: Any,
        kept_apart: Any, soon: Any, pace: Any,
    ) -> Any:  # fmt: skip
        """Products of `size` rows.

        Args:
            a, apart, w, steps, soon, pace: `Factors`.
            start, start_apart: where the sums of the first row begin, and floats from there to the next row's.
            kept, kept_apart: where the sums go, likewise.
        """

        def generate(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
            size, a, apart, w, steps, start, start_apart, kept, kept_apart, soon, pace = args

            def one(rows: int) -> None:
                def vectors(distance: ir.Value) -> list[ir.Value]:
                    begins = [builder.mul(distance, number(i)) for i in range(rows)]
                    return [builder.add(begin, number(half)) for begin in begins for half in range(0, V, LANES)]

                sums = products(
                    builder,
                    Tile(rows, prefetch=True),
                    Factors(a, apart, w, steps, soon, pace),
                    [load_vector(builder, start, at) for at in vectors(start_apart)],
                )
                for at, value in zip(vectors(kept_apart), sums, strict=True):
                    store_vector(builder, value, kept, at)

            dispatched(builder, size, sizes, one)
            return context.get_dummy_value()

        return types.void(*[types.int64] * 11), generate

    return multiply


def _weights(builder: ir.IRBuilder, tile: Tile, address: ir.Value, k: ir.Value, half: int) -> ir.Value:
    """One vector of step k's weights."""
    index = builder.add(builder.mul(k, number(V)), number(half * LANES))
    if tile.weight_bytes == FLOAT:
        return load_vector(builder, address, index)
    where = builder.bitcast(element(builder, address, index, _HALF), _HALVES.as_pointer())
    return builder.fpext(_unaligned(builder.load(where), tile.weight_bytes), _VECTOR)


def prefetch(builder: ir.IRBuilder, where: ir.Value) -> None:
    """Ask for a vector block from `where` on, which may lie anywhere."""
    for line in range(0, V, LINE):
        ask(builder, builder.gep(where, [number(line)]))


def _as_vector(builder: ir.IRBuilder, pointer: ir.Value) -> ir.Value:
    return builder.bitcast(pointer, _VECTOR.as_pointer())


def _unaligned(instruction: Any, align: int) -> Any:
    instruction.align = align
    return instruction


# -- how single vectors come and leave --------------------------------------------------------------------------------


@always_inlined
def channels_at(x: int, n: int, limit: int) -> Any:
    """One vector of channels from address x on, of which `n` are wanted, and what lies before `limit` may be read; the
    others may be anything."""
    if n >= LANES or x + LANES * FLOAT <= limit:
        return vload(x, 0)
    each = memory(LANES)
    vstore(each, 0, splat(ZERO))
    for c in range(n):
        f32_store(each, c, f32(x, c))
    return vload(each, 0)


@always_inlined
def bounds(code: int, p: Any, q: Any) -> Any:
    """(whether the activation `code` only clamps, the lower bound, the upper bound)."""
    if code == _CLIP:
        return True, p, q
    if code == _RELU:
        return True, ZERO, HIGHEST
    return code == 0, LOWEST, HIGHEST


@always_inlined
def add(sums: int, z: int, channels: int) -> None:
    """Add `channels` channels, at most V, from address z on to the sums of a pixel."""
    if channels >= V:
        for half in range(0, V, LANES):
            vstore(sums, half, vload(sums, half) + vload(z, half))
    else:
        for i in range(channels):
            f32_store(sums, i, f32(sums, i) + f32(z, i))


@always_inlined
def put(sums: int, y: int, stride: int, channels: int) -> None:
    """Write `channels` channels, at most V, of a pixel to address y on, `stride` floats apart."""
    if channels >= V and stride == 1:
        for half in range(0, V, LANES):
            vstore(y, half, vload(sums, half))
    else:
        for i in range(min(channels, V)):
            f32_store(y, i * stride, f32(sums, i))
