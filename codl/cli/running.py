"""`codl simulate` and `codl execute`: the two interpreters of one plan."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from codl.cli import options, serving
from codl.cli.console import log, note, percent, planner_of, print_json, table
from codl.cli.host import load_hardware, scenario_workspace
from codl.errors import CodlError, FileError, InputError, first_line
from codl.hardware import Hardware
from codl.io import atomic_path
from codl.limits import beyond, limit
from codl.plan.model import Plan
from codl.report import Entry, write_report
from codl.runs import (
    IDEAL,
    Prepared,
    Row,
    Workspace,
    check_outputs,
    executor_for,
    measured_row,
    random_inputs,
    require_agreement,
    require_executable,
    simulated_row,
    with_published,
)
from codl.scenario import load as load_scenario

Scenario_ = Annotated[
    str | None, typer.Argument(metavar="SCENARIO", help="A scenario file or the name of a packaged one.")
]


def register(app: typer.Typer) -> None:
    app.command(name="simulate")(simulate)
    app.command(name="execute")(execute)


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
        if report:
            raise InputError(
                "--report shows single inferences; this scenario has a workload (--trace shows its timeline)"
            )
        serving.simulate(chosen, hardware, data_type, settings, options.shapes(shape), trace, json)
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
        save_report(report, f"{_subject(rows)} simulated on {rows[0]['hardware']}", entries, description)
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


def _subject(rows: list[Row]) -> str:
    """What a report is about: the models, or the first of many."""
    models = list(dict.fromkeys(str(row["model"]) for row in rows))
    return ", ".join(models[:3]) + (f" and {len(models) - 3} more" if len(models) > 3 else "")


def save_report(path: Path, title: str, entries: list[Entry], hardware: Hardware | None) -> None:
    """Write a report and say so."""
    write_report(path, title, entries, hardware)
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


def execute(
    scenario: Scenario_ = None,
    model: options.Model = None,
    planner: options.Planner = "codl",
    plan: options.PlanFile = None,
    cpu: options.CpuDevice = None,
    gpu: options.GpuDevice = None,
    input_file: Annotated[
        Path | None, typer.Option("--input", metavar="X.npz", help="Input arrays by name; seeded noise otherwise.")
    ] = None,
    output_file: Annotated[
        Path | None, typer.Option("--output", metavar="Y.npz", help="Write the output arrays by name.")
    ] = None,
    runs: Annotated[int, typer.Option("--runs", min=1, help="Timed runs; the median is reported.")] = 10,
    check: Annotated[
        str | None, typer.Option("--check", metavar="onnxruntime", help="Compare the outputs with ONNX Runtime's.")
    ] = None,
    trace: options.TraceFile = None,
    report: options.ReportFile = None,
    shape: options.Shapes = None,
    json: options.Json = False,
) -> None:
    """Run plans on the OpenCL devices of this machine and measure them.

    Example: codl execute --model yolov2 --planner codl --runs 5 --check onnxruntime
    """
    from codl.real.devices import choose

    only_one(scenario=scenario, model=model, plan=plan)
    if check not in (None, "onnxruntime"):
        raise InputError(f"--check {check}: the only reference is onnxruntime")
    options.require_folders(output_file, trace, report)
    devices = choose(cpu, gpu)
    rows: list[Row] = []
    entries: list[Entry] = []
    for run in _to_execute(scenario, model, planner, plan, cpu, gpu, options.shapes(shape)):
        if rows and (trace or output_file):
            raise InputError("--trace and --output take one run; choose it with --model and --planner, or --plan")
        entries.append(_execute(run, devices, input_file, output_file, runs, check, trace))
        rows.append(dict(entries[-1].row))
    if report:
        save_report(report, f"{_subject(rows)} measured on this machine", entries, None)
    if json:
        print_json({"runs": rows})
    else:
        checked = ("error",) if check else ()
        columns = ("model", "planner", "ms", "sharing", "cpu", "gpu", "split", "noise", *checked)
        cells = [
            (r["model"], r["planner"], r["latency_ms"], r["sharing_ms"], r.get("cpu_busy"), r.get("gpu_busy"),
             r["split_operators"], percent(r["noise"]), *((f"{r['max_relative_error']:.1e}",) if check else ()))
            for r in rows
        ]  # fmt: skip
        caption = (
            "ms: median latency; sharing: ms of handing data over; cpu, gpu: share of the latency during which each "
            "is busy; split: operators computed by both; noise: spread of the runs"
            + ("; error: against ONNX Runtime, relative to the output's range" if check else "")
        )
        table(f"measured; {devices.why}", columns, cells, caption)
    for row in rows:
        if check:
            require_agreement(row["model"], row["max_relative_error"])


def _to_execute(
    scenario: str | None, model: str | None, planner: str, plan: Path | None, cpu: str | None, gpu: str | None,
    shapes: dict[str, tuple[int, ...]],
) -> Iterator[Prepared]:  # fmt: skip
    if plan:
        read = Plan.read(plan)
        require_executable(read.model.name)
        yield Workspace(load_hardware(read.hardware.name, None, cpu, gpu), shapes=shapes).reuse(read)
    elif model:
        require_executable(model)
        yield Workspace(load_hardware("host", None, cpu, gpu), shapes=shapes).prepare(model, planner)
    else:
        chosen = load_scenario(str(scenario))
        for name in chosen.models:
            require_executable(name)
        workspace = scenario_workspace(chosen, None, "auto", None, shapes, cpu, gpu)
        for name in chosen.models:
            for each in chosen.planners:
                if each != IDEAL:
                    yield workspace.prepare(name, each)


def _execute(
    run: Prepared,
    devices: Any,
    input_file: Path | None,
    output_file: Path | None,
    runs: int,
    check: str | None,
    trace: Path | None,
) -> Entry:
    from codl.real.measure import measure

    inputs = read_arrays(input_file) if input_file else random_inputs(run.graph)
    doing = log.status(f"{run.model}, planner {run.plan.planner}: compiling, then {runs} runs")
    with doing, executor_for(run, devices) as executor:
        measurement = measure(executor, inputs, runs)
        row = measured_row(run, executor, measurement)
        share = executor.fallback_share(measurement.trace)
    row["devices"] = {"cpu": devices.cpu.id, "gpu": devices.gpu.id}
    if executor.fallbacks:
        row["fallbacks"] = list(executor.fallbacks)
        row["fallback_share"] = share
        names = ", ".join(f"{name} ({run.graph.by_name[name].onnx_op})" for name in executor.fallbacks)
        note(f"{run.model}: {names} run whole through ONNX Runtime, {share:.0%} of the latency")
    if check:
        row["max_relative_error"] = check_outputs(run, inputs, measurement.outputs)
    if output_file:
        with atomic_path(output_file.with_suffix(".npz")) as temporary:
            np.savez(temporary, allow_pickle=False, **dict(measurement.outputs))
    if trace:
        measurement.trace.write(trace)
        note(f"wrote {trace}; open it in Perfetto")
    return Entry(row, measured=measurement.trace, run=run)


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """Arrays by name from an .npz file. Pickled objects are refused.

    Raises:
        FileError: missing, or not an .npz file of plain arrays.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            unpacked = sum(entry.file_size for entry in archive.infolist())
        if unpacked > limit("ARRAYS_MB") * 1e6:
            raise FileError(path, f"unpacks to {unpacked / 1e6:.0f} MB; {beyond('ARRAYS_MB')}")
        with np.load(path, allow_pickle=False) as arrays:
            return {name: np.asarray(arrays[name]) for name in arrays.files}
    except FileNotFoundError:
        raise FileError(path, "no such file") from None
    except CodlError:
        raise
    except Exception as error:  # numpy and zipfile raise a dozen kinds for a broken archive
        raise FileError(path, f"is not an .npz file of plain arrays: {first_line(error)}") from None
