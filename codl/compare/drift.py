"""Drift: which constants of a hardware description a measurement contradicts.

A constant has moved if the tasks that it predicts take longer (or shorter) than predicted by more than a bound, all of
them together and most of them one by one: a single operator that is off shows a formula's limit, not a machine that
changed.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from dataclasses import dataclass

from codl.compare.comparison import Comparison
from codl.compare.errors import TaskError

BOUND = 0.15
"""Of a constant: further off than this, in the median of its tasks, it has moved."""
_MOST = 0.75
"""Share of a constant's tasks that must be off in the same direction."""
_NOTABLE = 0.01
"""Of the makespans' sum: constants whose difference is smaller are not worth a word."""


@dataclass(frozen=True, slots=True)
class Moved:
    """Constants (a dotted path as in hardware files) that no longer hold, and over how many tasks that shows."""

    constants: str
    factor: float
    """Measured over predicted time: 1.2 means that the constant should be 1.2 times what the file says."""
    tasks: int

    def __str__(self) -> str:
        return f"{self.constants} x {self.factor:.2f} ({self.tasks} tasks)"


def moved_constants(comparisons: Iterable[Comparison], bound: float = BOUND) -> tuple[Moved, ...]:
    """The constants that moved, the most expensive difference first."""
    groups: dict[str, list[TaskError]] = {}
    makespan = 0
    for comparison in comparisons:
        makespan += comparison.measured_ns
        for task in comparison.tasks:
            if task.simulated_ns and task.measured_ns:
                groups.setdefault(task.term, []).append(task)
    found: list[tuple[int, Moved]] = []
    for constants, tasks in groups.items():
        ratios = [task.measured_ns / task.simulated_ns for task in tasks]
        factor = statistics.median(ratios)
        difference = abs(sum(task.difference_ns for task in tasks))
        agreeing = sum((ratio > 1) == (factor > 1) for ratio in ratios) / len(ratios)
        if abs(factor - 1) > bound and agreeing >= _MOST and difference > _NOTABLE * makespan:
            found.append((difference, Moved(constants, factor, len(tasks))))
    return tuple(moved for _, moved in sorted(found, key=lambda pair: -pair[0]))
