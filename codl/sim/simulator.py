"""`simulate`: a task graph, a cost model and a machine in; a trace and what it adds up to out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from codl.errors import InputError
from codl.graph import Graph, Node
from codl.hardware.schema import Hardware
from codl.ops import Work
from codl.region import Region
from codl.sim.interpreter import Load, Record, Times, run
from codl.sim.lanes import Order
from codl.sim.memory import peak_tensor_bytes, weight_bytes
from codl.sim.metrics import compute_ns, dropped_repeats, power_steps, sharing_ns, summed_ns
from codl.sim.replay import SEPARATOR
from codl.tasks import Task, TaskGraph, TaskKind
from codl.trace import Scalar, Span, Trace

_WORK = frozenset({TaskKind.KERNEL, TaskKind.TRANSFORM, TaskKind.COPY})
"""Kinds that keep a processor busy, and so are slowed by (and slow) the work of another."""


class TaskCost(Protocol):
    """What a task costs when nothing else runs: integer nanoseconds, bytes of memory traffic, joules above idle."""

    @property
    def duration_ns(self) -> int: ...
    @property
    def nbytes(self) -> int: ...
    @property
    def joules(self) -> float: ...


class Cost(Protocol):
    """The part of `codl.cost.CostModel` that the simulator asks."""

    @property
    def graph(self) -> Graph: ...
    def task(self, task: Task) -> TaskCost: ...
    def work(self, node: Node, out: Region) -> Work: ...


@dataclass(frozen=True)
class SimulationResult:
    """What a simulation predicts. Times in nanoseconds; with several requests, `trace` shows the first.

    Attributes:
        latency_ns: of one inference, first enqueue to last end; the mean over the requests.
        latencies_ns: of every request in order.
        energy_j: of one inference: idle power x latency, plus the joules of its tasks, plus active power x (time
            taken - time alone) of each task that works.
        compute_ns: time during which at least one processor executes a kernel.
        sharing_ns: sum of transforms, maps, unmaps, copies and syncs.
        summed_ns: latency as the CoDL paper sums it up, per chain (see `codl.sim.metrics.summed_ns`).
        busy: share of the latency during which each lane executes its tasks, waiting excluded.
        peak_memory_bytes: tensors while they live, plus the weights packed for each processor.
        bytes_moved: memory traffic of one inference.
        executed: tasks interpreted, over all requests.
    """

    trace: Trace
    latency_ns: int
    latencies_ns: tuple[int, ...]
    throughput_per_s: float
    energy_j: float
    average_power_w: float
    compute_ns: int
    sharing_ns: int
    summed_ns: int
    busy: Mapping[str, float]
    peak_memory_bytes: int
    weight_bytes: int
    bytes_moved: float
    executed: int


def simulate(
    tasks: TaskGraph, cost: Cost, hardware: Hardware, *, durations: Mapping[str, int] | None = None,
    requests: int = 1, jitter: float = 0.0, seed: int = 0, environment: Mapping[str, Scalar] | None = None,
) -> SimulationResult:  # fmt: skip
    """Interpret a task graph on a machine.

    Args:
        durations: nanoseconds by task id that replace predicted ones, from a measurement. Contention is part of what
            was measured, so these tasks are not slowed further.
        requests: inferences, one after another: each is enqueued when the one before has ended.
        jitter: relative standard deviation of every duration from inference to inference (log-normal, mean 1).
        seed: of the jitter; the same seed gives the same trace, byte by byte.
        environment: what else the trace should carry, such as the names of `model` and `planner`.

    Raises:
        InputError: `requests` is not positive, `jitter` is negative, or `durations` names an unknown task or holds a
            negative time.
        UncalibratedError: the hardware lacks a constant that a task needs.
    """
    _check(tasks, durations, requests, jitter)
    order = Order.of(tasks)
    alone = _Alone.of(tasks, cost, hardware, durations or {})
    capacity = hardware.memory.bandwidth * 1e-9
    record = run(order, alone.load, capacity, requests, _jittered(alone.durations, jitter, seed))
    made = {"requests": requests, "jitter": jitter, "seed": seed, **(environment or {})}
    return _result(tasks, cost, hardware, order, alone, record, made)


def _check(tasks: TaskGraph, durations: Mapping[str, int] | None, requests: int, jitter: float) -> None:
    if requests < 1:
        raise InputError(f"requests is {requests}; at least one inference must be simulated")
    if not 0 <= jitter < 10:
        raise InputError(f"jitter is {jitter:g}; it must be a relative standard deviation, such as 0.05")
    for task, duration in (durations or {}).items():
        if task not in tasks.by_id:
            raise InputError(f"durations: the task graph has no task {task!r}")
        if duration < 0:
            raise InputError(f"durations: {task!r} takes {duration} ns, which is negative")


@dataclass(frozen=True, slots=True)
class _Alone:
    """What each task costs alone, by index."""

    durations: Sequence[int]
    joules: Sequence[float]
    load: Load
    replayed_bytes: float

    @staticmethod
    def of(tasks: TaskGraph, cost: Cost, hardware: Hardware, measured: Mapping[str, int]) -> _Alone:
        costs = [cost.task(task) for task in tasks.tasks]
        slowdown = {name: processor.contention for name, processor in hardware.processors.items()}
        crowds = any(value > 1 for value in slowdown.values())
        fixed = [task.id in measured for task in tasks.tasks]
        load = Load(
            lanes=[task.lane for task in tasks.tasks],
            nbytes=[c.nbytes for c in costs],
            slowdowns=[slowdown.get(task.lane, 1.0) if task.kind in _WORK else 1.0 for task in tasks.tasks],
            shared=[
                not known and (c.nbytes > 0 or (crowds and task.kind in _WORK))
                for task, c, known in zip(tasks.tasks, costs, fixed, strict=True)
            ],
        )
        return _Alone(
            durations=[measured.get(task.id, c.duration_ns) for task, c in zip(tasks.tasks, costs, strict=True)],
            joules=[c.joules for c in costs],
            load=load,
            replayed_bytes=float(sum(c.nbytes for c, known in zip(costs, fixed, strict=True) if known)),
        )


def _jittered(durations: Sequence[int], jitter: float, seed: int) -> Callable[[int], Sequence[int]]:
    """Durations of inference number k; each has its own stream of random numbers."""
    if not jitter:
        return lambda request: durations
    alone = np.asarray(durations, dtype=np.float64)
    sigma = np.sqrt(np.log1p(jitter * jitter))

    def draw(request: int) -> Sequence[int]:
        normal = np.random.default_rng([seed, request]).standard_normal(alone.size)
        drawn: list[int] = np.rint(alone * np.exp(sigma * normal - sigma * sigma / 2)).astype(np.int64).tolist()
        return drawn

    return draw


def _result(
    tasks: TaskGraph, cost: Cost, hardware: Hardware, order: Order, alone: _Alone, record: Record,
    environment: Mapping[str, Scalar],
) -> SimulationResult:  # fmt: skip
    starts, ends = record.first
    spans = _spans(tasks, order, alone, record.first)
    joules = _joules(tasks, hardware, alone, spans)
    bandwidth = dropped_repeats((time, value) for time, value in record.bandwidth)
    trace = Trace(
        world="simulated",
        spans=spans,
        digests={"model": tasks.model, "plan": tasks.plan, "hardware": hardware.digest, "tasks": tasks.digest},
        environment={"hardware": hardware.name, **environment},
        counters={
            "memory bandwidth": ("GB/s", bandwidth),
            "power": ("W", power_steps(spans, joules, hardware.power.idle)),
        },
    )
    latency = round(record.makespan_ns / len(record.latencies_ns))
    energy = hardware.power.idle * latency * 1e-9 + sum(joules.values())
    weights = weight_bytes(tasks, cost.graph, cost.work)
    makespan = max(trace.makespan_ns, 1)
    return SimulationResult(
        trace=trace,
        latency_ns=latency,
        latencies_ns=tuple(record.latencies_ns),
        throughput_per_s=1e9 * len(record.latencies_ns) / record.makespan_ns if record.makespan_ns else 0.0,
        energy_j=energy,
        average_power_w=energy / (latency * 1e-9) if latency else hardware.power.idle,
        compute_ns=compute_ns(trace),
        sharing_ns=sharing_ns(trace),
        summed_ns=summed_ns(trace),
        busy={lane: trace.busy_ns(lane) / makespan for lane in tasks.lanes},
        peak_memory_bytes=peak_tensor_bytes(tasks, starts, ends) + weights,
        weight_bytes=weights,
        bytes_moved=record.bytes_moved / len(record.latencies_ns) + alone.replayed_bytes,
        executed=record.executed,
    )


def _joules(tasks: TaskGraph, hardware: Hardware, alone: _Alone, spans: Sequence[Span]) -> dict[str, float]:
    """Energy of each task above idle: a processor draws its active power for as long as a task keeps it, which may be
    longer (contention) or other (jitter, replay) than the time that its cost knows."""
    active = {name: processor.active_power for name, processor in hardware.processors.items()}
    joules = {}
    for task, span, energy, duration in zip(tasks.tasks, spans, alone.joules, alone.durations, strict=True):
        stretch = span.duration_ns - duration
        more = active.get(task.lane, 0.0) * stretch * 1e-9 if task.kind in _WORK else 0.0
        joules[task.id] = max(0.0, energy + more)
    return joules


def _spans(tasks: TaskGraph, order: Order, alone: _Alone, times: Times) -> tuple[Span, ...]:
    """One span per task, in enqueue order."""
    starts, ends = times
    spans = []
    for index, task in enumerate(tasks.tasks):
        start, end = starts[index], ends[index]
        queued = start
        last = -1
        for dep in order.dependencies[index]:
            if tasks.tasks[dep].kind is TaskKind.ENQUEUE:
                queued = ends[dep]
            elif last < 0 or ends[dep] >= ends[last]:
                last = dep
        args: dict[str, Scalar] = {}
        if task.kind is TaskKind.SYNC and order.previous[index] >= 0:
            queued = min(queued, ends[order.previous[index]])  # since then, the lane has waited
        if task.kind is TaskKind.KERNEL:
            args["algorithm"] = task.algorithm
            args["data_type"] = task.data_type
        elif task.why:
            args["why"] = task.why
        if last >= 0:
            args["after"] = tasks.tasks[last].id
        if task.deps:
            args["deps"] = SEPARATOR.join(task.deps)
        if alone.load.nbytes[index]:
            args["bytes"] = alone.load.nbytes[index]
        if end - start != alone.durations[index]:
            args["alone_ns"] = alone.durations[index]
        spans.append(Span(task.id, task.lane, task.kind.value, task.op, task.chain, queued, start, end, args))
    return tuple(spans)
