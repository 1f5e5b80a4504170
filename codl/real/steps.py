"""What the host does for one inference, decided beforehand: a flat list of steps with every wait resolved.

A step hands one command to a queue, or does something on the host itself. What must be done before it is either
implied (the same in-order queue), in its event wait list (the same context), or waited for by the host (another
context, or a step on the host).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from codl.tasks import Task

if TYPE_CHECKING:
    import pyopencl as cl

    from codl.real.native.queue import NativeQueue

Waits = Sequence[Any] | None
Issue = Callable[[Waits], tuple[Any, Any]]
"""Does a step; returns its first and last event, or (host steps) when it began and ended on the host clock."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a step's command runs: a queue of a context. The host's own place has neither."""

    queue: cl.CommandQueue | NativeQueue | None = None
    context: cl.Context | None = None
    clock: str = ""
    """Id of the device whose clock stamps the events."""


HOST = Place()


@dataclass(slots=True)
class Step:
    """One command, ready.

    Args:
        task: what it does; None for a marker that only ends a lane's last SYNC.
        enqueue: id of the ENQUEUE task, '' if none.
        lane: its lane.
        place: where it runs.
        issue: does it.
        waits: steps whose last events are its wait list.
        host_waits: steps that the host waits for first.
        syncs: SYNC tasks that this step ends, each with the steps that it waits for.
        previous: the lane's step before it, -1 if none.
        begun_by: the step that began this one's task, where two steps share it; -1 where it begins itself.
    """

    task: Task | None
    enqueue: str
    lane: str
    place: Place
    issue: Issue
    waits: tuple[int, ...] = ()
    host_waits: tuple[int, ...] = ()
    syncs: tuple[tuple[Task, tuple[int, ...]], ...] = ()
    previous: int = -1
    begun_by: int = -1
    flush: bool = False


@dataclass(slots=True)
class Schedule:
    """Steps in the order in which the host takes them."""

    steps: list[Step] = field(default_factory=list)
    _last: dict[str, int] = field(default_factory=dict)
    _of_task: dict[str, tuple[int, ...]] = field(default_factory=dict)
    _syncs: dict[str, list[tuple[Task, tuple[int, ...]]]] = field(default_factory=dict)

    def command(self, task: Task, enqueue: str, parts: Sequence[tuple[Place, Issue]]) -> None:
        """Add a command, of one part or two that follow each other, with the waits of the SYNC tasks before it."""
        *first, (place, issue) = parts
        begun_by = -1
        for start, begin in first:
            begun_by = self._append(None, "", task.lane, start, begin, self._steps(task.deps))
        step = self._append(task, enqueue, task.lane, place, issue, () if first else self._steps(task.deps))
        self.steps[step].begun_by = begun_by
        self._of_task[task.id] = (step,)

    def host_wait(self, task: Task, issue: Issue) -> None:
        """Add a SYNC of the host lane."""
        self._of_task[task.id] = (self._append(task, "", task.lane, HOST, issue, self._steps(task.deps)),)

    def sync(self, task: Task, marker: tuple[Place, Issue] | None) -> None:
        """Add a SYNC of another lane: its waits become those of the lane's next command, or of `marker` if the lane
        has no further command."""
        deps = self._steps(task.deps)
        self._syncs.setdefault(task.lane, []).append((task, deps))
        if marker is None:
            self._of_task[task.id] = tuple(dict.fromkeys((*deps, *self._lane_end(task.lane))))
        else:
            self._of_task[task.id] = (self._append(None, "", task.lane, *marker, ()),)

    def close(self) -> None:
        """Decide after which steps a queue is flushed: those that another queue or the host waits for."""
        for index, step in enumerate(self.steps):
            for other in (*step.waits, *step.host_waits):
                self.steps[other].flush = self.steps[other].place.queue is not None
            if index in self._last.values():
                step.flush = step.place.queue is not None

    @property
    def last(self) -> tuple[int, ...]:
        """The last step of each lane, the host's too."""
        return tuple(self._last.values())

    @property
    def ends(self) -> tuple[int, ...]:
        """The last step of each lane that runs on a device: what the host waits for at the end."""
        return tuple(index for index in self._last.values() if self.steps[index].place is not HOST)

    def _append(
        self, task: Task | None, enqueue: str, lane: str, place: Place, issue: Issue, deps: tuple[int, ...]
    ) -> int:
        syncs = tuple(self._syncs.pop(lane, ()))
        previous = self._last.get(lane, -1)
        needed = dict.fromkeys((*deps, *(d for _, waits in syncs for d in waits), *self._lane_end(lane)))
        waits: list[int] = []
        host_waits: list[int] = []
        for index in needed:
            other = self.steps[index].place
            if other is HOST or other.queue is place.queue:
                continue  # done when the host gets here, or earlier in the same in-order queue
            (waits if other.context is place.context else host_waits).append(index)
        if place is HOST:
            host_waits, waits = [*host_waits, *waits], []
        self.steps.append(Step(task, enqueue, lane, place, issue, tuple(waits), tuple(host_waits), syncs, previous))
        self._last[lane] = len(self.steps) - 1
        return len(self.steps) - 1

    def _lane_end(self, lane: str) -> tuple[int, ...]:
        return (self._last[lane],) if lane in self._last else ()

    def _steps(self, tasks: Sequence[str]) -> tuple[int, ...]:
        """The steps that stand for these tasks; an ENQUEUE is done when its command is handed over."""
        return tuple(dict.fromkeys(step for task in tasks for step in self._of_task.get(task, ())))
