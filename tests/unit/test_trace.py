"""The timeline schema: what a trace refuses, adds up, and writes."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codl.errors import FileError, InputError, SchemaError
from codl.trace import Span, Trace, typical


def span(name: str, lane: str, start: int, end: int, kind: str = "kernel", queued: int | None = None, **args) -> Span:
    return Span(name, lane, kind, name, "c00", start if queued is None else queued, start, end, args)


def trace(*spans: Span, world: str = "simulated") -> Trace:
    return Trace(
        world, spans, {"model": "m", "plan": "p", "hardware": "h", "tasks": "t"}, {"seed": 1, "machine": "bench top"},
        {"power": ("W", ((0, 1.5), (10, 2.25)))},
    )  # fmt: skip


EXAMPLE = trace(
    span("e", "host", 0, 5, "enqueue"),
    span("a", "gpu", 5, 25),
    span("b", "cpu", 10, 20),
    span("s", "cpu", 25, 28, "sync", queued=20, after="a", why="cpu reads a"),
    span("c", "cpu", 28, 40),
)


def test_makespan_is_from_first_enqueue_to_last_end():
    assert EXAMPLE.makespan_ns == 40
    assert trace(span("a", "gpu", 30, 50, queued=10)).makespan_ns == 40
    assert trace().makespan_ns == 0


def test_busy_and_total_time():
    assert EXAMPLE.lanes == ("host", "gpu", "cpu")
    assert EXAMPLE.busy_ns("cpu") == 25
    assert EXAMPLE.busy_ns("cpu", ["kernel"]) == 22
    assert EXAMPLE.total_ns(["sync", "enqueue"]) == 8
    assert EXAMPLE.by_id["a"].duration_ns == 20


@pytest.mark.parametrize(
    ("spans", "message"),
    [
        ((span("a", "gpu", 0, 5), span("a", "cpu", 0, 5)), "'a' occurs twice"),
        ((span("a", "gpu", 5, 4),), "'a' runs backwards"),
        ((span("a", "gpu", 5, 9, queued=6),), "'a' runs backwards: queued 6, start 5, end 9"),
        ((span("a", "gpu", 0, 5), span("b", "gpu", 4, 9)), "'a' and 'b' overlap on lane 'gpu'"),
        ((span("b", "gpu", 4, 9), span("a", "gpu", 0, 5)), "'a' and 'b' overlap"),
    ],
)
def test_contradictions_are_refused_by_name(spans, message):
    with pytest.raises(InputError, match=message):
        trace(*spans).validate()


def test_spans_that_touch_and_lanes_that_overlap_are_fine():
    EXAMPLE.validate()
    trace(span("a", "gpu", 0, 5), span("b", "gpu", 5, 5), span("c", "gpu", 5, 6), span("d", "cpu", 0, 6)).validate()


def test_what_is_written_is_read_back(tmp_path):
    path = tmp_path / "trace.json"
    EXAMPLE.write(path)
    assert Trace.read(path) == EXAMPLE
    assert path.read_text() == EXAMPLE.to_json() == Trace.read(path).to_json()


names = st.text(min_size=1, max_size=8)
floats = st.floats(allow_nan=False, allow_infinity=False)
scalars = st.one_of(st.booleans(), st.integers(-(2**53), 2**53), floats, names)


@settings(deadline=None)
@given(
    st.lists(st.tuples(names, st.integers(0, 50), st.integers(0, 50)), max_size=8),
    st.dictionaries(names, scalars, max_size=3),
    st.sampled_from(["simulated", "measured"]),
)
def test_any_legal_trace_survives_its_file(tmp_path_factory, rows, environment, world):
    spans = []
    ends: dict[str, int] = {}
    for index, (lane, gap, duration) in enumerate(rows):
        start = ends.get(lane, 0) + gap
        ends[lane] = start + duration
        spans.append(replace(span(f"{index}", lane, start, start + duration), args=environment))
    whole = Trace(world, tuple(spans), {"plan": "x"}, environment)
    path = tmp_path_factory.mktemp("trace") / "t.json"
    whole.write(path)
    assert Trace.read(path) == whole


def test_chrome_events_are_well_formed():
    document = json.loads(EXAMPLE.to_json())
    assert document["displayTimeUnit"] == "ns"
    events = document["traceEvents"]
    tracks = {e["args"]["name"]: e["tid"] for e in events if e["name"] == "thread_name"}
    assert set(tracks) == set(EXAMPLE.lanes)
    assert len(set(tracks.values())) == len(tracks)
    slices = [e for e in events if e["ph"] == "X"]
    assert len(slices) == len(EXAMPLE.spans)
    for event, original in zip(slices, EXAMPLE.spans, strict=True):
        assert event["tid"] == tracks[original.lane]
        assert (event["ts"], event["dur"]) == (original.start_ns / 1e3, original.duration_ns / 1e3)  # microseconds
        assert event["args"]["id"] == original.task_id
    assert {e["ph"] for e in events} == {"M", "X", "s", "f", "C"}


def test_an_arrow_shows_what_a_synchronisation_waited_for():
    events = json.loads(EXAMPLE.to_json())["traceEvents"]
    tracks = {e["args"]["name"]: e["tid"] for e in events if e["name"] == "thread_name"}
    (start,) = [e for e in events if e["ph"] == "s"]
    (finish,) = [e for e in events if e["ph"] == "f"]
    assert start["id"] == finish["id"] == 3  # a number: Perfetto reads a text as hexadecimal, or drops the arrow
    assert (start["tid"], start["ts"]) == (tracks["gpu"], 0.024)  # the last nanosecond of `a`
    assert (finish["tid"], finish["ts"]) == (tracks["cpu"], 0.027)


def test_counters_become_counter_events():
    events = json.loads(EXAMPLE.to_json())["traceEvents"]
    assert [(e["ts"], e["args"]) for e in events if e["ph"] == "C"] == [(0.0, {"W": 1.5}), (0.01, {"W": 2.25})]


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("{", FileError, "is not JSON"),
        ('{"traceEvents": []}', FileError, "is not a codl trace"),
        ('{"codl": {"schema": "codl.trace/1"}}', SchemaError, "world: is missing"),
    ],
)
def test_files_that_are_no_trace_are_refused(tmp_path, text, error, message):
    path = tmp_path / "trace.json"
    path.write_text(text)
    with pytest.raises(error, match=message):
        Trace.read(path)


def test_a_file_whose_spans_contradict_each_other_is_refused(tmp_path):
    path = tmp_path / "trace.json"
    trace(span("a", "gpu", 0, 5), span("b", "gpu", 4, 9)).write(path)
    with pytest.raises(InputError, match="overlap"):
        Trace.read(path)


def test_unknown_fields_and_versions_are_refused(tmp_path):
    path = tmp_path / "trace.json"
    document = json.loads(EXAMPLE.to_json())
    document["codl"]["spans"][0]["colour"] = "red"
    document["codl"]["schema"] = "codl.trace/9"
    path.write_text(json.dumps(document))
    with pytest.raises(SchemaError, match=r"spans.0.colour: unknown field") as caught:
        Trace.read(path)
    assert "schema" in str(caught.value)


def test_a_typical_time_is_the_mean_of_the_middle_half() -> None:
    assert typical([5.0]) == 5
    assert typical([1.0, 2.0]) == 1.5
    assert typical([1.0, 2.0, 90.0]) == 2
    assert typical([90.0, 1.0, 2.0, 4.0]) == 3
    assert typical([3.0, 3.0, 4.0, 4.0, 0.0, 0.0, 9.0, 90.0]) == 3.5  # of two paces, the share of each counts
    assert typical([3.0, 3.0, 3.0, 4.0, 0.0, 0.0, 9.0, 90.0]) == 3.25
