"""Operators as tables: reading `kind, in_h, in_w, ...` files, predicting their latencies, fitting to measured ones."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from codl.cost.choice import matcher
from codl.cost.features import FORMS
from codl.cost.fit import amounts, fit_units
from codl.cost.model import predictor
from codl.errors import FileError, InputError, SchemaError, UncalibratedError
from codl.hardware import Calibration, Hardware, Kernel
from codl.io import read_table, validate, write_text
from codl.limits import beyond, limit
from codl.ops.spec import Work

FLOAT = 4
WORK_FIELDS = frozenset(field.name for field in fields(Work))
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
        self._tests = [matcher(kernel, WORK_FIELDS) for kernel in kernels]

    def index(self, work: Work) -> int:
        """
        Raises:
            UncalibratedError: no kernel takes this work.
        """
        for index, test in enumerate(self._tests):
            if test(work):
                return index
        raise UncalibratedError(f"no kernel for {work.kind} {work.kernel_h}x{work.kernel_w}")


# Predicting


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


# Fitting


@dataclass(frozen=True)
class Measurement:
    """A measured piece of work, with the other columns of its row."""

    work: Work
    seconds: float
    columns: Mapping[str, str]


@dataclass(frozen=True)
class FittedTable:
    """A description with a processor's unit times fitted to a table.

    `accuracy` has one row a kernel and one for all: operators, within_10_percent, within_20_percent, median_error;
    with cross-validation also the same numbers, prefixed `left_out_`, of predictions from the other groups.
    """

    hardware: Hardware
    accuracy: list[dict[str, Any]]
    left_out: np.ndarray
    """Seconds of each measurement, predicted without its group (without cross-validation: with everything)."""


def read_measurements(path: Path | str) -> list[Measurement]:
    """A table of operators with `latency_us`.

    Raises:
        FileError, SchemaError: as `read_rows`, or a latency that is missing or not above 0.
    """
    found = []
    for line, row in read_rows(path):
        text = (row.get("latency_us") or "").strip()
        try:
            seconds = float(text) / 1e6
        except ValueError:
            seconds = -1.0
        if not 0 < seconds < float("inf"):
            raise SchemaError(path, [(f"line {line}, latency_us", f"{text!r} is not a latency above 0")])
        found.append(Measurement(work_of(row, path, line), seconds, row))
    return found


def fit_table(path: Path | str, hardware: Hardware, processor: str, cross_validate: str | None = None) -> FittedTable:
    """Fit the unit times of a processor's kernels to a table of measured latencies.

    Args:
        cross_validate: a column; each of its values is left out in turn and predicted from the others.

    Raises:
        FileError, SchemaError: see `read_measurements`; also if the column to cross-validate by is missing.
        InputError, UncalibratedError: see `kernels_of`; also an operator that no kernel takes.
    """
    measurements = read_measurements(path)
    if cross_validate is not None and any(cross_validate not in m.columns for m in measurements):
        columns = ", ".join(measurements[0].columns)
        raise SchemaError(
            path, [("columns", f"{cross_validate!r} to cross-validate by is missing; there are {columns}")]
        )
    return fit_measurements(measurements, hardware, processor, str(path), cross_validate)


def fit_measurements(
    measurements: Sequence[Measurement],
    hardware: Hardware,
    processor: str,
    source: str,
    cross_validate: str | None = None,
    date: str = "",
) -> FittedTable:
    """`fit_table` on measurements in memory; `source` and `date` go into the provenance."""
    kernels = kernels_of(hardware, processor)
    fitter = _Fitter(kernels, hardware, processor, measurements)
    everything = np.ones(len(measurements), dtype=bool)
    fitted = fitter.fit(everything)
    measured = np.array([m.seconds for m in measurements])
    left_out = fitter.predict(fitted, everything)
    errors = {"": np.abs(left_out / measured - 1)}
    if cross_validate is not None:
        groups = np.array([m.columns.get(cross_validate, "") for m in measurements])
        left_out = np.empty(len(measurements))
        for group in np.unique(groups):
            inside = groups == group
            left_out[inside] = fitter.predict(fitter.fit(~inside), inside)
        errors["left_out_"] = np.abs(left_out / measured - 1)
    accuracy = _accuracy(kernels, fitter.chosen, measured, errors)
    entry = Calibration(
        constants=(f"libraries.{hardware.library}.{processor}.*",),
        source=source,
        method="codl fit: non-negative least squares on relative errors, kernels of one shape sharing what they lack",
        date=date,
        residual=", ".join(f"{key} {value}" for key, value in accuracy[-1].items() if key != "kernel"),
    )
    return FittedTable(_with_kernels(hardware, processor, fitted, entry), accuracy, left_out)


class _Fitter:
    """Fits the kernels of one processor to any part of a list of measurements."""

    def __init__(
        self, kernels: Sequence[Kernel], hardware: Hardware, processor: str, measurements: Sequence[Measurement]
    ) -> None:
        self.kernels = tuple(kernels)
        self.silicon = hardware.processors[processor]
        select = Selector(kernels)
        self.works = [m.work for m in measurements]
        self.seconds = np.array([m.seconds for m in measurements])
        self.chosen = np.array([select.index(work) for work in self.works])
        self.family = [(k.form, tuple(sorted(k.blocks.items())), k.tile, k.algorithm) for k in kernels]

    def fit(self, use: np.ndarray) -> tuple[Kernel, ...]:
        """Kernels fitted to the measurements where `use` holds; those without any keep their unit times."""
        return tuple(self._fit(index, use) for index in range(len(self.kernels)))

    def _fit(self, index: int, use: np.ndarray) -> Kernel:
        kernel = self.kernels[index]
        relatives = [i for i, family in enumerate(self.family) if family == self.family[index]]
        wide = np.flatnonzero(use & np.isin(self.chosen, relatives))
        own = np.flatnonzero(use & (self.chosen == index))
        if len(wide) < 2 or not (self.chosen == index).any():
            return kernel
        parent = self._fitted(kernel, wide)
        units = {**parent.compute, **parent.memory, **parent.fixed}
        return fit_units(kernel, self.silicon, [self.works[i] for i in own], self.seconds[own].tolist(), units)

    def _fitted(self, kernel: Kernel, rows: np.ndarray) -> Kernel:
        return fit_units(kernel, self.silicon, [self.works[i] for i in rows], self.seconds[rows].tolist())

    def predict(self, kernels: Sequence[Kernel], where: np.ndarray) -> np.ndarray:
        """Seconds of the measurements where `where` holds, by the linear model."""
        rows = np.flatnonzero(where)
        found = np.empty(len(rows))
        for index, kernel in enumerate(kernels):
            mine = self.chosen[rows] == index
            if mine.any():
                units = {**kernel.compute, **kernel.memory, **kernel.fixed}
                if not units:
                    raise UncalibratedError(f"kernel {kernel.name} has no unit times, and nothing to fit them to")
                times = np.array([units.get(unit, 0.0) for unit in FORMS[kernel.form].units])
                found[mine] = amounts(kernel, self.silicon, [self.works[i] for i in rows[mine]]) @ times
        return found


def _accuracy(
    kernels: Sequence[Kernel], chosen: np.ndarray, measured: np.ndarray, errors: Mapping[str, np.ndarray]
) -> list[dict[str, Any]]:
    parts = [(kernel.name, chosen == index) for index, kernel in enumerate(kernels)]
    parts.append(("all above 50 us", measured > 50e-6))
    parts.append(("all", np.ones(len(measured), dtype=bool)))
    found = []
    for name, where in parts:
        if where.any():
            row: dict[str, Any] = {"kernel": name, "operators": int(where.sum())}
            for prefix, error in errors.items():
                row[f"{prefix}within_10_percent"] = round(float(np.mean(error[where] <= 0.1)), 4)
                row[f"{prefix}within_20_percent"] = round(float(np.mean(error[where] <= 0.2)), 4)
                row[f"{prefix}median_error"] = round(float(np.median(error[where])), 4)
            found.append(row)
    return found


def _with_kernels(hardware: Hardware, processor: str, kernels: Sequence[Kernel], entry: Calibration) -> Hardware:
    """The description with a processor's kernels replaced, and their provenance put first."""
    library = hardware.libraries[hardware.library]
    kinds = {**library.kernels.get(processor, {}), hardware.processors[processor].data_types[0]: tuple(kernels)}
    changed = library.model_copy(update={"kernels": {**library.kernels, processor: kinds}})
    data = hardware.model_copy(
        update={
            "libraries": {**hardware.libraries, hardware.library: changed},
            "calibration": (entry, *(old for old in hardware.calibration if old.constants != entry.constants)),
        }
    ).model_dump(mode="json", by_alias=True, exclude_none=True, exclude_defaults=True)
    return validate(Hardware, data, hardware.name)
