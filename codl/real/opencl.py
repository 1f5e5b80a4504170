"""The one door to pyopencl: it is imported at first use, with an environment in which it finds every device.

Whatever only plans and simulates must work where no OpenCL exists, so no module of `codl` imports pyopencl when it is
itself imported; all call `opencl()`.

What PoCL's environment does: POCL_MAX_PTHREAD_COUNT (version 3) and POCL_CPU_MAX_CU_COUNT (4 and later) limit its
threads; POCL_AFFINITY=1 pins thread i to core i, which helps one process beside other engines' threads and slows down
several that use the same part of the cores (docs/performance.md), so it is left to the user; POCL_CACHE_DIR says where
built kernels are kept.
"""

from __future__ import annotations

import ctypes
import math
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from types import ModuleType

from codl.errors import DeviceError

INSTALL_HINT = (
    "install PoCL, which runs OpenCL on any CPU, with: pip install 'pyopencl[pocl]'; for a GPU install its driver "
    "with OpenCL support"
)
_VENDORS = Path("/etc/OpenCL/vendors")
_NVIDIA_DRIVER = "libnvidia-opencl.so.1"


@cache
def opencl() -> ModuleType:
    """The module `pyopencl`.

    Raises:
        DeviceError: it is not installed, or its OpenCL loader cannot be loaded.
    """
    _limit_pocl_threads()
    try:
        import pyopencl
    except ImportError as error:
        raise DeviceError(f"pyopencl cannot be imported ({error}); {INSTALL_HINT}") from None
    with tempfile.TemporaryDirectory(prefix="codl-icd-") as folder:
        vendors = _with_missing_drivers(Path(folder))
        if vendors is not None:
            os.environ["OCL_ICD_VENDORS"] = str(vendors)
        try:
            pyopencl.get_platforms()  # the loader reads the vendor files here, once
        except pyopencl.Error:
            pass  # no platform: `codl.real.devices` says so
        finally:
            if vendors is not None:
                del os.environ["OCL_ICD_VENDORS"]
    return pyopencl


@contextmanager
def device_errors(label: str) -> Iterator[None]:
    """Raise what OpenCL raises inside as a `DeviceError` that names the device, and a lack of host memory too.

    A driver that gives out memory late fails at the first use of a buffer; one whose device has vanished, anywhere.
    """
    ocl = opencl()
    try:
        yield
    except ocl.Error as error:
        raise DeviceError(f"{label}: {error}") from None
    except MemoryError:
        raise DeviceError(f"{label}: the host has no memory left") from None


def usable_cores() -> int:
    """Cores that this process may use: the affinity mask and the control group's quota count."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()[:2]
        if quota != "max":
            cores = min(cores, max(1, math.ceil(int(quota) / int(period))))
    except (OSError, ValueError):
        pass
    return cores


def _limit_pocl_threads() -> None:
    """PoCL starts a thread for each core of the machine, in a container too, where they would share a few cores."""
    cores = usable_cores()
    if cores < (os.cpu_count() or cores):
        os.environ.setdefault("POCL_MAX_PTHREAD_COUNT", str(cores))  # PoCL 3
        os.environ.setdefault("POCL_CPU_MAX_CU_COUNT", str(cores))  # PoCL 4 and later


def _with_missing_drivers(folder: Path) -> Path | None:
    """A vendor folder that also names NVIDIA's driver, where that is installed but no .icd file says so."""
    if "OCL_ICD_VENDORS" in os.environ or "OPENCL_VENDOR_PATH" in os.environ:
        return None  # the user decides
    named = sorted(_VENDORS.glob("*.icd")) if _VENDORS.is_dir() else []
    texts = {path.name: path.read_text(errors="replace") for path in named}
    if any("nvidia" in text for text in texts.values()) or not _loadable(_NVIDIA_DRIVER):
        return None
    for name, text in {**texts, "nvidia.icd": _NVIDIA_DRIVER + "\n"}.items():
        (folder / name).write_text(text)
    return folder


def _loadable(library: str) -> bool:
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True
