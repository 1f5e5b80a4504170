"""The memory of a native device is the host's: buffers are arrays."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import numpy as np

from codl.errors import DeviceError
from codl.real.memory import Memory, aligned


@dataclass(frozen=True, slots=True)
class NativeContext:
    """Stands for the memory that a native device and its parts share, in place of an OpenCL context."""

    root: str


class NativeMemory(Memory):
    """As `Memory`, without OpenCL: what it calls a device's buffer is an array of bytes.

    Args:
        root: id of the device.
    """

    def __init__(self, root: str) -> None:
        self.context: Any = NativeContext(root)
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

    def image(self, name: str, width: int, height: int) -> tuple[Any, np.ndarray | None]:
        raise DeviceError(
            f"{self.label} has no images, which the plan asks for (for {name}); plan with --data-type buffer"
        )

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
