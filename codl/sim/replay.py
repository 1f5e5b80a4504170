"""Replaying: a simulated timeline with other durations, from the trace alone.

A simulated span holds the ids that its task depends on, and spans stand in enqueue order: that is all the lanes' rules
need. So two trace files are enough to ask what of an error is scheduling.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from math import inf

from codl.errors import InputError
from codl.sim.interpreter import run
from codl.sim.lanes import Order
from codl.sim.machine import Load
from codl.tasks import Task, TaskGraph, TaskKind
from codl.trace import Span, Trace

SEPARATOR = "\n"
"""Between the ids in a span's argument `deps`; no id holds it."""


def replay(trace: Trace, durations: Mapping[str, int]) -> Trace:
    """The timeline of a simulated trace with these durations (nanoseconds by task id), taken as they are: what
    contention cost is part of a measured duration. Tasks that are not named keep theirs. Counters are dropped.

    Raises:
        InputError: the trace is not a simulated one, or a duration is negative or of an unknown task.
    """
    if trace.world != "simulated":
        raise InputError(f"a {trace.world} trace cannot be replayed: only a simulated one says what tasks wait for")
    for task, duration in durations.items():
        if task not in trace.by_id:
            raise InputError(f"durations: the trace has no task {task!r}")
        if duration < 0:
            raise InputError(f"durations: {task!r} takes {duration} ns, which is negative")
    tasks = tuple(_task(trace, span) for span in trace.spans)
    order = Order.of(TaskGraph("", "", "", trace.lanes, {}, tasks, {}, {}))
    alone = [durations.get(span.task_id, span.duration_ns) for span in trace.spans]
    load = Load.fixed([task.lane for task in tasks])
    starts, ends = run(order, load, inf, 1, lambda _: alone).first
    spans = []
    for index, span in enumerate(trace.spans):
        enqueue = [dep for dep in order.dependencies[index] if tasks[dep].kind is TaskKind.ENQUEUE]
        queued = ends[enqueue[0]] if enqueue else starts[index]
        spans.append(replace(span, queued_ns=queued, start_ns=starts[index], end_ns=ends[index]))
    return replace(trace, spans=tuple(spans), counters={})


def _task(trace: Trace, span: Span) -> Task:
    """The task that a span shows, as far as its timeline needs it."""
    text = str(span.args.get("deps", ""))
    deps = tuple(text.split(SEPARATOR)) if text else ()
    kinds = [kind.value for kind in TaskKind]
    if span.kind not in kinds:
        raise InputError(f"trace: span {span.task_id!r} is of kind {span.kind!r}; known: {', '.join(kinds)}")
    for dep in deps:
        if dep not in trace.by_id:
            raise InputError(f"trace: span {span.task_id!r} waits for {dep!r}, which is not in the trace")
    return Task(span.task_id, TaskKind(span.kind), span.lane, deps=deps)
