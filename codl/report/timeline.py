"""Timelines as compact data for the page's script: spans as short arrays, texts by number."""

from __future__ import annotations

from typing import Any

from codl.report.entry import Entry
from codl.sim.memory import tensor_bytes
from codl.sim.metrics import dropped_repeats
from codl.tasks import TaskGraph
from codl.trace import Span, Trace


class _Texts:
    """Every text once, by number."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}

    def __getitem__(self, text: str) -> int:
        return self._numbers.setdefault(text, len(self._numbers))

    def listed(self) -> list[str]:
        return list(self._numbers)


def timeline(entry: Entry) -> dict[str, Any] | None:
    """The timelines of an entry on one time axis; None if it has no trace.

    Returns:
        `texts`; by world its `lanes`, `makespan` (ns) and `spans`, each [lane, kind, label, id, chain, queued, start,
        end, detail, after], where `after` is the position of the span that it waited for (-1: none), times are in ns
        and everything else is the number of a text; `counters`, step functions of (ns, value).
    """
    texts = _Texts()
    worlds = [_world(name, trace, texts) for name, trace in entry.worlds]
    if not worlds:
        return None
    counters = []
    for name, trace in entry.worlds:
        found = {key: (unit, points) for key, (unit, points) in trace.counters.items()}
        if entry.run is not None:
            found["tensors in memory"] = ("MB", _memory(entry.run.tasks, trace))
        counters += [
            {"name": key, "world": name, "unit": unit, "points": [list(point) for point in points]}
            for key, (unit, points) in found.items()
        ]
    return {"worlds": worlds, "counters": counters, "texts": texts.listed()}


def _world(name: str, trace: Trace, texts: _Texts) -> dict[str, Any]:
    lanes = list(trace.lanes)
    position = {span.task_id: index for index, span in enumerate(trace.spans)}
    spans = [
        [lanes.index(span.lane), texts[span.kind], texts[_label(span)], texts[span.task_id], texts[span.chain],
         span.queued_ns, span.start_ns, span.end_ns, texts[_detail(span)],
         position.get(str(span.args.get("after", "")), -1)]
        for span in trace.spans
    ]  # fmt: skip
    return {"name": name, "lanes": lanes, "makespan": trace.makespan_ns, "spans": spans}


def _label(span: Span) -> str:
    return span.op if span.kind == "kernel" else f"{span.kind} {span.op}".strip()


def _detail(span: Span) -> str:
    """Reason, kernel, bytes: what the tooltip shows of a span's arguments."""
    parts = [str(span.args[key]) for key in ("why", "algorithm", "data_type") if span.args.get(key)]
    if span.args.get("bytes"):
        parts.append(f"{float(span.args['bytes']) / 1e6:.3g} MB")
    return ", ".join(parts)


def _memory(tasks: TaskGraph, trace: Trace) -> tuple[tuple[int, float], ...]:
    """MB of all tensors alive, over time."""
    spans = [trace.by_id[task.id] for task in tasks.tasks]
    steps = tensor_bytes(tasks, [s.start_ns for s in spans], [s.end_ns for s in spans])
    return dropped_repeats((time, live / 1e6) for time, live in steps)
