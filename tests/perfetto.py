"""What Perfetto makes of a Chrome trace: its JSON importer's rules, for tests without its trace processor.

As read in google/perfetto, src/trace_processor/importers/json and importers/common (slice_tracker, flow_tracker),
2025: events by time, those of one moment in the order of the file; microseconds rounded to nanoseconds; a complete
slice that overlaps an open one without lying inside it is dropped; the id of a flow is a number, or a text of one in
hexadecimal; a flow binds to the slice of its track that was opened last; a counter is called by its name and the key
of its value. Whatever the importer would count as an error is collected in `errors`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Slice:
    track: str
    name: str
    category: str
    ts: int
    dur: int
    args: dict[str, Any]

    @property
    def end(self) -> int:
        return self.ts + self.dur


@dataclass
class Imported:
    """Tracks by name, slices in the order of their starts, flows as pairs of slices, counters by their names."""

    process: str = ""
    tracks: list[str] = field(default_factory=list)
    slices: list[Slice] = field(default_factory=list)
    flows: list[tuple[Slice, Slice]] = field(default_factory=list)
    counters: dict[str, list[tuple[int, float]]] = field(default_factory=dict)
    errors: list[str] = field(default_factory=list)


def import_trace(text: str) -> Imported:
    """Import a trace file's text."""
    document = json.loads(text)
    assert text.lstrip().startswith('{"')  # how Perfetto knows JSON
    events = document["traceEvents"]
    found = Imported()
    if document.get("displayTimeUnit") not in ("ns", "ms"):
        found.errors.append("display time unit")
    names: dict[int, str] = {}
    order: dict[int, int] = {}
    for event in (e for e in events if e["ph"] == "M"):
        if event["name"] == "process_name":
            found.process = event["args"]["name"]
        elif event["name"] == "thread_name":
            names[event["tid"]] = event["args"]["name"]
        elif event["name"] == "thread_sort_index":
            order[event["tid"]] = event["args"]["sort_index"]
    found.tracks = [names[tid] for tid in sorted(names, key=order.__getitem__)]
    stacks: dict[int, list[Slice]] = {tid: [] for tid in names}
    begun: dict[tuple[int, str, str], Slice] = {}
    for event in sorted((e for e in events if e["ph"] != "M"), key=lambda e: _ns(e["ts"])):
        ts = _ns(event["ts"])
        if ts < 0:
            found.errors.append(f"negative time {ts}")
        elif event["ph"] == "X":
            each = Slice(names[event["tid"]], event["name"], event["cat"], ts, _ns(event["dur"]), event["args"])
            if _open(stacks[event["tid"]], each):
                found.slices.append(each)
            else:
                found.errors.append(f"overlapping slice {each.name}")
        elif event["ph"] in ("s", "f"):
            _flow(event, stacks[event["tid"]], begun, found)
        elif event["ph"] == "C":
            for key, value in event["args"].items():
                if not isinstance(value, int | float) or isinstance(value, bool):
                    found.errors.append(f"counter {event['name']}: {value!r}")
                found.counters.setdefault(f"{event['name']} {key}", []).append((ts, value))
        else:
            found.errors.append(f"phase {event['ph']}")
    return found


def _ns(microseconds: float) -> int:
    return round(microseconds * 1000.0)


def _open(stack: list[Slice], each: Slice) -> bool:
    while stack and stack[-1].end <= each.ts and not (stack[-1].end == each.ts and stack[-1].dur == each.dur == 0):
        stack.pop()
    if stack and each.ts < stack[-1].end < each.end:
        return False
    stack.append(each)
    return True


def _flow(event: dict[str, Any], stack: list[Slice], begun: dict[tuple[int, str, str], Slice], found: Imported) -> None:
    identifier = event["id"]
    if isinstance(identifier, str):
        try:
            identifier = int(identifier, 16)
        except ValueError:
            found.errors.append(f"flow id {identifier!r}")
            return
    key = (identifier, event["cat"], event["name"])
    if not stack or (event["ph"] == "f" and event.get("bp") != "e"):
        found.errors.append(f"flow {key} has no enclosing slice")
    elif event["ph"] == "s":
        if key in begun:
            found.errors.append(f"flow {key} begins twice")
        begun[key] = stack[-1]
    elif key not in begun:
        found.errors.append(f"flow {key} ends without a start")
    else:
        found.flows.append((begun[key], stack[-1]))
