"""`codl compare`: prediction beside measurement of the same plans."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from codl.cli import options
from codl.cli.console import note, out, percent, print_json, share, stages, table
from codl.cli.host import choose_devices, scenario_workspace
from codl.cli.running import Scenario_, only_one, save_report
from codl.compare import Comparison, Moved, compare_traces, moved_constants
from codl.errors import BoundExceeded, InputError
from codl.report import Entry, Fidelity
from codl.runs import IDEAL, require_executable
from codl.scenario import load as load_scenario
from codl.trace import Trace

if TYPE_CHECKING:
    from codl.fidelity import Compared

Row = dict[str, Any]
STALE_ABOVE = 0.10
"""Of the makespan: a prediction further off than this, and than the noise, makes its description doubtful."""


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
    plans: Annotated[
        int,
        typer.Option(
            "--plans", min=0, metavar="N", help="Instead of the planners' plans, N diverse ones of each model."
        ),
    ] = 0,
    hardware: Annotated[
        str | None, typer.Option("--hardware", metavar="HW", help="Predict with this description.")
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Compare although the description is of another machine.")
    ] = False,
    storage: options.Storage = options.FLOAT32,
    cpu: options.CpuDevice = None,
    gpu: options.GpuDevice = None,
    data_type: options.DataType = "auto",
    shape: options.Shapes = None,
    report: options.ReportFile = None,
    json: options.Json = False,
) -> None:
    """Simulate and execute the same plans, check the outputs, and show the differences.

    Example: codl compare host
    Example: codl compare host --plans 20
    """
    from codl.fidelity import rankings

    bound = options.bound(fail_above) if fail_above else None
    found: list[Compared] = []
    options.require_folders(report)
    if sim is None and real is None:
        only_one(scenario=scenario)
        asked = _Asked(str(scenario), hardware, plans, runs, cpu, gpu, data_type, options.shapes(shape), force, storage)
        found = _scenario(asked)
        entries = [_entry(one) for one in found]
    elif scenario is not None or sim is None or real is None:
        raise InputError("give a SCENARIO, or both --sim and --real")
    else:
        entries = [_traces(Trace.read(sim), Trace.read(real))]
    rows = [dict(entry.row) for entry in entries]
    details = [entry.comparison for entry in entries if entry.comparison]
    outside = _outside(details)
    together = Fidelity(rankings(found), moved_constants(details) if outside else (), outside, STALE_ABOVE)
    if report:
        described = next((entry.run.hardware for entry in entries if entry.run), None)
        subject = ", ".join(dict.fromkeys(row["model"] for row in rows))
        save_report(report, f"{subject}: prediction beside measurement", entries, described, together)
    document = _document(rows, together)
    if json:
        print_json(document)
    else:
        _show(document, details)
        _stale(together.moved)
    worst = max(abs(row["error"]) for row in rows)
    if bound is not None and worst > bound:
        raise BoundExceeded(f"the largest error is {worst:.1%}, above the stated {bound:.1%}")


@dataclass(frozen=True)
class _Asked:
    """The options of a comparison on this machine."""

    scenario: str
    hardware: str | None
    plans: int
    runs: int
    cpu: str | None
    gpu: str | None
    data_type: str
    shapes: dict[str, tuple[int, ...]]
    force: bool
    storage: str


def _scenario(asked: _Asked) -> list[Compared]:
    """Every plan of a scenario in both worlds."""
    from codl.fidelity import compare_plans, diverse, require_this_machine

    chosen = load_scenario(asked.scenario)
    for model in chosen.models:
        require_executable(model)
    devices = choose_devices(asked.cpu, asked.gpu)
    workspace = scenario_workspace(
        chosen, asked.hardware, asked.data_type, None, asked.shapes, asked.cpu, asked.gpu, asked.storage
    )
    if not asked.force and not workspace.hardware.settings:
        require_this_machine(workspace.hardware, devices)
    found = []
    planners = [planner for planner in chosen.planners if planner != IDEAL]
    with stages("models", len(chosen.models)) as progress:
        for model in chosen.models:
            progress.stage(f"{model}: planning", 1 if asked.plans else len(planners))
            if asked.plans:
                prepared = diverse(workspace, model, asked.plans)
            else:
                prepared = []
                for planner in planners:
                    prepared.append(workspace.prepare(model, planner))
                    progress.step()
            found += compare_plans(prepared, devices, asked.runs, progress=progress)
            progress.part()
    return found


def _entry(one: Compared) -> Entry:
    row = one.comparison.row() | {"max_relative_error": one.max_relative_error, "pace": one.pace}
    return Entry(row, one.simulated.trace, one.measurement.trace, one.comparison, one.run, one.pair)


def _outside(details: list[Comparison]) -> bool:
    """Whether any plan is off by more than 10 % and more than its noise."""
    return any(found.conclusive and abs(found.error) > STALE_ABOVE for found in details)


def _document(rows: list[Row], together: Fidelity) -> Row:
    ranked = together.rankings
    single = ranked[0] if len(ranked) == 1 else None
    return {
        "models": rows,
        "regret": single.regret if single else None,
        "rank_correlation": single.rank_correlation if single else None,
        "rankings": [asdict(ranking) for ranking in ranked],
        "stale": [asdict(constant) for constant in together.moved],
    }


def _stale(moved: Sequence[Moved]) -> None:
    if moved:
        note(
            "the description looks stale: measured runs left the bounds, and these constants moved (measured / file): "
            f"{'; '.join(map(str, moved[:5]))}; run `codl calibrate` again"
        )


def _traces(simulated: Trace, measured: Trace) -> Entry:
    """Two trace files: all that they know."""
    found = compare_traces(simulated, measured)
    return Entry(found.row(), simulated, measured, found)


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
    paces = [row["pace"] for row in document["models"] if row.get("pace") is not None]
    if paces:
        pace = max(paces, key=lambda pace: abs(pace - 1))
        note(f"pace: the reference kernel took up to {pace:.2f} times as long as when this machine was described")
    for ranking in document["rankings"]:
        tau = "-" if ranking["rank_correlation"] is None else f"{ranking['rank_correlation']:.2f}"
        told = f"{ranking['model']}, {ranking['plans']} plans: regret {ranking['regret']:.1%}, rank correlation {tau}"
        out.print(told, markup=False)
