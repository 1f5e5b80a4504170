"""Fused activations as kernels see them: one compile-time number, and two run-time parameters.

A kernel that ends in an activation includes `cl/activation.cl`, is compiled with `-DACTIVATION=<code>`, takes two float
arguments, and writes `ACTIVATE(value, first, second)`, for any float vector width.
"""

from __future__ import annotations

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
}
"""`ACTIVATION` in `cl/activation.cl`, by kind; "" is none."""

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
    """The two float arguments: alpha; low and high; alpha and beta; zeros where the kind has none."""
    params = tuple(float(value) for value in activation.params) if activation is not None else ()
    first, second = (*params, 0.0, 0.0)[:2]
    return first, second
