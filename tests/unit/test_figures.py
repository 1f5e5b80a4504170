"""The paper's figures redrawn: the values are the simulator's, the marks the published ones, the pictures not empty."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from codl import hardware as hw
from codl.runs import Workspace
from codl.scenario import load as load_scenario
from tests.conftest import Outcome

matplotlib = pytest.importorskip("matplotlib", reason="no matplotlib: pip install 'codl[report]'")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from codl.report.figures import draw_figures

    folder = tmp_path_factory.mktemp("figures")
    draw_figures(folder)
    return folder


@pytest.fixture(scope="module")
def drawn(folder: Path) -> dict[int, Any]:
    return {picture["number"]: picture for picture in json.loads((folder / "figures.json").read_text())}


def test_every_figure_is_drawn(folder: Path, drawn: dict[int, Any]) -> None:
    from matplotlib.image import imread

    assert list(drawn) == list(range(15, 23))
    text = (folder / "figures.md").read_text()
    for number, picture in drawn.items():
        pixels = imread(folder / f"figure{number}.png")
        assert pixels.std() > 0.05  # more than an empty page
        assert f"figure{number}.png" in text and picture["title"] in text
        assert picture["notes"] and all(note in text for note in picture["notes"])


def test_bars_are_simulated_and_marks_published(drawn: dict[int, Any]) -> None:
    panel = drawn[15]["panels"][1]
    assert panel["title"].startswith("sd865")
    run = Workspace(hw.load("sd865")).prepare("paper/vgg16", "codl").simulate()
    at = panel["groups"].index("vgg16")
    assert panel["series"]["codl"][at] == pytest.approx(run.latency_ns / 1e6)
    assert panel["published"]["codl"][at] == load_scenario("sd865").published_ms("paper/vgg16", "codl")


def test_what_the_paper_claims_holds_in_the_pictures(drawn: dict[int, Any]) -> None:
    for panel in (*drawn[15]["panels"], *drawn[16]["panels"]):
        for cpu, gpu, both in zip(*(panel["series"][name] for name in ("cpu", "gpu", "codl")), strict=True):
            assert both < min(cpu, gpu)
    (types,) = drawn[17]["panels"]
    assert all(b > i for b, i in zip(types["series"]["codl, buffer"], types["series"]["codl, image"], strict=True))
    sharing = drawn[19]["panels"][0]["series"]
    assert sum(sharing["chains"]) < 0.6 * sum(sharing["no chains"])
    energy = drawn[21]["panels"][1]["series"]
    assert all(c < m for c, m in zip(energy["codl"], energy["mulayer"], strict=True))


def test_a_folder_that_cannot_be_is_refused(codl: Callable[..., Outcome], tmp_path: Path) -> None:
    outcome = codl("validate", "--figures", tmp_path / "no" / "such")
    assert outcome.code == 2
    assert "no such" not in outcome.out and "there is no folder" in outcome.err


def test_another_data_type_keeps_the_decisions_of_a_plan_with_winograd_parts(
    codl: Callable[..., Outcome], tmp_path: Path
) -> None:
    plan = tmp_path / "plan.json"
    codl("plan", "paper/retinaface", "--hardware", "sd855", "-o", plan)
    (image,) = codl("simulate", "--plan", plan, "--json").json["runs"]
    (buffer,) = codl("simulate", "--plan", plan, "--data-type", "buffer", "--json").json["runs"]
    assert buffer["split_operators"] == image["split_operators"]
    assert buffer["latency_ms"] > 2 * image["latency_ms"]
