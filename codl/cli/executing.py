"""`codl execute`: plans interpreted by the OpenCL devices of this machine."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from codl.cli import adapting, options
from codl.cli.console import Stages, note, percent, print_json, stages, table
from codl.cli.host import choose_devices, load_hardware, scenario_workspace
from codl.cli.running import Scenario_, only_one, save_report, subject
from codl.errors import CodlError, FileError, InputError, first_line
from codl.io import atomic_path
from codl.limits import beyond, limit
from codl.plan.model import Plan
from codl.report import Entry
from codl.runs import (
    IDEAL,
    Row,
    Workspace,
    check_outputs,
    measured_row,
    random_inputs,
    require_agreement,
    require_executable,
    with_own_kernels,
)
from codl.scenario import load as load_scenario


def register(app: typer.Typer) -> None:
    app.command(name="execute")(execute)


def execute(
    scenario: Scenario_ = None,
    model: options.Model = None,
    planner: options.Planner = "codl",
    plan: options.PlanFile = None,
    cpu: options.CpuDevice = None,
    gpu: options.GpuDevice = None,
    data_type: options.DataType = "auto",
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
    adapt: Annotated[
        bool, typer.Option("--adapt", help="Keep plans for busy processors ready too, and change between them.")
    ] = False,
    storage: options.Storage = options.FLOAT32,
    trace: options.TraceFile = None,
    report: options.ReportFile = None,
    shape: options.Shapes = None,
    json: options.Json = False,
) -> None:
    """Run plans on the OpenCL devices of this machine and measure them.

    Example: codl execute --model yolov2 --planner codl --runs 5 --check onnxruntime
    Example: codl execute --model yolov2 --adapt --runs 100
    """
    only_one(scenario=scenario, model=model, plan=plan)
    if check not in (None, "onnxruntime"):
        raise InputError(f"--check {check}: the only reference is onnxruntime")
    options.require_folders(output_file, trace, report)
    devices = choose_devices(cpu, gpu)
    rows: list[Row] = []
    entries: list[Entry] = []
    count, asked = _to_execute(
        scenario, model, planner, plan, cpu, gpu, data_type, options.shapes(shape), adapt, storage
    )
    if count > 1 and (trace or output_file):
        raise InputError("--trace and --output take one run; choose it with --model and --planner, or --plan")
    with stages("plans", count) as progress:
        for ready in asked:
            entries.append(_execute(ready, devices, input_file, output_file, runs, check, trace, progress))
            rows.append(dict(entries[-1].row))
            progress.part()
    if report:
        save_report(report, f"{subject(rows)} measured on this machine", entries, None)
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
            adapting.show(row)
    for row in rows:
        if check:
            require_agreement(row["model"], row["max_relative_error"], row["storage"])


def _to_execute(
    scenario: str | None, model: str | None, planner: str, plan: Path | None, cpu: str | None, gpu: str | None,
    data_type: str, shapes: dict[str, tuple[int, ...]], adapt: bool, storage: str,
) -> tuple[int, Iterator[adapting.Ready]]:  # fmt: skip
    """How many models and planners are asked for, and the plans of each when it is asked for."""
    if plan:
        if adapt:
            raise InputError("--adapt: a given plan leaves nothing to choose")
        read = Plan.read(plan)
        require_executable(read.model.name)
        workspace = Workspace(load_hardware(read.hardware.name, None, cpu, gpu, storage), data_type, shapes)
        run, foreign = with_own_kernels(workspace.reuse(read))
        if foreign:
            whose = f"the kernels of {read.hardware.name}"
            note(f"{run.model}: {foreign} operators were planned for {whose}; codl's own run in their place")
        return 1, iter([adapting.Ready([run])])
    if model:
        require_executable(model)
        workspace = Workspace(load_hardware("host", None, cpu, gpu, storage), data_type, shapes)
        return 1, iter([adapting.ready(workspace, model, planner, adapt)])
    chosen = load_scenario(str(scenario))
    for name in chosen.models:
        require_executable(name)
    workspace = scenario_workspace(chosen, None, data_type, None, shapes, cpu, gpu, storage)
    pairs = [(name, each) for name in chosen.models for each in chosen.planners if each != IDEAL]
    adapts = {name: adapt or adapting.wanted(chosen, name) for name in chosen.models}
    return len(pairs), (adapting.ready(workspace, name, each, adapts[name]) for name, each in pairs)


def _execute(
    ready: adapting.Ready,
    devices: Any,
    input_file: Path | None,
    output_file: Path | None,
    runs: int,
    check: str | None,
    trace: Path | None,
    progress: Stages,
) -> Entry:
    from codl.real.measure import WARM_UPS

    run = ready.runs[0]
    inputs = read_arrays(input_file) if input_file else random_inputs(run.graph)
    progress.stage(f"{run.model}, {run.plan.planner}: compiling", 1)
    with ready.executor(devices) as executor:
        progress.stage(f"{run.model}, {run.plan.planner}: measuring", WARM_UPS + runs)
        measurement = ready.measure(executor, inputs, runs, progress.step)
        row = measured_row(run, executor, measurement) | ready.row(executor)
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
