"""From what a run left behind (events, host times) to spans on one time line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from codl.real.clock import ClockOffset
from codl.real.steps import HOST, Schedule, Step
from codl.tasks import HOST_LANE, Task, TaskGraph, TaskKind
from codl.trace import Scalar, Span


@dataclass(slots=True)
class Record:
    """What one run left: by step, its first and last event (or begin and end on the host), and the host clock before
    and after the step was handed over."""

    done: list[tuple[Any, Any]]
    handed: list[tuple[int, int]]


@dataclass(frozen=True, slots=True)
class _Times:
    """One step on the host clock."""

    queued: int
    start: int
    end: int


def end_ns(schedule: Schedule, record: Record, clocks: Mapping[str, ClockOffset]) -> int | None:
    """When the last step ended, on the host clock; None without steps. A lane's last step ends last."""
    ends = [_end(schedule.steps[index], record.done[index], clocks) for index in schedule.last]
    return max(ends, default=None)


def spans(
    tasks: TaskGraph, schedule: Schedule, record: Record, clocks: Mapping[str, ClockOffset], origin: int
) -> tuple[Span, ...]:  # fmt: skip
    """One span for each task, in the order of the task graph; times from `origin` on, a time of the host clock."""
    times = _times(schedule, record, clocks)
    table: dict[str, Span] = {}

    def add(task: Task, queued: int, start: int, end: int, after: str = "") -> None:
        args: dict[str, Scalar] = {}
        if task.kind is TaskKind.KERNEL:
            args |= {"algorithm": task.algorithm, "data_type": task.data_type}
        elif task.why:
            args["why"] = task.why
        if task.nbytes:
            args["bytes"] = task.nbytes
        if after:
            args["after"] = after
        table[task.id] = Span(
            task.id,
            task.lane,
            task.kind.value,
            task.op,
            task.chain,
            queued - origin,
            start - origin,
            end - origin,
            args,
        )

    free: int | None = None
    for index, step in enumerate(schedule.steps):
        _sync_spans(schedule, index, times, add)
        before, after = record.handed[step.begun_by if step.begun_by >= 0 else index]
        if step.host_waits:
            free = None
        if step.task is None:
            continue
        if step.task.kind is TaskKind.SYNC:  # on the host: it ends when the host goes on
            ready = max([times[i].end for i in (*step.host_waits, step.previous) if i >= 0], default=times[index].end)
            start = min(max(ready, _host_free(schedule, index, record)), times[index].end)
            last = _latest(schedule, step.host_waits, times)
            add(step.task, min(start, times[index].queued), start, times[index].end, last)
            free = None
            continue
        if step.enqueue:
            # A step on the host is no command: nothing is handed to a driver. A command that a device began before the
            # driver's calls returned (of several launches, or the host was preempted) did not wait for the rest of
            # them. The host did: what it does between two commands delays the second.
            begin = before if free is None or step.place is HOST else free
            handed = begin if step.place is HOST else min(after, max(before, times[index].start))
            add(tasks.by_id[step.enqueue], begin, begin, handed)
            free = None if step.place is HOST else handed
        add(step.task, times[index].queued, times[index].start, times[index].end)
    return tuple(table[task.id] for task in tasks.tasks)


def _sync_spans(schedule: Schedule, index: int, times: Sequence[_Times], add: Any) -> None:
    """The SYNC tasks that a step ends. They begin when all that they wait for is done and the command has been handed
    over (being late with that is the host's time, not the synchronisation's); the last ends at the command's start."""
    step = schedule.steps[index]
    cursor = times[step.previous].end if step.previous >= 0 else 0
    for position, (task, waits) in enumerate(step.syncs):
        begin = max([cursor, times[index].queued, *(times[i].end for i in waits)])
        cursor = min(begin, times[index].start)
        end = times[index].start if position == len(step.syncs) - 1 else cursor
        add(task, min(times[index].queued, cursor), cursor, end, _latest(schedule, waits, times))


def _host_free(schedule: Schedule, index: int, record: Record) -> int:
    """When the host had handed over the step before."""
    return record.handed[index - 1][1] if index else 0


def _latest(schedule: Schedule, steps: Sequence[int], times: Sequence[_Times]) -> str:
    """Id of the task that ended last."""
    known = [index for index in steps if schedule.steps[index].task is not None]
    if not known:
        return ""
    task = schedule.steps[max(known, key=lambda index: times[index].end)].task
    return task.id if task else ""


def _times(schedule: Schedule, record: Record, clocks: Mapping[str, ClockOffset]) -> list[_Times]:
    """Steps on the host clock. A lane's steps follow each other, and none starts before it was handed over: clocks
    that are known only to some microseconds may seem to say otherwise, and are put right here."""
    times: list[_Times] = []
    for step, done, (before, _) in zip(schedule.steps, record.done, record.handed, strict=True):
        if step.place is HOST:
            start, end = done
        else:
            offset = clocks[step.place.clock].offset_ns
            start, end = done[0].profile.start + offset, done[1].profile.end + offset
        if step.begun_by >= 0:  # the second part of a task: its span covers both
            begun = times[step.begun_by]
            times.append(_Times(begun.queued, begun.start, max(begun.end, end)))
            continue
        floor = max(before, times[step.previous].end if step.previous >= 0 and step.lane != HOST_LANE else before)
        start = max(start, floor)
        times.append(_Times(before, start, max(start, end)))
    return times


def _end(step: Step, done: tuple[Any, Any], clocks: Mapping[str, ClockOffset]) -> int:
    if step.place is HOST:
        return int(done[1])
    return int(done[1].profile.end) + clocks[step.place.clock].offset_ns
