"""What `--trace` writes, opened in Perfetto itself: it finds all that is in the file, and complains about nothing.

So the rules of `tests.perfetto`, by which traces are tested where there is no browser, are Perfetto's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import onnx
import pytest

from codl.hardware import Hardware
from codl.trace import Trace
from tests import exported
from tests.conftest import Outcome
from tests.perfetto import Imported, import_trace
from tests.perfetto_page import in_perfetto

SERVING = """
name: s
models: [paper/yolov2]
hardware: sd865
planners: [codl]
workload:
  streams: [{name: a, requests: 3, in_flight: 2}]
  frequency: [{at: 0.2 s, processor: gpu, clock: 0.5}]
"""


@pytest.fixture(scope="module")
def perfetto() -> Iterator[Any]:
    with in_perfetto() as opener:
        yield opener


def _content(found: Imported) -> dict[str, Any]:
    """All that was imported, comparable: slices that begin together in any order, numbers to the 14 digits that
    Perfetto reads exactly."""
    return {
        "process": found.process,
        "tracks": found.tracks,
        "slices": sorted((s.ts, -s.dur, s.track, s.name, s.category, s.args["id"]) for s in found.slices),
        "flows": sorted((out.args["id"], into.args["id"]) for out, into in found.flows),
        "counters": {
            name: [(at, f"{value:.14g}") for at, value in points] for name, points in found.counters.items() if points
        },
        "errors": found.errors,
    }


def check(perfetto: Callable[[Path], Any], path: Path) -> Imported:
    imported: Imported = perfetto(path).imported()
    assert _content(imported) == _content(import_trace(path.read_text(encoding="utf-8")))
    assert len(imported.slices) == len(Trace.read(path).spans)
    assert imported.errors == []
    return imported


@pytest.mark.parametrize("phone", ["sd865", "kirin990"])
def test_a_phones_timeline(perfetto: Any, codl: Callable[..., Outcome], tmp_path: Path, phone: str) -> None:
    path = tmp_path / "t.json"
    assert codl("simulate", "--model", "paper/retinaface", "--hardware", phone, "--trace", path).code == 0
    found = check(perfetto, path)
    assert set(found.tracks) == {"host", "cpu", "gpu"} and found.flows
    assert set(found.counters) == {"memory bandwidth GB/s", "power W"}


def test_a_workloads_timeline(perfetto: Any, codl: Callable[..., Outcome], tmp_path: Path) -> None:
    path, scenario = tmp_path / "t.json", tmp_path / "s.yaml"
    scenario.write_text(SERVING)
    assert codl("simulate", scenario, "--trace", path).code == 0
    assert "clock gpu of nominal" in check(perfetto, path).counters


def test_a_measured_timeline(perfetto: Any, host: Hardware, codl: Callable[..., Outcome], tmp_path: Path) -> None:
    model, path = tmp_path / "m.onnx", tmp_path / "t.json"
    onnx.save(exported.detector(), model)
    shape = ("--shape", "images=1x3x64x64")
    assert codl("execute", "--model", model, *shape, "--planner", "hybrid", "--runs", "2", "--trace", path).code == 0
    assert check(perfetto, path).process == "codl measured"


def test_a_broken_timeline_is_complained_about(perfetto: Any, tmp_path: Path) -> None:
    """The check can fail: a slice that overlaps another one on its track is counted as an error."""
    path = tmp_path / "t.json"
    path.write_text(
        '{"traceEvents": ['
        '{"ph": "M", "pid": 1, "name": "process_name", "args": {"name": "p"}},'
        '{"ph": "M", "pid": 1, "tid": 1, "name": "thread_name", "args": {"name": "gpu"}},'
        '{"ph": "M", "pid": 1, "tid": 1, "name": "thread_sort_index", "args": {"sort_index": 1}},'
        '{"ph": "X", "pid": 1, "tid": 1, "name": "a", "cat": "c", "ts": 0, "dur": 10, "args": {"id": "a"}},'
        '{"ph": "X", "pid": 1, "tid": 1, "name": "b", "cat": "c", "ts": 5, "dur": 10, "args": {"id": "b"}}'
        '], "displayTimeUnit": "ns"}'
    )
    assert perfetto(path).imported().errors
