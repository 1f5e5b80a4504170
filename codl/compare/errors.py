"""One task, or tasks taken together, in both worlds. Errors are signed: (simulated - measured) / measured."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any


class _Error:
    """A time in both worlds, in nanoseconds."""

    __slots__ = ()
    simulated_ns: int
    measured_ns: int

    @property
    def difference_ns(self) -> int:
        return self.simulated_ns - self.measured_ns

    @property
    def error(self) -> float | None:
        """Relative and signed; None if nothing was measured that it could be relative to."""
        return relative(self.simulated_ns, self.measured_ns)


@dataclass(frozen=True, slots=True)
class TaskError(_Error):
    """One task in both worlds. `term` names the part of the cost model that predicted it."""

    task_id: str
    kind: str
    op: str
    lane: str
    chain: str
    simulated_ns: int
    measured_ns: int
    term: str
    reason: str
    """Why it may be off, in words."""


@dataclass(frozen=True, slots=True)
class GroupError(_Error):
    """Tasks taken together: their times summed in both worlds."""

    name: str
    count: int
    simulated_ns: int
    measured_ns: int

    def within(self, bound: float) -> bool:
        """Whether the sums differ by at most this share of the measured one."""
        return abs(self.difference_ns) <= bound * self.measured_ns

    def row(self) -> dict[str, Any]:
        """Times in ms."""
        return {
            "name": self.name, "tasks": self.count, "simulated_ms": self.simulated_ns / 1e6,
            "measured_ms": self.measured_ns / 1e6, "error": self.error,
        }  # fmt: skip


def grouped(tasks: Iterable[TaskError], key: Callable[[TaskError], str]) -> tuple[GroupError, ...]:
    groups: dict[str, list[TaskError]] = {}
    for task in tasks:
        groups.setdefault(key(task), []).append(task)
    return tuple(
        GroupError(name, len(group), sum(t.simulated_ns for t in group), sum(t.measured_ns for t in group))
        for name, group in groups.items()
    )


def relative(simulated: float, measured: float) -> float | None:
    """The signed error; 0 where both are 0, None where only the measured value is."""
    if measured:
        return (simulated - measured) / measured
    return None if simulated else 0.0
