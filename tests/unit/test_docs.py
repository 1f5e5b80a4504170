"""The documentation is true: its commands run, its examples work, its contract is the program's, and it builds."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from codl.hardware import Hardware
from codl.onnx_reader.lowering import RULES
from codl.ops import REGISTRY
from tests.conftest import Outcome

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
Codl = Callable[..., Outcome]


def blocks(page: str) -> list[tuple[str, str]]:
    """(language, text) of every fenced block of a page."""
    return re.findall(
        r"^```(\w+)\n(.*?)^```", (DOCS / page).read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE
    )


def commands(text: str) -> list[list[str]]:
    return [shlex.split(line[2:]) for line in text.splitlines() if line.startswith("$ codl ")]


def follow(page: str, codl: Codl, files: tuple[str, ...] = ()) -> None:
    """Do what a page says, from top to bottom: run its commands and its Python.

    Args:
        files: names under which blocks of YAML and CSV are saved, in order.
    """
    names = iter(files)
    for language, text in blocks(page):
        if language == "python":
            exec(compile(text, page, "exec"), {})
        elif language in ("yaml", "csv"):
            Path(next(names)).write_text(text)
        for command in commands(text) if language == "console" else ():
            outcome = codl(*command[1:])
            assert outcome.code == 0, f"{' '.join(command)}: {outcome.err}"
    assert next(names, None) is None


def test_the_tutorial_can_be_followed(
    codl: Codl, host: Hardware, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    follow("tutorial.md", codl)
    for name in ("yolov2.html", "plan.json", "predicted.json", "measured.json", "both.html"):
        assert (tmp_path / name).stat().st_size > 1000
    assert "runs on the GPU alone" in " ".join((DOCS / "tutorial.md").read_text().split())
    assert "gpu alone" in codl("why", "yolov2", "--hardware", "sd865", "--operator", "conv26").out.splitlines()[1]


def test_a_device_can_be_described_as_the_page_says(
    codl: Codl, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    follow("own-device.md", codl, ("mydevice.yaml", "measured.csv"))
    before, after = (
        codl("predict", "measured.csv", "--hardware", name, "--processor", "gpu", "--json").json["operators"]
        for name in ("mydevice.yaml", "fitted.yaml")
    )

    def error(rows: list[dict[str, Any]]) -> float:
        return float(np.median([abs(float(r["latency_us"]) / float(r["measured_us"]) - 1) for r in rows]))

    assert error(after) < 0.1 < error(before)


@pytest.fixture
def abs_operator(monkeypatch: pytest.MonkeyPatch) -> None:
    """The operator of the page, registered for one test."""
    first, second = [text for language, text in blocks("extending.md") if language == "python"][:2]
    scope: dict[str, Any] = {}
    exec(compile(first, "extending.md", "exec"), scope)
    exec(compile(second, "extending.md", "exec"), scope)
    monkeypatch.setitem(REGISTRY._families, "abs", scope["Abs"]())
    monkeypatch.setitem(RULES, "Abs", scope["rule"])  # type: ignore[misc]  # what the documentation defines


@pytest.mark.usefixtures("abs_operator")
def test_the_operator_of_the_page_computes_and_can_be_cut(host: Hardware, tmp_path: Path) -> None:
    import codl

    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 8, 16, 16]) for name in ("x", "y")]
    graph = helper.make_graph([helper.make_node("Abs", ["x"], ["y"], "magnitude")], "g", ends[:1], ends[1:])
    path = tmp_path / "abs.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    x = np.random.default_rng(0).standard_normal((1, 8, 16, 16)).astype(np.float32)
    for planner in ("cpu", "h"):
        session = codl.load(path, planner=planner)
        (y,) = session.run({"x": x})
        np.testing.assert_array_equal(y, np.abs(x))


def test_a_third_processor_works_as_the_page_says(codl: Codl, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    script = [text for language, text in blocks("extending.md") if language == "python"][2]
    exec(compile(script, "extending.md", "exec"), {})
    for command in (c for language, text in blocks("extending.md") if language == "console" for c in commands(text)):
        assert codl(*command[1:]).code == 0
    assert "little" in (tmp_path / "three.html").read_text(encoding="utf-8")


def documented() -> dict[str, set[str]]:
    """By command, the options that its usage in cli.md names."""
    found: dict[str, set[str]] = {}
    for usage in re.findall(r"`codl (\w+[^`]*)`", (DOCS / "cli.md").read_text(encoding="utf-8")):
        found.setdefault(usage.split()[0], set()).update(re.findall(r"--[a-z-]+", usage))
    found.pop("COMMAND", None)
    return found


@pytest.mark.parametrize("command", sorted(documented()))
def test_the_contract_names_commands_and_options_that_exist(codl: Codl, command: str) -> None:
    text = codl(command, "--help").out
    assert documented()[command] <= set(re.findall(r"--[a-z-]+", text))


def test_the_contract_leaves_out_no_command(codl: Codl) -> None:
    listed = set(re.findall(r"^│ (\w+) ", codl("--help").out, flags=re.MULTILINE))
    assert listed and listed <= set(documented())


def test_the_documentation_builds(tmp_path: Path) -> None:
    pytest.importorskip("material", reason="no mkdocs-material: pip install 'codl[docs]'")
    from mkdocs.commands.build import build
    from mkdocs.config import load_config

    build(load_config(str(ROOT / "mkdocs.yml"), site_dir=str(tmp_path / "site")))
    page = (tmp_path / "site" / "cli" / "index.html").read_text(encoding="utf-8")
    assert "fonts.googleapis.com" not in page
    assert (tmp_path / "site" / "figures" / "figure15.png").stat().st_size > 1000
