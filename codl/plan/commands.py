"""Tasks as they are handed over, lane by lane, and which waits the order of the others makes needless.

Every task carries a vector clock: how many tasks of each lane are done before it. A wait for a task that the waiting
lane's clock already counts is implied by an earlier one (Mattern, Virtual time and global states of distributed
systems, 1989).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from codl.tasks import HOST_LANE, Task, TaskKind


class Commands:
    """The tasks of a task graph in the order in which the host hands them over.

    Attributes:
        tasks: so far.
        syncs: by SYNC, the tasks that it waits for.
        last: by lane, its latest command.
    """

    def __init__(self, processors: Iterable[str]) -> None:
        self.tasks: list[Task] = []
        self.syncs: dict[str, tuple[str, ...]] = {}
        self.last: dict[str, str] = {}
        self._awaited: dict[str, str] = {}
        self._clock: dict[str, dict[str, int]] = {lane: {} for lane in (HOST_LANE, *processors)}
        self._stamp: dict[str, dict[str, int]] = {}

    def _emit(self, task: Task) -> str:
        """Append a task; its id."""
        clock = self._clock[task.lane]
        for dep in task.deps:
            for lane, count in self._stamp[dep].items():
                clock[lane] = max(clock.get(lane, 0), count)
        clock[task.lane] = clock.get(task.lane, 0) + 1
        self._stamp[task.id] = dict(clock)
        self.tasks.append(task)
        return task.id

    def add(self, kind: TaskKind, chain: str, label: str, op: str, lane: str, **fields: object) -> str:
        """A command and, before it, the host time to enqueue it. `label` (the operator, the tensor moved, or the phase
        of sharing) makes their ids unique in the chain."""
        suffix = "" if kind is TaskKind.KERNEL else f"/{kind.value}"
        if lane in self._awaited:
            self.host_sync(chain, self._awaited[lane])
        enqueue = Task(f"{chain}/{label}{suffix}/enqueue@{lane}", TaskKind.ENQUEUE, HOST_LANE, op, chain, source=lane)
        self._emit(enqueue)
        task_id = f"{chain}/{label}/{kind.value}@{lane}"
        # fields of Task, by name
        self.last[lane] = self._emit(Task(task_id, kind, lane, op, chain, (enqueue.id,), **fields))  # type: ignore[arg-type]
        return task_id

    def unordered(self, lane: str, writers: Iterable[str]) -> tuple[str, ...]:
        """The writers on other lanes that nothing orders before this lane's next task; the latest of each lane."""
        latest: dict[str, tuple[int, str]] = {}
        for writer in writers:
            source = writer.rpartition("@")[2]
            count = self._stamp[writer][source]
            if source != lane and self._clock[lane].get(source, 0) < count:
                latest[source] = max(latest.get(source, (0, "")), (count, writer))
        return tuple(writer for _, writer in latest.values())

    def sync(
        self, chain: str, phase: str, lane: str, writers: Collection[str], why: str, implied: bool = False
    ) -> None:  # fmt: skip
        """A SYNC on a lane for those of the writers that nothing orders before it; none if there are none, unless it is
        wanted even where it is implied."""
        deps = self.unordered(lane, writers) or (tuple(dict.fromkeys(writers)) if implied else ())
        if deps:
            source = deps[0].rpartition("@")[2]
            task = Task(f"{chain}/{phase}@{lane}", TaskKind.SYNC, lane, "", chain, deps, source=source, why=why)
            self.syncs[self._emit(task)] = deps

    def host_sync(self, chain: str, copy: str) -> None:
        """Let the host wait for a copy between memories, whose queues cannot wait for each other."""
        self._awaited = {lane: task for lane, task in self._awaited.items() if task != copy}
        task, _, lane = copy.removeprefix(f"{chain}/").rpartition("@")
        self.sync(chain, f"{task}-to-{lane}", HOST_LANE, [copy], "queues of two memories cannot wait for each other")

    def host_sync_later(self, copy: str) -> None:
        """The same before the next command on the copy's lane."""
        self._awaited[copy.rpartition("@")[2]] = copy
