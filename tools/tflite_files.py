"""The hardware files of the phones that were measured with TFLite: the fit, described with its provenance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from tflite_model import (
    DATE,
    SOURCE,
    Operator,
    family,
    fit_core_sets,
    gpu_kernels,
    queue,
)

from codl.cost.table_fit import Measurement, fit_measurements
from codl.documents import validate
from codl.hardware import Hardware, Kernel


def describe(
    soc: str, text: Mapping[str, Any], items: Sequence[Mapping[str, Any]], ops: Sequence[Operator]
) -> tuple[Hardware, list[str]]:
    """The fitted description of one phone, and a report."""
    bare = validate(Hardware, _frame(soc, text, {"tflite": {"kernels": {"gpu": {"buffer": gpu_kernels(text)}}}}), soc)
    measurements = [Measurement(op.work, op.seconds[soc], {"family": family(op.model)}) for op in ops]
    fitted = fit_measurements(measurements, bare, "gpu", f"{SOURCE}: operators on the GPU", "family", DATE)
    lines = [f"{soc}: GPU kernels, operators, within 10 %, 20 %, median error (family left out)"]
    lines += [
        f"  {row['kernel']:28} {row['operators']:5} {row['left_out_within_10_percent']:7.1%} "
        f"{row['left_out_within_20_percent']:7.1%} {row['left_out_median_error']:7.1%}"
        for row in fitted.accuracy
    ]
    convolutions = _convolutions(fitted.left_out, measurements)
    lines.append(f"  convolutions above 50 us: {convolutions}")
    dispatch, startup, error = queue(soc, ops, fitted.left_out)
    lines.append(
        f"  {soc} gpu end to end: dispatch {dispatch * 1e6:.1f} us an operator, start {startup * 1e3:.2f} ms, "
        f"mean absolute error {error:.1%} (family left out)"
    )
    cores, more = fit_core_sets(soc, text, items, bare, ops)
    libraries = {
        "tflite": {
            "dispatch": {"gpu": float(f"{dispatch:.3g}")} if dispatch else {},
            "start": {"gpu": float(f"{startup:.3g}")},
            "kernels": {
                "gpu": {"buffer": [_rounded(k) for k in fitted.hardware.kernels("gpu", "buffer")]},
                "cpu": {"buffer": cores[text["core_set"]]},
            },
        },
        **{f"tflite-{name}": {"base": "tflite", "kernels": {"cpu": {"buffer": k}}} for name, k in cores.items()},
    }
    frame = _frame(soc, text, libraries)
    residual = f"convolutions above 50 us, family left out: {convolutions}"
    frame["calibration"] = (
        _provenance(residual, f"networks, family left out: {error:.1%}", "; ".join(line.strip() for line in more))
        + frame["calibration"]
    )
    return validate(Hardware, frame, f"{soc} as fitted"), lines + more


def _convolutions(predicted: np.ndarray, measurements: Sequence[Measurement]) -> str:
    use = [i for i, m in enumerate(measurements) if m.work.kind == "conv" and m.seconds > 50e-6 and m.work.out_h > 1]
    error = np.array([abs(predicted[i] / measurements[i].seconds - 1) for i in use])
    return f"{np.mean(error <= 0.1):.1%} within 10 %, {np.mean(error <= 0.2):.1%} within 20 %, of {len(use)}"


def _rounded(kernel: Kernel) -> dict[str, Any]:
    data = kernel.model_dump(mode="json", exclude_defaults=True)
    for section in ("compute", "memory", "fixed"):
        data[section] = {unit: float(f"{time:.4g}") for unit, time in getattr(kernel, section).items()}
    return data


def _frame(soc: str, text: Mapping[str, Any], libraries: Mapping[str, Any]) -> dict[str, Any]:
    processors = {
        name: {
            "kind": name,
            **text[name],
            "data_types": ["buffer"],
            "active_power": text["power"][name],
            "enqueue": "15 us",
        }
        for name in ("gpu", "cpu")
    }
    return {
        "name": soc,
        "description": text["description"],
        "processors": processors,
        "memory": {"bandwidth": text["memory"], "energy": "60 pJ/byte"},
        "sharing": {
            "kind": "mapped",
            "home": "gpu",
            "map": {"per_byte": "58.75 ps/byte"},
            "unmap": {"fixed": "3 us"},
            "pre_sync": "676.2 us",
            "pre_sync_bound": "1 ms",
            "post_sync": "50 us",
        },
        "power": {"idle": "1.25 W"},
        "library": "tflite",
        "libraries": dict(libraries),
        "alignment": {"output_channel": 4},
        "calibration": [
            {"constants": ["libraries.*"], "source": SOURCE, "method": "tools/fit_tflite.py", "date": DATE},
            {
                "constants": [
                    "sharing.*",
                    "power.*",
                    "memory.energy",
                    "processors.*.active_power",
                    "processors.*.enqueue",
                ],
                "source": "taken over from hardware/sd855.yaml: not measured with TFLite",
                "method": "assumed",
                "date": DATE,
            },
            {
                "constants": ["processors.gpu.concurrent_waves"],
                "source": "the staircase of operator latencies over waves",
                "method": "where the steps are",
                "date": DATE,
            },
            {
                "constants": ["processors.*", "memory.*"],
                "source": "data sheets; ArchProbe for Adreno 640",
                "method": "as stated",
                "date": DATE,
            },
        ],
    }


def _provenance(operators: str, networks: str, cores: str) -> list[dict[str, Any]]:
    how = "tools/fit_tflite.py: non-negative least squares on relative errors"
    return [
        {
            "constants": ["libraries.*.gpu.dispatch", "libraries.*.gpu.start"],
            "source": f"{SOURCE}: networks on the GPU less the sum of operators",
            "method": "least squares on relative errors",
            "date": DATE,
            "residual": networks,
        },
        {
            "constants": ["libraries.*.gpu.*"],
            "source": f"{SOURCE}: operators on the GPU",
            "method": how,
            "date": DATE,
            "residual": operators,
        },
        {
            "constants": ["libraries.*.cpu.*"],
            "source": f"{SOURCE}: networks on each core set",
            "method": how,
            "date": DATE,
            "residual": cores,
        },
    ]
