"""`codl simulate`: plans interpreted by the simulator."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from codl.cli import options, serving
from codl.cli.console import note, percent, planner_of, print_json, table
from codl.cli.host import load_hardware, scenario_workspace
from codl.errors import InputError
from codl.hardware import Hardware
from codl.plan.model import Plan
from codl.report import Entry, Fidelity, write_report
from codl.runs import IDEAL, Prepared, Row, Workspace, simulated_row, with_published
from codl.scenario import load as load_scenario

Scenario_ = Annotated[
    str | None, typer.Argument(metavar="SCENARIO", help="A scenario file or the name of a packaged one.")
]


def register(app: typer.Typer) -> None:
    app.command(name="simulate")(simulate)


def simulate(
    scenario: Scenario_ = None,
    model: options.Model = None,
    hardware: Annotated[
        str | None, typer.Option("--hardware", metavar="HW", help="A hardware file or the name of a packaged one.")
    ] = None,
    planner: options.Planner = "codl",
    plan: options.PlanFile = None,
    data_type: options.DataType = "auto",
    settings: options.Overrides = None,
    shape: options.Shapes = None,
    trace: options.TraceFile = None,
    report: options.ReportFile = None,
    json: options.Json = False,
) -> None:
    """Predict timeline, latency, energy and memory of plans on a hardware description.

    Example: codl simulate sd865
    Example: codl simulate --model yolov2 --hardware sd855 --planner codl --trace timeline.json
    """
    only_one(scenario=scenario, model=model, plan=plan)
    options.require_folders(trace, report)
    if scenario is not None and (chosen := load_scenario(scenario)).workload is not None:
        serving.simulate(chosen, hardware, data_type, settings, options.shapes(shape), trace, report, json)
        return
    rows: list[Row] = []
    entries: list[Entry] = []
    last = description = None
    for workspace, run, label, published, variant in _selected(
        scenario, model, hardware, planner, plan, data_type, settings, shape
    ):
        description = workspace.hardware
        named = {"variant": variant} if variant else {}
        if run is None:
            rows.append(with_published(workspace.bound(label), published) | named)
            entries.append(Entry(rows[-1]))
            continue
        result = run.simulate()
        last = result.trace
        rows.append(simulated_row(run, result, published) | named)
        entries.append(Entry(rows[-1], simulated=last, run=run))
    if report:
        save_report(report, f"{subject(rows)} simulated on {rows[0]['hardware']}", entries, description)
    if trace:
        if last is None or len(rows) > 1:
            raise InputError(
                "--trace writes one timeline; choose one model and one planner with --model and --planner, or --plan"
            )
        last.write(trace)
        note(f"wrote {trace}; open it in Perfetto")
    if json:
        print_json({"runs": rows})
        return
    compared = ("published", "error") if any("published_ms" in row for row in rows) else ()
    columns = ("model", "planner", "ms", *compared, "J", "cpu", "gpu", "split")
    cells = [
        (r["model"], planner_of(r), r["latency_ms"],
         *((r.get("published_ms"), percent(r.get("error"))) if compared else ()), r.get("energy_j"),
         r.get("cpu_busy"), r.get("gpu_busy"), r.get("split_operators"))
        for r in rows
    ]  # fmt: skip
    caption = (
        "ms: latency; J: energy of one inference; cpu, gpu: share of the latency during "
        "which each is busy; split: operators computed by both"
    )
    table(f"simulated on {rows[0]['hardware']}", columns, cells, caption)


def subject(rows: list[Row]) -> str:
    """What a report is about: the models, or the first of many."""
    models = list(dict.fromkeys(str(row["model"]) for row in rows))
    return ", ".join(models[:3]) + (f" and {len(models) - 3} more" if len(models) > 3 else "")


def save_report(
    path: Path, title: str, entries: list[Entry], hardware: Hardware | None, fidelity: Fidelity | None = None
) -> None:
    """Write a report and say so."""
    write_report(path, title, entries, hardware, fidelity)
    note(f"wrote {path}; open it in a browser")


Selection = tuple[Workspace, Prepared | None, str, float | None, str]


def _selected(
    scenario: str | None, model: str | None, hardware: str | None, planner: str, plan: Path | None, data_type: str,
    settings: list[str] | None, shape: list[str] | None,
) -> Iterator[Selection]:  # fmt: skip
    """(workspace, prepared run or None for the bound `ideal`, model, published latency, variant) of all that is asked
    for."""
    shapes = options.shapes(shape)
    if plan:
        read = Plan.read(plan)
        workspace = Workspace(load_hardware(hardware or read.hardware.name, settings), data_type, shapes)
        yield workspace, workspace.reuse(read), read.model.name, None, ""
    elif model:
        if hardware is None:
            raise InputError("--model needs --hardware, such as --hardware sd865")
        workspace = Workspace(load_hardware(hardware, settings), data_type, shapes)
        yield workspace, None if planner == IDEAL else workspace.prepare(model, planner), model, None, ""
    else:
        chosen = load_scenario(str(scenario))
        for variant, extra in {"": (), **chosen.variants}.items():
            workspace = scenario_workspace(chosen, hardware, data_type, [*extra, *(settings or ())], shapes)
            for name in chosen.models:
                for each in chosen.planners:
                    run = None if each == IDEAL else workspace.prepare(name, each)
                    yield workspace, run, name, None if variant else chosen.published_ms(name, each), variant


def only_one(**given: object) -> None:
    """Raise `InputError` unless exactly one of the alternatives is given."""
    if sum(value is not None for value in given.values()) != 1:
        names = [name.upper() if name == "scenario" else f"--{name}" for name in given]
        raise InputError(f"give one of {', '.join(names)} (see --help)")
