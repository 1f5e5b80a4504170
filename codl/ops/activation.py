"""Fused activations as kernels see them: one compile-time number, and two run-time parameters.

A kernel that ends in an activation includes `cl/activation.cl`, is compiled with `-DACTIVATION=<code>`, takes two float
arguments, and writes `ACTIVATE(value, first, second)`, for any float vector width.
"""

from __future__ import annotations

from collections.abc import Mapping

from codl.errors import UnsupportedOperator
from codl.graph import Activation

CODES = {
    "": 0,
    "relu": 1,
    "leaky_relu": 2,
    "clip": 3,
    "sigmoid": 4,
    "tanh": 5,
    "hard_swish": 6,
    "hard_sigmoid": 7,
    "silu": 8,
    "gelu": 9,
    "gelu_tanh": 10,
    "elu": 11,
    "selu": 12,
    "softplus": 13,
    "mish": 14,
    "exp": 15,
    "log": 16,
    "sqrt": 17,
    "square": 18,
    "reciprocal": 19,
    "abs": 20,
    "neg": 21,
    "erf": 22,
    "floor": 23,
    "ceil": 24,
    "sin": 25,
    "cos": 26,
}
"""`ACTIVATION` in `cl/activation.cl`, by kind; "" is none."""

TAILS = frozenset(list(CODES)[1:15])
"""The kinds that networks put after products, `relu` to `mish`: those that kernels of products are built with."""

FLOPS: Mapping[str, float] = {
    "relu": 1, "leaky_relu": 2, "clip": 2, "sigmoid": 12, "tanh": 12, "hard_swish": 5, "hard_sigmoid": 4, "silu": 13,
    "gelu": 24, "gelu_tanh": 18, "elu": 12, "selu": 13, "softplus": 22, "mish": 34, "exp": 10, "log": 10, "sqrt": 4,
    "square": 1, "reciprocal": 2, "abs": 1, "neg": 1, "erf": 20, "floor": 1, "ceil": 1, "sin": 20, "cos": 20,
}  # fmt: skip
"""Floating-point operations per element; an exponential counts as ten."""

Define = tuple[str, int | float | str]


def define(activation: Activation | None) -> Define:
    """The -D that selects an activation.

    Raises:
        UnsupportedOperator: a kind that no kernel knows.
    """
    kind = activation.kind if activation is not None else ""
    if kind not in CODES:
        raise UnsupportedOperator(f"unknown activation {kind!r}; known: {', '.join(sorted(filter(None, CODES)))}")
    return ("ACTIVATION", CODES[kind])


def parameters(activation: Activation | None) -> tuple[float, float]:
    """The two float arguments: alpha; low and high; alpha and beta or gamma; zeros where the kind has none."""
    params = tuple(float(value) for value in activation.params) if activation is not None else ()
    first, second = (*params, 0.0, 0.0)[:2]
    return first, second
