"""What is shipped: a wheel that works from any folder and says the same as a source checkout."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path
from typing import Any

import pytest

import codl

ROOT = Path(__file__).parents[2]
PACKAGED = ("hardware", "scenarios", "sweeps")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this checkout, built without a network."""
    pytest.importorskip("hatchling")  # comes with the extra test
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (built,) = folder.glob("*.whl")
    return built


def test_the_wheel_holds_every_file_that_the_checkout_has(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        held = set(archive.namelist())
    source = [path for path in (ROOT / "codl").rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    wanted = {str(path.relative_to(ROOT)) for path in source}
    wanted |= {f"codl/data/{kind}/{path.name}" for kind in PACKAGED for path in (ROOT / kind).iterdir()}
    assert wanted <= held
    assert {Path(name).suffix for name in wanted} >= {".py", ".cl", ".yaml", ".csv", ".typed"}
    extra = {name for name in held - wanted if ".dist-info/" not in name}
    assert not extra
    assert any(name.endswith("licenses/LICENSE") for name in held)


def test_a_wheel_says_the_same_as_a_checkout_from_any_folder(wheel: Path, tmp_path: Path, codl: Any) -> None:
    site, elsewhere = tmp_path / "site", tmp_path / "elsewhere"
    elsewhere.mkdir()
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    program = (
        "import json, runpy, sys, contextlib, io, codl, codl.hardware, codl.scenario, codl.sweep, codl.ops.launch\n"
        "assert codl.__file__.startswith(sys.argv[1]), codl.__file__\n"
        "names = [codl.hardware.names(), codl.scenario.names(), codl.sweep.names()]\n"
        "sys.argv = ['codl', 'simulate', '--model', 'paper/vgg16', '--hardware', 'sd865', '--json']\n"
        "out = io.StringIO()\n"
        "with contextlib.redirect_stdout(out), contextlib.suppress(SystemExit):\n"
        "    codl.cli.main() if hasattr(codl, 'cli') else __import__('codl.cli').cli.main()\n"
        "print(json.dumps([names, json.loads(out.getvalue())]))\n"
    )
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    environment["PYTHONPATH"] = str(site)
    command = [sys.executable, "-c", program, str(site)]
    done = subprocess.run(command, cwd=elsewhere, env=environment, check=True, capture_output=True, text=True)
    names, document = json.loads(done.stdout)
    from codl import hardware, scenario, sweep

    assert names == [hardware.names(), scenario.names(), sweep.names()] and all(names)
    here = codl("simulate", "--model", "paper/vgg16", "--hardware", "sd865", "--json").json
    for run in (*here["runs"], *document["runs"]):
        del run["planning_ms"]
    assert document == here
    assert not list(elsewhere.iterdir())


def test_the_public_surface_is_this_list() -> None:
    assert sorted(codl.__all__) == ["Session", "__version__", "load"]
    assert all(getattr(codl, name) is not None for name in codl.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = codl.nothing


def test_metadata_agree() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["version"] == codl.__version__
    assert f"version: {codl.__version__}\n" in (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert f"## {codl.__version__} " in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert set(project["optional-dependencies"]) >= {"report", "sweep", "test", "bench"}


def test_the_lock_file_covers_what_the_project_asks_for() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    asked = [*project["dependencies"], *(entry for name in ("test", "report", "sweep") for entry in extras[name])]
    names = {re.sub(r"[._-]+", "-", re.split(r"[\[<>=~!; ]", entry)[0].lower()) for entry in asked} - {"codl"}
    lock = (ROOT / "requirements-dev.lock").read_text(encoding="utf-8")
    pinned = set(re.findall(r"^([a-z0-9.-]+)(?:\[[a-z,-]+\])?==", lock, flags=re.MULTILINE))
    assert names <= pinned
    assert "://" not in lock  # no registry's address
    assert lock.count("--hash=sha256:") >= len(pinned)


def test_every_kind_of_file_has_a_schema(codl: Any) -> None:
    import jsonschema

    from codl.io import read_yaml

    for kind, folder in (("hardware", "hardware"), ("scenario", "scenarios"), ("sweep", "sweeps")):
        schema = codl("schema", kind).json
        for path in sorted((ROOT / folder).glob("*.yaml")):
            jsonschema.validate(read_yaml(path), schema)
    assert codl("schema", "plan").json["title"] == "Plan"
    assert "known: hardware, scenario, sweep, plan" in codl("schema", "poem").err
