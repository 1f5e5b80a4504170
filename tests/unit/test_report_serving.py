"""The report of a workload: its charts and figures say what the simulation did."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codl.report import Serving, render_report
from codl.report.charts import HEIGHT, MOST, WIDTH, Chart, Series, thinned
from codl.report.serving import charts, figures
from codl.runs import Workspace
from codl.scenario import load
from codl.workloads import Begun, busy_intervals, selections, workload_rows
from tests.conftest import Outcome

SCENARIO = """\
name: shop
description: two streams of which one is in a hurry
models: [paper/yolov2]
hardware: sd865
planners: [gpu, codl]
workload:
  streams:
    - {name: till, model: paper/yolov2, arrivals: {periodic: 10 Hz}, requests: 12, queue: 1, deadline: 150 ms}
    - {name: "<b>shelf", model: paper/posenet, arrivals: {poisson: 2 Hz}, requests: 4, priority: -1}
  thermal:
    ambient: 25 degC
    nodes: {soc: {resistance: 3 K/W, capacity: 1 J/K, takes: [gpu, cpu, rest]}}
    trips: [{node: soc, above: 27 degC, processor: gpu, clock: 0.6}]
  jitter: 0.1
  repetitions: 2
"""


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Serving:
    path = tmp_path_factory.mktemp("scenario") / "shop.yaml"
    path.write_text(SCENARIO)
    scenario = load(str(path))
    assert scenario.workload is not None
    model, planner = list(selections(scenario))[-1]
    from codl import hardware as hw

    begun: list[Begun] = []
    rows, records = workload_rows(Workspace(hw.load("sd865")), scenario.workload, model, planner, begun)
    return Serving(scenario.workload, rows, records, busy_intervals(begun))


def chart(served: Serving, title: str) -> Chart:
    return next(each for each in charts(served) if each.title.startswith(title))


def test_the_distribution_counts_every_request_that_came(served: Serving) -> None:
    drawn = chart(served, "requests that ended within")
    for index, (series, stream) in enumerate(zip(drawn.series, served.workload.streams, strict=True)):
        ended = [
            (b - a) / 1e6
            for record in served.records
            for a, b in zip(record.streams[index].arrived, record.streams[index].ended, strict=True)
            if b >= 0
        ]
        assert [x for x, _ in series.points[1:]] == sorted(ended)
        assert series.points[-1][1] == pytest.approx(100 * len(ended) / (2 * stream.requests))
    assert drawn.places == {"deadline of till": 150.0}
    assert drawn.series[0].points[-1][1] < 100  # some were dropped: the curve does not reach the top


def test_what_waits_and_what_is_lost(served: Serving) -> None:
    drawn = chart(served, "requests waiting")
    waiting, lost = drawn.series[0].points, next(each for each in drawn.series if each.kind == "losses")
    assert {value for _, value in waiting} == {0.0, 1.0}  # the queue holds one
    assert waiting[-1][1] == 0
    assert len(lost.points) == sum(end < 0 for end in served.records[0].streams[0].ended) > 0
    first = served.records[0].streams[0]
    area = sum(value * (after - at) for (at, value), (after, _) in pairwise(waiting))
    waited = sum(b - a for a, b in zip(first.arrived, first.began, strict=True) if b >= 0)
    assert area == pytest.approx(waited / 1e9)


def test_utilisation_over_time_averages_to_the_rows(served: Serving) -> None:
    drawn = chart(served, "utilisation")
    first = served.records[0]
    assert {each.name for each in drawn.series} == {"host", "gpu", "cpu"}
    for each in drawn.series:
        shares = [share for _, share in each.points]
        assert all(0 <= share <= 100 + 1e-9 for share in shares)
        assert sum(shares) / len(shares) / 100 == pytest.approx(first.busy_ns[each.name] / first.duration_ns, abs=1e-6)


def test_clocks_and_temperatures_are_those_of_the_simulation(served: Serving) -> None:
    climate = served.records[0].climate
    assert [y for _, y in chart(served, "temperature").series[0].points] == [t for _, t in climate.temperatures["soc"]]
    assert chart(served, "temperature").levels == {"gpu limited above 27 °C": 27.0}
    (clock,) = chart(served, "clock").series
    assert {value for _, value in clock.points} == {100.0, 60.0}


def test_figures_are_the_rows_with_their_intervals(served: Serving) -> None:
    found = {row["name"]: row for row in figures(served)}
    assert found["dropped"]["values"][0]["value"] == served.rows[0]["dropped"] > 0
    half = served.rows[0]["confidence"]["half_width"]
    assert found["latency, median"]["values"][0] == {"value": served.rows[0]["p50_ms"], "half": half["p50_ms"]}
    assert found["late, share"]["values"][1]["value"] is None  # the other stream has no deadline
    assert found["utilisation of gpu"]["values"][0]["value"] == served.rows[0]["utilisation"]["gpu"]
    assert found["soc at its hottest"]["values"][0]["value"] == served.rows[0]["hottest_c"]["soc"]


def test_the_page_of_a_workload(codl: Callable[..., Outcome], tmp_path: Path, served: Serving) -> None:
    path, scenario = tmp_path / "r.html", tmp_path / "shop.yaml"
    scenario.write_text(SCENARIO)
    assert codl("simulate", scenario, "--report", path, "--json").code == 0
    page = path.read_text(encoding="utf-8")
    assert "Streams side by side" in page and "Provenance of the constants" in page
    assert page.count('<figure class="chart"') == 2 * len(charts(served))  # two planners
    assert "<b>shelf" not in page and "&lt;b&gt;shelf" in page
    data = [json.loads(text) for text in re.findall(r'<script type="application/json">(.*?)</script>', page)]
    assert data[0]["series"][0]["kind"] == "steps" and data[0]["end"] > 0


@given(
    st.lists(st.tuples(st.floats(0, 50), st.floats(-5, 900)), min_size=1, max_size=40).map(sorted),
    st.sampled_from(["steps", "line", "dots"]),
    st.booleans(),
)
def test_every_value_lies_inside_the_picture(points: list, kind, from_zero: bool) -> None:
    points = [(x, abs(y)) if from_zero else (x, y) for x, y in points]
    drawn = Chart("c", "ms", "s", 50.0, [Series("a", points, kind)], from_zero=from_zero).drawn()
    text = drawn["series"][0]["path"]
    pairs = re.findall(r"([MLHV]?)\s*(-?[\d.]+)(?: (-?[\d.]+))?", text.replace("h0", ""))
    for command, first, second in pairs:
        x, y = (None, first) if command == "V" else (first, second or None)
        assert x is None or 0 <= float(x) <= WIDTH
        assert y is None or -0.01 <= float(y) <= HEIGHT + 0.01
    assert drawn["ticks"][0][0] == 0 and drawn["ticks"][-1][0] == 100
    assert 2 <= len(drawn["ticks"]) <= 7
    low, high = float(drawn["ticks"][0][1]), float(drawn["ticks"][-1][1])
    slack = 0.01 * (high - low)
    assert all(low - slack <= y <= high + slack for _, y in points)


def test_long_series_keep_their_extremes() -> None:
    points = [(float(i), 1e6 if i == 7777 else -1e6 if i == 3333 else float(i % 7)) for i in range(10_000)]
    kept = thinned(Series("a", points, "steps"), 10_000.0)
    assert len(kept) <= 2 * MOST + 1
    assert (7777.0, 1e6) in kept and (3333.0, -1e6) in kept and points[-1] == kept[-1]
    assert kept == sorted(kept)


def test_a_report_without_servings_has_no_charts() -> None:
    assert '<figure class="chart"' not in render_report("t", [])
