"""How much of a stranger's file codl takes: every limit by name, its default, and how to change it.

Each can be set in the environment as `CODL_MAX_<NAME>`. A file beyond a limit is refused with a message that names the
limit; nothing is expanded or allocated first.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from codl.errors import InputError


@dataclass(frozen=True, slots=True)
class Limit:
    default: float
    unit: str
    meaning: str


LIMITS = {
    "YAML_MB": Limit(1, "MB", "size of a YAML file (hardware, scenario, sweep)"),
    "TEXT_MB": Limit(64, "MB", "size of a JSON or CSV file (plan, trace, operator list, table)"),
    "NESTING": Limit(64, "levels", "depth of lists and mappings in a YAML or JSON file"),
    "MODEL_MB": Limit(4096, "MB", "size of an ONNX model, its external data included"),
    "OPERATORS": Limit(20_000, "operators", "nodes of a model, or rows of an operator list or table"),
    "TENSOR_ELEMENTS": Limit(2**31, "elements", "size of one tensor of a model"),
    "CONSTANT_ELEMENTS": Limit(2**29, "elements", "constants that a model computes from others, together"),
    "FOLDING_S": Limit(10, "s", "time that a node with loops may take to become a constant"),
    "ARRAYS_MB": Limit(4096, "MB", "size of the arrays in an .npz file, unpacked"),
}


def limit(name: str) -> float:
    """The value of a limit.

    Raises:
        InputError: the environment holds something that is not a positive number.
    """
    variable = f"CODL_MAX_{name}"
    text = os.environ.get(variable)
    if text is None:
        return LIMITS[name].default
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not value > 0:
        raise InputError(f"{variable}={text}: must be a positive number of {LIMITS[name].unit}")
    return value


def beyond(name: str) -> str:
    """The end of a message about a file beyond a limit."""
    return f"the limit is {limit(name):g} {LIMITS[name].unit} (CODL_MAX_{name})"
