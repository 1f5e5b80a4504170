"""ONNX Runtime: the fallback for single operators, and the reference that outputs are checked against."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from codl.errors import InputError, ModelError, first_line


def session(model: bytes | str | Path, threads: int, name: str) -> Any:
    """An ONNX Runtime session on the CPU with so many threads, that does not spin while it waits for work.

    Raises:
        ModelError: ONNX Runtime refuses the model; names it by `name`.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = max(1, threads)
    options.inter_op_num_threads = 1
    options.log_severity_level = 4
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    content = str(model) if isinstance(model, Path) else model
    try:
        return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its exception classes are generated and share no base but Exception
        raise ModelError(f"{name}: ONNX Runtime refuses it: {first_line(error)}") from None


def infer(running: Any, inputs: Mapping[str, np.ndarray], outputs: Sequence[str] | None, name: str) -> list[Any]:
    """The outputs of a session, in the order of `outputs` (None: all, in the model's order).

    Raises:
        ModelError: ONNX Runtime fails; names the operator or model by `name`.
    """
    try:
        results: list[Any] = running.run(list(outputs) if outputs is not None else None, dict(inputs))
    except Exception as error:
        raise ModelError(f"{name}: ONNX Runtime fails: {first_line(error)}") from None
    return results


def run_onnxruntime(
    model: bytes | str | Path, inputs: Mapping[str, np.ndarray], threads: int = 0
) -> dict[str, np.ndarray]:
    """What ONNX Runtime makes of a whole model, by output name.

    Args:
        model: an .onnx file, or its bytes.
        threads: 0 for as many as this process may use.

    Raises:
        ModelError: ONNX Runtime refuses the model or its inputs.
        InputError: an input is missing.
    """
    from codl.real.opencl import usable_cores

    name = "the model" if isinstance(model, bytes) else str(model)
    running = session(model, threads or usable_cores(), name)
    needed = [entry.name for entry in running.get_inputs()]
    missing = [entry for entry in needed if entry not in inputs]
    if missing:
        raise InputError(f"{name}: input {missing[0]!r} is missing; needed: {', '.join(needed)}")
    names = [entry.name for entry in running.get_outputs()]
    results = infer(running, {entry: inputs[entry] for entry in needed}, names, name)
    return dict(zip(names, results, strict=True))


def max_relative_error(ours: Mapping[str, np.ndarray], reference: Mapping[str, np.ndarray]) -> float:
    """The largest difference of any output, relative to the largest finite magnitude of that output's reference.

    Infinities and NaN must stand where the reference has them, and integers, truth values and text must be equal;
    otherwise the error is infinite.

    Raises:
        InputError: an output is missing or has another shape.
    """
    worst = 0.0
    for name, expected in reference.items():
        if name not in ours:
            raise InputError(f"output {name!r} is missing; there are: {', '.join(ours)}")
        worst = max(worst, _relative_error(name, np.asarray(ours[name]), np.asarray(expected)))
    return worst


def _relative_error(name: str, ours: np.ndarray, expected: np.ndarray) -> float:
    if ours.shape != expected.shape:
        raise InputError(f"output {name!r} has shape {ours.shape}, the reference has {expected.shape}")
    if expected.dtype.kind not in "fc":
        return 0.0 if np.array_equal(ours, expected) else float("inf")
    finite = np.isfinite(expected)
    if not np.array_equal(ours[~finite], expected[~finite], equal_nan=True) or not np.all(np.isfinite(ours[finite])):
        return float("inf")
    if not finite.any():
        return 0.0
    wide = expected[finite].astype(np.float64)
    difference = float(np.max(np.abs(ours[finite].astype(np.float64) - wide)))
    scale = float(np.max(np.abs(wide)))
    return difference / scale if scale else difference
