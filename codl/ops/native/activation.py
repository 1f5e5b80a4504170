"""Element-wise tails (`cl/activation.cl`, which says what the parameters p and q are), by their run-time code."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from codl.ops.activation import CODES
from codl.ops.native.abi import (
    LANES,
    f32,
    f32_store,
    inlined,
    splat,
    vfma,
    vload,
    vscale,
    vselect,
    vsqrt,
    vstore,
)
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
"""The last code of those that `activate` and `vstraight` have in line."""

_ZERO, _HALF, _ONE = np.float32(0.0), np.float32(0.5), np.float32(1.0)
_SIXTH, _ROOT_OF_HALF = np.float32(1.0 / 6.0), np.float32(0.70710678)
_GELU_SLOPE, _GELU_CUBE = np.float32(-1.5957691), np.float32(0.044715)

_LOWEST, _HIGHEST = np.float32(-87.0), np.float32(89.0)
_LOG2_E, _ROUND = np.float32(1.44269504), np.float32(12582912.0)  # 1.5 * 2^23
_LN2_HIGH, _LN2_LOW = np.float32(-0.693359375), np.float32(2.12194440e-4)
# Polynomials of Cephes (Moshier, 1992), the highest power first.
_EXP_TERMS = tuple(
    np.float32(x)
    for x in (1.9875691500e-4, 1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1, 5.0000001201e-1)
)
_TANH_TERMS = tuple(
    np.float32(x) for x in (-5.70498872745e-3, 2.06390887954e-2, -5.37397155531e-2, 1.33314422036e-1, -3.33332819422e-1)
)
_TANH_NEAR = np.float32(0.625)
_ERF_TERMS = tuple(
    np.float32(x)
    for x in (
        7.853861353153693e-5, -8.010193625184903e-4, 5.188327685732524e-3, -2.685381193529856e-2,
        1.128358514861418e-1, -3.761262582423300e-1, 1.128379165726710,
    )
)  # fmt: skip
# erfc(x) e^(x^2) of t = 1 / (1 + _ERF_T x): 7.1.26 of Abramowitz and Stegun, error 1.5e-7.
_ERF_T = np.float32(0.3275911)
_ERFC_TERMS = tuple(np.float32(x) for x in (1.061405429, -1.453152027, 1.421413741, -0.284496736, 0.254829592))
_ATANH_TERMS = tuple(np.float32(1 / n) for n in (13, 11, 9, 7, 5, 3))  # atanh(s) / s - 1, in powers of s^2
_TWO, _MISH_SURE = np.float32(2.0), np.float32(20.0)  # tanh(softplus(20)) is 1


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
def vstraight(v: Any, code: int, p: Any, q: Any) -> Any:
    """The tail of a vector for codes up to `STRAIGHT`; others leave v as it is, for `activate_row`."""
    if code == _RELU:
        return _vrelu(v, p, q)
    if code == _LEAKY_RELU:
        return _vleaky_relu(v, p, q)
    if code == _CLIP:
        return _vclip(v, p, q)
    return v


@always_inlined
def vexp(v: Any) -> Any:
    """exp(v) for sums 1 + exp(v), as `exp_of` of `cl/activation.cl`: 2^n e^r, with a polynomial for e^r."""
    shifted, less_one = _power(v)
    return vscale(less_one + splat(_ONE), shifted)


@always_inlined
def _power(v: Any) -> Any:
    """n, as `vscale` takes it, and e^r - 1, where v is n log(2) + r."""
    raised = vselect(v, splat(_LOWEST), splat(_LOWEST), v)
    x = vselect(splat(_HIGHEST), raised, splat(_HIGHEST), raised)
    shifted = vfma(x, splat(_LOG2_E), splat(_ROUND))
    n = shifted - splat(_ROUND)
    r = vfma(n, splat(_LN2_LOW), vfma(n, splat(_LN2_HIGH), x))
    return shifted, vfma(_polynomial(_EXP_TERMS, r), r * r, r)


@always_inlined
def _polynomial(terms: Any, x: Any) -> Any:
    value = splat(terms[0])
    for n in range(1, len(terms)):
        value = vfma(value, x, splat(terms[n]))
    return value


@always_inlined
def _vwithin(v: Any, low: Any, high: Any) -> Any:
    raised = vselect(v, low, low, v)
    return vselect(high, raised, high, raised)


@always_inlined
def _vbelow(v: Any, otherwise: Any) -> Any:
    """`otherwise` where v < 0, else v."""
    return vselect(v, splat(_ZERO), otherwise, v)


# Tails as functions of a vector, p and q.


@always_inlined
def _vsame(v: Any, p: Any, q: Any) -> Any:
    return v


@always_inlined
def _vrelu(v: Any, p: Any, q: Any) -> Any:
    return _vbelow(v, splat(_ZERO))


@always_inlined
def _vleaky_relu(v: Any, p: Any, q: Any) -> Any:
    return _vbelow(v, splat(p) * v)


@always_inlined
def _vclip(v: Any, p: Any, q: Any) -> Any:
    return _vwithin(v, splat(p), splat(q))


@always_inlined
def _vsigmoid(v: Any, p: Any, q: Any) -> Any:
    return splat(_ONE) / (splat(_ONE) + vexp(splat(_ZERO) - v))


@always_inlined
def _vtanh(v: Any, p: Any, q: Any) -> Any:
    squared = v * v
    near = vfma(_polynomial(_TANH_TERMS, squared) * squared, v, v)
    far = splat(_ONE) - splat(_TWO) / (vexp(v + v) + splat(_ONE))
    return vselect(_vbelow(v, splat(_ZERO) - v), splat(_TANH_NEAR), near, far)


@always_inlined
def _vhard_swish(v: Any, p: Any, q: Any) -> Any:
    return v * _vwithin(vfma(v, splat(_SIXTH), splat(_HALF)), splat(_ZERO), splat(_ONE))


@always_inlined
def _vhard_sigmoid(v: Any, p: Any, q: Any) -> Any:
    return _vwithin(vfma(v, splat(p), splat(q)), splat(_ZERO), splat(_ONE))


@always_inlined
def _vsilu(v: Any, p: Any, q: Any) -> Any:
    return v / (splat(_ONE) + vexp(splat(-p) * v))


@always_inlined
def _vgelu(v: Any, p: Any, q: Any) -> Any:
    return splat(_HALF) * v * (splat(_ONE) + _verf(v * splat(_ROOT_OF_HALF), p, q))


@always_inlined
def _verf(v: Any, p: Any, q: Any) -> Any:
    size, squared = _vbelow(v, splat(_ZERO) - v), v * v
    near = v * _polynomial(_ERF_TERMS, squared)
    t = splat(_ONE) / vfma(size, splat(_ERF_T), splat(_ONE))
    far = splat(_ONE) - _polynomial(_ERFC_TERMS, t) * t * vexp(splat(_ZERO) - squared)
    return vselect(size, splat(_ONE), near, vselect(v, splat(_ZERO), splat(_ZERO) - far, far))


@always_inlined
def _vgelu_tanh(v: Any, p: Any, q: Any) -> Any:
    return v / (splat(_ONE) + vexp(splat(_GELU_SLOPE) * vfma(splat(_GELU_CUBE) * v * v, v, v)))


@always_inlined
def _velu(v: Any, p: Any, q: Any) -> Any:
    shifted, less_one = _power(v)
    expm1 = vscale(less_one, shifted) + (vscale(splat(_ONE), shifted) - splat(_ONE))  # exact near 0, too
    return _vbelow(v, splat(p) * expm1)


@always_inlined
def _vselu(v: Any, p: Any, q: Any) -> Any:
    return splat(q) * _velu(v, p, q)


@always_inlined
def _vsoftplus(v: Any, p: Any, q: Any) -> Any:
    power = vexp(vselect(v, splat(_ZERO), v, splat(_ZERO) - v))
    s = power / (power + splat(_TWO))  # log(1 + x) = 2 atanh(x / (x + 2))
    squared, twice = s * s, s + s
    return _vbelow(v, splat(_ZERO)) + vfma(_polynomial(_ATANH_TERMS, squared) * squared, twice, twice)


@always_inlined
def _vmish(v: Any, p: Any, q: Any) -> Any:
    power = vexp(vselect(splat(_MISH_SURE), v, splat(_MISH_SURE), v))
    power = vselect(v, splat(_LOWEST), splat(_ZERO), power)
    grown = power * (power + splat(_TWO))  # tanh(log(1 + x)) = x (x + 2) / (x (x + 2) + 2)
    return v * (grown / (grown + splat(_TWO)))


@always_inlined
def _vroot(v: Any, p: Any, q: Any) -> Any:
    return vsqrt(v)


@always_inlined
def _vexp_all(v: Any, p: Any, q: Any) -> Any:
    """Over the whole range of floats."""
    root = vexp(splat(_HALF) * v)
    return root * root


# -- rows --------------------------------------------------------------------------------------------------------------


@called
def activate_row(x: int, y: int, n: int, code: int, p: Any, q: Any) -> None:
    """The tail `code` of n floats, from address x to address y, which may be x; n is at least LANES.

    A loop for each kind keeps its constants in registers: twice as fast as a choice for every vector.
    """
    out_of_line()
    if code == _NONE:
        _each(_vsame, x, y, n, p, q)
    elif code == _RELU:
        _each(_vrelu, x, y, n, p, q)
    elif code == _LEAKY_RELU:
        _each(_vleaky_relu, x, y, n, p, q)
    elif code == _CLIP:
        _each(_vclip, x, y, n, p, q)
    elif code == _SIGMOID:
        _each(_vsigmoid, x, y, n, p, q)
    elif code == _TANH:
        _each(_vtanh, x, y, n, p, q)
    elif code == _HARD_SWISH:
        _each(_vhard_swish, x, y, n, p, q)
    elif code == _HARD_SIGMOID:
        _each(_vhard_sigmoid, x, y, n, p, q)
    elif code == _SILU:
        _each(_vsilu, x, y, n, p, q)
    elif code == _GELU:
        _each(_vgelu, x, y, n, p, q)
    elif code == _GELU_TANH:
        _each(_vgelu_tanh, x, y, n, p, q)
    elif code == _ELU:
        _each(_velu, x, y, n, p, q)
    elif code == _SELU:
        _each(_vselu, x, y, n, p, q)
    elif code == _SOFTPLUS:
        _each(_vsoftplus, x, y, n, p, q)
    elif code == _MISH:
        _each(_vmish, x, y, n, p, q)
    elif code == _EXP:
        _each(_vexp_all, x, y, n, p, q)
    elif code == _ERF:
        _each(_verf, x, y, n, p, q)
    elif code == _SQRT:
        _each(_vroot, x, y, n, p, q)
    else:
        for at in range(n):
            f32_store(y, at, _function(f32(x, at), code))


@always_inlined
def _each(tail: Any, x: int, y: int, n: int, p: Any, q: Any) -> None:
    last = tail(vload(x, n - LANES), p, q)  # this one overlaps another, which may be written where it is read
    for at in range(0, n - LANES, LANES):
        vstore(y, at, tail(vload(x, at), p, q))
    vstore(y, n - LANES, last)
