"""`codl validate`: simulated beside published."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from codl.cli import options
from codl.cli.console import log, note, percent, print_json, share, table
from codl.report.figures import draw_figures
from codl.validation import validate as run_validation


def register(app: typer.Typer) -> None:
    app.command(name="validate")(validate)


def validate(
    figures: Annotated[
        Path | None,
        typer.Option("--figures", metavar="DIR", help="Also redraw the paper's figures 15 to 22 into this folder."),
    ] = None,
    json: options.Json = False,
) -> None:
    """Simulate every published figure that the project knows and show published, simulated and error.

    Example: codl validate --figures figures
    """
    if figures:
        options.require_folders(figures)
        figures.mkdir(exist_ok=True)
        with log.status("drawing the paper's figures"):
            written = draw_figures(figures)
        note(f"wrote {', '.join(path.name for path in written)} to {figures}")
    found = run_validation()
    groups = found.groups()
    if json:
        rows = [
            {
                "phone": f.phone,
                "model": f.model,
                "planner": f.planner,
                "published_ms": f.published_ms,
                "simulated_ms": f.simulated_ms,
                "summed_ms": f.summed_ms,
                "error": f.error,
            }
            for f in found.figures
        ]
        means = [
            {"group": name, "rows": rows, "mean_absolute_error": absolute, "mean_error": signed}
            for name, rows, absolute, signed in groups
        ]
        print_json({"figures": rows, "groups": means, "choices": found.choices})
        return
    cells = [(f.phone, f.model, f.planner, f.published_ms, f.simulated_ms, percent(f.error)) for f in found.figures]
    table("", ("phone", "model", "planner", "published ms", "simulated ms", "error"), cells)
    agree = [(c.phone, c.model, share(c.dimension), share(c.ratio), share(c.chain_ends)) for c in found.choices]
    columns = ("phone", "model", "same dimension", "ratio within 0.1", "same chain end")
    table("\nplanner codl against the authors' plans, share of operators", columns, agree)
    means_table = [(name, rows, percent(absolute), percent(signed)) for name, rows, absolute, signed in groups]
    table("\nmean errors", ("figures", "rows", "absolute", "signed"), means_table)
