"""What this machine is, as traces and descriptions record it."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from functools import cache
from importlib import metadata

from codl.real.devices import find
from codl.real.opencl import usable_cores
from codl.real.processor import cpu_model

_PACKAGES = ("codl", "numpy", "onnx", "onnxruntime", "pyopencl", "pocl-binary-distribution", "numba", "llvmlite")


@cache
def _fingerprint() -> Mapping[str, str | int]:
    facts: dict[str, str | int] = {
        "cpu": cpu_model(),
        "cores": os.cpu_count() or 1,
        "usable_cores": usable_cores(),
        "system": f"{platform.system()} {platform.release()}",
        "machine": platform.machine(),
        "python": platform.python_version(),
    }
    for info in find():
        if info.id == info.root:
            facts[f"device {info.id}"] = f"{info.name}, {info.platform}, {info.version}"
    for package in _PACKAGES:
        try:
            facts[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return facts


def fingerprint() -> dict[str, str | int]:
    """What this machine is: processor, cores, OpenCL devices with their drivers, versions of the packages used."""
    return dict(_fingerprint())
