"""Which kernel a library uses for a piece of work: the declarative conditions of hardware files."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable
from dataclasses import fields
from typing import Any

from codl.errors import SchemaError
from codl.hardware import Kernel
from codl.ops.spec import Work

_COMPARISON = re.compile(r"(>=|<=|>|<|%)\s*(\d+(?:\.\d+)?)")
_OPERATORS: dict[str, Callable[[Any, Any], bool]] = {
    ">=": operator.ge,
    "<=": operator.le,
    ">": operator.gt,
    "<": operator.lt,
    "%": lambda value, bound: bool(bound and value % bound == 0),
}

FIELDS = frozenset(field.name for field in fields(Work)) | {"out_vectors"}
"""What of `codl.ops.spec.Work` conditions may use: its fields, and one that is derived from them."""


def matcher(kernel: Kernel) -> Callable[[Any], bool]:
    """A test whether the conditions of a kernel hold for a piece of work.

    Raises:
        SchemaError: a condition on an unknown field.
    """
    tests: list[tuple[str, Callable[[Any], bool]]] = []
    for name, condition in kernel.when.items():
        if name not in FIELDS:
            problem = f"unknown field; known: {', '.join(sorted(FIELDS))}"
            raise SchemaError(f"kernel {kernel.name}", [(f"when.{name}", problem)])
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
