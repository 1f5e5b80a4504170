"""The page itself: one HTML file with its style, its script and its data inside, and no way to reach a network.

Names come from models and files of strangers. Everything is escaped where it is printed (jinja2's autoescape; the
script writes text nodes only), and a content security policy lets nothing run but the page's own script.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import DictLoader, Environment, StrictUndefined

from codl.hardware import Hardware
from codl.io import write_text
from codl.report import sections, serving
from codl.report.entry import Entry, Fidelity
from codl.report.serving import Serving
from codl.report.timeline import timeline


def write_report(
    path: Path | str, title: str, entries: Sequence[Entry], hardware: Hardware | None = None,
    fidelity: Fidelity | None = None, servings: Sequence[Serving] = (),
) -> None:  # fmt: skip
    """Write a report (atomically); the arguments are those of `render_report`.

    Raises:
        FileError: the file cannot be written.
    """
    write_text(path, render_report(title, entries, hardware, fidelity, servings))


def render_report(
    title: str, entries: Sequence[Entry], hardware: Hardware | None = None, fidelity: Fidelity | None = None,
    servings: Sequence[Serving] = (),
) -> str:  # fmt: skip
    """The HTML text of a report.

    Args:
        hardware: what was predicted for; its constants and their provenance are shown.
        fidelity: what the entries, predicted and measured, say together.
        servings: simulated workloads.
    """
    script = f"{_source('timeline.js')}\n{_source('charts.js')}"
    page = _environment().get_template("report.html.j2")
    return page.render(
        title=title,
        style=_source("report.css"),
        script=script,
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        planners=sections.side_by_side(entries),
        fidelity=fidelity and sections.fidelity(fidelity),
        overview=serving.overview(servings),
        servings=[_serving(number, each) for number, each in enumerate(servings)],
        runs=[_run(number, entry) for number, entry in enumerate(entries) if entry.simulated or entry.measured],
        hardware=sections.hardware(hardware) if hardware else None,
    )


def _run(number: int, entry: Entry) -> dict[str, Any]:
    return {
        "anchor": f"run{number}",
        "model": entry.model,
        "planner": entry.planner,
        "facts": sections.facts(entry.row),
        "timeline": timeline(entry),
        "lanes": sections.where_time_goes(entry),
        "operators": sections.operators(entry),
        "errors": sections.errors(entry.comparison) if entry.comparison else None,
        "environments": sections.environments(entry),
    }


def _serving(number: int, each: Serving) -> dict[str, Any]:
    return {
        "anchor": f"serving{number}",
        "title": each.title,
        "streams": each.streams,
        "repetitions": len(each.records),
        "figures": serving.figures(each),
        "charts": [chart.drawn() for chart in serving.charts(each)],
    }


@cache
def _source(name: str) -> str:
    return files("codl.report").joinpath("templates", name).read_text(encoding="utf-8")


@cache
def _environment() -> Environment:
    loader = DictLoader({"report.html.j2": _source("report.html.j2")})
    environment = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True,
                              lstrip_blocks=True)  # fmt: skip
    environment.filters["number"] = number
    environment.filters["percent"] = percent
    environment.filters["part"] = part
    return environment


def number(value: float | int | None) -> str:
    """Three significant digits; whole numbers as they are; a dash for what is not known."""
    if value is None:
        return "–"
    if isinstance(value, int) or abs(value) >= 1000:
        return f"{value:.0f}"
    return f"{value:.3g}" if abs(value) < 100 else f"{value:.1f}"


def percent(value: float | None) -> str:
    """A share as a signed percentage."""
    return "–" if value is None else f"{100 * value:+.1f} %"


def part(value: float | None) -> str:
    """A share as a percentage without a sign; the unit stands elsewhere."""
    return "–" if value is None else number(100.0 * value)
