"""The report in a real browser: it opens, draws, answers the pointer, and complains about nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from codl import hardware as hw
from codl.compare import Moved
from codl.fidelity import Ranking
from codl.report import Entry, Fidelity, Serving, write_report
from codl.runs import Workspace
from codl.scenario import load
from codl.trace import Span, Trace
from codl.workloads import Begun, busy_intervals, workload_rows
from tests.browser import opened


def trace(world: Any, stretch: int) -> Trace:
    """A GPU and a CPU that wait for each other once."""
    rows = [
        ("c00/a/enqueue@gpu", "host", "enqueue", 0, 1, {}),
        ("c00/a/kernel@gpu", "gpu", "kernel", 1, 40, {"algorithm": "direct"}),
        ("c00/sync@cpu", "cpu", "sync", 40, 45, {"why": "cpu reads a", "after": "c00/a/kernel@gpu"}),
        ("c01/<b>/kernel@cpu", "cpu", "kernel", 45, 100, {}),
    ]
    spans = tuple(
        Span(name, lane, kind, name.split("/")[1], name[:3], start * unit, start * unit, end * unit, args)
        for unit in (stretch * 10_000,)
        for name, lane, kind, start, end, args in rows
    )
    return Trace(world, spans, {}, counters={"power": ("W", ((0, 1.0), (500_000, 3.0)))})


@pytest.fixture(scope="module")
def page_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("report") / "report.html"
    both = Entry({"model": "m", "planner": "codl"}, trace("simulated", 1), trace("measured", 2))
    write_report(path, "a report", [both, Entry({"model": "m", "planner": "cpu"}, trace("simulated", 1))])
    return path


COLORS = """canvas => {
  const pixels = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
  const found = new Set();
  for (let i = 0; i < pixels.length; i += 4) found.add(`${pixels[i]},${pixels[i + 1]},${pixels[i + 2]}`);
  return [...found];
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1200, 360])
def test_it_opens_and_draws_without_complaint(page_file: Path, scheme: str, width: int) -> None:
    with opened(page_file, viewport={"width": width, "height": 800}, color_scheme=scheme) as (page, complaints):
        canvases = page.locator("canvas")
        assert canvases.count() == 2
        assert canvases.first.get_attribute("data-spans") == "8"
        colors = canvases.first.evaluate(COLORS)
        kernel, sync = ("42,120,214", "227,73,72") if scheme == "light" else ("57,135,229", "230,103,103")
        assert kernel in colors and sync in colors
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert complaints == []


def test_the_pointer_and_the_keys_are_answered(page_file: Path) -> None:
    with opened(page_file, viewport={"width": 1000, "height": 800}) as (page, complaints):
        canvas = page.locator("canvas").first
        box = canvas.bounding_box()
        middle = box["x"] + 96 + (box["width"] - 102) * 0.21  # 42 % of the prediction, half as long as the axis
        page.mouse.move(middle, box["y"] + 22 + 20 + 16 + 2 * 24 + 12)  # the predicted lane of the CPU
        assert "cpu reads a" in page.locator("#tip").inner_text()
        assert "after c00/a/kernel@gpu" in page.locator("#tip").inner_text()
        assert "error -50.0 %" in page.locator("#tip").inner_text()
        before = canvas.evaluate("canvas => canvas.toDataURL()")
        page.mouse.click(middle, box["y"] + 22 + 20 + 16 + 2 * 24 + 12)
        assert canvas.evaluate("canvas => canvas.toDataURL()") != before  # what it waited for is drawn
        canvas.press("+")
        assert float(canvas.get_attribute("data-to")) - float(canvas.get_attribute("data-from")) == 1_000_000
        start = float(canvas.get_attribute("data-from"))
        canvas.press("ArrowRight")
        assert float(canvas.get_attribute("data-from")) > start
        page.mouse.down()
        page.mouse.move(middle + 100, box["y"] + 100)
        page.mouse.up()
        assert float(canvas.get_attribute("data-from")) < start + 125_000
        page.get_by_role("button", name="fit").first.click()
        assert float(canvas.get_attribute("data-to")) == 2_000_000
        assert complaints == []


@pytest.fixture(scope="module")
def workload_page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("report") / "workload.html"
    scenario = load("hot-phone")
    assert scenario.workload is not None
    begun: list[Begun] = []
    rows, records = workload_rows(
        Workspace(hw.load("sd865")), scenario.workload, scenario.models[0], scenario.planners[1], begun
    )
    served = Serving(scenario.workload, rows, records, busy_intervals(begun))
    fidelity = Fidelity([Ranking("m", 2, 0.1, None)], [Moved("processors.gpu.enqueue", 1.5, 7)], True, 0.1)
    write_report(path, "a workload", [], hw.load("sd865"), fidelity, [served])
    return path


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1200, 360])
def test_charts_draw_and_read_their_values_back(workload_page: Path, scheme: str, width: int) -> None:
    with opened(workload_page, viewport={"width": width, "height": 900}, color_scheme=scheme) as (page, complaints):
        charts = page.locator(".chart")
        assert charts.count() >= 5
        drawn = charts.first.locator("path.s0").first
        assert drawn.evaluate("p => getComputedStyle(p).stroke") == (
            "rgb(42, 120, 214)" if scheme == "light" else "rgb(57, 135, 229)"
        )
        assert drawn.evaluate("p => p.getTotalLength()") > 100
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        area = charts.first.locator(".area")
        area.scroll_into_view_if_needed()
        box = area.bounding_box()
        page.mouse.move(box["x"] + box["width"] - 2, box["y"] + box["height"] / 2)
        told = page.locator("#tip").inner_text()
        assert told.startswith("latency, ms ") and told.endswith(": 100")  # every request has ended by then
        page.mouse.move(0, 0)
        assert page.locator("#tip").is_hidden()
        assert "processors.gpu.enqueue" in page.locator("#fidelity").inner_text()
        assert complaints == []
