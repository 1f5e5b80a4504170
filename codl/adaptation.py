"""Plans for other conditions than the nominal ones: made for the machine that clocks and others' load leave.

They are lowered for the machine that there is, so that the simulator and the executor can change between them: at the
ends of chains inside an inference where that costs little, else between inferences.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from codl.hardware import Hardware
from codl.hardware.overrides import changed, clocked
from codl.plan.lower import lower
from codl.plan.segments import Point, lowered, points
from codl.runs import Prepared, Workspace
from codl.sim import simulate
from codl.sim.conditions import State
from codl.tasks import TaskGraph, joined

if TYPE_CHECKING:
    from codl.real.adaptive import AdaptiveExecutor
    from codl.real.devices import Assignment

MINIMUM_BANDWIDTH = 0.1
"""Of the memory's, that a plan counts with however much others take."""
LOADED = 0.5
"""Share of a busy processor that somebody else has: two programs that both want all of it get half each."""
MOST_SEGMENTS = 4
"""Of an inference. More would notice a change of load sooner, and cost a synchronisation each."""
ALLOWED = 0.02
"""Share of a plan's latency that the points between segments may cost."""


def plans_for(
    workspace: Workspace, model: str, planner: str, states: Iterable[State]
) -> tuple[list[Prepared], dict[State, int]]:
    """The nominal plan and every other one that some state asks for, and which of them each state asks for.

    Raises:
        InputError, UncalibratedError: as `Workspace.prepare`.
    """
    nominal = workspace.prepare(model, planner)
    runs = [nominal]
    chosen: dict[State, int] = {}
    for state in states:
        run = nominal if state.nominal else _for_state(workspace, nominal, state, planner)
        found = next((k for k, other in enumerate(runs) if other.plan.chains == run.plan.chains), len(runs))
        chosen[state] = found
        if found == len(runs):
            runs.append(run)
    return runs, chosen


def plans_under_load(workspace: Workspace, model: str, planner: str) -> tuple[list[Prepared], dict[State, int]]:
    """The nominal plan, and those for each processor half taken by somebody else; as `plans_for`."""
    processors = workspace.hardware.processors
    states = [State((), ((name, LOADED),), 0.0) for name in processors] if len(processors) > 1 else []
    return plans_for(workspace, model, planner, states)


def made_for(states: Mapping[State, int], plans: int) -> dict[str, str]:
    """What each of several plans was made for, in words, by the plan's number."""
    names: list[list[str]] = [[] for _ in range(plans)]
    for state, plan in states.items():
        parts = [f"{name} at {clock:g} of its clock" for name, clock in state.clocks if clock != 1]
        parts += [f"{name} {share:.0%} taken" for name, share in state.shares if share]
        parts += [f"{state.bandwidth / 1e9:g} GB/s taken"] if state.bandwidth else []
        if parts:
            names[plan].append(", ".join(parts))
    names[0].insert(0, "idle machine")
    return {str(plan): " or ".join(each) for plan, each in enumerate(names)}


def segmented(runs: Sequence[Prepared], most: int = MOST_SEGMENTS) -> tuple[tuple[TaskGraph, ...], ...]:
    """The task graphs of several plans of one model, by plan and segment.

    The segments take about equally long in the first plan, and there are as many as cost no plan more than `ALLOWED` of
    its latency, as simulated on the idle machine; a single one if all cost more.
    """
    graph, plans = runs[0].graph, [run.plan for run in runs]
    if len(runs) > 1 and most > 1:
        possible = points(graph, plans)
        alone = [run.simulate().latency_ns for run in runs]
        progress = _progress(runs[0])
        for count in range(most, 1, -1):
            chosen = _even(possible, progress, count)
            if not chosen:
                continue
            parts = lowered(graph, plans, chosen)
            cut = [_latency_ns(run, each) for run, each in zip(runs, parts, strict=True)]
            if all(after <= before * (1 + ALLOWED) for before, after in zip(alone, cut, strict=True)):
                return parts
    return tuple((run.tasks,) for run in runs)


def _latency_ns(run: Prepared, parts: Sequence[TaskGraph]) -> int:
    return simulate(joined(parts, run.graph.outputs), run.cost, run.hardware).latency_ns


def _progress(run: Prepared) -> list[float]:
    """The share of a plan's latency that has passed after each of its chains."""
    trace = run.simulate().trace
    ends = [0] * len(run.plan.chains)
    of_operator = run.plan.chain_of
    for span in trace.spans:
        if span.kind == "kernel":
            index = of_operator[span.op]
            ends[index] = max(ends[index], span.end_ns)
    return [end / max(1, trace.makespan_ns) for end in ends]


def _even(possible: Sequence[Point], progress: Sequence[float], count: int) -> list[Point]:
    """For each of the places that cut an inference in `count` equal parts the point near it that fewest bytes cross."""
    chosen: list[Point] = []
    for number in range(1, count):
        near = [
            point
            for point in possible
            if abs(progress[point.ends[0] - 1] - number / count) < 1 / (2 * count) and point not in chosen
        ]
        if near:
            chosen.append(min(near, key=lambda point: (point.nbytes, point.ends)))
    return chosen


def adaptive_executor(runs: Sequence[Prepared], devices: Assignment) -> AdaptiveExecutor:
    """The executor that changes between these plans.

    Raises:
        PlanError, DeviceError: the devices cannot run them.
    """
    from codl.real.adaptive import AdaptiveExecutor

    return AdaptiveExecutor(runs[0].graph, segmented(runs), devices)


def _for_state(workspace: Workspace, nominal: Prepared, state: State, planner: str) -> Prepared:
    images = any(use.data_type == "image" for use in nominal.plan.processors.values())
    data_type = "image" if images else "buffer"  # what is cheapest in this state would lie elsewhere
    there = replace(workspace, hardware=left_by(workspace.hardware, state), data_type=data_type)
    plan = there.prepare(nominal.model, planner).plan
    plan = plan.model_copy(update={"hardware": nominal.plan.hardware})
    return replace(nominal, plan=plan, tasks=lower(nominal.graph, plan))


def left_by(hardware: Hardware, state: State) -> Hardware:
    """The machine that a state leaves to a planner.

    A share of a processor counts as a lower clock: its compute, not its memory work, takes longer.
    """
    pace = dict(state.clocks)
    for name, share in state.shares:
        pace[name] = pace.get(name, 1.0) * (1 - share)
    bandwidth = hardware.memory.bandwidth
    left = max(bandwidth - state.bandwidth, MINIMUM_BANDWIDTH * bandwidth)
    memory = hardware.memory.model_copy(update={"bandwidth": left})
    return changed(clocked(hardware, pace), memory=memory)
