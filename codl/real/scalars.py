"""The numbers that a kernel takes, as one argument.

PoCL allocates, copies and frees every argument of every launch by itself: with 40 of them a launch costs twice the time
that it costs with 5. So on CPU devices a kernel's `int` and `float` arguments become the members of one structure.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

_KERNEL = re.compile(r"__kernel void (\w+)\(([^()]*?)(\s+[A-Z_]+)?\)(\s*)\{")
"""A kernel with plain arguments, after which a macro may add others."""
_SCALAR = re.compile(r"(int|float) (\w+)")
_FEW = 8
"""A kernel with fewer numbers is left as it is."""
_LEFT = frozenset({"winograd"})
"""So are these: the kernel itself becomes slower (docs/performance.md), and it lasts so long that launches hardly
count."""


@dataclass(frozen=True, slots=True)
class Gathered:
    """Which arguments became members, in the order of the structure, and how many arguments were written out."""

    positions: tuple[int, ...]
    plain: int
    form: np.dtype

    def arguments(self, values: Sequence[Any]) -> list[Any]:
        """What the changed kernel takes, from what the original one takes."""
        structure = np.zeros(1, self.form)
        structure[0] = tuple(values[position] for position in self.positions)
        inside = set(self.positions)
        kept = [value for position, value in enumerate(values[: self.plain]) if position not in inside]
        return [*kept, structure[0], *values[self.plain :]]


@cache
def gathered(text: str) -> tuple[str, Mapping[str, Gathered]]:
    """A program whose kernels take their numbers in one structure, and how, by kernel. Lines keep their numbers."""
    found: dict[str, Gathered] = {}

    def changed(match: re.Match[str]) -> str:
        name, plain, others, space = match.groups()
        declared = [" ".join(each.split()) for each in plain.split(",")]
        scalars = {at: scalar.groups() for at, each in enumerate(declared) if (scalar := _SCALAR.fullmatch(each))}
        if name in _LEFT or len(scalars) < _FEW:
            return match.group()
        form = np.dtype([(member, np.int32 if kind == "int" else np.float32) for kind, member in scalars.values()])
        found[name] = Gathered(tuple(scalars), len(declared), form)
        kept = ", ".join(each for at, each in enumerate(declared) if at not in scalars)
        members = " ".join(f"{kind} {member};" for kind, member in scalars.values())
        copies = " ".join(f"{kind} {member} = numbers.{member};" for kind, member in scalars.values())
        lines = "\n" * plain.count("\n")
        head = f"__kernel void {name}({kept}, const {name}_numbers numbers{lines}{others or ''})"
        return f"typedef struct {{ {members} }} {name}_numbers; {head}{space}{{ {copies}"

    return _KERNEL.sub(changed, text), found
