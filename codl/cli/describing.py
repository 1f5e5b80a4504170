"""`codl models`, `codl hardware`, `codl devices`: what there is."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from codl import hardware as hw
from codl import models
from codl.cli import options
from codl.cli.console import note, out, print_json, table

if TYPE_CHECKING:
    from codl.real.devices import Assignment

models_app = typer.Typer(help="The networks that codl brings along.", invoke_without_command=True)
hardware_app = typer.Typer(help="The hardware descriptions that codl brings along.", invoke_without_command=True)


def register(app: typer.Typer) -> None:
    app.add_typer(models_app, name="models")
    app.add_typer(hardware_app, name="hardware")
    app.command(name="devices")(devices)


@models_app.callback()
def list_models(context: typer.Context, json: options.Json = False) -> None:
    """List the networks and operator lists that can be named as MODEL.

    Example: codl models
    """
    if context.invoked_subcommand:
        return
    rows = [models.describe(name) for name in models.names()]
    if json:
        print_json({"models": rows})
        return
    columns = ("model", "kind", "operators", "GFLOP", "weights MB", "inputs")
    cells = [(r["name"], r["kind"], r["operators"], r["gflop"], r["weights_mb"], _sizes(r["inputs"])) for r in rows]
    table("", columns, cells, "An operator list can be planned and simulated, not executed.")


def _sizes(inputs: dict[str, list[int]]) -> str:
    """The first input's size; an operator list has an input for each row that nothing feeds."""
    texts = ["x".join(map(str, shape)) for shape in inputs.values()]
    return ", ".join(texts[:1]) + (f" + {len(texts) - 1}" if len(texts) > 1 else "")


@models_app.command(name="export")
def export_model(
    name: str, output: Annotated[Path, typer.Option("-o", "--output", metavar="FILE.onnx", help="Where to write it.")]
) -> None:
    """Write a network of the zoo as an ONNX file.

    Example: codl models export yolov2 -o yolov2.onnx
    """
    models.export(name, output)
    note(f"wrote {output}")


@hardware_app.callback()
def list_hardware(context: typer.Context, json: options.Json = False) -> None:
    """List the hardware descriptions that can be named as HW.

    Example: codl hardware
    """
    if context.invoked_subcommand:
        return
    descriptions = [hw.load(name) for name in hw.names()]
    if json:
        print_json(
            {"hardware": [{"name": h.name, "description": h.description, "digest": h.digest} for h in descriptions]}
        )
        return
    rows = [(h.name, h.library, h.sharing.kind, h.description) for h in descriptions]
    table(
        "",
        ("hardware", "kernels", "memory", "description"),
        rows,
        "`host` is this machine, once `codl calibrate` has described it.",
    )


@hardware_app.command(name="show")
def show_hardware(name: Annotated[str, typer.Argument(metavar="HW")], json: options.Json = False) -> None:
    """Show a hardware description with the provenance of its constants.

    Example: codl hardware show sd865
    """
    description = hw.load(name)
    if json:
        print_json(description.model_dump(mode="json", by_alias=True, exclude_none=True))
        return
    out.print(f"{description.name}: {description.description}", markup=False)
    rows = []
    for label, p in description.processors.items():
        cores = ", ".join(f"{c.cores} x {c.name} {c.frequency / 1e9:.2f} GHz" for c in p.clusters)
        silicon = cores or f"{p.compute_units} compute units" + (f" {p.frequency / 1e6:.0f} MHz" if p.frequency else "")
        rows.append((label, p.kind, silicon, ", ".join(p.data_types), p.bandwidth / 1e9))
    table("", ("processor", "kind", "silicon", "data types", "GB/s alone"), rows)
    sharing = description.sharing
    sync = f"pre-sync {sharing.pre_sync * 1e6:.0f} us, post-sync {sharing.post_sync * 1e6:.0f} us"
    out.print(
        f"memory {description.memory.bandwidth / 1e9:.1f} GB/s, {sharing.kind}; {sync}; "
        f"idle {description.power.idle:.2f} W"
    )
    out.print("\nwhere the constants come from")
    for entry in description.calibration:
        out.print(f"\n{', '.join(entry.constants)}", markup=False, style="bold")
        told = (entry.source, entry.method, entry.date, f"left unexplained: {entry.residual}" if entry.residual else "")
        out.print("; ".join(filter(None, told)), markup=False)


def devices(json: options.Json = False) -> None:
    """Show the OpenCL devices of this machine, which would play the CPU and the GPU, and why.

    Example: codl devices
    """
    from codl.real.devices import choose, find

    found = find()
    assignment = choose(None, None)
    if json:
        chosen = {
            "cpu": assignment.cpu.id,
            "gpu": assignment.gpu.id,
            "why": assignment.why,
            "shared_memory": assignment.shared_memory,
        }
        print_json({"devices": found, "chosen": chosen})
        return
    rows = [(d.id, d.name, d.compute_units, " ".join(d.version.split()[:2]), _roles(d.id, assignment)) for d in found]
    table("", ("device", "name", "units", "version", "plays"), rows, "units: compute units")
    out.print(assignment.why, markup=False)


def _roles(device: str, assignment: Assignment) -> str:
    """What a device plays: itself, or through a part of it (`pocl:0.1` is a part of `pocl:0`)."""
    roles = {"CPU": assignment.cpu.id, "GPU": assignment.gpu.id}
    return ", ".join(role for role, id_ in roles.items() if id_ == device or id_.startswith(f"{device}."))
