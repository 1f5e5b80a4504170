"""Native kernels: the CPU kernels of `codl/ops/cl` once more, compiled by numba for the very processor.

Each module has the name of its OpenCL source and defines the kernels of that file, under their names. Nothing here is
imported before a native device is opened: importing numba takes a second.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from codl.ops.native.abi import Kernel


def find(source: str, entry: str) -> Kernel:
    """The twin of kernel `entry` of the OpenCL source (`cl/conv_tile.cl`), compiled.

    Raises:
        KeyError: there is none.
    """
    name = PurePosixPath(source).stem
    try:
        module = import_module(f"codl.ops.native.{name}")
        found: Kernel = getattr(module, entry)
    except (ModuleNotFoundError, AttributeError):
        raise KeyError(f"{source}: {entry}") from None
    return found
