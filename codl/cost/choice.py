"""Which kernel a library uses for a piece of work: the declarative conditions of hardware files."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable
from typing import Any

from codl.errors import SchemaError
from codl.hardware import Kernel

_COMPARISON = re.compile(r"(>=|<=|>|<|%)\s*(\d+(?:\.\d+)?)")
_OPERATORS: dict[str, Callable[[Any, Any], bool]] = {
    ">=": operator.ge,
    "<=": operator.le,
    ">": operator.gt,
    "<": operator.lt,
    "%": lambda value, bound: bool(bound and value % bound == 0),
}


DERIVED = frozenset({"out_vectors"})
"""Properties of `codl.ops.spec.Work` that conditions may use besides its fields."""


def matcher(kernel: Kernel, fields: frozenset[str]) -> Callable[[Any], bool]:
    """A test whether the conditions of a kernel hold for a piece of work.

    Args:
        fields: names that conditions may use besides `DERIVED`: the fields of `codl.ops.spec.Work`.

    Raises:
        SchemaError: a condition on an unknown field.
    """
    tests: list[tuple[str, Callable[[Any], bool]]] = []
    for name, condition in kernel.when.items():
        if name not in fields | DERIVED:
            raise SchemaError(
                f"kernel {kernel.name}",
                [(f"when.{name}", f"unknown field; known: {', '.join(sorted(fields | DERIVED))}")],
            )
        tests.append((name, condition_test(condition)))
    return lambda work: all(test(getattr(work, name)) for name, test in tests)


def condition_test(condition: int | str | tuple[int | str, ...]) -> Callable[[Any], bool]:
    """A test of one field. A comparison also takes an array and answers element by element."""
    if isinstance(condition, tuple):
        return lambda value: value in condition
    if isinstance(condition, str):
        match = _COMPARISON.fullmatch(condition.strip())
        if match:
            compare, bound = _OPERATORS[match.group(1)], float(match.group(2))
            return lambda value: compare(value, bound)
    return lambda value: bool(value == condition)
