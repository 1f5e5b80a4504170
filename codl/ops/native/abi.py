"""How native kernels are written: numba functions over raw addresses and LLVM vectors, and how they are called.

A native kernel is the twin of one OpenCL kernel (`codl/ops/cl/*.cl`, CPU style): it computes one work-item of the same
`Launch`, from the same buffers, packed weights and numbers. It takes the address of its *slots*, 64 bits each, and the
work-item's three indices:

    @kernel("PIXELS", "ACTIVATION")                     # these defines of the launch come first in the slots,
    def conv_tile(slots, i, j, k):                      # then its arguments in their order
        pixels, x = integer(slots, 0), integer(slots, 2)    # an int, or the address of a buffer
        p = real(slots, 9)                                  # a float

Addresses are plain integers; `f32(x, n)` reads the n-th float from address x, `vload(x, n)` a vector of `LANES` floats
that begins there, at any alignment. Values of the type `vector` are LLVM vectors: numba keeps them in registers.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import llvmlite.binding as llvm
import numba
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.datamodel.models import PrimitiveModel
from numba.extending import intrinsic, lower_builtin, register_model, type_callable

from codl.ops.native import cache  # noqa: F401  # says where compiled code is kept, before anything is compiled


def _lanes() -> int:
    """Floats in a register of this machine."""
    features = llvm.get_host_cpu_features()
    return 16 if features.get("avx512f") else 8 if features.get("avx") else 4


LANES = _lanes()
_FLOAT, _INT, _LONG = ir.FloatType(), ir.IntType(32), ir.IntType(64)
_VECTOR, _INTS = ir.VectorType(_FLOAT, LANES), ir.VectorType(_INT, LANES)
_OPTIONS: dict[str, Any] = {"cache": True, "error_model": "numpy", "fastmath": {"contract"}}


@dataclass(frozen=True)
class Kernel:
    """A compiled kernel.

    Args:
        address: of a C function `void (int64 slots, int64 i, int64 j, int64 k)`.
        defines: names of the launch's defines that its slots begin with; those that a launch lacks are 0.
    """

    address: int
    defines: tuple[str, ...]
    _held: Any  # keeps the code alive


def kernel(*defines: str) -> Callable[[Callable[[int, int, int, int], None]], Kernel]:
    """Compile a function of (slots, i, j, k), once a machine: numba keeps the code in its cache."""

    def compiled(function: Callable[[int, int, int, int], None]) -> Kernel:
        found = numba.cfunc(types.void(types.int64, types.int64, types.int64, types.int64), nopython=True, **_OPTIONS)(
            function
        )
        return Kernel(found.address, defines, found)

    return compiled


def inlined(function: Callable[..., Any]) -> Any:
    """A function for use within kernels. LLVM inlines small ones by itself."""
    return numba.njit(**_OPTIONS)(function)


# -- addresses ---------------------------------------------------------------------------------------------------------


def _element(builder: ir.IRBuilder, address: ir.Value, index: ir.Value, kind: ir.Type) -> ir.Value:
    return builder.gep(builder.inttoptr(address, kind.as_pointer()), [index])


def _aligned(instruction: Any, align: int) -> Any:
    instruction.align = align
    return instruction


def _reader(kind: ir.Type, result: types.Type, convert: Callable[[ir.IRBuilder, ir.Value], ir.Value] | None) -> Any:
    """An intrinsic that reads element `index` from `address`."""

    @intrinsic
    def read(typingctx: Any, address: Any, index: Any) -> Any:
        def generate(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
            value = builder.load(_element(builder, args[0], args[1], kind))
            return convert(builder, value) if convert else value

        return result(types.int64, types.int64), generate

    return read


integer = _reader(_LONG, types.int64, None)
"""integer(slots, n): an int or an address."""
real = _reader(ir.DoubleType(), types.float32, lambda builder, value: builder.fptrunc(value, _FLOAT))
"""real(slots, n): a float argument; slots hold it as a double."""
f32 = _reader(_FLOAT, types.float32, None)
"""f32(address, n): the n-th float."""
i32 = _reader(_INT, types.int64, lambda builder, value: builder.sext(value, _LONG))
"""i32(address, n): the n-th 32-bit integer."""


def _writer(kind: ir.Type, takes: types.Type) -> Any:
    """An intrinsic that writes a value to element `index` from `address`."""

    @intrinsic
    def write(typingctx: Any, address: Any, index: Any, value: Any) -> Any:
        def generate(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
            builder.store(args[2], _element(builder, args[0], args[1], kind))
            return context.get_dummy_value()

        return types.void(types.int64, types.int64, takes), generate

    return write


f32_store = _writer(_FLOAT, types.float32)
"""f32_store(address, n, x): write the n-th float."""
integer_store = _writer(_LONG, types.int64)
"""integer_store(address, n, i): write the n-th 64-bit integer, to be read by `integer`."""


LINE = 16
"""Floats of a cache line."""
_PREFETCH = "llvm.prefetch.p0"


def ask(builder: ir.IRBuilder, where: ir.Value) -> None:
    """Ask for the cache line that holds the float at a pointer, which may lie anywhere."""
    kind = ir.FunctionType(ir.VoidType(), [_FLOAT.as_pointer(), _INT, _INT, _INT])
    function = builder.module.globals.get(_PREFETCH) or ir.Function(builder.module, kind, _PREFETCH)
    read, keep, data = (ir.Constant(_INT, value) for value in (0, 3, 1))
    builder.call(function, [where, read, keep, data])


@intrinsic
def ask_for(typingctx: Any, address: Any) -> Any:
    """ask_for(address): `ask` for the line there."""

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
        ask(builder, builder.inttoptr(args[0], _FLOAT.as_pointer()))
        return context.get_dummy_value()

    return types.void(types.int64), generate


@intrinsic
def memory(typingctx: Any, floats: Any) -> Any:
    """memory(n): the address of n floats on the stack, aligned to 64 bytes; n is a constant. Once a kernel's start."""
    if not isinstance(floats, types.IntegerLiteral):
        return None
    count = floats.literal_value

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
        with builder.goto_entry_block():
            block = _aligned(builder.alloca(ir.ArrayType(_FLOAT, count)), 64)
        return builder.ptrtoint(block, _LONG)

    return types.int64(floats), generate


# -- vectors -----------------------------------------------------------------------------------------------------------


class Vector(types.Type):
    """LANES floats in a register."""

    def __init__(self) -> None:
        super().__init__(name=f"vector{LANES}")


vector = Vector()


@register_model(Vector)
class _VectorModel(PrimitiveModel):
    def __init__(self, manager: Any, kind: Any) -> None:
        super().__init__(manager, kind, _VECTOR)


@intrinsic
def vload(typingctx: Any, address: Any, index: Any) -> Any:
    """vload(address, n): the vector that begins at the n-th float, at any alignment."""

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
        where = builder.bitcast(_element(builder, args[0], args[1], _FLOAT), _VECTOR.as_pointer())
        return _aligned(builder.load(where), 4)

    return vector(types.int64, types.int64), generate


@intrinsic
def vstore(typingctx: Any, address: Any, index: Any, value: Any) -> Any:
    """vstore(address, n, v)."""

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
        where = builder.bitcast(_element(builder, args[0], args[1], _FLOAT), _VECTOR.as_pointer())
        _aligned(builder.store(args[2], where), 4)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, vector), generate


def splatted(builder: ir.IRBuilder, value: ir.Value) -> ir.Value:
    """A vector of one float, in LLVM's terms."""
    nothing = ir.Constant(_VECTOR, ir.Undefined)
    first = builder.insert_element(nothing, value, ir.Constant(_INT, 0))
    return builder.shuffle_vector(first, nothing, ir.Constant(ir.VectorType(_INT, LANES), [0] * LANES))


@intrinsic
def splat(typingctx: Any, value: Any) -> Any:
    """splat(x): the vector of one float."""

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
        return splatted(builder, args[0])

    return vector(types.float32), generate


def fma(builder: ir.IRBuilder, a: ir.Value, b: ir.Value, c: ir.Value) -> ir.Value:
    """a * b + c, in LLVM's terms: rounded once where the processor can."""
    kind = ir.FunctionType(_VECTOR, [_VECTOR] * 3)
    function = cgutils.get_or_insert_function(builder.module, kind, f"llvm.fmuladd.v{LANES}f32")
    return builder.call(function, [a, b, c])


@intrinsic
def vfma(typingctx: Any, a: Any, b: Any, c: Any) -> Any:
    """vfma(a, b, c): a * b + c."""

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
        return fma(builder, *args)

    return vector(vector, vector, vector), generate


@intrinsic
def vselect(typingctx: Any, a: Any, b: Any, below: Any, otherwise: Any) -> Any:
    """vselect(a, b, x, y): x where a < b, else y (where either is NaN, too)."""

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
        return builder.select(builder.fcmp_ordered("<", args[0], args[1]), args[2], args[3])

    return vector(vector, vector, vector, vector), generate


@intrinsic
def vmax(typingctx: Any, a: Any, b: Any) -> Any:
    """vmax(a, b): the larger one; NaN where either is."""

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
        a, b = args
        larger, no_number = builder.fcmp_ordered(">", b, a), builder.fcmp_unordered("uno", b, b)
        return builder.select(builder.or_(larger, no_number), b, a)

    return vector(vector, vector), generate


@intrinsic
def vsqrt(typingctx: Any, value: Any) -> Any:
    """vsqrt(v): the square roots."""

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
        kind = ir.FunctionType(_VECTOR, [_VECTOR])
        function = cgutils.get_or_insert_function(builder.module, kind, f"llvm.sqrt.v{LANES}f32")
        return builder.call(function, [args[0]])

    return vector(vector), generate


@intrinsic
def vscale(typingctx: Any, value: Any, exponents: Any) -> Any:
    """vscale(v, e): v * 2^n, where e is n + 1.5 * 2^23, as rounding by addition leaves it."""

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
        bits = builder.bitcast(args[1], _INTS)
        twenty_three = ir.Constant(_INTS, [23] * LANES)
        one = ir.Constant(_INTS, [127 << 23] * LANES)
        power = builder.bitcast(builder.add(builder.shl(bits, twenty_three), one), _VECTOR)
        return builder.fmul(args[0], power)

    return vector(vector, vector), generate


@intrinsic
def vsum(typingctx: Any, value: Any) -> Any:
    """vsum(v): the sum of its floats, pair by pair."""

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
        value, width = args[0], LANES
        while width > 1:
            width //= 2
            order = [*range(width, 2 * width), *([0] * (LANES - width))]
            moved = builder.shuffle_vector(value, value, ir.Constant(ir.VectorType(_INT, LANES), order))
            value = builder.fadd(value, moved)
        return builder.extract_element(value, ir.Constant(_INT, 0))

    return types.float32(vector), generate


def _arithmetic(operation: Any, name: str) -> None:
    """Make a Python operator work on two vectors."""

    @type_callable(operation)
    def typed(context: Any) -> Any:
        return lambda a, b: vector if a is vector and b is vector else None

    @lower_builtin(operation, Vector, Vector)
    def generate(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
        return getattr(builder, name)(*args, flags=("contract",))


for _operation, _name in (
    (operator.add, "fadd"),
    (operator.iadd, "fadd"),
    (operator.sub, "fsub"),
    (operator.mul, "fmul"),
    (operator.truediv, "fdiv"),
):
    _arithmetic(_operation, _name)
