"""The report: complete, escaped, self-contained, written whole or not at all."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from markupsafe import escape

from codl import hardware as hw
from codl.compare import Moved, compare_traces
from codl.errors import FileError
from codl.fidelity import Ranking
from codl.report import Entry, Fidelity, render_report, write_report
from codl.report.sections import side_by_side, where_time_goes
from codl.runs import Workspace, simulated_row
from codl.trace import Span, Trace
from tests.conftest import Outcome

HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)>\u2028&amp;\"'"


@pytest.fixture(scope="module")
def predicted() -> Entry:
    run = Workspace(hw.load("sd865")).prepare("paper/yolov2", "codl")
    result = run.simulate()
    return Entry(simulated_row(run, result), simulated=result.trace, run=run)


def measured_like(trace: Trace, stretch: int = 2, name: Callable[[str], str] = str) -> Trace:
    """A measurement in which everything takes `stretch` times as long."""
    spans = tuple(
        replace(s, op=name(s.op), queued_ns=s.queued_ns * stretch, start_ns=s.start_ns * stretch,
                end_ns=s.end_ns * stretch)
        for s in trace.spans
    )  # fmt: skip
    return Trace("measured", spans, trace.digests, {"machine": name("box")})


@pytest.fixture(scope="module")
def compared(predicted: Entry) -> Entry:
    assert predicted.simulated is not None
    measured = measured_like(predicted.simulated)
    found = compare_traces(predicted.simulated, measured, noise=0.01)
    return Entry(found.row(), predicted.simulated, measured, found, predicted.run)


class Structure(HTMLParser):
    """What a browser would see: elements that are not ours, handlers, addresses."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs


def timelines(page: str) -> list[dict]:
    return [json.loads(text) for text in re.findall(r'<script type="application/json">(.*?)</script>', page)]


def test_every_span_of_both_worlds_is_in_the_page(compared: Entry) -> None:
    page = render_report("title", [compared], hw.load("sd865"))
    (data,) = timelines(page)
    assert [world["name"] for world in data["worlds"]] == ["predicted", "measured"]
    for world, trace in zip(data["worlds"], (compared.simulated, compared.measured), strict=True):
        assert trace is not None
        ids = [data["texts"][span[3]] for span in world["spans"]]
        assert ids == [span.task_id for span in trace.spans]
        assert [(span[6], span[7]) for span in world["spans"]] == [(s.start_ns, s.end_ns) for s in trace.spans]
    assert {c["name"] for c in data["counters"]} == {"memory bandwidth", "power", "tensors in memory"}
    # the fixture simulates
    reasons = {s.args["why"] for s in compared.simulated.spans if s.kind == "sync"}  # type: ignore[union-attr]
    assert reasons and reasons <= set(data["texts"])


def test_the_page_says_what_and_why(compared: Entry) -> None:
    page = render_report("title", [compared], hw.load("sd865"))
    text = re.sub(r"<[^>]+>", " ", page)
    for wanted in ("one by one", "decided by", "Provenance of the constants", "-50.0 %", "by term of"):
        assert wanted in text
    for entry in hw.load("sd865").calibration:
        assert str(escape(entry.method)) in text


def test_memory_in_the_page_peaks_where_the_row_says(predicted: Entry) -> None:
    (data,) = timelines(render_report("title", [predicted]))
    steps = next(c["points"] for c in data["counters"] if c["name"] == "tensors in memory")
    assert predicted.run is not None
    weights = predicted.run.simulate().weight_bytes / 1e6
    assert max(value for _, value in steps) + weights == pytest.approx(predicted.row["peak_memory_mb"])


def test_the_parts_of_every_lane_add_up_to_the_latency(compared: Entry) -> None:
    for lane in where_time_goes(compared):
        assert sum(part["percent"] for part in lane["parts"]) == pytest.approx(100)
        total = compared.simulated if lane["world"] == "predicted" else compared.measured
        assert total is not None
        assert sum(part["ms"] for part in lane["parts"]) == pytest.approx(total.makespan_ns / 1e6)


def test_hostile_names_stay_text() -> None:
    span = Span(f"{HOSTILE}@gpu", HOSTILE, "kernel", HOSTILE, HOSTILE, 0, 0, 10, {"why": HOSTILE})
    trace = Trace("measured", (span,), {"model": HOSTILE}, {HOSTILE: HOSTILE})
    plain = Span("a@gpu", "gpu", "kernel", "a", "c", 0, 0, 10)
    harmless = render_report("a", [Entry({"model": "a", "planner": "b"}, measured=Trace("measured", (plain,), {}))])
    page = render_report(HOSTILE, [Entry({"model": HOSTILE, "planner": HOSTILE}, measured=trace)])
    assert "<img" not in page and "<script>alert" not in page
    found, expected = Structure(page), Structure(harmless)
    assert set(found.tags) == set(expected.tags)
    assert found.tags.count("script") == expected.tags.count("script")
    assert not [name for name, _ in found.attributes if name.startswith("on")]
    (data,) = timelines(page)
    assert data["texts"][data["worlds"][0]["spans"][0][2]] == HOSTILE


def test_the_page_names_nothing_outside_itself(compared: Entry) -> None:
    page = Structure(render_report("title", [compared], hw.load("sd865")))
    assert not {"link", "iframe", "img", "object", "base"} & set(page.tags)
    assert not [value for name, value in page.attributes if name in ("src", "srcset")]
    assert all(str(value).startswith("#") for name, value in page.attributes if name == "href")


def test_a_report_is_written_whole_or_not_at_all(
    compared: Entry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "report.html"
    path.write_text("before")

    def interrupted(self: Path, text: str, encoding: str) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_text", interrupted)
        with pytest.raises(KeyboardInterrupt):
            write_report(path, "title", [compared])
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]
    with pytest.raises(FileError):
        write_report(tmp_path / "missing" / "report.html", "title", [compared])


def test_simulate_compares_planners_side_by_side(codl: Callable[..., Outcome], tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    scenario = tmp_path / "two.yaml"
    scenario.write_text("name: two\nmodels: [paper/yolov2]\nhardware: sd865\nplanners: [gpu, codl, ideal]\n")
    assert codl("simulate", scenario, "--report", path).code == 0
    page = path.read_text(encoding="utf-8")
    assert "planners side by side" in page
    assert len(timelines(page)) == 2  # the bound has no timeline
    assert codl("simulate", scenario, "--report", tmp_path / "missing" / "r.html").code == 2


def test_compare_reports_two_trace_files(codl: Callable[..., Outcome], compared: Entry, tmp_path: Path) -> None:
    assert compared.simulated is not None and compared.measured is not None
    compared.simulated.write(tmp_path / "a.json")
    compared.measured.write(tmp_path / "b.json")
    files = ("--sim", tmp_path / "a.json", "--real", tmp_path / "b.json")
    assert codl("compare", *files, "--report", tmp_path / "c.html").code == 0
    (data,) = timelines((tmp_path / "c.html").read_text(encoding="utf-8"))
    assert len(data["worlds"]) == 2


def test_planners_are_ranked_where_all_were_predicted_and_measured() -> None:
    pairs = {"gpu": (30.0, 31.0), "codl": (20.0, 25.0), "cpu": (30.0, 22.0)}
    entries = [Entry({"model": "m", "planner": name, "measured_ms": b}, pair=(a, b)) for name, (a, b) in pairs.items()]
    (group,) = side_by_side(entries)
    assert group["ranked"] and [row["ranks"] for row in group["rows"]] == [(2, 3), (1, 2), (2, 1)]
    (group,) = side_by_side([*entries, Entry({"model": "m", "planner": "ideal"})])
    assert not group["ranked"]


def test_ranking_and_constants_that_moved_are_in_the_page() -> None:
    moved = [Moved("<i>sharing.copy", 1.25, 12)]
    page = render_report("t", [], fidelity=Fidelity([Ranking("m", 3, 0.136, 2 / 3)], moved, True, 0.1))
    text = re.sub(r"<[^>]+>", " ", page)
    assert "13.6 %" in text and "0.667" in text and "&lt;i&gt;sharing.copy" in text and "× 1.25" in text
    assert "codl calibrate" in text
    calm = render_report("t", [], fidelity=Fidelity([], [], False, 0.1))
    assert "no plan is off by more than 10 % and its noise" in calm
    assert "no constant explains it" in render_report("t", [], fidelity=Fidelity([], [], True, 0.1))
