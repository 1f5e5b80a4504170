"""What every fidelity run shows at its end: each verdict with its value, bound and noise, whatever its outcome."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from codl.io import write_json
from tests.fidelity import judging


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if not judging.verdicts:
        return
    terminalreporter.section("fidelity: prediction against measurement")
    for verdict in judging.verdicts:
        terminalreporter.write_line(str(verdict))


@pytest.fixture(scope="session")
def results() -> Results:
    """Collects what was measured; written to the file that FIDELITY_JSON names after every addition."""
    path = os.environ.get("FIDELITY_JSON")
    return Results(Path(path) if path else None)


class Results(dict):
    """Documents by name, on disk as soon as they are known."""

    def __init__(self, path: Path | None) -> None:
        super().__init__()
        self.path = path

    def keep(self, name: str, document: object) -> None:
        self[name] = document
        if self.path:
            write_json(self.path, dict(self))
