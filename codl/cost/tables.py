"""Operators as tables: reading `kind, in_h, in_w, ...` files, and predicting their latencies."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from codl.cost.choice import matcher
from codl.cost.model import predictor
from codl.errors import FileError, InputError, SchemaError, UncalibratedError
from codl.hardware import Hardware, Kernel
from codl.io import read_table, write_text
from codl.limits import beyond, limit
from codl.ops.spec import Work
from codl.ops.window import FLOAT

_REQUIRED = ("kind", "in_h", "in_w", "in_channels", "out_channels", "kernel_h", "kernel_w", "stride_h", "stride_w")
_KINDS = ("conv", "depthwise", "pool", "fc", "elementwise")


def read_works(path: Path | str) -> list[Work]:
    """The operators of a table (see `work_of` for its columns)."""
    return [work_of(row, path, line) for line, row in read_rows(path)]


def read_rows(path: Path | str) -> list[tuple[int, dict[str, str]]]:
    """(line number, row) of a table of operators.

    Raises:
        FileError: missing or not text.
        SchemaError: a column that is needed is missing, or there is no row.
    """
    rows = [(line, {_canonical(key): cell for key, cell in row.items()}) for line, row in read_table(path)]
    if not rows:
        raise SchemaError(path, [("", "no operators")])
    if len(rows) > limit("OPERATORS"):
        raise FileError(path, f"has {len(rows)} rows; {beyond('OPERATORS')}")
    missing = [name for name in _REQUIRED if name not in rows[0][1]]
    if missing:
        raise SchemaError(path, [("columns", f"{', '.join(missing)} missing; a table needs {', '.join(_REQUIRED)}")])
    return rows


def _canonical(name: str) -> str:
    return name.strip().removesuffix("_padded")


def work_of(row: Mapping[str, str], path: Path | str, line: int) -> Work:
    """One row as work.

    Columns: kind (conv, depthwise, pool, fc, elementwise), in_h, in_w (without padding), in_channels, out_channels,
    kernel_h, kernel_w, stride_h, stride_w, and optionally pad (rows and columns added on each side, or `same` or
    `valid`; 0 if absent), out_h and out_w (where no padding gives the output's size) and groups. Columns
    `in_h_padded`, `in_w_padded` stand for sizes that include the padding.

    Raises:
        SchemaError: a value that is no number, an unknown kind, a kernel larger than the input.
    """

    def number(name: str, default: int | None = None) -> int:
        text = (row.get(name) or "").strip()
        if not text and default is not None:
            return default
        try:
            value = int(float(text))
        except (ValueError, OverflowError):
            raise SchemaError(path, [(f"line {line}, {name}", f"{text!r} is not a number")]) from None
        if not (0 if name == "pad" else 1) <= value < 10**9:
            raise SchemaError(path, [(f"line {line}, {name}", f"{value} is out of range")])
        return value

    kind = row["kind"].strip()
    if kind not in _KINDS:
        raise SchemaError(path, [(f"line {line}, kind", f"unknown {kind!r}; known: {', '.join(_KINDS)}")])
    kernel = number("kernel_h"), number("kernel_w")
    stride = number("stride_h"), number("stride_w")
    in_h, in_w = number("in_h"), number("in_w")
    pad = (row.get("pad") or "").strip().lower()
    if (row.get("out_h") or "").strip() and (row.get("out_w") or "").strip():
        out_h, out_w = number("out_h"), number("out_w")
    elif pad == "same":
        out_h, out_w = -(-in_h // stride[0]), -(-in_w // stride[1])
    else:
        extra = 0 if pad in ("", "valid") else 2 * number("pad")
        out_h, out_w = (in_h + extra - kernel[0]) // stride[0] + 1, (in_w + extra - kernel[1]) // stride[1] + 1
    if out_h < 1 or out_w < 1:
        raise SchemaError(path, [(f"line {line}", f"a {kernel[0]}x{kernel[1]} kernel does not fit {in_h}x{in_w}")])
    channels = number("in_channels"), number("out_channels")
    return make_work(kind, (in_h, in_w), (out_h, out_w), channels, kernel, stride, number("groups", 1))


def make_work(
    kind: str,
    size: tuple[int, int],
    out: tuple[int, int],
    channels: tuple[int, int],
    kernel: tuple[int, int],
    stride: tuple[int, int],
    groups: int = 1,
) -> Work:
    """Work of a whole operator, batch 1. `size` and `out` are (height, width); `channels` (inputs, outputs)."""
    inputs, outputs = channels
    taps = kernel[0] * kernel[1]
    if kind == "conv" and 1 < groups == inputs:
        kind = "depthwise"
    if kind == "depthwise":
        groups = inputs
    depth = {"conv": inputs // groups, "depthwise": 1, "fc": inputs * size[0] * size[1]}.get(kind, 1)
    if kind == "fc":
        out, kernel = (1, 1), (1, 1)
    size_out = out[0] * out[1] * outputs
    weighted = kind in ("conv", "depthwise", "fc")
    return Work(
        kind=kind,
        batch=1,
        out_h=out[0],
        out_w=out[1],
        out_channels=outputs,
        in_h=1 if kind == "fc" else size[0],
        in_w=1 if kind == "fc" else size[1],
        in_channels=depth,
        kernel_h=kernel[0],
        kernel_w=kernel[1],
        stride_h=stride[0],
        stride_w=stride[1],
        groups=groups,
        flops=2.0 * size_out * depth * kernel[0] * kernel[1] if weighted else 1.0 * size_out * taps,
        input_bytes=FLOAT * size[0] * size[1] * inputs,
        output_bytes=FLOAT * size_out,
        weight_bytes=FLOAT * outputs * depth * kernel[0] * kernel[1] if weighted else 0,
    )


def conv_work(out_h: int, out_w: int, inputs: int, outputs: int, kernel: int, stride: int = 1) -> Work:
    """Work of a convolution by its output size; the input is as large as it needs."""
    size = ((out_h - 1) * stride + kernel, (out_w - 1) * stride + kernel)
    return make_work("conv", size, (out_h, out_w), (inputs, outputs), (kernel, kernel), (stride, stride))


class Selector:
    """Picks the first kernel whose conditions hold, as a library with `choice: first` does."""

    def __init__(self, kernels: Sequence[Kernel]) -> None:
        self.kernels = tuple(kernels)
        self._tests = [matcher(kernel) for kernel in kernels]

    def index(self, work: Work) -> int:
        """
        Raises:
            UncalibratedError: no kernel takes this work.
        """
        for index, test in enumerate(self._tests):
            if test(work):
                return index
        raise UncalibratedError(f"no kernel for {work.kind} {work.kernel_h}x{work.kernel_w}")


def kernels_of(hardware: Hardware, processor: str) -> tuple[Kernel, ...]:
    """The kernels of a processor in its preferred data type.

    Raises:
        InputError: no such processor.
        UncalibratedError: the library in use has no kernels for it.
    """
    if processor not in hardware.processors:
        raise InputError(f"{hardware.name}: no processor {processor!r}; it has {', '.join(hardware.processors)}")
    kernels = hardware.kernels(processor, hardware.processors[processor].data_types[0])
    if not kernels:
        raise UncalibratedError(f"{hardware.name}: library {hardware.library!r} has no kernels for {processor!r}")
    return kernels


def predict_works(works: Sequence[Work], hardware: Hardware, processor: str) -> np.ndarray:
    """Seconds of pieces of work, each alone, as profiling shows them (without the queue's dispatch time)."""
    kernels = kernels_of(hardware, processor)
    select = Selector(kernels)
    predict = [predictor(kernel, hardware, processor, queued=False) for kernel in kernels]
    return np.array([float(predict[select.index(work)](work)[0]) for work in works])


def predict_table(path: Path | str, hardware: Hardware, processor: str) -> list[dict[str, Any]]:
    """The rows of a table of operators, with `latency_us` added (a measured `latency_us` becomes `measured_us`).

    Raises:
        FileError, SchemaError: see `read_rows` and `work_of`.
        InputError, UncalibratedError: see `kernels_of`.
    """
    rows = read_rows(path)
    works = [work_of(row, path, line) for line, row in rows]
    found: list[dict[str, Any]] = []
    for (_, row), seconds in zip(rows, predict_works(works, hardware, processor), strict=True):
        kept: dict[str, Any] = {"measured_us" if key == "latency_us" else key: value for key, value in row.items()}
        found.append({**kept, "latency_us": round(float(seconds) * 1e6, 3)})
    return found


def write_table(rows: Sequence[Mapping[str, Any]], path: Path | str) -> None:
    """Write rows (of the same columns) as a CSV file, atomically."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]) if rows else [], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(path, text.getvalue())
