"""`codl plan`: decide, and write the decisions down."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from codl.cli import options
from codl.cli.console import note, print_json, table
from codl.cli.host import load_hardware
from codl.plan.model import Plan
from codl.runs import Workspace


def register(app: typer.Typer) -> None:
    app.command(name="plan")(plan)


def plan(
    model: Annotated[str, typer.Argument(metavar="MODEL")],
    hardware: options.Hardware,
    planner: options.Planner = "codl",
    data_type: options.DataType = "auto",
    objective: Annotated[
        str, typer.Option("--objective", metavar="latency|energy|edp", help="What to minimise; edp = energy x latency.")
    ] = "latency",
    published: Annotated[
        Path | None,
        typer.Option(
            "--published", metavar="FILE.json", help="Take the decisions from a file in the CoDL authors' format."
        ),
    ] = None,
    output: Annotated[Path | None, typer.Option("-o", "--output", metavar="PLAN.json", help="Write the plan.")] = None,
    shape: options.Shapes = None,
    json: options.Json = False,
) -> None:
    """Partition a network: which operators are cut, along which dimension, in which ratio, chained how.

    Example: codl plan yolov2 --hardware sd865 --planner codl -o plan.json
    """
    options.require_folders(output)
    workspace = Workspace(load_hardware(hardware), data_type, options.shapes(shape), objective)
    run = workspace.follow(model, published) if published else workspace.prepare(model, planner)
    if output:
        run.plan.write(output)
        note(f"wrote {output}")
    if json:
        print_json(run.plan.model_dump(mode="json", by_alias=True, exclude_none=True))
    elif not output:
        _show(run.plan)


def _show(plan: Plan) -> None:
    rows = []
    for index, chain in enumerate(plan.chains):
        first, last = chain.operators[0], chain.operators[-1]
        span = first if first == last else f"{first} ... {last}"
        dimension = chain.dimension.value if chain.dimension and len(chain.shares) > 1 else "-"
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
