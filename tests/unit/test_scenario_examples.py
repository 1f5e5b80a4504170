"""The worked examples: each runs, and shows what its comment says that it shows."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from codl import hardware
from codl.runs import Workspace
from codl.scenario import load, names
from codl.workloads import workload_rows
from tests.conftest import Outcome

Rows = dict[tuple[str, str], dict[str, Any]]
EXAMPLES = ("camera", "changing-load", "hot-phone", "recorded", "two-networks", "what-if")


@pytest.fixture
def rows(codl: Callable[..., Outcome], request: pytest.FixtureRequest) -> Rows:
    """By (stream or variant, planner)."""
    outcome = codl("simulate", request.param, "--json")
    assert outcome.code == 0, outcome.err
    return {(r.get("stream") or r["model"] + " " + r.get("variant", ""), r["planner"]): r for r in outcome.json["runs"]}


def example(name: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("rows", [name], indirect=True)


def test_every_example_is_tested_and_says_what_it_shows() -> None:
    assert set(names()) - {"host", "sd855", "sd865", "sd888", "kirin990"} == set(EXAMPLES)
    folder = Path(__file__).parents[2] / "scenarios"
    for name in EXAMPLES:
        text = (folder / f"{name}.yaml").read_text()
        assert text.startswith("# Shows: ")
        assert YAML(typ="safe").load(text)["name"] == name


@example("camera")
def test_camera(rows: Rows) -> None:
    gpu, codl = rows["viewfinder", "gpu"], rows["viewfinder", "codl"]
    assert codl["drop_rate"] < 0.5 * gpu["drop_rate"]
    assert codl["p95_ms"] < gpu["p50_ms"]
    half = codl["confidence"]["half_width"]
    assert 0 < half["p50_ms"] < 0.1 * codl["p50_ms"]
    assert codl["offered"] == codl["completed"] + codl["dropped"] == 50


@example("two-networks")
def test_two_networks(rows: Rows) -> None:
    detector, pose = rows["detector", "codl"], rows["pose", "codl"]
    assert 1.05 < detector["p50_ms"] / detector["alone_ms"] < pose["p50_ms"] / pose["alone_ms"]
    assert pose["p50_ms"] < 0.6 * rows["pose", "gpu"]["p50_ms"]
    assert detector["deadline_misses"] == 0
    assert detector["utilisation"] == pose["utilisation"]


@example("hot-phone")
def test_hot_phone(rows: Rows) -> None:
    gpu, codl = rows["detector", "gpu"], rows["detector", "codl"]
    assert codl["p99_ms"] > 1.05 * codl["p50_ms"]
    assert codl["hottest_c"]["soc"] > 62 > gpu["hottest_c"]["soc"]
    assert codl["mean_clock"]["cpu"] < 1 and "mean_clock" not in gpu
    assert gpu["average_power_w"] < 0.6 * codl["average_power_w"]


@example("recorded")
def test_recorded(rows: Rows) -> None:
    assert rows["doorbell", "codl"]["offered"] == 46
    assert rows["doorbell", "codl"]["deadline_miss_rate"] < rows["doorbell", "gpu"]["deadline_miss_rate"]


@example("what-if")
def test_what_if(rows: Rows) -> None:
    for model in ("paper/yolov2", "paper/posenet"):
        as_it_is = rows[f"{model} ", "optimal"]["latency_ms"]
        assert rows[f"{model} sync / 2", "optimal"]["latency_ms"] < as_it_is
        assert (
            rows[f"{model} svm + polling", "optimal"]["latency_ms"] < rows[f"{model} sync / 2", "optimal"]["latency_ms"]
        )
        assert rows[f"{model} bandwidth x 2", "optimal"]["latency_ms"] <= as_it_is * 1.001


def test_changing_load_beats_the_static_plan() -> None:
    """With the states known more than with latencies alone, and with these more than without adapting."""
    scenario = load("changing-load")
    assert scenario.workload is not None
    (stream,) = scenario.workload.streams
    assert stream.adapt == "state"
    found = {}
    for adapt in (None, "latency", "state"):
        changed = scenario.workload.model_copy(update={"streams": (stream.model_copy(update={"adapt": adapt}),)})
        workspace = Workspace(hardware.load(scenario.hardware))
        ((row,), _) = workload_rows(workspace, changed, scenario.models[0], "codl")
        found[adapt] = row
    assert found["state"]["latency_ms"] < found["latency"]["latency_ms"] < found[None]["latency_ms"]
    assert found["state"]["switches"] == 2 and found[None]["switches"] == 0


def test_a_workloads_trace_opens_in_perfetto(codl: Callable[..., Outcome], tmp_path: Path) -> None:
    from codl.trace import Trace

    path = tmp_path / "mine.yaml"
    path.write_text(
        "name: mine\nmodels: [paper/yolov2]\nhardware: sd865\nplanners: [codl]\nworkload:\n"
        "  streams: [{name: s, requests: 3, in_flight: 2}]\n"
        "  frequency: [{at: 100 ms, processor: gpu, clock: 0.5}]\n"
    )
    texts = []
    for _ in range(2):
        assert codl("simulate", path, "--trace", tmp_path / "trace.json").code == 0
        texts.append((tmp_path / "trace.json").read_text())
    assert texts[0] == texts[1]  # the same seed, the same bytes
    trace = Trace.read(tmp_path / "trace.json")
    assert {span.task_id.split("/")[0] for span in trace.spans} == {"s#0", "s#1", "s#2"}
    assert trace.counters["clock gpu"][1] == ((0, 1.0), (100_000_000, 0.5))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("planners: [ideal]\nworkload: {streams: [{}]}", "ideal is a bound, not a plan"),
        ("planners: [codl]\nworkload: {streams: [{arrivals: {trace: none.csv}}]}", "none.csv: no such file"),
        ("planners: [codl]\nworkload: {streams: [{planner: magic}]}", "unknown planner 'magic'"),
        ("planners: [codl]\nworkload: {streams: [{}], warmup: 3}", "workload.warmup: unknown field"),
        ("planners: [codl]\nworkload: {streams: [{deadline: 50}]}", "has no unit"),
    ],
)
def test_a_wrong_workload_is_one_message(codl: Callable[..., Outcome], tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(f"name: mine\nmodels: [paper/yolov2]\nhardware: sd865\n{text}\n")
    outcome = codl("simulate", path)
    assert outcome.code == 2
    assert message in outcome.err and "Traceback" not in outcome.err
