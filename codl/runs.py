"""From a model's name to a simulated or a measured run: what every command and the Python API have in common.

A `Workspace` holds one hardware description and the graphs read so far; `prepare` gives a `Prepared`: one plan and
the task graph that both interpreters take. The rows are the JSON documents that docs/cli.md promises.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from codl import models
from codl.cost import CostModel
from codl.errors import BoundExceeded, InputError, PlanError
from codl.graph import Graph
from codl.hardware import Hardware
from codl.ops.launch import FLOAT16
from codl.plan.ideal import ideal_ms
from codl.plan.kernels import own_kernels, with_data_type
from codl.plan.lower import lower
from codl.plan.model import Plan, Reference
from codl.plan.planners import make_plan
from codl.sim import SimulationResult, simulate
from codl.sim.metrics import compute_ns, sharing_ns
from codl.tasks import TaskGraph

if TYPE_CHECKING:
    from codl.real.devices import Assignment
    from codl.real.executor import Executor
    from codl.real.measure import Measurement

IDEAL = "ideal"
"""Not a planner but a bound: it has a latency and nothing else."""
CHECK_BOUND = 1e-3
"""`--check` accepts this error of a whole network's outputs, relative to the largest magnitude of each, in float32:
a few hundred operators of up to 1e-5 each (`OpSpec.tolerance`), summed, never came near it."""
CHECK_BOUND_FLOAT16 = 1e-2
"""The same where weights of matrix products are stored as float16, which rounds each by up to 5e-4."""
Row = dict[str, Any]


@dataclass(frozen=True)
class Prepared:
    """A plan, ready for either interpreter."""

    model: str
    graph: Graph
    hardware: Hardware
    cost: CostModel
    plan: Plan
    tasks: TaskGraph

    @property
    def storage(self) -> str:
        """`float16` where kernels store weights so, else `float32`."""
        used = (algorithm for chosen in self.plan.algorithms.values() for algorithm in chosen.values())
        return "float16" if any(algorithm.endswith(FLOAT16) for algorithm in used) else "float32"

    @property
    def data_type(self) -> str:
        """The GPU's data type, or that of the only processor."""
        uses = self.plan.processors.values()
        return next((use.data_type for use in uses if use.kind == "gpu"), "buffer")

    def simulate(self) -> SimulationResult:
        names = {"model": self.model, "planner": self.plan.planner}
        return simulate(self.tasks, self.cost, self.hardware, environment=names)


@dataclass
class Workspace:
    """One hardware description and the models planned for it.

    Args:
        hardware: what to plan for.
        data_type: `image`, `buffer` or `auto`, of the GPU.
        shapes: input sizes by name, for models that leave them open.
        objective: what planners minimise.
        graphs: graphs read so far, by model; may be shared by workspaces of the same shapes.
    """

    hardware: Hardware
    data_type: str = "auto"
    shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    objective: str = "latency"
    graphs: dict[str, Graph] = field(default_factory=dict)

    def graph(self, model: str) -> Graph:
        if model not in self.graphs:
            self.graphs[model] = models.load(model, shapes=self.shapes)
        return self.graphs[model]

    def prepare(self, model: str, planner: str, believed: CostModel | None = None) -> Prepared:
        """Plan a model and lower the plan.

        Args:
            believed: the costs that the planner decides by, if not those of the hardware, by which the run is judged.

        Raises:
            InputError, UncalibratedError: unknown model or planner; the hardware cannot predict an operator.
        """
        graph = self.graph(model)
        plan = make_plan(
            graph,
            self.hardware,
            CostModel(self.hardware, graph),
            planner,
            believed=believed,
            data_type=self.data_type,
            objective=self.objective,
        )
        return self.lowered(model, graph, plan)

    def follow(self, model: str, published: Path) -> Prepared:
        """The plan whose decisions a file in the authors' format holds."""
        from codl.plan.published import from_published

        graph = self.graph(model)
        plan = from_published(published, graph, self.hardware, CostModel(self.hardware, graph))
        return self.lowered(model, graph, plan)

    def reuse(self, plan: Plan) -> Prepared:
        """A plan from a file, for the model that it names. A `data_type` other than `auto` replaces the kernels.

        Raises:
            PlanError: the model or the hardware is not what the plan was made for.
        """
        shapes = {**plan.model.shapes, **self.shapes}
        graph = models.load(plan.model.name, shapes=shapes)
        if plan.hardware.digest != self.hardware.digest and not self.hardware.settings:
            raise PlanError(
                f"the plan was made for hardware {plan.hardware.name} (digest {plan.hardware.digest}), not for "
                f"{self.hardware.name} (digest {self.hardware.digest}); plan anew"
            )
        plan.check(graph)
        if self.data_type != "auto":
            plan = with_data_type(plan, self.data_type, graph, self.hardware)
        return self.lowered(plan.model.name, graph, plan, shapes)

    def lowered(
        self, model: str, graph: Graph, plan: Plan, shapes: Mapping[str, tuple[int, ...]] | None = None
    ) -> Prepared:  # fmt: skip
        """A plan made for the model of this name, ready to run."""
        given = self.shapes if shapes is None else shapes
        reference = Reference(name=model, digest=graph.digest, shapes=dict(given))
        plan = plan.model_copy(update={"model": reference})
        data_types = {name: use.data_type for name, use in plan.processors.items()}
        cost = CostModel(self.hardware, graph, data_types, plan.data_types)
        return Prepared(model, graph, self.hardware, cost, plan, lower(graph, plan))

    def bound(self, model: str) -> Row:
        """The row of `ideal`."""
        graph = self.graph(model)
        latency = ideal_ms(graph, CostModel(self.hardware, graph))
        return {"model": model, "hardware": self.hardware.name, "planner": IDEAL, "latency_ms": latency}


def with_own_kernels(run: Prepared) -> tuple[Prepared, int]:
    """The same decisions with codl's kernels (see `codl.plan.kernels`), and how many operators that concerns."""
    plan, changed = own_kernels(run.plan, run.graph)
    if plan == run.plan:
        return run, 0
    cost = CostModel(run.hardware, run.graph, run.cost.data_types, plan.data_types)
    return replace(run, cost=cost, plan=plan, tasks=lower(run.graph, plan)), changed


# -- rows --------------------------------------------------------------------------------------------------------------


def simulated_row(run: Prepared, result: SimulationResult, published_ms: float | None = None) -> Row:
    """What `codl simulate --json` says of one run. Times in ms."""
    row = _plan_row(run) | {
        "latency_ms": result.latency_ns / 1e6,
        "summed_ms": result.summed_ns / 1e6,
        "throughput_per_s": result.throughput_per_s,
        "energy_j": result.energy_j,
        "average_power_w": result.average_power_w,
        "peak_memory_mb": result.peak_memory_bytes / 1e6,
        "compute_ms": result.compute_ns / 1e6,
        "sharing_ms": result.sharing_ns / 1e6,
    }
    row |= _busy(run, result.busy)
    return with_published(row, published_ms)


def with_published(row: Row, published_ms: float | None) -> Row:
    """The row beside what was published: `error` = (simulated - published) / published."""
    if published_ms is None:
        return row
    return row | {"published_ms": published_ms, "error": (row["latency_ms"] - published_ms) / published_ms}


def measured_row(run: Prepared, executor: Executor, measurement: Measurement) -> Row:
    """What `codl execute --json` says of one run; energy and power are not measured and left out. Times in ms."""
    trace = measurement.trace
    latency = measurement.median_ms
    makespan = max(1, trace.makespan_ns)
    row = _plan_row(run) | {
        "storage": run.storage,
        "latency_ms": latency,
        "throughput_per_s": 1e3 / latency if latency else 0.0,
        "peak_memory_mb": executor.memory_bytes / 1e6,
        "compute_ms": compute_ns(trace) / 1e6,
        "sharing_ms": sharing_ns(trace) / 1e6,
        "runs_ms": list(measurement.runs_ms),
        "noise": measurement.noise,
    }
    return row | _busy(run, {lane: trace.busy_ns(lane) / makespan for lane in run.tasks.lanes})


def _plan_row(run: Prepared) -> Row:
    plan = run.plan
    return {
        "model": run.model,
        "hardware": plan.hardware.name,
        "planner": plan.planner,
        "data_type": run.data_type,
        "chains": len(plan.chains),
        "split_operators": sum(len(chain.operators) for chain in plan.chains if chain.splits),
        "planning_ms": plan.planning_ms,
    }


def _busy(run: Prepared, busy: Mapping[str, float]) -> Row:
    """`cpu_busy`, `gpu_busy`: the mean over the processors of a kind."""
    shares: dict[str, list[float]] = {"cpu": [], "gpu": []}
    for name, use in run.plan.processors.items():
        shares[use.kind].append(busy.get(name, 0.0))
    return {f"{kind}_busy": float(np.mean(values)) for kind, values in shares.items() if values}


# -- executing ---------------------------------------------------------------------------------------------------------


def require_executable(model: str) -> None:
    """Raise `InputError` for an operator list; cheap, so that it can come before a calibration."""
    if models.is_list(model):
        raise InputError(f"{model} is an operator list: it can be planned and simulated, not executed")


def executor_for(run: Prepared, devices: Assignment) -> Executor:
    """The executor of a prepared run on these devices.

    Raises:
        PlanError, DeviceError: the devices cannot run this plan.
    """
    from codl.real.executor import Executor

    return Executor(run.graph, run.tasks, devices)


def random_inputs(graph: Graph, seed: int = 0) -> dict[str, np.ndarray]:
    """Seeded inputs: standard normal for floats, 0 or 1 for the rest (valid as index, count or truth value)."""
    rng = np.random.default_rng(seed)
    inputs = {}
    for name in graph.inputs:
        tensor = graph.tensors[name]
        if np.issubdtype(np.dtype(tensor.dtype), np.floating):
            inputs[name] = rng.standard_normal(tensor.shape).astype(tensor.dtype)
        else:
            inputs[name] = rng.integers(0, 2, tensor.shape).astype(tensor.dtype)
    return inputs


def check_outputs(run: Prepared, inputs: Mapping[str, np.ndarray], outputs: Mapping[str, np.ndarray]) -> float:
    """The largest error of the outputs against ONNX Runtime on the original model, relative to each output's range."""
    from codl.real.reference import max_relative_error, run_onnxruntime

    reference = run_onnxruntime(models.original(run.model), inputs)
    return max_relative_error(outputs, reference)


def require_agreement(model: str, error: float, storage: str = "float32") -> None:
    """Raise `BoundExceeded` where outputs differ from the reference by more than the storage of weights explains."""
    bound = CHECK_BOUND_FLOAT16 if storage == "float16" else CHECK_BOUND
    if not error <= bound:
        raise BoundExceeded(
            f"{model}: outputs differ from ONNX Runtime's by {error:.2g} of their range (bound {bound:g})"
        )
