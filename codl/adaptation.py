"""Plans for other conditions than the nominal ones: made for the machine that clocks and others' load leave.

They are lowered for the machine that there is, so that the simulator and the executor can change between them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from codl.hardware import Hardware
from codl.hardware.overrides import changed, clocked
from codl.plan.lower import lower
from codl.runs import Prepared, Workspace, executor_for
from codl.sim.conditions import State

if TYPE_CHECKING:
    from codl.real.adaptive import AdaptiveExecutor
    from codl.real.devices import Assignment

MINIMUM_BANDWIDTH = 0.1
"""Of the memory's, that a plan counts with however much others take."""
LOADED = 0.5
"""Share of a busy processor that somebody else has: two programs that both want all of it get half each."""


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


def plans_under_load(workspace: Workspace, model: str, planner: str) -> list[Prepared]:
    """The nominal plan, and those for each processor half taken by somebody else."""
    processors = workspace.hardware.processors
    states = [State((), ((name, LOADED),), 0.0) for name in processors] if len(processors) > 1 else []
    return plans_for(workspace, model, planner, states)[0]


def adaptive_executor(runs: Sequence[Prepared], devices: Assignment) -> AdaptiveExecutor:
    """The executor that changes between these plans.

    Raises:
        PlanError, DeviceError: the devices cannot run them.
    """
    from codl.real.adaptive import AdaptiveExecutor

    return AdaptiveExecutor([executor_for(run, devices) for run in runs])


def _for_state(workspace: Workspace, nominal: Prepared, state: State, planner: str) -> Prepared:
    there = replace(workspace, hardware=left_by(workspace.hardware, state))
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
