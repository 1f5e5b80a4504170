"""`codl calibrate`, `codl predict`, `codl fit`: descriptions from measurements, of this machine or of any other."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from codl import hardware as hw
from codl.cli import options
from codl.cli.console import note, print_json, progress, share, table
from codl.cli.host import choose_devices

Processor = Annotated[str, typer.Option("--processor", metavar="cpu|gpu", help="Whose latencies the table holds.")]


def register(app: typer.Typer) -> None:
    app.command(name="calibrate")(calibrate)
    app.command(name="predict")(predict)
    app.command(name="fit")(fit)


def calibrate(
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", metavar="hardware/NAME.yaml", help="Also write the description here."),
    ] = None,
    storage: options.Storage = options.FLOAT32,
    cpu: options.CpuDevice = None,
    gpu: options.GpuDevice = None,
    thorough: Annotated[
        bool, typer.Option("--thorough", help="Measure for longer, and kernels on images on a CPU, too (minutes).")
    ] = False,
) -> None:
    """Measure this machine and write its description, which becomes `host`.

    Example: codl calibrate -o hardware/mybox.yaml
    """
    from codl.calibrate import cache, partial_path
    from codl.calibrate import calibrate as measure

    options.require_folders(output)
    assignment = choose_devices(cpu, gpu)
    partial = partial_path(assignment, storage)
    name = output.stem if output else hw.HOST
    try:
        with progress("Describing this machine") as ticker:
            description = measure(
                assignment, name=name, report=ticker, thorough=thorough, partial=partial, storage=storage
            )
    except KeyboardInterrupt:
        if partial.exists():
            note("the rounds measured so far are kept for an hour: run the same command again to go on")
        raise
    if output:
        hw.write(description, output)
        note(f"wrote {output}")
    made = cache(description.model_copy(update={"name": hw.HOST}), assignment, storage)
    note(f"wrote {made}; it is `host` from now on" + (f" with --storage {storage}" * (storage != options.FLOAT32)))


def predict(
    operators: Annotated[Path, typer.Argument(metavar="OPS.csv")],
    hardware: options.Hardware,
    processor: Processor,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="OUT.csv", help="Write the table with latency_us added.")
    ] = None,
    json: options.Json = False,
) -> None:
    """Predict the latency of operators given as a table.

    Example: codl predict operators.csv --hardware pixel4 --processor gpu -o predicted.csv
    """
    from codl.cost.tables import predict_table, write_table

    options.require_folders(output)
    rows = predict_table(operators, hw.load(hardware), processor)
    if output:
        write_table(rows, output)
        note(f"wrote {output}")
    if json:
        print_json({"operators": rows})
    elif not output:
        measured = ("measured us",) if any("measured_us" in row for row in rows) else ()
        cells = [(_operator(row), row["latency_us"], *([row.get("measured_us")] if measured else ())) for row in rows]
        table(f"predicted for {processor} of {hardware}", ("operator", "latency us", *measured), cells)


def fit(
    measurements: Annotated[Path, typer.Argument(metavar="MEASUREMENTS.csv")],
    hardware: options.Hardware,
    processor: Processor,
    output: Annotated[
        Path, typer.Option("-o", "--output", metavar="HW2.yaml", help="Where to write the fitted description.")
    ],
    cross_validate: Annotated[
        str | None,
        typer.Option("--cross-validate", metavar="FIELD", help="Leave out one value of this column at a time."),
    ] = None,
    json: options.Json = False,
) -> None:
    """Fit a processor's predictor to a table of latencies measured anywhere, and print its accuracy.

    Example: codl fit measured.csv --hardware pixel4 --processor gpu -o mine.yaml --cross-validate model
    """
    from codl.cost.table_fit import fit_table

    options.require_folders(output)
    fitted = fit_table(measurements, hw.load(hardware), processor, cross_validate=cross_validate)
    hw.write(fitted.hardware, output)
    note(f"wrote {output}")
    if json:
        print_json({"accuracy": fitted.accuracy})
    else:
        _show_accuracy(fitted.accuracy, cross_validate)


def _operator(row: dict[str, Any]) -> str:
    """A row of a table of operators in a few words: `conv 3x3/2 64 -> 128, input 56x56`."""
    kernel = "x".join(str(row[key]) for key in ("kernel_h", "kernel_w") if row.get(key))
    stride = f"/{row['stride_h']}" if str(row.get("stride_h") or 1) != "1" else ""
    size = "x".join(str(row[key]) for key in ("in_h", "in_w") if row.get(key))
    channels = " -> ".join(str(row[key]) for key in ("in_channels", "out_channels") if row.get(key))
    groups = f", {row['groups']} groups" if str(row.get("groups") or 1) != "1" else ""
    return f"{row['kind']} {kernel}{stride} {channels}, input {size}{groups}".replace("  ", " ")


def _show_accuracy(rows: Sequence[dict[str, Any]], cross_validate: str | None) -> None:
    prefixes = [("fitted", ""), *([("left out", "left_out_")] if cross_validate else [])]
    for title, prefix in prefixes:
        cells = [
            (row["kernel"], row["operators"], share(row[f"{prefix}within_10_percent"]),
             share(row[f"{prefix}within_20_percent"]), f"{100 * row[f'{prefix}median_error']:.1f} %")
            for row in rows
        ]  # fmt: skip
        told = "operators that the fit has seen" if not prefix else f"each {cross_validate} predicted from the others"
        table(f"{title}: {told}", ("kernel", "operators", "within 10 %", "within 20 %", "median error"), cells)
