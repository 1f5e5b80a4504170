"""Two operands into one (`cl/combine.cl`): a function of two vectors for each kind, and one for floats of any kind."""

from __future__ import annotations

from typing import Any

import numpy as np

from codl.ops.native.abi import inlined, splat, vmax, vselect
from codl.ops.native.calls import always_inlined
from codl.ops.strided import BINARY_CODES

ADD, SUB, MUL, DIV, PRELU, POW, MAX, MIN = (
    BINARY_CODES[kind] for kind in ("add", "sub", "mul", "div", "prelu", "pow", "max", "min")
)
_ZERO = np.float32(0.0)


@inlined
def combine(x: Any, y: Any, kind: int) -> Any:
    """The kind (of `BINARY_CODES`, not 0) of two float32."""
    if kind == ADD:
        return x + y
    if kind == SUB:
        return x - y
    if kind == MUL:
        return x * y
    if kind == DIV:
        return x / y
    if kind == PRELU:
        return x * y if x < _ZERO else x
    if kind == POW:
        return x**y
    if kind == MAX:
        return x if x > y or x != x else y
    return x if x < y or x != x else y


@always_inlined
def vadd(x: Any, y: Any) -> Any:
    return x + y


@always_inlined
def vsub(x: Any, y: Any) -> Any:
    return x - y


@always_inlined
def vmul(x: Any, y: Any) -> Any:
    return x * y


@always_inlined
def vdiv(x: Any, y: Any) -> Any:
    return x / y


@always_inlined
def vprelu(x: Any, y: Any) -> Any:
    return vselect(x, splat(_ZERO), x * y, x)


@always_inlined
def vlarger(x: Any, y: Any) -> Any:
    return vmax(x, y)


@always_inlined
def vsmaller(x: Any, y: Any) -> Any:
    return splat(_ZERO) - vmax(splat(_ZERO) - x, splat(_ZERO) - y)
