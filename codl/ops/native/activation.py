"""Element-wise tails (`cl/activation.cl`, which says what the parameters p and q are), by their run-time code."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from codl.ops.activation import CODES
from codl.ops.native.abi import LANES, f32, f32_store, inlined, memory, splat, vfma, vload, vscale, vselect, vstore
from codl.ops.native.calls import always_inlined, called, out_of_line

_NONE, _RELU, _LEAKY_RELU, _CLIP, _SIGMOID, _TANH = (
    CODES[kind] for kind in ("", "relu", "leaky_relu", "clip", "sigmoid", "tanh")
)
_HARD_SWISH, _HARD_SIGMOID, _SILU, _GELU, _GELU_TANH = (
    CODES[kind] for kind in ("hard_swish", "hard_sigmoid", "silu", "gelu", "gelu_tanh")
)
_ELU, _SELU, _SOFTPLUS, _MISH = (CODES[kind] for kind in ("elu", "selu", "softplus", "mish"))
_EXP, _LOG, _SQRT, _SQUARE, _RECIPROCAL, _ABS, _NEG, _ERF, _FLOOR, _CEIL, _SIN = (
    CODES[kind] for kind in ("exp", "log", "sqrt", "square", "reciprocal", "abs", "neg", "erf", "floor", "ceil", "sin")
)
STRAIGHT = _CLIP
"""The last code of those that `activate` and `vactivate` have in line; the others are a call."""

_ZERO, _HALF, _ONE = np.float32(0.0), np.float32(0.5), np.float32(1.0)
_SIXTH, _ROOT_OF_HALF = np.float32(1.0 / 6.0), np.float32(0.70710678)
_GELU_SLOPE, _GELU_CUBE = np.float32(-1.5957691), np.float32(0.044715)

_LOWEST, _HIGHEST = np.float32(-87.0), np.float32(89.0)
_LOG2_E, _ROUND = np.float32(1.44269504), np.float32(12582912.0)  # 1.5 * 2^23
_LN2_HIGH, _LN2_LOW = np.float32(-0.693359375), np.float32(2.12194440e-4)
_E6, _E5, _E4 = np.float32(1.9875691500e-4), np.float32(1.3981999507e-3), np.float32(8.3334519073e-3)
_E3, _E2, _E1 = np.float32(4.1665795894e-2), np.float32(1.6666665459e-1), np.float32(5.0000001201e-1)


# -- one float ---------------------------------------------------------------------------------------------------------


@always_inlined
def activate(x: Any, code: int, p: Any, q: Any) -> Any:
    """The tail `code` (of `CODES`) of a float32."""
    if code == _NONE:
        return x
    if code == _RELU:
        return _ZERO if x < _ZERO else x
    if code == _LEAKY_RELU:
        return p * x if x < _ZERO else x
    if code == _CLIP:
        return _clip(x, p, q)
    return _tail(x, code, p, q)


@called
def _tail(x: Any, code: int, p: Any, q: Any) -> Any:
    out_of_line()
    if code == _SIGMOID:
        return _sigmoid(x)
    if code == _TANH:
        return math.tanh(x)
    if code == _HARD_SWISH:
        return x * _clip(x * _SIXTH + _HALF, _ZERO, _ONE)
    if code == _HARD_SIGMOID:
        return _clip(x * p + q, _ZERO, _ONE)
    if code == _SILU:
        return x * _sigmoid(p * x)
    if code == _GELU:
        return _HALF * x * (_ONE + math.erf(x * _ROOT_OF_HALF))
    if code == _GELU_TANH:
        return x / (_ONE + math.exp(_GELU_SLOPE * (x + _GELU_CUBE * x * x * x)))
    if code == _ELU:
        return p * math.expm1(x) if x < _ZERO else x
    if code == _SELU:
        return q * (p * math.expm1(x) if x < _ZERO else x)
    if code == _SOFTPLUS:
        return _softplus(x)
    if code == _MISH:
        return x * math.tanh(_softplus(x))
    return _function(x, code)


@inlined
def _function(x: Any, code: int) -> Any:
    """The kinds that are operators of their own and no tails."""
    if code == _EXP:
        return math.exp(x)
    if code == _LOG:
        return math.log(x)
    if code == _SQRT:
        return math.sqrt(x)
    if code == _SQUARE:
        return x * x
    if code == _RECIPROCAL:
        return _ONE / x
    if code == _ABS:
        return abs(x)
    if code == _NEG:
        return -x
    if code == _ERF:
        return math.erf(x)
    if code == _FLOOR:
        return np.floor(x)
    if code == _CEIL:
        return np.ceil(x)
    if code == _SIN:
        return math.sin(x)
    return math.cos(x)


@inlined
def _clip(x: Any, low: Any, high: Any) -> Any:
    """By comparisons, which let NaN through. Where low > high the result is high."""
    raised = low if x < low else x
    return high if raised > high else raised


@inlined
def _sigmoid(x: Any) -> Any:
    return _ONE / (_ONE + math.exp(-x))


@inlined
def _softplus(x: Any) -> Any:
    """log(1 + exp(x)) without overflow."""
    return (_ZERO if x < _ZERO else x) + math.log1p(math.exp(-abs(x)))


# -- vectors -----------------------------------------------------------------------------------------------------------


@always_inlined
def vactivate(v: Any, code: int, p: Any, q: Any) -> Any:
    """The tail `code` (of `CODES`) of a vector."""
    return _vtail(v, code, p, q) if code > STRAIGHT else vstraight(v, code, p, q)


@always_inlined
def vstraight(v: Any, code: int, p: Any, q: Any) -> Any:
    """As `vactivate` for codes up to `STRAIGHT`; others leave v as it is, for `activate_row`."""
    if code == _RELU:
        return vselect(v, splat(_ZERO), splat(_ZERO), v)
    if code == _LEAKY_RELU:
        return vselect(v, splat(_ZERO), splat(p) * v, v)
    if code == _CLIP:
        return _vclip(v, splat(p), splat(q))
    return v


@always_inlined
def _vclip(v: Any, low: Any, high: Any) -> Any:
    raised = vselect(v, low, low, v)
    return vselect(high, raised, high, raised)


@called
def _vtail(v: Any, code: int, p: Any, q: Any) -> Any:
    out_of_line()
    if code == _SIGMOID:
        return _vsigmoid(v, p, q)
    if code == _HARD_SWISH:
        return _vhard_swish(v, p, q)
    if code == _HARD_SIGMOID:
        return _vhard_sigmoid(v, p, q)
    if code == _SILU:
        return _vsilu(v, p, q)
    if code == _GELU_TANH:
        return _vgelu_tanh(v, p, q)
    return _one_by_one(v, code, p, q)


@always_inlined
def _vsigmoid(v: Any, p: Any, q: Any) -> Any:
    return splat(_ONE) / (splat(_ONE) + _vexp(splat(_ZERO) - v))


@always_inlined
def _vhard_swish(v: Any, p: Any, q: Any) -> Any:
    return v * _vclip(vfma(v, splat(_SIXTH), splat(_HALF)), splat(_ZERO), splat(_ONE))


@always_inlined
def _vhard_sigmoid(v: Any, p: Any, q: Any) -> Any:
    return _vclip(vfma(v, splat(p), splat(q)), splat(_ZERO), splat(_ONE))


@always_inlined
def _vsilu(v: Any, p: Any, q: Any) -> Any:
    return v / (splat(_ONE) + _vexp(splat(-p) * v))


@always_inlined
def _vgelu_tanh(v: Any, p: Any, q: Any) -> Any:
    return v / (splat(_ONE) + _vexp(splat(_GELU_SLOPE) * vfma(splat(_GELU_CUBE) * v * v, v, v)))


@always_inlined
def _vexp(v: Any) -> Any:
    """exp(v) for sums 1 + exp(v), as `exp_of` of `cl/activation.cl`: 2^n e^r, with a polynomial for e^r."""
    raised = vselect(v, splat(_LOWEST), splat(_LOWEST), v)
    x = vselect(splat(_HIGHEST), raised, splat(_HIGHEST), raised)
    shifted = vfma(x, splat(_LOG2_E), splat(_ROUND))
    n = shifted - splat(_ROUND)
    r = vfma(n, splat(_LN2_LOW), vfma(n, splat(_LN2_HIGH), x))
    s = vfma(splat(_E6), r, splat(_E5))
    s = vfma(s, r, splat(_E4))
    s = vfma(s, r, splat(_E3))
    s = vfma(s, r, splat(_E2))
    s = vfma(s, r, splat(_E1))
    return vscale(vfma(s, r * r, r) + splat(_ONE), shifted)


@inlined
def _one_by_one(v: Any, code: int, p: Any, q: Any) -> Any:
    floats = memory(LANES)
    vstore(floats, 0, v)
    for lane in range(LANES):
        f32_store(floats, lane, activate(f32(floats, lane), code, p, q))
    return vload(floats, 0)


# -- rows --------------------------------------------------------------------------------------------------------------


@called
def activate_row(x: int, y: int, n: int, code: int, p: Any, q: Any) -> None:
    """The tail `code` of n floats, from address x to address y, which may be x; n is at least LANES.

    A loop for each kind keeps its constants in registers: with curves twice as fast as `vactivate` for every vector.
    """
    out_of_line()
    if code == _SIGMOID:
        _each(_vsigmoid, x, y, n, p, q)
    elif code == _HARD_SWISH:
        _each(_vhard_swish, x, y, n, p, q)
    elif code == _HARD_SIGMOID:
        _each(_vhard_sigmoid, x, y, n, p, q)
    elif code == _SILU:
        _each(_vsilu, x, y, n, p, q)
    elif code == _GELU_TANH:
        _each(_vgelu_tanh, x, y, n, p, q)
    elif code <= STRAIGHT:
        last = vstraight(vload(x, n - LANES), code, p, q)
        for at in range(0, n - LANES, LANES):
            vstore(y, at, vstraight(vload(x, at), code, p, q))
        vstore(y, n - LANES, last)
    else:
        for at in range(n):
            f32_store(y, at, _tail(f32(x, at), code, p, q))


@always_inlined
def _each(tail: Any, x: int, y: int, n: int, p: Any, q: Any) -> None:
    last = tail(vload(x, n - LANES), p, q)  # this one overlaps another, which may be written where it is read
    for at in range(0, n - LANES, LANES):
        vstore(y, at, tail(vload(x, at), p, q))
    vstore(y, n - LANES, last)
