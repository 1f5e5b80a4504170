"""Options that several commands share, and how their texts become values."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from codl.errors import FileError, InputError

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on standard output and nothing else.")]
Shapes = Annotated[
    list[str] | None,
    typer.Option("--shape", metavar="NAME=1x3x640x640", help="Size of an input that the model leaves open."),
]
Hardware = Annotated[
    str, typer.Option("--hardware", metavar="HW", help="A hardware file or the name of a packaged one.")
]
Planner = Annotated[
    str, typer.Option("--planner", metavar="PLANNER", help="cpu, gpu, mulayer, h, oc, hybrid, codl or optimal.")
]
DataType = Annotated[
    str,
    typer.Option(
        "--data-type", metavar="image|buffer|auto", help="OpenCL data type on the GPU; auto = the hardware's best."
    ),
]
Model = Annotated[
    str | None, typer.Option("--model", metavar="MODEL", help="An .onnx file, a zoo network or an operator list.")
]
PlanFile = Annotated[Path | None, typer.Option("--plan", metavar="PLAN.json", help="A plan that `codl plan -o` wrote.")]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="gpu.frequency=500MHz", help="Change a constant of the hardware description."),
]
TraceFile = Annotated[
    Path | None, typer.Option("--trace", metavar="OUT.json", help="Write the timeline; opens in Perfetto.")
]
ReportFile = Annotated[
    Path | None, typer.Option("--report", metavar="OUT.html", help="Write a page with timelines, costs and reasons.")
]
CpuDevice = Annotated[
    str | None, typer.Option("--cpu", metavar="DEVICE", help="Device that plays the CPU (see `codl devices`).")
]
GpuDevice = Annotated[str | None, typer.Option("--gpu", metavar="DEVICE", help="Device that plays the GPU.")]


FLOAT32 = "float32"
Storage = Annotated[
    str,
    typer.Option(
        "--storage",
        metavar="float32|float16",
        help="Of the weights of matrix products, on `host`: float16 is read twice as fast; outputs may differ by 1e-2.",
    ),
]


def require_folders(*paths: Path | None) -> None:
    """Raise `FileError` where an output cannot be put: before the work, not after it."""
    for path in paths:
        if path is not None and not path.parent.is_dir():
            raise FileError(path, f"cannot be written: there is no folder {path.parent}")


def shapes(texts: list[str] | None) -> dict[str, tuple[int, ...]]:
    """Parse `NAME=1x3x640x640`.

    Raises:
        InputError: not of that form, or an extent that is not a positive number.
    """
    parsed: dict[str, tuple[int, ...]] = {}
    for text in texts or ():
        name, separator, extents = text.rpartition("=")
        try:
            shape = tuple(int(extent) for extent in extents.lower().split("x"))
        except ValueError:
            shape = ()
        if not separator or not name or not shape or min(shape) < 1:
            raise InputError(f"--shape {text}: write NAME=1x3x640x640, positive whole numbers joined by x")
        parsed[name] = shape
    return parsed


def bound(text: str) -> float:
    """Parse a bound such as `10%` or `0.1` into a share.

    Raises:
        InputError: not a number, or negative.
    """
    try:
        value = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        value = -1.0
    if not 0 <= value < float("inf"):
        raise InputError(f"--fail-above {text}: write a percentage such as 10% or a share such as 0.1")
    return value
