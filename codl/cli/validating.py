"""`codl validate`: simulated beside published."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from codl.cli import options
from codl.cli.console import log, note, percent, print_json, share, table
from codl.cost.erring import MARGIN, SHARE_WITHIN, spread
from codl.report.figures import draw_figures
from codl.validation import Validation, erring_groups
from codl.validation import validate as run_validation


def register(app: typer.Typer) -> None:
    app.command(name="validate")(validate)


def validate(
    figures: Annotated[
        Path | None,
        typer.Option("--figures", metavar="DIR", help="Also redraw the paper's figures 15 to 22 into this folder."),
    ] = None,
    hardware: Annotated[
        Path | None,
        typer.Option(
            "--hardware", metavar="DIR", help="Folder of other hardware files of the phones (sd855.yaml and so on)."
        ),
    ] = None,
    redraws: Annotated[
        int,
        typer.Option(
            "--redraws", min=0, max=1000,
            help="Also plan by predictions that err as the authors' did, with so many sets of errors (16 take half a "
            "minute).",
        ),
    ] = 0,
    json: options.Json = False,
) -> None:  # fmt: skip
    """Simulate every published figure that the project knows and show published, simulated and error.

    Single-processor latencies are what the phones were fitted to; co-executed ones are predicted. Beside them: what no
    model at all would say, whether the paper's claims hold, and how often our planner decides as the authors' did; with
    --redraws also the co-executed latencies again, with a planner whose predictions err as the authors' did.

    Example: codl validate --figures figures
    """
    if figures:
        options.require_folders(figures)
        figures.mkdir(exist_ok=True)
        with log.status("drawing the paper's figures"):
            written = draw_figures(figures)
        note(f"wrote {', '.join(path.name for path in written)} to {figures}")
    with log.status("simulating every published figure"):
        found = run_validation(folder=hardware, redraws=redraws)
    if json:
        print_json(_document(found))
        return
    _show(found)


def _document(found: Validation) -> dict[str, Any]:
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
        for name, rows, absolute, signed in found.groups()
    ]
    claims = [
        {"claim": c.claim, "held": c.held, "cases": c.cases, "holds": c.holds, "detail": c.detail} for c in found.claims
    ]
    return {
        "figures": rows,
        "groups": means,
        "null_models": found.nulls,
        "claims": claims,
        "choices": found.choices,
        **({"erring_planner": _erring(found)} if found.erring else {}),
    }


def _erring(found: Validation) -> dict[str, Any]:
    """The headline with a planner that errs; `simulated_ms` is the mean over redraws."""
    rows = [
        {
            "phone": f.phone,
            "model": f.model,
            "published_ms": f.published_ms,
            "simulated_ms": f.simulated_ms,
            "lowest_ms": min(f.redraws_ms),
            "highest_ms": max(f.redraws_ms),
            "error": f.error,
            "exact_ms": f.exact_ms,
            "exact_error": f.exact_error,
        }
        for f in found.erring
    ]
    return {
        "share_within": SHARE_WITHIN,
        "margin": MARGIN,
        "sigma": spread(),
        "redraws": len(found.erring[0].redraws_ms),
        "figures": rows,
        "groups": erring_groups(found.erring),
    }


def _show(found: Validation) -> None:
    cells = [
        (f.phone, f.model, f.planner, f.published_ms, f.simulated_ms, f.summed_ms, percent(f.error))
        for f in found.figures
    ]
    table("", ("phone", "model", "planner", "published ms", "simulated ms", "summed ms", "error"), cells)
    means = [(name, rows, f"{absolute:.1%}", percent(signed)) for name, rows, absolute, signed in found.groups()]
    table("\nmean errors", ("figures", "rows", "absolute", "signed"), means)
    if found.erring:
        _show_erring(found)
    nulls = [(n.phone, f"{n.simulated:.1%}", f"{n.harmonic:.1%}", f"{n.better:.1%}") for n in found.nulls]
    table(
        "\nmean absolute error of co-execution, beside null models",
        ("phone", "simulator", "c*g/(c+g) of the network", "better processor"),
        nulls,
    )
    claims = [(c.claim, "yes" if c.holds else "no", f"{c.held} of {c.cases}", c.detail) for c in found.claims]
    table("\nthe paper's claims, simulated", ("claim", "holds", "cases", ""), claims)
    agree = [(c.phone, c.model, share(c.dimension), share(c.ratio), share(c.chain_ends)) for c in found.choices]
    columns = ("phone", "model", "same dimension", "ratio within 0.1", "same chain end")
    table("\nplanner codl against the authors' plans, share of operators", columns, agree)


def _show_erring(found: Validation) -> None:
    """The headline with a planner that errs, beside that with ours."""
    title = f"planned by predictors that err as the authors' ({SHARE_WITHIN:.0%} within {MARGIN:.0%})"
    cells = [
        (f.phone, f.model, f.published_ms, f.simulated_ms, percent(f.error), f.exact_ms, percent(f.exact_error))
        for f in found.erring
    ]
    table(
        f"\ncodl, {title}: means of {len(found.erring[0].redraws_ms)} redraws, beside codl planned by exact costs",
        ("phone", "model", "published ms", "erring ms", "error", "exact ms", "error"),
        cells,
    )
    means = []
    for g in erring_groups(found.erring):
        erring = f"{g.mean_absolute_error:.1%}", percent(g.mean_error)
        exact = f"{g.exact_mean_absolute_error:.1%}", percent(g.exact_mean_error)
        means.append((g.group, g.rows, *erring, *exact))
    table(
        f"\nmean errors of codl, {title}, and by exact costs",
        ("figures", "rows", "erring: absolute", "signed", "exact: absolute", "signed"),
        means,
    )
