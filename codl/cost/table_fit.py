"""Fitting a processor's unit times to a table of operators measured anywhere, and how well that predicts them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from codl.cost.features import FORMS
from codl.cost.fit import amounts, fit_units
from codl.cost.tables import Selector, kernels_of, read_rows, work_of
from codl.documents import validate
from codl.errors import SchemaError, UncalibratedError
from codl.hardware import Calibration, Hardware, Kernel
from codl.ops.spec import Work


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
