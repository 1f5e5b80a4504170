"""`codl validate`: simulated beside published."""

from __future__ import annotations

import typer

from codl.cli import options
from codl.cli.console import percent, print_json, share, table
from codl.validation import validate as run_validation


def register(app: typer.Typer) -> None:
    app.command(name="validate")(validate)


def validate(json: options.Json = False) -> None:
    """Simulate every published figure that the project knows and show published, simulated and error.

    Example: codl validate
    """
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
