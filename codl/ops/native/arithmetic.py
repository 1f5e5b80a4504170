"""Arithmetic that writes LLVM's code: vectors with Python's operators, for formulas of many vectors."""

from __future__ import annotations

from dataclasses import dataclass

from llvmlite import ir

from codl.ops.native.abi import LANES

_FLAGS = ("contract",)


@dataclass(frozen=True)
class Value:
    """A vector of LLVM."""

    builder: ir.IRBuilder
    value: ir.Value

    def __add__(self, other: Value) -> Value:
        return Value(self.builder, self.builder.fadd(self.value, other.value, flags=_FLAGS))

    def __sub__(self, other: Value) -> Value:
        return Value(self.builder, self.builder.fsub(self.value, other.value, flags=_FLAGS))

    def __neg__(self) -> Value:
        return Value(self.builder, self.builder.fneg(self.value))

    def __rmul__(self, factor: float) -> Value:
        same = ir.Constant(self.value.type, [factor] * LANES)
        return Value(self.builder, self.builder.fmul(same, self.value, flags=_FLAGS))
