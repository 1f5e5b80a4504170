"""`codl sweep`: a grid of simulated runs into one table."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from codl import hardware as hw
from codl.cli import INTERRUPTED, options
from codl.cli.console import note, out, print_json, progress, share, table
from codl.cli.host import host
from codl.errors import InputError
from codl.sweep import ERROR, Outcome, Row, Sweep, journal_path, load, run_sweep
from codl.sweep.fleet import PERCENTILES, Variant, study, to_ship

SHOWN_ERRORS = 5


def register(app: typer.Typer) -> None:
    app.command(name="sweep")(sweep)


def sweep(
    file: Annotated[str, typer.Argument(metavar="SWEEP", help="A sweep file or the name of a packaged one.")],
    output: Annotated[
        Path, typer.Option("-o", "--output", metavar="RESULTS.parquet", help="Where to write the table of results.")
    ],
    jobs: Annotated[
        int | None, typer.Option("-j", "--jobs", min=1, help="Processes on this machine; one for each core by default.")
    ] = None,
    scheduler: Annotated[
        str | None,
        typer.Option("--scheduler", metavar="ADDRESS", help="A Dask scheduler to run on, such as tcp://10.0.0.1:8786."),
    ] = None,
    resume: Annotated[
        bool,
        typer.Option("--resume", help="Keep the results of an interrupted sweep, and of the table, that still hold."),
    ] = False,
    json: options.Json = False,
) -> None:
    """Simulate every combination of models, hardware, planners, overrides and workloads.

    Example: codl sweep fleet -o fleet.parquet -j 2
    """
    if jobs is not None and scheduler is not None:
        raise InputError("give -j for this machine or --scheduler for a cluster, not both")
    chosen, folder = load(file)
    described = host() if _names_host(chosen) else None
    try:
        with progress(f"Sweep {chosen.name}") as ticker:
            outcome = run_sweep(
                chosen, folder, output, jobs=jobs or _cores(), scheduler=scheduler, resume=resume, host=described,
                report=ticker,
            )  # fmt: skip
    except KeyboardInterrupt:
        journal = journal_path(output)
        kept = f"finished runs are kept in {journal}; continue with --resume" if journal.exists() else "nothing is kept"
        note(f"interrupted; {kept}")
        raise typer.Exit(INTERRUPTED) from None
    note(f"wrote {output}: {len(outcome.rows)} runs, {outcome.kept} of them from before")
    _show(chosen, outcome, json)


def _names_host(chosen: Sweep) -> bool:
    grid = chosen.grid.hardware if chosen.grid else ()
    return hw.HOST in grid or any(point.hardware == hw.HOST for point in chosen.runs)


def _cores() -> int:
    import os

    return len(os.sched_getaffinity(0))


def _show(chosen: Sweep, outcome: Outcome, json: bool) -> None:
    variants = study(outcome.rows, chosen.fleet) if chosen.fleet else []
    ship = to_ship(variants, chosen.fleet, chosen.models) if chosen.fleet else None
    if json:
        document: Row = {"runs": len(outcome.rows), "kept": outcome.kept, "failed": len(outcome.failed)}
        if chosen.fleet:
            document |= {
                "fleet": [_document(variant) for variant in variants],
                "ship": _document(ship) if ship else None,
            }
        print_json(document)
        return
    _show_errors(outcome)
    if chosen.fleet:
        _show_fleet(chosen, variants, ship)


def _show_errors(outcome: Outcome) -> None:
    if not outcome.failed:
        return
    counts: dict[str, int] = {}
    for row in outcome.failed:
        counts[row[ERROR]] = counts.get(row[ERROR], 0) + 1
    note(f"{len(outcome.failed)} runs failed (column `{ERROR}`):")
    for message, count in sorted(counts.items(), key=lambda item: -item[1])[:SHOWN_ERRORS]:
        note(f"  {count} x {message}")


def _document(variant: Variant) -> Row:
    row: Row = {"model": variant.model, "planner": variant.planner, "covered": variant.covered}
    if not variant.covered:
        return row
    row |= {f"latency_p{q}_ms": value for q, value in variant.percentiles_ms.items()}
    return row | {"decisive_ms": variant.bound_ms, "within_bound": variant.within, "energy_j": variant.energy_j}


def _show_fleet(chosen: Sweep, variants: list[Variant], ship: Variant | None) -> None:
    fleet = chosen.fleet
    assert fleet is not None
    columns = ("model", "planner", *(f"p{q} ms" for q in PERCENTILES), "in time", "J", "covered")
    cells = [
        (v.model, v.planner, *(v.percentiles_ms[q] for q in PERCENTILES), share(v.within), v.energy_j, share(v.covered))
        for v in variants
    ]
    mix = ", ".join(f"{name} {100 * part:.0f} %" for name, part in fleet.shares.items())
    bound = f"{fleet.latency_bound * 1e3:g} ms" if fleet.latency_bound is not None else ""
    caption = "ms: latency over the fleet's runs; J: mean energy; covered: share with results"
    if bound:
        caption += f"\nin time: share of the runs within {bound}"
    table(f"the fleet: {mix}", columns, cells, caption)
    if ship is None:
        out.print(
            f"ship: none; no model runs on the whole fleet with p{fleet.percentile:g} within {bound or 'any bound'}",
            markup=False,
        )
    else:
        within = f" within {bound}" if bound else ""
        out.print(
            f"ship: {ship.model} with planner {ship.planner}: p{fleet.percentile:g} is {ship.bound_ms:.1f} ms{within}",
            markup=False,
        )
