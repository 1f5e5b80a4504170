"""What every command prints with: JSON on standard output, everything for people's eyes through rich."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

out = Console(highlight=False)
"""Results."""
log = Console(stderr=True, highlight=False)
"""Progress, notes and errors."""


def fail(message: str) -> None:
    log.print("codl:", message, markup=False, soft_wrap=True, style="red")


def note(message: str) -> None:
    log.print(message, markup=False, soft_wrap=True)


def print_json(document: Any) -> None:
    """One JSON document on standard output."""
    from codl.io import to_plain  # takes a while to import, and a list of commands needs none of it

    print(json.dumps(to_plain(document), indent=1, allow_nan=False))


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[Any]], caption: str = "") -> None:
    """A table: figures right-aligned and never broken, texts left-aligned and folded where the terminal is narrow."""
    grid = Table(title=title or None, title_justify="left", box=None, pad_edge=False)
    cells = [[_cell(value) for value in row] for row in rows]
    by_column = [[row[index] for row in cells] for index in range(len(columns))]
    whole = [all(len(text) <= _SHORT for text in texts) for texts in by_column]
    widths = [max(map(len, (column, *texts))) for column, texts in zip(columns, by_column, strict=True)]
    needed = sum(width + 2 if keep else _SHORT for width, keep in zip(widths, whole, strict=True))
    for column, texts, keep in zip(columns, by_column, whole, strict=True):
        figures = any(text != "-" for text in texts) and all(_FIGURE.match(text) for text in texts)
        # A column that may not wrap loses its end where there is no room: rather a broken line than a wrong figure.
        no_wrap = keep and needed <= out.width
        grid.add_column(column, justify="right" if figures else "left", overflow="fold", no_wrap=no_wrap)
    for row in cells:
        grid.add_row(*map(escape, row))
    out.print(grid)
    if caption:
        out.print(caption, markup=False)


_FIGURE = re.compile(r"([-+]?\d[\d.]*(e[-+]?\d+)?( ?%)?( @ \d+%)?|-|yes|no)$")
_SHORT = 12
"""Characters up to which a column's texts are kept on one line."""


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.3g}" if abs(value) < 100 else f"{value:.1f}"
    return str(value)


def planner_of(row: Mapping[str, Any]) -> str:
    """The planner of a row of results, with the variant where the scenario has some."""
    return f"{row['planner']}, {row['variant']}" if "variant" in row else str(row["planner"])


def percent(value: float | None) -> str | None:
    """A share as a signed percentage, such as an error: +3.2 %."""
    return None if value is None else f"{100 * value:+.1f} %"


def share(value: float | None) -> str | None:
    """A share as a percentage: 85 %."""
    return None if value is None else f"{100 * value:.0f} %"


class Ticker:
    """Progress of a task whose steps are counted: `total` first, then a step at a time."""

    def __init__(self, progress: Progress, task: Any) -> None:
        self._progress, self._task = progress, task

    def total(self, steps: int) -> None:
        self._progress.update(self._task, total=steps)

    def step(self, what: str = "", count: int = 1) -> None:
        self._progress.update(self._task, advance=count, what=what)

    def note(self, what: str) -> None:
        note(what)


def _bar(auto_refresh: bool) -> Progress:
    """Elapsed and remaining time of what is under way, in 80 columns, on standard error."""
    columns = (
        TextColumn("{task.description}"), BarColumn(16), MofNCompleteColumn(), TimeElapsedColumn(),
        TimeRemainingColumn(), TextColumn("{task.fields[what]}"),
    )  # fmt: skip
    return Progress(*columns, console=log, transient=True, auto_refresh=auto_refresh)


@contextmanager
def progress(title: str) -> Iterator[Ticker]:
    """A progress bar with elapsed and remaining time on standard error."""
    with _bar(auto_refresh=True) as bar:
        yield Ticker(bar, bar.add_task(title, total=None, what=""))


class Stages:
    """Progress of measurements, in stages of like steps; with several parts, a bar for them too.

    Nothing is drawn while a step lasts: no thread refreshes the bar, and between steps it is drawn four times a second
    at the most, so that what is measured is not disturbed.
    """

    def __init__(self, bar: Progress, title: str, parts: int) -> None:
        self._bar = bar
        self._whole = bar.add_task(title, total=parts, what="") if parts > 1 else None
        self._stage: Any = None
        self._drawn = 0.0

    def stage(self, what: str, steps: int) -> None:
        if self._stage is not None:
            self._bar.remove_task(self._stage)
        self._stage = self._bar.add_task(what, total=steps, what="")
        self._bar.refresh()

    def step(self) -> None:
        self._bar.advance(self._stage)
        if time.monotonic() - self._drawn >= _REDRAW:
            self._bar.refresh()
            self._drawn = time.monotonic()

    def part(self) -> None:
        """One of the parts is done."""
        if self._whole is not None:
            self._bar.advance(self._whole)


_REDRAW = 0.25
"""Seconds."""


@contextmanager
def stages(title: str, parts: int) -> Iterator[Stages]:
    """Progress of `parts` measurements on standard error."""
    with _bar(auto_refresh=False) as bar:
        yield Stages(bar, title, parts)
