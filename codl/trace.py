"""The one timeline schema: what the simulator predicts and the executor measures, span by span.

A trace file is a Chrome trace (it opens in Perfetto) with the exact spans beside the drawn events, under `codl`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from codl.documents import validate
from codl.errors import FileError, InputError
from codl.io import canonical_json, read_json, write_text

SCHEMA = "codl.trace/1"
World = Literal["simulated", "measured"]
Scalar = str | int | float | bool


@dataclass(frozen=True, slots=True)
class Span:
    """The execution of one task on its lane: integers, nanoseconds, the run's first enqueue at 0.

    `queued_ns` is when the command was handed to the lane, `start_ns`..`end_ns` when the lane executed it.
    """

    task_id: str
    lane: str
    kind: str
    op: str
    chain: str
    queued_ns: int
    start_ns: int
    end_ns: int
    args: Mapping[str, Scalar] = field(default_factory=dict)

    @property
    def duration_ns(self) -> int:
        return self.end_ns - self.start_ns


@dataclass(frozen=True)
class Trace:
    """Spans of one inference, with the digests of everything that determined them.

    `digests` has the keys `model`, `plan`, `hardware`, `tasks`; `environment` says where it was made (machine,
    devices, versions) or, for a simulation, by what (seed, overrides). `counters` are step functions over time, such as
    bandwidth or power: name -> (unit, ((time_ns, value), ...)).
    """

    world: World
    spans: tuple[Span, ...]
    digests: Mapping[str, str]
    environment: Mapping[str, Scalar] = field(default_factory=dict)
    counters: Mapping[str, tuple[str, tuple[tuple[int, float], ...]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("digests", "environment", "counters"):
            object.__setattr__(self, name, MappingProxyType(dict(getattr(self, name))))

    @cached_property
    def by_id(self) -> Mapping[str, Span]:
        return {span.task_id: span for span in self.spans}

    @property
    def lanes(self) -> tuple[str, ...]:
        """Lanes in the order of their first span."""
        return tuple(dict.fromkeys(span.lane for span in self.spans))

    @property
    def makespan_ns(self) -> int:
        """From the first enqueue to the last end."""
        if not self.spans:
            return 0
        return max(s.end_ns for s in self.spans) - min(s.queued_ns for s in self.spans)

    def busy_ns(self, lane: str, kinds: Iterable[str] | None = None) -> int:
        """Time during which the lane executes tasks (of these kinds)."""
        wanted = None if kinds is None else set(kinds)
        return sum(s.duration_ns for s in self.spans if s.lane == lane and (wanted is None or s.kind in wanted))

    def total_ns(self, kinds: Iterable[str]) -> int:
        """Sum of the durations of all spans of these kinds, over all lanes."""
        wanted = set(kinds)
        return sum(s.duration_ns for s in self.spans if s.kind in wanted)

    def occupied_ns(self, handed_over: Mapping[str, str]) -> dict[str, int]:
        """How long each task kept its lane: its span, and for a command that follows another command the time before
        it in which the lane was free and the command was there already (the device's launch latency).

        Args:
            handed_over: by command, the ENQUEUE that hands it over.
        """
        times = {}
        last: dict[str, Span] = {}
        for span in sorted(self.spans, key=lambda span: (span.start_ns, span.end_ns)):
            begin, before = span.start_ns, last.get(span.lane)
            if span.task_id in handed_over and (before is None or before.kind != "sync"):
                ready = max(before.end_ns if before else 0, self.by_id[handed_over[span.task_id]].end_ns)
                begin = min(begin, ready)
            times[span.task_id] = span.end_ns - begin
            if before is None or span.end_ns >= before.end_ns:
                last[span.lane] = span
        return times

    def validate(self) -> None:
        """Raise `InputError`, naming the span, unless ids are unique, queued <= start <= end, and no two spans of
        a lane overlap."""
        if len(self.by_id) != len(self.spans):
            seen: set[str] = set()
            # add() answers None: false
            twice = next(s.task_id for s in self.spans if s.task_id in seen or seen.add(s.task_id))  # type: ignore[func-returns-value]
            raise InputError(f"trace: span {twice!r} occurs twice")
        for span in self.spans:
            if not span.queued_ns <= span.start_ns <= span.end_ns:
                raise InputError(
                    f"trace: span {span.task_id!r} runs backwards: queued {span.queued_ns}, start {span.start_ns}, "
                    f"end {span.end_ns}"
                )
        for lane in self.lanes:
            row = sorted((s for s in self.spans if s.lane == lane), key=lambda s: (s.start_ns, s.end_ns))
            for before, after in pairwise(row):
                if after.start_ns < before.end_ns:
                    raise InputError(f"trace: {before.task_id!r} and {after.task_id!r} overlap on lane {lane!r}")

    # -- files ---------------------------------------------------------------------------------------------------

    def to_json(self) -> str:
        """Canonical text: the same trace gives the same bytes."""
        return canonical_json({"traceEvents": list(self._events()), "displayTimeUnit": "ns", "codl": self._document()})

    def write(self, path: Path | str) -> None:
        write_text(path, self.to_json())

    def _document(self) -> dict[str, Any]:
        return {
            "schema": SCHEMA,
            "world": self.world,
            "digests": self.digests,
            "environment": self.environment,
            "counters": self.counters,
            "spans": self.spans,
        }

    def _events(self) -> Iterable[dict[str, Any]]:
        """Chrome trace events: one track a lane, a slice a span, an arrow for each synchronisation's source."""
        pid = 1
        yield {"ph": "M", "pid": pid, "tid": 0, "name": "process_name", "args": {"name": f"codl {self.world}"}}
        tracks = {lane: index + 1 for index, lane in enumerate(self.lanes)}
        for lane, tid in tracks.items():
            yield {"ph": "M", "pid": pid, "tid": tid, "name": "thread_name", "args": {"name": lane}}
            yield {"ph": "M", "pid": pid, "tid": tid, "name": "thread_sort_index", "args": {"sort_index": tid}}
        # Perfetto takes numbers for the ids of flows, and binds an end of one to the slice of its track that began
        # last: it stands right behind that slice, so that none that begins at the same moment comes between.
        arrows: dict[str, list[int]] = {}
        for number, span in enumerate(self.spans):
            if span.kind in ("sync", "copy") and (origin := self.by_id.get(str(span.args.get("after", "")))):
                arrows.setdefault(origin.task_id, []).append(number)
        for number, span in enumerate(self.spans):
            args = {"id": span.task_id, "chain": span.chain, "queued_us": span.queued_ns / 1e3, **span.args}
            label = span.op if span.kind == "kernel" else f"{span.kind} {span.op}".strip()
            yield {
                "ph": "X", "pid": pid, "tid": tracks[span.lane], "cat": span.kind, "name": label,
                "ts": span.start_ns / 1e3, "dur": span.duration_ns / 1e3, "args": args,
            }  # fmt: skip
            flow = {"cat": "sync", "name": "waits for", "pid": pid, "tid": tracks[span.lane], "ts": _inside(span)}
            for target in arrows.get(span.task_id, ()):
                yield {**flow, "ph": "s", "id": target}
            if span.kind in ("sync", "copy") and str(span.args.get("after", "")) in self.by_id:
                yield {**flow, "ph": "f", "bp": "e", "id": number}
        for name, (unit, points) in self.counters.items():
            for time_ns, value in points:
                yield {"ph": "C", "pid": pid, "name": name, "ts": time_ns / 1e3, "args": {unit: value}}

    @staticmethod
    def read(path: Path | str) -> Trace:
        """A trace file.

        Raises:
            FileError, SchemaError: it is not a trace that codl wrote.
            InputError: its spans contradict each other.
        """
        data = read_json(path)
        if not isinstance(data, dict) or "codl" not in data:
            raise FileError(path, "is not a codl trace (it has no 'codl' part); write one with --trace")
        document = validate(_TraceFile, data["codl"], path)
        trace = Trace(
            world=document.world,
            spans=tuple(Span(**span.model_dump()) for span in document.spans),
            digests=document.digests,
            environment=document.environment,
            counters={name: (unit, tuple(points)) for name, (unit, points) in document.counters.items()},
        )
        trace.validate()
        return trace


def typical(times: Sequence[float]) -> float:
    """What a task takes, of its times in several runs: their interquartile mean; of three, the middle one. Where a core
    is shared with somebody else, a task alternates between two paces, and a median falls on either by chance."""
    cut = max(len(times) // 4, min(1, len(times) // 3))
    middle = sorted(times)[cut : len(times) - cut]
    return float(sum(middle) / len(middle))


def _inside(span: Span) -> float:
    """The last moment, in microseconds, at which a span is drawn: an arrow at its very end would start from whatever
    begins there."""
    return max(span.start_ns, span.end_ns - 1) / 1e3


class _SpanFile(BaseModel):
    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)
    task_id: str
    lane: str
    kind: str
    op: str
    chain: str
    queued_ns: int
    start_ns: int
    end_ns: int
    args: dict[str, Scalar]


class _TraceFile(BaseModel):
    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)
    format: Literal["codl.trace/1"] = Field(alias="schema")
    world: World
    digests: dict[str, str]
    environment: dict[str, Scalar]
    counters: dict[str, tuple[str, list[tuple[int, float]]]]
    spans: Sequence[_SpanFile]
