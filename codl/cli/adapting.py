"""`codl execute --adapt`: several plans ready at once, and what became of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from codl.adaptation import adaptive_executor, made_for, plans_under_load
from codl.cli.console import share, table
from codl.runs import Prepared, Row, Workspace, executor_for
from codl.scenario import Scenario

if TYPE_CHECKING:
    from codl.real.devices import Assignment
    from codl.real.executor import Executor
    from codl.real.measure import Measurement


@dataclass(frozen=True)
class Ready:
    """A plan to execute, or several to change between.

    Args:
        runs: the plan to begin with first.
        plan_for: what each was made for; empty where nothing adapts.
    """

    runs: Sequence[Prepared]
    plan_for: Mapping[str, str] = field(default_factory=dict)

    def executor(self, devices: Assignment) -> Executor:
        """An executor of all plans.

        Raises:
            PlanError, DeviceError: the devices cannot run them.
        """
        return adaptive_executor(self.runs, devices) if self.plan_for else executor_for(self.runs[0], devices)

    def measure(
        self, executor: Executor, inputs: Mapping[str, np.ndarray], runs: int, done: Callable[[], None]
    ) -> Measurement:  # fmt: skip
        """Timed runs after some that do not count, in the latencies by plan neither; `done` is told of each run."""
        from codl.real.adaptive import AdaptiveExecutor
        from codl.real.measure import WARM_UPS, measure

        if not isinstance(executor, AdaptiveExecutor):
            return measure(executor, inputs, runs, done=done)
        for _ in range(WARM_UPS):
            executor.run(inputs)
            done()
        executor.forget()
        return measure(executor, inputs, runs, 0, done)

    def row(self, executor: Executor) -> Row:
        """How often the plan changed and what each plan took, with the keys of a simulated stream's row; nothing where
        nothing adapts. Times in ms."""
        from codl.real.adaptive import AdaptiveExecutor

        if not isinstance(executor, AdaptiveExecutor):
            return {}
        history = executor.history
        latencies = {str(plan): history.latency(plan) for plan in range(executor.plans)}
        return {
            "plans": executor.plans,
            "segments": executor.segments,
            "switches": history.switches,
            "plan_for": dict(self.plan_for),
            "plan_share": {str(plan): history.share(plan) for plan in range(executor.plans)},
            "plan_ms": {plan: latency for plan, latency in latencies.items() if latency is not None},
        }


def ready(workspace: Workspace, model: str, planner: str, adapt: bool) -> Ready:
    """What to execute of a model.

    Raises:
        InputError, UncalibratedError: as `Workspace.prepare`.
    """
    if not adapt:
        return Ready([workspace.prepare(model, planner)])
    runs, states = plans_under_load(workspace, model, planner)
    return Ready(runs, made_for(states, len(runs)))


def wanted(scenario: Scenario, model: str) -> bool:
    """Whether a stream of the scenario's workload that runs this model adapts."""
    streams = scenario.workload.streams if scenario.workload else ()
    return any(stream.adapt is not None and stream.model in (None, model) for stream in streams)


def show(row: Mapping[str, Any]) -> None:
    """A table of the plans that a row tells of, if it does."""
    if "plan_for" not in row:
        return
    cells = [
        (number, text, share(row["plan_share"].get(number)), row["plan_ms"].get(number))
        for number, text in row["plan_for"].items()
    ]
    caption = (
        f"{row['model']}: {row['switches']} changes between plans; share: of the segments, {row['segments']} an "
        "inference; ms: an inference with this plan alone, by its segments' medians"
    )
    table("plans", ("plan", "made for", "share", "ms"), cells, caption)
