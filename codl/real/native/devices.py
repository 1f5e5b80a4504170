"""Which native devices there are: the cores of this machine, as one device whose id is `native:0`, and parts of it."""

from __future__ import annotations

import importlib.util
import os
import re
from functools import cache
from importlib import metadata

from codl.real.opencl import usable_cores

ROOT = "native:0"
INSTALL_HINT = "native devices need numba: pip install 'codl[native]'"


def is_native(device_id: str) -> bool:
    """Whether an id is that of a native device, existing or not."""
    return device_id.startswith("native:")


def available() -> bool:
    """Whether numba is installed on a system whose threads can be told what to do."""
    return importlib.util.find_spec("numba") is not None and hasattr(os, "sched_getaffinity")


def cores_of(device_id: str) -> range | None:
    """The cores that an id names, counted from 0; None if there is no such device."""
    match = re.fullmatch(rf"{ROOT}(?:\.(\d+)(?:-(\d+))?)?", device_id)
    if match is None:
        return None
    first = int(match.group(1) or 0)
    last = int(match.group(2) or first) if match.group(1) else usable_cores() - 1
    return range(first, last + 1) if first <= last < usable_cores() else None


def compiles_first() -> bool:
    """Whether kernels have yet to be compiled for this processor, which takes a minute or two, once."""
    from codl.ops.native import cache as compiled  # imports numba

    return compiled.cold()


@cache
def version() -> str:
    return f"numba {metadata.version('numba')}, LLVM {metadata.version('llvmlite')}"


def affinity(cores: range) -> tuple[int, ...]:
    """The numbers by which the system knows these cores."""
    usable = sorted(os.sched_getaffinity(0))
    return tuple(usable[core % len(usable)] for core in cores)
