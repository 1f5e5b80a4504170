"""A measured run in a few kilobytes: enough to replay it through the simulator on a machine that lacks the devices."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from codl.compare.comparison import handing_over
from codl.sim import replay
from codl.sim.replay import SEPARATOR
from codl.trace import Span, Trace


def record(simulated: Trace, measured: Trace) -> dict[str, Any]:
    """Both worlds' durations of every task, with what each task waits for. Times in ns.

    Returns:
        `simulated_ns`, `measured_ns`: makespans. `tasks`: in enqueue order, each
        [id, lane, kind, indices of the tasks that it depends on, predicted ns, measured ns].
    """
    index = {span.task_id: position for position, span in enumerate(simulated.spans)}
    occupied = measured.occupied_ns(handing_over(simulated))
    tasks = []
    for span in simulated.spans:
        deps = [index[dep] for dep in str(span.args.get("deps", "")).split(SEPARATOR) if dep]
        tasks.append([span.task_id, span.lane, span.kind, deps, span.duration_ns, occupied[span.task_id]])
    return {"simulated_ns": simulated.makespan_ns, "measured_ns": measured.makespan_ns, "tasks": tasks}


def replayed_ns(recording: Mapping[str, Any], measured: bool) -> int:
    """The makespan that the simulator's rules make of a recording's measured (or predicted) durations."""
    names = [task[0] for task in recording["tasks"]]
    spans = tuple(
        Span(name, lane, kind, "", "", 0, 0, predicted, {"deps": SEPARATOR.join(names[dep] for dep in deps)})
        for name, lane, kind, deps, predicted, _ in recording["tasks"]
    )
    durations = {task[0]: task[5 if measured else 4] for task in recording["tasks"]}
    return replay(Trace("simulated", spans, {}), durations).makespan_ns
