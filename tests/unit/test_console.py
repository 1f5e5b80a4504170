"""What people see: tables that fit a terminal of 80 columns, figures that stay whole, text that is taken literally."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from codl.cli import console
from tests.conftest import Outcome

DATA = Path(__file__).parents[1] / "data"
COMMANDS = [
    ("models",),
    ("hardware",),
    ("hardware", "show", "sd865"),
    ("devices",),
    ("plan", "paper/retinaface", "--hardware", "sd865"),
    ("why", "paper/retinaface", "--hardware", "sd855"),
    ("why", "retinaface", "--hardware", "sd865", "--operator", "conv02"),
    ("simulate", "sd855"),
    ("predict", DATA / "pixel4_convolutions.csv", "--hardware", "pixel4", "--processor", "gpu"),
    *((name, "--help") for name in ("plan", "why", "simulate", "execute", "compare", "calibrate", "predict", "fit")),
]


@pytest.fixture(autouse=True)
def narrow(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("COLUMNS", "80")
    for each in (console.out, console.log):
        monkeypatch.setattr(each, "_width", 80)
    yield


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: " ".join(map(str, command))[:40])
def test_every_line_fits_80_columns(codl: Callable[..., Outcome], command: tuple[str, ...]) -> None:
    outcome = codl(*command)
    assert outcome.code == 0, outcome.err
    assert [line for line in outcome.out.splitlines() if len(line) > 80] == []


def test_figures_are_not_broken_and_texts_are_folded(capsys: pytest.CaptureFixture[str]) -> None:
    long = "a/very/long/name/" * 10
    console.table("", ("operator", "ms", "share", "why"), [(long, 123.456, "+12.5 %", "because " * 20)])
    text = capsys.readouterr().out
    assert "123.5" in text and "+12.5 %" in text
    assert max(map(len, text.splitlines())) <= 80
    assert "".join(line.split(" ")[0] for line in text.splitlines()[1:]) == long


def test_names_are_no_markup(capsys: pytest.CaptureFixture[str]) -> None:
    console.table("", ("name", "value"), [("[bold]x[/nothing]", 1)])
    assert "[bold]x[/nothing]" in capsys.readouterr().out


def test_a_figure_that_has_no_room_is_broken_not_cut(capsys: pytest.CaptureFixture[str]) -> None:
    console.table("", [f"column {index}" for index in range(16)], [["1234.567"] * 16])
    text = capsys.readouterr().out
    assert max(map(len, text.splitlines())) <= 80
    assert text.count("7") >= 16  # no figure lost its end
