"""What `--trace` writes, read by the rules of Perfetto's importer: lanes, slices, arrows and counters, nothing lost."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codl.sim import simulate
from codl.trace import Trace
from tests.conftest import Outcome
from tests.machines import machine, workloads
from tests.perfetto import Imported, import_trace


def check(trace: Trace, text: str) -> Imported:
    """Everything in the trace is in Perfetto, exact to the nanosecond, and nothing is counted as an error."""
    found = import_trace(text)
    assert found.errors == []
    assert found.tracks == list(trace.lanes)
    shown = {each.args["id"]: (each.track, each.category, each.ts, each.end) for each in found.slices}
    assert shown == {s.task_id: (s.lane, s.kind, s.start_ns, s.end_ns) for s in trace.spans}
    arrows = {(out.args["id"], into.args["id"]) for out, into in found.flows}
    waits = {(s.args["after"], s.task_id) for s in trace.spans if s.kind in ("sync", "copy") and s.args.get("after")}
    assert arrows == waits and len(found.flows) == len(waits)
    assert found.counters == {
        f"{name} {unit}": [(at, value) for at, value in points]
        for name, (unit, points) in trace.counters.items()
        if points
    }
    return found


@settings(deadline=None, max_examples=60)
@given(workloads(), st.sampled_from([1e9, 7e9, 1e12]))
def test_any_simulation_is_imported_whole(workload, capacity: float) -> None:
    tasks, prices = workload
    trace = simulate(tasks, prices, machine(capacity, lanes=("p0", "p1", "p2"))).trace
    check(trace, trace.to_json())


@pytest.mark.parametrize("phone", ["sd865", "kirin990"])
def test_a_phones_timeline(codl: Callable[..., Outcome], tmp_path: Path, phone: str) -> None:
    path = tmp_path / "t.json"
    assert codl("simulate", "--model", "paper/yolov2", "--hardware", phone, "--trace", path).code == 0
    found = check(Trace.read(path), path.read_text(encoding="utf-8"))
    assert found.process == "codl simulated"
    assert set(found.tracks) == {"host", "cpu", "gpu"}
    crossing = {(out.track, into.track) for out, into in found.flows}
    assert {("cpu", "gpu"), ("gpu", "cpu")} & crossing
    assert set(found.counters) == {"memory bandwidth GB/s", "power W"}


def test_a_workloads_timeline(codl: Callable[..., Outcome], tmp_path: Path) -> None:
    path, scenario = tmp_path / "t.json", tmp_path / "s.yaml"
    scenario.write_text(
        "name: s\nmodels: [paper/yolov2]\nhardware: sd865\nplanners: [codl]\n"
        "workload:\n  streams: [{name: a, requests: 3, in_flight: 2}]\n"
        "  frequency: [{at: 0.2 s, processor: gpu, clock: 0.5}]\n"
    )
    assert codl("simulate", scenario, "--trace", path).code == 0
    found = check(Trace.read(path), path.read_text(encoding="utf-8"))
    assert {each.args["id"].split("/")[0] for each in found.slices} == {"a#0", "a#1", "a#2"}
    assert found.flows
    assert "clock gpu of nominal" in found.counters
