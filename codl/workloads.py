"""From a scenario's workload to rows of results: plans prepared, repetitions simulated, figures summed up.

A row is what `codl.runs.simulated_row` says of one inference on the idle machine, with the figures of the stream in
place of those that a workload changes, and more beside them (docs/workloads.md).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from codl.adaptation import made_for, plans_for, segmented
from codl.cost import CostModel
from codl.errors import InputError
from codl.hardware.overrides import clocked
from codl.io import digest
from codl.runs import IDEAL, Prepared, Row, Workspace, simulated_row
from codl.scenario import Scenario
from codl.sim.conditions import clocks, states, varying
from codl.sim.machine import Job
from codl.sim.program import Program
from codl.sim.simulator import spans_of
from codl.sim.statistics import Figures, machine_figures, stream_figures, summary
from codl.sim.workload import Client, Start, WorkloadRecord, run_workload
from codl.tasks import TaskGraph
from codl.trace import Trace
from codl.workload import Stream, Workload

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Served:
    """A stream with the plans that serve it, the one for the nominal state first."""

    client: Client
    runs: tuple[Prepared, ...]


def selections(scenario: Scenario) -> Iterator[tuple[str | None, str]]:
    """(model, planner) of every simulation that a scenario's workload asks for; no model where the streams name theirs.

    Raises:
        InputError: the scenario has no workload, or asks for `ideal`, which is a bound and cannot serve anybody.
    """
    if scenario.workload is None:
        raise InputError(f"{scenario.name}: the scenario has no workload")
    if IDEAL in (*scenario.planners, *(stream.planner for stream in scenario.workload.streams)):
        raise InputError(f"{scenario.name}: {IDEAL} is a bound, not a plan: it cannot serve a workload")
    planned = all(stream.planner for stream in scenario.workload.streams)
    for model in (None,) if scenario.workload.names_models else scenario.models:
        for planner in scenario.planners[:1] if planned else scenario.planners:
            yield model, planner


Begun = tuple[Client, int, Program, Job]
"""A segment of an inference that was begun: for whom, the number of the request, what it does, and when what ran."""


def workload_rows(
    workspace: Workspace, workload: Workload, model: str | None, planner: str, begun: list[Begun] | None = None
) -> tuple[list[Row], list[WorkloadRecord]]:
    """One row a stream, and the record of every repetition.

    Args:
        model, planner: of the streams that do not name theirs.
        begun: every segment of every inference of the first repetition is appended to it.

    Raises:
        InputError: unknown names, too many states to adapt to; see also `Workspace.prepare`.
    """
    served = [_serve(workspace, workload, stream, model, planner) for stream in workload.streams]
    clients = [one.client for one in served]
    records = [
        run_workload(workload, clients, workspace.hardware, k, None if begun is None or k else _listed(begun))
        for k in range(workload.repetitions)
    ]
    return [_row(one, index, workload, records) for index, one in enumerate(served)], records


def _listed(begun: list[Begun]) -> Callable[[Client], Start]:
    """What to tell of segments that begin: they are appended to a list."""

    def listen(client: Client) -> Start:
        return lambda request, program, job: begun.append((client, request, program, job))

    return listen


def busy_intervals(begun: Sequence[Begun]) -> Mapping[str, list[tuple[int, int]]]:
    """By lane, (start, end) in nanoseconds of every task that took time, in the order of their starts."""
    found: dict[str, list[tuple[int, int]]] = {}
    for _, _, _, job in begun:
        for lane, start, end in zip(job.load.lanes, job.starts, job.ends, strict=True):
            if end > start:
                found.setdefault(lane, []).append((start, end))
    return {lane: sorted(intervals) for lane, intervals in found.items()}


def _serve(workspace: Workspace, workload: Workload, stream: Stream, model: str | None, planner: str) -> Served:
    name = stream.model or model
    if name is None:
        raise InputError("workload: a stream names no model, and none is given")
    chosen = stream.planner or planner
    reached = states(workload) if stream.adapt else ()
    runs, by_state = plans_for(workspace, name, chosen, reached)
    programs = tuple(
        tuple(_program(run, tasks, workload) for tasks in parts)
        for run, parts in zip(runs, segmented(runs), strict=True)
    )
    return Served(Client(stream.name or name, stream, programs, by_state), tuple(runs))


def _program(run: Prepared, tasks: TaskGraph, workload: Workload) -> Program:
    types, operators = run.cost.data_types, run.cost.operators
    costs = {
        (name, clock): CostModel(clocked(run.hardware, {name: clock}), run.graph, types, operators)
        for name, values in clocks(workload).items()
        for clock in values
        if clock != 1 and name in run.hardware.processors
    }
    return Program.of(tasks, run.cost, run.hardware).metered(run.hardware, costs, varying(workload))


def _row(served: Served, index: int, workload: Workload, records: Sequence[WorkloadRecord]) -> Row:
    client, nominal = served.client, served.runs[0]
    each = [
        stream_figures(client, record.streams[index], record, workload.warm_up) | machine_figures(record)
        for record in records
    ]
    means, halves = summary(each, CONFIDENCE)
    alone = nominal.simulate()
    row = simulated_row(nominal, alone)
    row |= {"latency_ms": None, "throughput_per_s": 0.0, "energy_j": None, "alone_ms": alone.latency_ns / 1e6}
    row |= _nested(means)
    for kind in ("cpu", "gpu"):
        names = [name for name, use in nominal.plan.processors.items() if use.kind == kind]
        if names:
            row[f"{kind}_busy"] = sum(means[f"utilisation.{name}"] for name in names) / len(names)
    row |= {
        "stream": client.name,
        "plans": len(served.runs),
        "segments": len(client.programs[0]),
        "repetitions": len(records),
        "seed": workload.seed,
    }
    if len(served.runs) > 1:
        row["plan_for"] = made_for(client.states, len(served.runs))
    if len(records) > 1:
        row["confidence"] = {"level": CONFIDENCE, "half_width": _nested(halves)}
    return row


def _nested(figures: Figures) -> Row:
    """`a.b` as b of a."""
    row: Row = {}
    for name, value in figures.items():
        outer, dot, inner = name.partition(".")
        if dot:
            row.setdefault(outer, {})[inner] = value
        else:
            row[outer] = value
    return row


def workload_trace(workspace: Workspace, workload: Workload, model: str | None, planner: str) -> Trace:
    """The timeline of the first repetition: every task of every inference, clocks and temperatures as counters.

    A task's id is that of its plan behind the stream's name and the number of the request.
    """
    served = [_serve(workspace, workload, stream, model, planner) for stream in workload.streams]
    jobs: list[Begun] = []
    record = run_workload(workload, [one.client for one in served], workspace.hardware, 0, _listed(jobs))
    spans = []
    for client, request, program, job in jobs:
        prefix = f"{client.name}#{request}/"
        for span in spans_of(program, (job.starts, job.ends)):
            args = {name: value for name, value in span.args.items() if name != "deps"}
            if "after" in args:
                args["after"] = f"{prefix}{args['after']}"
            spans.append(replace(span, task_id=prefix + span.task_id, chain=prefix + span.chain, args=args))
    climate = record.climate
    counters = {f"clock {name}": ("of nominal", tuple(points)) for name, points in climate.clocks.items()}
    counters |= {f"temperature {name}": ("degC", tuple(points)) for name, points in climate.temperatures.items()}
    return Trace(
        world="simulated",
        spans=tuple(sorted(spans, key=lambda span: (span.start_ns, span.task_id))),
        digests={"hardware": workspace.hardware.digest, "workload": digest(workload)},
        environment={"hardware": workspace.hardware.name, "planner": planner, "seed": workload.seed},
        counters=counters,
    )
