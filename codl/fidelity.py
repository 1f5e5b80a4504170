"""Predict and measure plans of one model side by side: what `codl compare`, the fidelity tests and benchmarks share."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Protocol

from codl import models
from codl.calibrate import STORAGES, PaceMeter, fingerprint
from codl.compare import Comparison, compare_traces, rank_correlation, regret
from codl.compare.diverse import diverse_plans
from codl.cost import CostModel
from codl.errors import InputError
from codl.hardware import Hardware
from codl.plan.layouts import with_layouts
from codl.plan.problem import Problem
from codl.real.devices import Assignment
from codl.real.executor import Executor
from codl.real.measure import WARM_UPS, Measurement, measure_interleaved
from codl.real.reference import max_relative_error, run_onnxruntime
from codl.runs import Prepared, Workspace, executor_for, random_inputs, require_agreement
from codl.sim import SimulationResult

MEMORY = 4e9
"""Bytes of tensors and weights that plans measured in one go may take; beyond it they are measured in groups."""


@dataclass(frozen=True)
class Compared:
    """One plan in both worlds.

    `scale` is the machine's pace during its group's runs, relative to the first group's; `pace` is calibration's
    reference kernel in turn with those runs, over its time when the machine was described (None where that is not
    known).
    """

    run: Prepared
    simulated: SimulationResult
    measurement: Measurement
    comparison: Comparison
    max_relative_error: float | None = None
    scale: float = 1.0
    pace: float | None = None

    @property
    def noise(self) -> float:
        """How far the machine was from the one that was described, and from itself: the larger of the runs' spread and
        of the distance of `pace` from 1."""
        return max(self.measurement.noise, self._off_pace)

    @property
    def uncertainty(self) -> float:
        """Of the error of the latency: of the measured median, and how far the machine was from the one described."""
        return self.measurement.uncertainty + self._off_pace

    @property
    def _off_pace(self) -> float:
        return abs((self.pace or 1.0) - 1)

    @property
    def pair(self) -> tuple[float, float]:
        """(predicted, measured) latency in ms, as if all plans had been measured in one go."""
        return self.simulated.latency_ns / 1e6, self.measurement.median_ms / self.scale


class Stages(Protocol):
    """Who is told how far a comparison is: each stage with the number of its steps, then each step when it is done."""

    def stage(self, what: str, steps: int) -> None: ...
    def step(self) -> None: ...


class Silent:
    """Stages that nobody watches."""

    def stage(self, what: str, steps: int) -> None:
        pass

    def step(self) -> None:
        pass


def compare_plans(
    plans: Sequence[Prepared], devices: Assignment, runs: int, *, check: bool = True, progress: Stages | None = None
) -> list[Compared]:  # fmt: skip
    """Simulate plans of one model and measure them, a run of each in turn.

    Where they do not fit in memory together, they are measured in groups, the first plan in each of them again.

    Args:
        check: compare the outputs with ONNX Runtime's.
        progress: hears of every run, between runs.

    Raises:
        BoundExceeded: outputs differ from ONNX Runtime's.
        DeviceError, PlanError: a device cannot run a plan.
    """
    found: list[Compared] = []
    progress = progress or Silent()
    inputs = random_inputs(plans[0].graph)
    expected = None
    if check:
        progress.stage(f"{plans[0].model}: ONNX Runtime", 1)
        expected = run_onnxruntime(models.original(plans[0].model), inputs)
    left, first = list(plans), 0.0
    while left:
        with ExitStack() as stack:
            meter = stack.enter_context(PaceMeter(plans[0].hardware, devices))
            group: list[Prepared] = []
            executors: list[Executor] = []
            progress.stage(f"{plans[0].model}: compiling", len(left))
            if found:
                group.append(plans[0])
                executors.append(stack.enter_context(executor_for(plans[0], devices)))
            while left and (len(group) < 2 or sum(each.memory_bytes for each in executors) < MEMORY):
                group.append(left.pop(0))
                executors.append(stack.enter_context(executor_for(group[-1], devices)))
                progress.step()
            progress.stage(f"{group[-1].model}: measuring", len(group) * (WARM_UPS + runs))
            measured = measure_interleaved(executors, inputs, runs, done=progress.step, between=meter)
            pace = meter.pace
        reference = measured[0].median_ms
        first = first or reference
        for run, measurement in list(zip(group, measured, strict=True))[1 if found else 0 :]:
            error = None
            if expected is not None:
                error = max_relative_error(measurement.outputs, expected)
                require_agreement(run.model, error, run.storage)
            found.append(_compared(run, measurement, error, reference / first, pace))
    return found


def _compared(
    run: Prepared, measurement: Measurement, error: float | None, scale: float, pace: float | None
) -> Compared:
    simulated = run.simulate()
    origins = {task.id: run.cost.origin(task) for task in run.tasks.tasks}
    comparison = compare_traces(
        simulated.trace, measurement.traces, noise=measurement.noise, model=run.model, planner=run.plan.planner,
        origins=origins,
    )  # fmt: skip
    return Compared(run, simulated, measurement, comparison, error, scale, pace)


def diverse(workspace: Workspace, model: str, count: int) -> list[Prepared]:
    """`count` plans of a model that differ in planner, dimension, ratio and placement."""
    graph = workspace.graph(model)
    cost = with_layouts(CostModel(workspace.hardware, graph), workspace.data_type)
    problem = Problem(graph, workspace.hardware, cost)
    return [workspace.lowered(model, graph, plan) for plan in diverse_plans(problem, count)]


def require_this_machine(hardware: Hardware, devices: Assignment) -> None:
    """Raise `InputError` unless a description was made on this machine, with these devices and today's kernels.

    Overrides (`--set`) change what is predicted on purpose and are no obstacle.
    """
    if hardware.fingerprint in [fingerprint(devices, storage) for storage in STORAGES]:
        return
    this = fingerprint(devices)
    raise InputError(
        f"hardware {hardware.name} (fingerprint {hardware.fingerprint or 'missing'}) does not describe this machine "
        f"with {devices.cpu.id} as cpu, {devices.gpu.id} as gpu and the kernels of this version (fingerprint {this}); "
        "run `codl calibrate`, or compare all the same with --force"
    )


@dataclass(frozen=True, slots=True)
class Ranking:
    """How well predictions order the plans of one model."""

    model: str
    plans: int
    regret: float
    rank_correlation: float | None


def rankings(found: Sequence[Compared]) -> list[Ranking]:
    """One of each model that has several plans."""
    models: dict[str, list[tuple[float, float]]] = {}
    for one in found:
        models.setdefault(one.run.model, []).append(one.pair)
    return [
        Ranking(model, len(pairs), regret(pairs) or 0.0, rank_correlation(pairs))
        for model, pairs in models.items()
        if len(pairs) > 1
    ]
