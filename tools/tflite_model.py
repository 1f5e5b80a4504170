"""TFLite's kernels on phones: on GPUs by operator, on core sets by network; what is measured, and the fit."""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.optimize import nnls

from codl.cost.features import FORMS
from codl.cost.fit import relative_nnls
from codl.cost.tables import Selector, make_work
from codl.documents import validate
from codl.hardware import Hardware, Kernel
from codl.ops.spec import Work

ROOT = Path(__file__).resolve().parent.parent
DATA = ROOT / "tools" / "data" / "mobile-ml-benchmark"
DATE = "2026-11-24"
SOURCE = "mobile-ml-benchmark (EdgeSys '24), MIT licence, in tools/data"


def family(model: str) -> str:
    """The family of a network: its name without sizes and variants."""
    name = re.split(r"_(?:w\d|wd|v\d|a\d|b\d|cb|cpu|gpu|mobile|small|medium|large|\d)", model)[0]
    return re.sub(r"(?<=[a-z])\d+[a-z]?$", "", name) if not re.fullmatch(r"mobilenetv\d[a-z]?", name) else name


@dataclass(frozen=True)
class Operator:
    """One row of the table of operators."""

    model: str
    work: Work
    seconds: Mapping[str, float]


def operators() -> list[Operator]:
    """The operators of all networks, with their GPU latency on each phone."""
    found = []
    with (DATA / "cnn_ops_gpu.csv").open() as lines:
        for row in csv.DictReader(lines):
            seconds = {soc: float(row[f"{soc}|gpu|float"]) / 1e6 for soc in ("pixel4", "s10")}
            found.append(Operator(row["model"], _work(row), seconds))
    return found


def _work(row: Mapping[str, str]) -> Work:
    def number(name: str, default: int = 1) -> int:
        return int(row[name]) if row[name].isdigit() and int(row[name]) > 0 else default

    kind, inputs, side = row["operation"], int(row["Input_channel"]), number("Input_shape")
    out, taps, stride = number("Output_shape"), number("Kernel"), number("Stride")
    if kind in ("CONV_2D", "CONV_2D_GROUP"):
        channels = inputs, int(row["Filter"])
        return make_work("conv", (side, side), (out, out), channels, (taps, taps), (stride, stride), number("Group"))
    if kind == "DEPTHWISE_CONV_2D":
        return make_work("depthwise", (side, side), (out, out), (inputs, inputs), (taps, taps), (stride, stride))
    if kind == "FULLY_CONNECTED":
        return make_work("fc", (1, 1), (1, 1), (inputs, int(row["Filter"])), (1, 1), (1, 1))
    if kind == "MEAN":
        return make_work("pool", (side, side), (1, 1), (inputs, inputs), (side, side), (1, 1))
    if kind == "CONCATENATION":  # reads as much as it writes; the table gives only its first input
        outputs = int(row["Filter"])
        return make_work("elementwise", (side, side), (out, out), (outputs, outputs), (1, 1), (1, 1))
    return make_work("pool", (side, side), (out, out), (inputs, inputs), (taps, taps), (stride, stride))


# GPU kernels


def gpu_kernels(text: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The GPU delegate's kernels as templates without unit times, most special first."""
    common = {"form": "waves", "element_bytes": 2}
    found: list[dict[str, Any]] = [
        {
            "name": "fully_connected",
            "algorithm": "gemm",
            **common,
            "blocks": {"out_channels": 4, "in_channels": 4},
            "when": {"kind": ["conv", "fc"], "out_h": 1, "out_w": 1, "kernel_h": 1},
        },
        {
            "name": "conv_grouped",
            "algorithm": "grouped",
            **common,
            "blocks": {"out_channels": 4, "in_channels": 4},
            "when": {"kind": "conv", "groups": ">= 2"},
        },
    ]
    if text["winograd"]:
        suits = {
            "kind": "conv",
            "kernel_h": 3,
            "kernel_w": 3,
            "stride_h": 1,
            "in_channels": "> 60",
            "out_channels": "% 16",
            "out_h": "> 20",
            "out_w": "> 20",
        }
        found.append(
            {
                "name": "winograd4",
                "algorithm": "winograd",
                "form": "winograd",
                "tile": 4,
                "when": suits,
                "blocks": {"out_channels": 4},
                "element_bytes": 2,
            }
        )
    found += _stems(text, common) + _generic(text, common)
    for taps, rule in (("3", "<= 3"), ("5", "> 3")):
        for stride in (1, 2):
            found.append(
                {
                    "name": f"depthwise{taps}s{stride}",
                    "algorithm": "depthwise",
                    **common,
                    "blocks": {"out_channels": 4},
                    "when": {"kind": "depthwise", "kernel_h": rule, "stride_h": stride},
                }
            )
    stream = {"form": "stream", "element_bytes": 2}
    found += [
        {
            "name": "mean",
            "algorithm": "reduce",
            **common,
            "blocks": {"out_channels": 4},
            "when": {"kind": "pool", "out_h": 1, "out_w": 1},
        },
        {"name": "pooling", "algorithm": "direct", **common, "blocks": {"out_channels": 4}, "when": {"kind": "pool"}},
        {"name": "copy", "algorithm": "direct", **stream},
    ]
    return found


def _stems(text: Mapping[str, Any], common: Mapping[str, Any]) -> list[dict[str, Any]]:
    """First layers: few input channels; with few outputs their weights are compile-time constants."""
    x, y, z = text["blocks"][8]
    found = []
    for taps, rule in (("3", "<= 3"), ("7", "> 3")):
        for name, outputs in (("constants", "<= 32"), ("stem", "> 32")):
            when: dict[str, Any] = {"kind": "conv", "in_channels": "<= 4", "out_channels": outputs, "kernel_h": rule}
            blocks = {"out_w": x, "out_h": y, "out_channels": z, "in_channels": 4}
            found.append({"name": f"{name}{taps}", "algorithm": "stem", **common, "blocks": blocks, "when": when})
    return found


def _generic(text: Mapping[str, Any], common: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The generic convolution: by block (from the number of output vectors), by kernel, and by number of rounds."""
    found = []
    bounds = [*text["thresholds"], None]
    for (size, (x, y, z)), bound in zip(text["blocks"].items(), bounds, strict=True):
        blocks = {"out_w": x, "out_h": y, "out_channels": z, "in_channels": 4}
        for name, shape in (("1x1", {"kernel_h": 1, "stride_h": 1}), ("kxk", {"stride_h": 1}), ("strided", {})):
            slots = text.get("slots", {}).get("1x1" if name == "1x1" else "kxk", 0) if bound is None else 0
            stages = text.get("stages", {})
            limit = stages.get("1x1" if name == "1x1" else "kxk") if bound is None else None
            for part, most in (("small", limit), ("large", None)) if limit else (("", bound),):
                when: dict[str, Any] = {"kind": "conv", **shape}
                if most:
                    when["out_vectors"] = f"<= {most}"
                kernel = {"name": f"generic{size}_{name}{part and '_' + part}", "algorithm": "direct", **common}
                found.append({**kernel, "blocks": blocks, "group": text["group"], "slots": slots, "when": when})
    return found


# Whole networks


def end_to_end(soc: str, where: str) -> dict[str, float]:
    """Seconds of each network on a core set or the GPU."""
    with (DATA / "cnn_e2e.csv").open() as lines:
        return {row["model"]: float(row[f"{soc}|{where}|float|mean"]) / 1e6 for row in csv.DictReader(lines)}


@dataclass(frozen=True)
class Networks:
    """Amounts of every unit of the CPU kernels, (networks, units)."""

    models: list[str]
    units: list[tuple[int, str]]
    matrix: np.ndarray


def networks(
    items: Sequence[Mapping[str, Any]], kernels: Sequence[Kernel], hardware: Hardware, ops: Sequence[Operator]
) -> Networks:
    units = [(index, unit) for index, item in enumerate(items) for unit in item["units"]]
    column = {key: position for position, key in enumerate(units)}
    models = list(dict.fromkeys(op.model for op in ops))
    matrix = np.zeros((len(models), len(units)))
    select = Selector(kernels)
    for op in ops:
        index = select.index(op.work)
        amounts = FORMS[kernels[index].form].quantities(op.work, kernels[index], hardware.processors["cpu"])
        for unit in items[index]["units"]:
            matrix[models.index(op.model), column[index, unit]] += float(amounts[unit])
    return Networks(models, units, matrix)


def left_out(matrix: np.ndarray, measured: np.ndarray, models: Sequence[str]) -> np.ndarray:
    """Signed relative errors of networks whose family is left out of the fit."""
    families = np.array([family(model) for model in models])
    errors = np.empty(len(measured))
    for group in np.unique(families):
        out = families == group
        errors[out] = matrix[out] @ relative_nnls(matrix[~out], measured[~out]) / measured[out] - 1
    return errors


def fit_core_sets(
    soc: str, text: Mapping[str, Any], items: Sequence[Mapping[str, Any]], hardware: Hardware, ops: Sequence[Operator]
) -> tuple[dict[str, Any], list[str]]:
    """A library of CPU kernels for every core set, and lines for the report."""
    kernels = [validate(Kernel, {k: v for k, v in item.items() if k != "units"}, "tools/tflite.yaml") for item in items]
    table = networks(items, kernels, hardware, ops)
    libraries, lines = {}, []
    for cores in text["core_sets"]:
        seconds = end_to_end(soc, cores)
        measured = np.array([seconds[model] for model in table.models])
        times = relative_nnls(table.matrix, measured)
        errors = left_out(table.matrix, measured, table.models)
        lines.append(f"  {soc} {cores:12} mean absolute error {np.mean(np.abs(errors)):.1%} (family left out)")
        libraries[cores] = [_with_units(kernel, index, table.units, times) for index, kernel in enumerate(kernels)]
    return libraries, lines


def _with_units(kernel: Kernel, index: int, units: Sequence[tuple[int, str]], times: np.ndarray) -> dict[str, Any]:
    shape = FORMS[kernel.form]
    own = {unit: float(f"{time:.4g}") for (owner, unit), time in zip(units, times, strict=True) if owner == index}
    sections = {
        s: {u: t for u, t in own.items() if u in getattr(shape, s) and t > 0} for s in ("compute", "memory", "fixed")
    }
    if not any(sections.values()):  # the networks need none of it: free, and said so by a launch of nothing
        sections["fixed"] = {"launch": 0.0}
    return {**kernel.model_dump(mode="json", exclude_defaults=True), **sections}


def queue(soc: str, ops: Sequence[Operator], predicted: np.ndarray) -> tuple[float, float, float]:
    """(dispatch time of an operator, start of an inference, mean absolute error of networks left out by family)."""
    seconds = end_to_end(soc, "gpu")
    models = list(seconds)
    count = np.array([sum(op.model == model for op in ops) for model in models], dtype=float)
    busy, guess = np.zeros(len(models)), np.zeros(len(models))
    for op, value in zip(ops, predicted, strict=True):
        busy[models.index(op.model)] += op.seconds[soc]
        guess[models.index(op.model)] += value
    measured = np.array([seconds[model] for model in models])
    fixed = np.stack([count, np.ones(len(models))], axis=1)
    rest = np.maximum(measured - busy, 0)

    def solve(use: np.ndarray) -> np.ndarray:
        return np.asarray(nnls(fixed[use] / measured[use, None], rest[use] / measured[use])[0])

    families = np.array([family(model) for model in models])
    errors = np.empty(len(models))
    for group in np.unique(families):
        out = families == group
        errors[out] = (guess[out] + fixed[out] @ solve(~out)) / measured[out] - 1
    dispatch, start = solve(np.ones(len(models), dtype=bool))
    return float(dispatch), float(start), float(np.mean(np.abs(errors)))
