"""The rules of the lanes as data in, decisions out: which tasks may start once another has ended.

No clock and no event queue: the simulator asks after every end, and a test can ask without either. The rules are those
of `codl.tasks`: a lane executes its tasks in order, one at a time, and a task waits for all of its dependencies.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from codl.errors import PlanError
from codl.tasks import COMMANDS, HOST_LANE, Task, TaskGraph, TaskKind


@dataclass(frozen=True, slots=True)
class Order:
    """Who waits for whom, by index into `TaskGraph.tasks`.

    Args:
        waits: how many ends each task waits for (dependencies, the lane's previous task, and before a SYNC the handing
            over of the command that it belongs to; each once).
        followers: the tasks that wait for each task, in enqueue order.
        dependencies: the tasks that each task depends on, without the lane's previous one.
        previous: the lane's previous task, or -1.
    """

    waits: tuple[int, ...]
    followers: tuple[tuple[int, ...], ...]
    dependencies: tuple[tuple[int, ...], ...]
    previous: tuple[int, ...]

    @staticmethod
    def of(tasks: TaskGraph) -> Order:
        """The order of a task graph.

        Raises:
            PlanError: a task depends on one that does not come before it, so that a lane would wait for ever.
        """
        index: dict[str, int] = {}
        last: dict[str, int] = {}
        waits: list[int] = []
        followers: list[list[int]] = []
        dependencies: list[tuple[int, ...]] = []
        previous: list[int] = []
        for position, task in enumerate(tasks.tasks):
            try:
                deps = tuple(index[dep] for dep in task.deps)
            except KeyError as error:
                missing = error.args[0]
                raise PlanError(f"task {task.id}: depends on {missing!r}, which does not come before it") from None
            before = last.get(task.lane, -1)
            sources = {*deps, before} - {-1}
            for source in sources:
                followers[source].append(position)
            index[task.id] = position
            last[task.lane] = position
            waits.append(len(sources))
            followers.append([])
            dependencies.append(deps)
            previous.append(before)
        for sync, enqueue in _handing_over(tasks.tasks):
            position, source = index[sync], index[enqueue]
            followers[source].append(position)
            waits[position] += 1
        for group in followers:
            group.sort()
        return Order(tuple(waits), tuple(map(tuple, followers)), tuple(dependencies), tuple(previous))


def _handing_over(tasks: Sequence[Task]) -> Iterator[tuple[str, str]]:
    """(SYNC, ENQUEUE of the lane's next command) of every SYNC on a device's lane that has one.

    Not of one that the host may wait for, on the way to that command: neither would ever go on.
    """
    pending: dict[str, list[str]] = {}
    enqueues: set[str] = set()
    for task in tasks:
        if task.lane == HOST_LANE:
            if task.deps:
                pending.clear()
            if task.kind is TaskKind.ENQUEUE:
                enqueues.add(task.id)
        elif task.kind is TaskKind.SYNC:
            pending.setdefault(task.lane, []).append(task.id)
        elif task.kind in COMMANDS:
            syncs = pending.pop(task.lane, [])
            handed = next((dep for dep in task.deps if dep in enqueues), "")
            yield from ((sync, handed) for sync in syncs if handed)


class Lanes:
    """The state of one run: `start` gives the first tasks, `end` those that an end sets free."""

    __slots__ = ("_followers", "_waits", "left")

    def __init__(self, order: Order) -> None:
        self._waits = list(order.waits)
        self._followers = order.followers
        self.left = len(self._waits)
        """Tasks that have not ended."""

    def start(self) -> list[int]:
        """The tasks that wait for nothing, in enqueue order."""
        return [task for task, waits in enumerate(self._waits) if waits == 0]

    def end(self, task: int) -> list[int]:
        """The tasks that may start now that `task` has ended, in enqueue order."""
        self.left -= 1
        waits = self._waits
        free = []
        for follower in self._followers[task]:
            waits[follower] -= 1
            if not waits[follower]:
                free.append(follower)
        return free
