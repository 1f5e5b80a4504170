"""The memory of a native device is the host's: buffers are arrays."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import numpy as np

from codl.errors import DeviceError
from codl.real.memory import Memory, aligned
from codl.real.processor import cpu_model


@dataclass(frozen=True, slots=True)
class _Cores:
    """What is asked of an OpenCL device of a context."""

    name: str
    image_support: bool = False


@dataclass(frozen=True, slots=True)
class NativeContext:
    """Stands for the memory that a native device and its parts share, in place of an OpenCL context."""

    devices: tuple[_Cores, ...]


class NativeMemory(Memory):
    """As `Memory`, without OpenCL: what it calls a device's buffer is an array of bytes.

    Args:
        root: id of the device.
    """

    def __init__(self, root: str) -> None:
        self.context: Any = NativeContext((_Cores(cpu_model()),))
        self.label = root
        self.nbytes = 0
        self.in_host = True
        self._constants: dict[str, Any] = {}
        self._held: list[Any] = []
        self._largest = self._capacity = memory_bytes()

    def around(self, host: np.ndarray) -> np.ndarray:
        return host

    def pinned(self, nbytes: int) -> np.ndarray:
        self.nbytes += nbytes
        return aligned(nbytes)

    def _buffer(self, name: str, nbytes: int) -> tuple[np.ndarray, np.ndarray | None]:
        self._require(name, nbytes)
        try:
            host = aligned(nbytes)
        except MemoryError as error:
            raise DeviceError(f"{self.label}: no memory for {name} ({nbytes / 2**20:.0f} MiB): {error}") from None
        self.nbytes += host.nbytes
        return host, host


def memory_bytes() -> int:
    """Of this machine."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
