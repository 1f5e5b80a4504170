"""Prediction beside measurement, span by span: how large the error is, and where it comes from.

Errors are signed, (simulated - measured) / measured. The error of the makespan has two parts. *Scheduling error*: the
measured durations, replayed through the simulator's rules, against the measured makespan: queueing, overlap and waits
that the rules get wrong. *Duration error*: the rest, tasks that took longer or shorter than predicted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from codl.errors import InputError
from codl.sim import replay as replay_trace
from codl.trace import Span, Trace

Replay = Callable[[Mapping[str, int]], Trace]
"""Durations in nanoseconds by task id -> the simulated timeline with them."""

_SAME = ("model", "plan", "tasks")
"""Digests that both traces must share. The hardware's may differ: overrides change it and keep the plan."""


@dataclass(frozen=True, slots=True)
class TaskError:
    """One task in both worlds. `term` names the part of the cost model that predicted it."""

    task_id: str
    kind: str
    op: str
    lane: str
    chain: str
    simulated_ns: int
    measured_ns: int
    term: str
    reason: str
    """Why it may be off, in words."""

    @property
    def difference_ns(self) -> int:
        return self.simulated_ns - self.measured_ns

    @property
    def error(self) -> float | None:
        """Relative and signed; None if nothing was measured that it could be relative to."""
        return relative(self.simulated_ns, self.measured_ns)


@dataclass(frozen=True, slots=True)
class GroupError:
    """Tasks taken together: their times summed in both worlds."""

    name: str
    count: int
    simulated_ns: int
    measured_ns: int

    @property
    def difference_ns(self) -> int:
        return self.simulated_ns - self.measured_ns

    @property
    def error(self) -> float | None:
        return relative(self.simulated_ns, self.measured_ns)

    def within(self, bound: float) -> bool:
        """Whether the sums differ by at most this share of the measured one."""
        return abs(self.difference_ns) <= bound * self.measured_ns


@dataclass(frozen=True)
class Comparison:
    """One plan, predicted and measured.

    Attributes:
        replayed_ns: the simulator's makespan with every task's measured duration.
        tasks: in enqueue order.
        noise: relative spread of the measured runs, if known; an error below it says nothing.
    """

    model: str
    planner: str
    simulated_ns: int
    measured_ns: int
    replayed_ns: int
    tasks: tuple[TaskError, ...]
    noise: float | None = None

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
        return _grouped((t for t in self.tasks if t.kind == "kernel"), lambda t: f"{t.op}@{t.lane}")

    @cached_property
    def kinds(self) -> tuple[GroupError, ...]:
        """Time by kind of task."""
        return _grouped(self.tasks, lambda t: t.kind)

    @cached_property
    def terms(self) -> tuple[GroupError, ...]:
        """Time by the term of the cost model that predicts it, the largest difference first."""
        groups = _grouped(self.tasks, lambda t: t.term)
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
            "kinds": [_group_row(group) for group in self.kinds],
            "terms": [_group_row(group) for group in self.terms],
            "worst": [
                {"task": t.task_id, "simulated_ms": t.simulated_ns / 1e6, "measured_ms": t.measured_ns / 1e6,
                 "error": t.error, "reason": t.reason}
                for t in self.worst()
            ],
        }  # fmt: skip


def relative(simulated: float, measured: float) -> float | None:
    """The signed error; 0 where both are 0, None where only the measured value is."""
    if measured:
        return (simulated - measured) / measured
    return None if simulated else 0.0


def compare_traces(
    simulated: Trace, measured: Trace, replay: Replay | None = None, *, noise: float | None = None,
    model: str = "", planner: str = "",
) -> Comparison:  # fmt: skip
    """Compare a prediction with a measurement of the same task graph.

    Args:
        replay: how to simulate with given durations; by default from the simulated trace itself.
        noise: relative spread of the measured runs.
        model, planner: names for reports; by default those that the traces carry.

    Raises:
        InputError: the traces are not one of each world, differ in model, plan or tasks, lack a task of the other, or
            nothing was measured.
    """
    _comparable(simulated, measured)
    durations = {span.task_id: span.duration_ns for span in measured.spans}
    replayed = replay(durations) if replay else replay_trace(simulated, durations)
    known = {**measured.environment, **simulated.environment}
    return Comparison(
        model=model or str(known.get("model", "")),
        planner=planner or str(known.get("planner", "")),
        simulated_ns=simulated.makespan_ns,
        measured_ns=measured.makespan_ns,
        replayed_ns=replayed.makespan_ns,
        tasks=tuple(_task_error(span, measured.by_id[span.task_id]) for span in simulated.spans),
        noise=noise,
    )


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


def _task_error(simulated: Span, measured: Span) -> TaskError:
    term = _term(simulated)
    reason = term
    alone = simulated.args.get("alone_ns")
    if isinstance(alone, int) and simulated.duration_ns > alone:
        reason += f"; contention predicted to add {(simulated.duration_ns - alone) / 1e6:.3g} ms"
    return TaskError(
        simulated.task_id, simulated.kind, simulated.op, simulated.lane, simulated.chain,
        simulated.duration_ns, measured.duration_ns, term, reason,
    )  # fmt: skip


def _term(span: Span) -> str:
    """The term of the cost model that a span's duration comes from, named as in hardware files where it is there."""
    if span.kind == "kernel":
        kernel = " ".join(str(span.args[key]) for key in ("algorithm", "data_type") if span.args.get(key))
        return f"unit times of {span.lane} {kernel}".rstrip()
    if span.kind == "enqueue":
        return f"processors.{span.task_id.rpartition('@')[2]}.enqueue"
    if span.kind == "sync":
        return f"synchronisation of {span.lane}"
    return f"sharing.{span.kind}"


def _grouped(tasks: Iterable[TaskError], key: Callable[[TaskError], str]) -> tuple[GroupError, ...]:
    groups: dict[str, list[TaskError]] = {}
    for task in tasks:
        groups.setdefault(key(task), []).append(task)
    return tuple(
        GroupError(name, len(group), sum(t.simulated_ns for t in group), sum(t.measured_ns for t in group))
        for name, group in groups.items()
    )


def _group_row(group: GroupError) -> dict[str, Any]:
    return {
        "name": group.name, "tasks": group.count, "simulated_ms": group.simulated_ns / 1e6,
        "measured_ms": group.measured_ns / 1e6, "error": group.error,
    }  # fmt: skip


def rank_correlation(pairs: Iterable[tuple[float, float]]) -> float | None:
    """Kendall's tau-b between predicted and measured latencies of several plans of one model.

    Args:
        pairs: (simulated, measured) of each plan.

    Returns:
        -1 (reversed) to 1 (same order); None for fewer than two plans, or where one side is all equal.
    """
    from scipy.stats import kendalltau  # half a second to import

    simulated, measured = _columns(pairs)
    if len(set(simulated)) < 2 or len(set(measured)) < 2:
        return None
    return float(kendalltau(simulated, measured).statistic)


def regret(pairs: Iterable[tuple[float, float]]) -> float | None:
    """Measured latency of the plan predicted fastest over that of the plan measured fastest, minus 1.

    Of plans predicted equally fast the slowest counts: a predictor that cannot tell them apart may choose it.

    Args:
        pairs: (simulated, measured) of each plan.

    Returns:
        0 for the best choice; None without plans.
    """
    simulated, measured = _columns(pairs)
    if not simulated:
        return None
    best = min(simulated)
    chosen = max(real for sim, real in zip(simulated, measured, strict=True) if sim == best)
    return chosen / min(measured) - 1


def _columns(pairs: Iterable[tuple[float, float]]) -> tuple[list[float], list[float]]:
    rows = list(pairs)
    return [simulated for simulated, _ in rows], [measured for _, measured in rows]
