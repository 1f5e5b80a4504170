"""A small sweep, its table without what a clock wrote, and a kill in the middle of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow.parquet

from codl.documents import validate
from codl.sweep import Sweep

Row = dict[str, Any]
GRID = {"models": ["paper/vgg16", "paper/fst"], "hardware": ["sd865", "sd855"], "planners": ["cpu", "gpu"]}
TIMED = {"planning_ms"}
"""Columns that a clock wrote."""


def sweep(**fields: Any) -> Sweep:
    return validate(Sweep, {"name": "mine", "grid": GRID, **fields}, "mine.yaml", file=True)


def table(path: Path) -> list[Row]:
    rows = pyarrow.parquet.read_table(path).to_pylist()
    return [{name: value for name, value in row.items() if name not in TIMED} for row in rows]


class Killed(Exception):
    pass


class KilledAfter:
    """A progress report that ends the sweep after so many runs, as a kill would."""

    def __init__(self, runs: int) -> None:
        self.left = runs
        self.done = 0

    def total(self, steps: int) -> None:
        self.steps = steps

    def step(self, what: str = "", count: int = 1) -> None:
        self.done += count
        if self.done >= self.left:
            raise Killed
