"""The layers of docs/architecture.md hold, and the public surface is what it says."""

from pathlib import Path

import pytest
from importlinter.cli import lint_imports

import codl

ROOT = Path(__file__).parent.parent


def test_every_import_contract_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    assert lint_imports(config_filename=str(ROOT / "pyproject.toml"), no_cache=True) == 0


def test_the_public_surface_is_a_list() -> None:
    assert sorted(codl.__all__) == ["Session", "__version__", "load"]
    for name in codl.__all__:
        assert getattr(codl, name)
