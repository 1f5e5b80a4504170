"""From what a run left behind to spans: the host's time between commands, and commands begun before a call returned."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from codl.real.clock import ClockOffset
from codl.real.steps import Place, Schedule
from codl.real.timeline import Record, spans
from codl.tasks import HOST_LANE, Task, TaskGraph, TaskKind


@dataclass(frozen=True)
class Profile:
    start: int
    end: int


@dataclass(frozen=True)
class Event:
    profile: Profile


def enqueued(*names: str) -> list[Task]:
    tasks: list[Task] = []
    for name in names:
        tasks.append(Task(f"{name}/enqueue@gpu", TaskKind.ENQUEUE, HOST_LANE, source="gpu"))
        tasks.append(Task(f"{name}/kernel@gpu", TaskKind.KERNEL, "gpu", deps=(tasks[-1].id,)))
    return tasks


def test_what_the_host_does_after_a_command_has_begun_delays_the_next_command() -> None:
    """The first kernel has several launches: the device begins with the first while the host hands over the others."""
    tasks = enqueued("a", "b")
    place: Any = Place("queue", "context", "device")  # type: ignore[arg-type]  # names do for what is only compared
    schedule = Schedule()
    for task in tasks[1::2]:
        schedule.command(task, task.deps[0], [(place, lambda waits: (None, None))])
    first, second = Event(Profile(1040, 1200)), Event(Profile(1200, 1250))
    record = Record([(first, first), (second, second)], [(1000, 1100), (1110, 1130)])
    graph = TaskGraph("", "", "", (HOST_LANE, "gpu"), {}, tuple(tasks), {}, {})
    made = spans(graph, schedule, record, {"device": ClockOffset(0, 0)}, 1000)
    found = {span.task_id: (span.start_ns, span.end_ns) for span in made}
    assert found == {
        "a/enqueue@gpu": (0, 40), "a/kernel@gpu": (40, 200), "b/enqueue@gpu": (40, 130), "b/kernel@gpu": (200, 250),
    }  # fmt: skip
