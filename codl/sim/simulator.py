"""`simulate`: a task graph, a cost model and a machine in; a trace and what it adds up to out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from codl.errors import InputError
from codl.hardware.schema import Hardware
from codl.sim.interpreter import Record, Times, run
from codl.sim.memory import peak_tensor_bytes, weight_bytes
from codl.sim.metrics import compute_ns, dropped_repeats, power_steps, sharing_ns, summed_ns
from codl.sim.program import WORK, Cost, Program
from codl.sim.replay import SEPARATOR
from codl.tasks import TaskGraph, TaskKind
from codl.trace import Scalar, Span, Trace


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
    program = Program.of(tasks, cost, hardware, durations)
    capacity = hardware.memory.bandwidth * 1e-9
    record = run(program.order, program.load, capacity, requests, program.jittered(jitter, seed))
    made = {"requests": requests, "jitter": jitter, "seed": seed, **(environment or {})}
    return _result(program, cost, hardware, record, made)


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


def _result(
    program: Program, cost: Cost, hardware: Hardware, record: Record, environment: Mapping[str, Scalar]
) -> SimulationResult:  # fmt: skip
    tasks = program.tasks
    starts, ends = record.first
    spans = spans_of(program, record.first)
    joules = _joules(program, hardware, spans)
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
        bytes_moved=record.bytes_moved / len(record.latencies_ns) + program.replayed_bytes,
        executed=record.executed,
    )


def _joules(program: Program, hardware: Hardware, spans: Sequence[Span]) -> dict[str, float]:
    """Energy of each task above idle: a processor draws its active power for as long as a task keeps it, which may be
    longer (contention) or other (jitter, replay) than the time that its cost knows."""
    active = {name: processor.active_power for name, processor in hardware.processors.items()}
    joules = {}
    for task, span, energy, duration in zip(program.tasks.tasks, spans, program.joules, program.durations, strict=True):
        stretch = span.duration_ns - duration
        more = active.get(task.lane, 0.0) * stretch * 1e-9 if task.kind in WORK else 0.0
        joules[task.id] = max(0.0, energy + more)
    return joules


def spans_of(program: Program, times: Times) -> tuple[Span, ...]:
    """One span per task, in enqueue order."""
    starts, ends = times
    tasks, order = program.tasks, program.order
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
        if program.load.nbytes[index]:
            args["bytes"] = program.load.nbytes[index]
        if end - start != program.durations[index]:
            args["alone_ns"] = program.durations[index]
        spans.append(Span(task.id, task.lane, task.kind.value, task.op, task.chain, queued, start, end, args))
    return tuple(spans)
