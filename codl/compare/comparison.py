"""One plan, predicted and measured: how large the error is, and where it comes from.

Errors are signed, (simulated - measured) / measured. The error of the makespan has two parts. *Scheduling error*: the
measured durations, replayed through the simulator's rules, against the measured makespan: queueing, overlap and waits
that the rules get wrong. *Duration error*: the rest, tasks that took longer or shorter than predicted.

A command's measured duration is the time for which it kept its lane (`Trace.occupied_ns`), since that is what the
simulator's lanes, which know no launch latency of their own, count.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from codl.compare.errors import GroupError, TaskError, grouped
from codl.cost import Origin
from codl.errors import InputError
from codl.sim import replay as replay_trace
from codl.trace import Span, Trace, typical

Replay = Callable[[Mapping[str, int]], Trace]
"""Durations in nanoseconds by task id -> the simulated timeline with them."""

_SAME = ("model", "plan", "tasks")
"""Digests that both traces must share. The hardware's may differ: overrides change it and keep the plan."""


@dataclass(frozen=True)
class Comparison:
    """One plan, predicted and measured. With several measured runs, a measured latency is the median over them, and a
    task's time the typical one (`codl.trace.typical`).

    Attributes:
        replayed_ns: the simulator's makespan with every task's measured duration.
        tasks: in enqueue order.
        noise: relative spread of the measured runs, if known; an error below it says nothing.
        runs: number of measured runs.
    """

    model: str
    planner: str
    simulated_ns: int
    measured_ns: int
    replayed_ns: int
    tasks: tuple[TaskError, ...]
    noise: float | None = None
    runs: int = field(default=1, kw_only=True)

    @property
    def error(self) -> float:
        """Of the makespan."""
        return (self.simulated_ns - self.measured_ns) / self.measured_ns

    @property
    def scheduling_error(self) -> float:
        """What is left of the error when every task takes its measured time."""
        return (self.replayed_ns - self.measured_ns) / self.measured_ns

    @property
    def duration_error(self) -> float:
        """What wrong durations add: error - scheduling error."""
        return (self.simulated_ns - self.replayed_ns) / self.measured_ns

    @property
    def conclusive(self) -> bool:
        """Whether the error is larger than the noise. True where no noise is known."""
        return self.noise is None or abs(self.error) > self.noise

    @cached_property
    def operators(self) -> tuple[GroupError, ...]:
        """Kernel time of each operator on each processor that computes a part of it, as `conv1@gpu`."""
        return grouped((t for t in self.tasks if t.kind == "kernel"), lambda t: f"{t.op}@{t.lane}")

    @cached_property
    def kinds(self) -> tuple[GroupError, ...]:
        """Time by kind of task."""
        return grouped(self.tasks, lambda t: t.kind)

    @cached_property
    def terms(self) -> tuple[GroupError, ...]:
        """Time by the term of the cost model that predicts it, the largest difference first."""
        groups = grouped(self.tasks, lambda t: t.term)
        return tuple(sorted(groups, key=lambda group: -abs(group.difference_ns)))

    def within(self, bound: float) -> float:
        """Share of `operators` whose error is at most `bound`; 1 if there are none."""
        if not self.operators:
            return 1.0
        return sum(group.within(bound) for group in self.operators) / len(self.operators)

    def worst(self, count: int = 5) -> tuple[TaskError, ...]:
        """The tasks that differ most, in nanoseconds, not relatively: these move the makespan."""
        return tuple(sorted(self.tasks, key=lambda task: -abs(task.difference_ns))[:count])

    def row(self) -> dict[str, Any]:
        """The document that docs/cli.md promises for `codl compare`. Times in ms, errors as shares."""
        return {
            "model": self.model,
            "planner": self.planner,
            "simulated_ms": self.simulated_ns / 1e6,
            "measured_ms": self.measured_ns / 1e6,
            "replayed_ms": self.replayed_ns / 1e6,
            "error": self.error,
            "duration_error": self.duration_error,
            "scheduling_error": self.scheduling_error,
            "within_10_percent": self.within(0.10),
            "noise": self.noise,
            "runs": self.runs,
            "kinds": [group.row() for group in self.kinds],
            "terms": [group.row() for group in self.terms],
            "operators": [group.row() for group in self.operators],
            "worst": [
                {"task": t.task_id, "simulated_ms": t.simulated_ns / 1e6, "measured_ms": t.measured_ns / 1e6,
                 "error": t.error, "term": t.term, "reason": t.reason}
                for t in self.worst()
            ],
        }  # fmt: skip


def compare_traces(
    simulated: Trace, measured: Trace | Sequence[Trace], replay: Replay | None = None, *,
    noise: float | None = None, model: str = "", planner: str = "", origins: Mapping[str, Origin] | None = None,
) -> Comparison:  # fmt: skip
    """Compare a prediction with a measurement of the same task graph.

    Args:
        measured: one run, or several of the same plan.
        replay: how to simulate with given durations; by default from the simulated trace itself.
        noise: relative spread of the measured runs.
        model, planner: names for reports; by default those that the traces carry.
        origins: by task, the constants that predicted it (`CostModel.origin`); by default only kinds are named.

    Raises:
        InputError: the traces are not one of each world, differ in model, plan or tasks, lack a task of the other, or
            nothing was measured.
    """
    runs = [measured] if isinstance(measured, Trace) else list(measured)
    if not runs:
        raise InputError("no measured run to compare with")
    for run in runs:
        _comparable(simulated, run)
    handed = handing_over(simulated)
    durations = [run.occupied_ns(handed) for run in runs]
    repeat = replay or (lambda times: replay_trace(simulated, times))
    replayed = [
        repeat(times).makespan_ns / run.makespan_ns for times, run in zip(durations, runs, strict=True)
    ]  # relative to its own run: replaying says nothing of how much runs differ
    makespan = round(statistics.median(run.makespan_ns for run in runs))
    known = {**runs[0].environment, **simulated.environment}
    return Comparison(
        model=model or str(known.get("model", "")),
        planner=planner or str(known.get("planner", "")),
        simulated_ns=simulated.makespan_ns,
        measured_ns=makespan,
        replayed_ns=round(statistics.median(replayed) * makespan),
        tasks=tuple(
            _task_error(span, round(typical([times[span.task_id] for times in durations])), origins or {})
            for span in simulated.spans
        ),
        noise=noise,
        runs=len(runs),
    )


def handing_over(simulated: Trace) -> dict[str, str]:
    """The enqueue of each command that waits for nothing else but its lane."""
    found = {}
    for span in simulated.spans:
        if span.kind in ("sync", "enqueue"):
            continue  # no commands
        dep = simulated.by_id.get(str(span.args.get("deps", "")))
        if dep is not None and dep.kind == "enqueue":
            found[span.task_id] = dep.task_id
    return found


def _comparable(simulated: Trace, measured: Trace) -> None:
    for trace, world in ((simulated, "simulated"), (measured, "measured")):
        if trace.world != world:
            raise InputError(f"a {world} trace is needed here, and this one is {trace.world}")
    for name in _SAME:
        ours, theirs = (trace.digests.get(name, "missing") for trace in (simulated, measured))
        if ours != theirs or ours == "missing":
            raise InputError(f"the traces differ in {name}: digest {ours} was simulated, {theirs} measured")
    missing = [name for name in simulated.by_id if name not in measured.by_id]
    surplus = [name for name in measured.by_id if name not in simulated.by_id]
    if missing or surplus:
        parts = [(missing, "were not measured"), (surplus, "were not simulated")]
        told = "; ".join(f"{_some(ids)} {what}" for ids, what in parts if ids)
        raise InputError(f"the traces hold different tasks: {told}")
    if not measured.makespan_ns:
        raise InputError("the measured trace lasts no time: there is nothing to compare with")


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def _task_error(simulated: Span, measured_ns: int, origins: Mapping[str, Origin]) -> TaskError:
    origin = origins.get(simulated.task_id)
    term = origin.constants if origin else _term(simulated)
    reason = str(origin) if origin else term
    alone = simulated.args.get("alone_ns")
    if isinstance(alone, int) and simulated.duration_ns > alone:
        reason += f"; contention predicted to add {(simulated.duration_ns - alone) / 1e6:.3g} ms"
    return TaskError(
        simulated.task_id, simulated.kind, simulated.op, simulated.lane, simulated.chain,
        simulated.duration_ns, measured_ns, term, reason,
    )  # fmt: skip


def _term(span: Span) -> str:
    """The term of the cost model that a span's duration comes from, as far as the span itself tells."""
    if span.kind == "kernel":
        kernel = " ".join(str(span.args[key]) for key in ("algorithm", "data_type") if span.args.get(key))
        return f"unit times of {span.lane} {kernel}".rstrip()
    if span.kind == "enqueue":
        return f"processors.{span.task_id.rpartition('@')[2]}.enqueue"
    if span.kind == "sync":
        return f"synchronisation of {span.lane}"
    return f"sharing.{span.kind}"
