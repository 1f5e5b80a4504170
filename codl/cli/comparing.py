"""`codl compare`: prediction beside measurement of the same plans."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from codl.cli import options
from codl.cli.console import log, note, out, percent, print_json, share, table
from codl.cli.host import scenario_workspace
from codl.cli.running import Scenario_, only_one, save_report
from codl.compare import Comparison, compare_traces, rank_correlation, regret
from codl.errors import BoundExceeded, InputError
from codl.report import Entry
from codl.runs import IDEAL, Prepared, check_outputs, executor_for, random_inputs, require_agreement, require_executable
from codl.scenario import load as load_scenario
from codl.sim import simulate
from codl.trace import Trace

Row = dict[str, Any]


def register(app: typer.Typer) -> None:
    app.command(name="compare")(compare)


def compare(
    scenario: Scenario_ = None,
    sim: Annotated[
        Path | None, typer.Option("--sim", metavar="A.json", help="Trace of `codl simulate --trace`.")
    ] = None,
    real: Annotated[
        Path | None, typer.Option("--real", metavar="B.json", help="Trace of `codl execute --trace`.")
    ] = None,
    fail_above: Annotated[
        str | None, typer.Option("--fail-above", metavar="10%", help="Exit with 1 if an error is larger.")
    ] = None,
    runs: Annotated[int, typer.Option("--runs", min=1, help="Timed runs of each plan.")] = 11,
    cpu: options.CpuDevice = None,
    gpu: options.GpuDevice = None,
    shape: options.Shapes = None,
    report: options.ReportFile = None,
    json: options.Json = False,
) -> None:
    """Simulate and execute the same plans, check the outputs, and show the differences.

    Example: codl compare host
    """
    bound = options.bound(fail_above) if fail_above else None
    options.require_folders(report)
    if sim is None and real is None:
        only_one(scenario=scenario)
        entries = _scenario(str(scenario), runs, cpu, gpu, options.shapes(shape))
    elif scenario is not None or sim is None or real is None:
        raise InputError("give a SCENARIO, or both --sim and --real")
    else:
        entries = [_traces(Trace.read(sim), Trace.read(real))]
    rows = [dict(entry.row) for entry in entries]
    details = [entry.comparison for entry in entries if entry.comparison]
    if report:
        hardware = next((entry.run.hardware for entry in entries if entry.run), None)
        subject = ", ".join(dict.fromkeys(row["model"] for row in rows))
        save_report(report, f"{subject}: prediction beside measurement", entries, hardware)
    pairs = [(row["simulated_ms"], row["measured_ms"]) for row in rows]
    several = len({row["model"] for row in rows}) == 1 and len(rows) > 1
    document = {
        "models": rows,
        "regret": regret(pairs) if several else None,
        "rank_correlation": rank_correlation(pairs) if several else None,
    }
    if json:
        print_json(document)
    else:
        _show(document, details)
    worst = max(abs(row["error"]) for row in rows)
    if bound is not None and worst > bound:
        raise BoundExceeded(f"the largest error is {worst:.1%}, above the stated {bound:.1%}")


def _scenario(
    name: str, runs: int, cpu: str | None, gpu: str | None, shapes: dict[str, tuple[int, ...]]
) -> list[Entry]:
    from codl.real.devices import choose

    chosen = load_scenario(name)
    for model in chosen.models:
        require_executable(model)
    workspace = scenario_workspace(chosen, None, "auto", None, shapes, cpu, gpu)
    devices = choose(cpu, gpu)
    entries = []
    for model in chosen.models:
        for planner in chosen.planners:
            if planner == IDEAL:
                continue
            with log.status(f"{model}, planner {planner}"):
                entries.append(_one(workspace.prepare(model, planner), devices, runs))
    return entries


def _traces(simulated: Trace, measured: Trace) -> Entry:
    """Two trace files: all that they know."""
    found = compare_traces(simulated, measured)
    return Entry(found.row(), simulated, measured, found)


def _one(run: Prepared, devices: Any, runs: int) -> Entry:
    """Predict, measure, check and compare one plan."""
    from codl.real.measure import measure

    simulated = run.simulate()
    inputs = random_inputs(run.graph)
    with executor_for(run, devices) as executor:
        measurement = measure(executor, inputs, runs)
    error = check_outputs(run, inputs, measurement.outputs)
    require_agreement(run.model, error)

    def replay(durations: Mapping[str, int]) -> Trace:
        return simulate(run.tasks, run.cost, run.hardware, durations=durations).trace

    found = compare_traces(
        simulated.trace, measurement.trace, replay, noise=measurement.noise, model=run.model, planner=run.plan.planner
    )
    row = found.row() | {"max_relative_error": error}
    return Entry(row, simulated.trace, measurement.trace, found, run)


def _show(document: Row, details: list[Comparison]) -> None:
    columns = ("model", "planner", "sim ms", "real ms", "error", "duration", "schedule", "within", "noise")
    cells = [
        (r["model"], r["planner"], r["simulated_ms"], r["measured_ms"], percent(r["error"]),
         percent(r["duration_error"]), percent(r["scheduling_error"]), share(r["within_10_percent"]),
         percent(r["noise"]))
        for r in document["models"]
    ]  # fmt: skip
    table("prediction and measurement of the same plans", columns, cells)
    out.print(
        "error: (simulated - measured) / measured, the sum of the duration error (tasks "
        "took another time than predicted) and the scheduling error (what is left when "
        "measured durations are replayed); within: operators predicted within 10 %"
    )
    for row, found in zip(document["models"], details, strict=True):
        worst = ", ".join(f"{task.task_id} {percent(task.error)} ({task.reason})" for task in found.worst(3))
        if worst:
            out.print(f"{row['model']} {row['planner']}: farthest off are {worst}", markup=False)
    if any("max_relative_error" in row for row in document["models"]):
        errors = max(row.get("max_relative_error", 0.0) for row in document["models"])
        note(f"outputs agree with ONNX Runtime's within {errors:.1e} of their range")
    if document["regret"] is not None:
        tau = document["rank_correlation"]
        out.print(f"regret {document['regret']:.1%}, rank correlation {'-' if tau is None else f'{tau:.2f}'}")
