"""`codl plan`: decide, and write the decisions down; or show what latency costs in energy."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from codl.cli import options
from codl.cli.console import note, print_json, share, table
from codl.cli.host import load_hardware
from codl.errors import InputError
from codl.goals import Choice, Pareto, pareto, within_latency, within_power
from codl.io import write_json
from codl.plan.model import Plan
from codl.report.pareto import PICTURES, draw_pareto
from codl.runs import Prepared, Row, Workspace
from codl.units import parse

OBJECTIVE_OF_BOUND = {"--latency-bound": "energy", "--power-cap": "latency"}
"""What a bound leaves to minimise."""


def register(app: typer.Typer) -> None:
    app.command(name="plan")(plan)


def plan(
    model: Annotated[str, typer.Argument(metavar="MODEL")],
    hardware: options.Hardware,
    planner: Annotated[
        str | None,
        typer.Option(
            "--planner",
            metavar="PLANNER",
            help="cpu, gpu, mulayer, h, oc, hybrid, codl (if not given) or optimal (for bounds and --pareto).",
        ),
    ] = None,
    data_type: options.DataType = "auto",
    storage: options.Storage = options.FLOAT32,
    objective: Annotated[
        str | None,
        typer.Option(
            "--objective", metavar="latency|energy|edp", help="What to minimise (latency); edp = energy x latency."
        ),
    ] = None,
    latency_bound: Annotated[
        str | None, typer.Option("--latency-bound", metavar='"50 ms"', help="The least energy within this latency.")
    ] = None,
    power_cap: Annotated[
        str | None, typer.Option("--power-cap", metavar='"3 W"', help="The least latency at this average power.")
    ] = None,
    front: Annotated[
        bool, typer.Option("--pareto", help="The front of latency and energy; -o takes .json, .svg, .png or .pdf.")
    ] = False,
    published: Annotated[
        Path | None,
        typer.Option(
            "--published", metavar="FILE.json", help="Take the decisions from a file in the CoDL authors' format."
        ),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="PLAN.json", help="Write the plan (or the front).")
    ] = None,
    shape: options.Shapes = None,
    json: options.Json = False,
) -> None:
    """Partition a network: which operators are cut, along which dimension, in which ratio, chained how.

    Example: codl plan yolov2 --hardware sd865 --planner codl -o plan.json
    Example: codl plan yolov2 --hardware sd865 --latency-bound "150 ms"
    Example: codl plan yolov2 --hardware sd865 --pareto -o front.svg
    """
    options.require_folders(output)
    bounds = {"--latency-bound": latency_bound, "--power-cap": power_cap, "--published": published, "--pareto": front}
    chosen = [name for name, value in bounds.items() if value]
    if len(chosen) > 1:
        raise InputError(f"{' and '.join(chosen)} exclude each other")
    if chosen and objective not in (None, OBJECTIVE_OF_BOUND.get(chosen[0])):
        raise InputError(f"{chosen[0]} does not go with --objective {objective}")
    workspace = Workspace(
        load_hardware(hardware, storage=storage), data_type, options.shapes(shape), objective or "latency"
    )
    if front:
        _front(pareto(workspace, model, planner or "optimal"), model, output, json)
        return
    if latency_bound:
        bound_ms = _parsed("--latency-bound", latency_bound, "second") * 1e3
        choice = within_latency(workspace, model, planner or "optimal", bound_ms)
        _say(choice, choice.candidate.point.energy_j, "J")
        run = choice.candidate.run
    elif power_cap:
        choice = within_power(workspace, model, planner or "optimal", _parsed("--power-cap", power_cap, "watt"))
        _say(choice, choice.candidate.point.latency_ms, "ms")
        run = choice.candidate.run
    else:
        run = workspace.follow(model, published) if published else workspace.prepare(model, planner or "codl")
    _deliver(run, output, json)


def _parsed(option: str, text: str, unit: str) -> float:
    try:
        return parse(text, unit)
    except ValueError as error:
        raise InputError(f"{option}: {error}") from None


def _deliver(run: Prepared, output: Path | None, json: bool) -> None:
    if output:
        run.plan.write(output)
        note(f"wrote {output}")
    if json:
        print_json(run.plan.model_dump(mode="json", by_alias=True, exclude_none=True))
    elif not output:
        _show(run.plan)


def _say(choice: Choice, expected: float, unit: str) -> None:
    row = choice.candidate.row
    note(f"simulated: {row['latency_ms']:.2f} ms, {row['energy_j']:.4g} J, {row['average_power_w']:.2f} W")
    if row["planner"] == "optimal":  # only then is the floor one
        note(f"expected: {expected:.4g} {unit}; the search sees no plan within the bound below {choice.floor:.4g}")


def _front(found: Pareto, model: str, output: Path | None, json: bool) -> None:
    rows = [candidate.row for candidate in found.candidates]
    first = rows[0]
    title = f"{model} on {first['hardware']}, planner {first['planner']}"
    document = {
        "model": model,
        "hardware": first["hardware"],
        "planner": first["planner"],
        "hull_complete": found.front.complete,
        "searches": found.front.searches,
        "points": rows,
    }
    if output and output.suffix in PICTURES:
        draw_pareto(output, title, rows)
    elif output:
        write_json(output, document)
    if output:
        note(f"wrote {output}")
    if json:
        print_json(document)
    elif not output:
        _show_front(title, found, rows)


MOST_LINES = 25


def _show_front(title: str, found: Pareto, rows: list[Row]) -> None:
    shown = rows
    if len(rows) > MOST_LINES:
        shown = [rows[round(k * (len(rows) - 1) / (MOST_LINES - 1))] for k in range(MOST_LINES)]
    fast, frugal = rows[0], rows[-1]
    cells = [
        (
            f"{r['latency_ms']:.2f}", f"{r['energy_j']:.4f}", r["average_power_w"],
            share(r["latency_ms"] / fast["latency_ms"] - 1), share(r["energy_j"] / frugal["energy_j"] - 1),
            r["split_operators"], "vertex" if r["supported"] else "",
        )
        for r in shown
    ]  # fmt: skip
    proof = (
        "every vertex of the hull" if found.front.complete else f"the hull as far as {found.front.searches} searches"
    )
    caption = (
        f"{len(rows)} plans, {len(shown)} of them shown; {proof}.\n"
        "slower, dearer: than the fastest, than the most frugal one"
    )
    table(title, ("ms", "J", "W", "slower", "dearer", "split", ""), cells, caption)


def _show(plan: Plan) -> None:
    rows = []
    for index, chain in enumerate(plan.chains):
        first, last = chain.operators[0], chain.operators[-1]
        span = first if first == last else f"{first} ... {last}"
        dimension = chain.dimension.value if chain.dimension and len(chain.shares) > 1 else "-"
        dimension = "branches" if chain.branches else dimension
        rows.append(
            (f"c{index:02d}", span, len(chain.operators), dimension, *(chain.shares.get(p) for p in plan.processors))
        )
    took = f"planned in {plan.planning_ms:.0f} ms" if plan.planning_ms is not None else ""
    expected = f"expected latency {plan.predicted_ms:.2f} ms" if plan.predicted_ms is not None else ""
    columns = ("chain", "operators", "count", "split along", *plan.processors)
    table(
        f"{plan.model.name} on {plan.hardware.name}, planner {plan.planner}",
        columns,
        rows,
        "; ".join(filter(None, (expected, took))),
    )
