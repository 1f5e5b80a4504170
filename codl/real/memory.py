"""Memory of one OpenCL context, and what lies in it: buffers that live as long as their executor.

A CPU device works in the host's own memory, so its buffers lie around page-aligned arrays: the host reads and writes
them without any copy. Buffers of other devices are reached by explicit reads and writes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from codl.errors import DeviceError
from codl.ops.launch import from_memory, in_logical_order, to_memory
from codl.real.opencl import opencl
from codl.region import Region

if TYPE_CHECKING:
    import pyopencl as cl

_PAGE = 4096
_FEW_CHANNELS = 16  # numpy copies a map of so few channels faster one by one: a run of three floats costs it a loop
_LEAST_BYTES = 64  # OpenCL has no empty buffer, and kernels may load a whole vector


def aligned(nbytes: int) -> np.ndarray:
    """Zeroed bytes that begin at a page: what devices that share the host's memory take without copying."""
    size = _rounded(nbytes)
    raw = np.zeros(size + _PAGE, np.uint8)
    start = -raw.ctypes.data % _PAGE
    return raw[start : start + size]


def _rounded(nbytes: int) -> int:
    return -(-max(nbytes, _LEAST_BYTES) // _LEAST_BYTES) * _LEAST_BYTES


def host_only(dtype: str) -> bool:
    """Whether a number format exists on the host only (text)."""
    return np.dtype(dtype).kind in "OUS"


def works_in_host_memory(context: cl.Context) -> bool:
    """Whether the devices of a context compute in the host's memory, without any copy: CPU devices do."""
    cpu = opencl().device_type.CPU
    return all(device.type & cpu for device in context.devices)


@dataclass(slots=True)
class Allocation:
    """Storage for a box of one tensor.

    `device` is the OpenCL buffer (of a native device an array of bytes; None for text, which only the fallback
    handles), `host` a flat array over the same memory where the device works in the host's memory.
    """

    name: str
    region: Region
    dtype: np.dtype
    nbytes: int
    memory: Memory
    device: Any
    host: np.ndarray | None
    _shown: np.ndarray | None = field(default=None, init=False, repr=False)

    @property
    def shown(self) -> np.ndarray | None:
        """`host` with axes in logical order, made once: between two inferences numpy's code leaves the caches."""
        if self._shown is None and self.host is not None:
            self._shown = in_logical_order(self.host[: self.region.size], self.region.shape)
        return self._shown

    def write(self, array: np.ndarray) -> None:
        """Fill it from an array in logical axis order, of the region's shape."""
        if (shown := self.shown) is not None:
            if array.ndim == 4 and array.shape[1] <= _FEW_CHANNELS:
                for channel in range(array.shape[1]):
                    shown[:, channel] = array[:, channel]
            else:
                shown[...] = array
        elif array.size:
            self.memory.write(self.device, to_memory(array))

    def read(self) -> np.ndarray:
        """A copy of the contents, in logical axis order."""
        if (shown := self.shown) is not None:
            return shown.copy()
        flat = np.empty(self.region.size, self.dtype)
        if flat.size:
            self.memory.read(self.device, flat)
        return from_memory(flat, self.region.shape)


class Memory:
    """The memory of one context.

    Args:
        context: its devices share this memory.
        queue: a queue of the context for reads and writes that nobody times.
        label: the device's id, for messages.
    """

    def __init__(self, context: cl.Context, queue: cl.CommandQueue, label: str) -> None:
        self.context = context
        self.label = label
        self.nbytes = 0
        self._queue = queue
        self.in_host = works_in_host_memory(context)
        self._constants: dict[str, cl.Buffer] = {}
        self._held: list[cl.Buffer] = []
        self._largest = min(device.max_mem_alloc_size for device in context.devices)
        self._capacity = min(device.global_mem_size for device in context.devices)

    def allocate(self, name: str, region: Region, dtype: str, reached_from: Memory | None = None) -> Allocation:
        """Zeroed storage for a box of a tensor.

        Args:
            reached_from: the memory of a device that copies from or to this storage, which lies in the host's memory;
                it is pinned for that device then, which so transfers it several times faster.

        Raises:
            DeviceError: it is larger than the device allows, or there is no memory left.
        """
        if host_only(dtype):
            return Allocation(name, region, np.dtype(object), 0, self, None, np.full(region.size, "", object))
        form = np.dtype(dtype)
        nbytes = region.size * form.itemsize
        device, host = self._around_pinned(reached_from, nbytes) if reached_from else self._buffer(name, nbytes)
        return Allocation(name, region, form, nbytes, self, device, None if host is None else host.view(form))

    def block(self, name: str, nbytes: int) -> Allocation:
        """Memory in which several tensors take turns (see `place`)."""
        return self.allocate(name, Region(((0, nbytes),)), "uint8")

    def place(self, name: str, region: Region, dtype: str, block: Allocation) -> Allocation:
        """Storage for a box of a tensor in a block that is large enough."""
        form = np.dtype(dtype)
        host = None if block.host is None else block.host[: len(block.host) // form.itemsize * form.itemsize].view(form)
        return Allocation(name, region, form, region.size * form.itemsize, self, block.device, host)

    def scratch(self, nbytes: int) -> Any:
        """Working memory for kernels."""
        return self._buffer("working memory", nbytes)[0]

    def pinned(self, nbytes: int) -> np.ndarray:
        """Bytes of host memory from and to which this memory's devices transfer fastest."""
        ocl = opencl()
        buffer = ocl.Buffer(self.context, ocl.mem_flags.READ_WRITE | ocl.mem_flags.ALLOC_HOST_PTR, nbytes)
        flags = ocl.map_flags.READ | ocl.map_flags.WRITE
        array: np.ndarray = ocl.enqueue_map_buffer(self._queue, buffer, flags, 0, (nbytes,), np.uint8)[0]
        self._held.append(buffer)
        self.nbytes += nbytes
        return array

    def around(self, host: np.ndarray) -> Any:
        """A buffer over an array of the host, for a context whose devices work in the host's memory."""
        ocl = opencl()
        return ocl.Buffer(self.context, ocl.mem_flags.READ_WRITE | ocl.mem_flags.USE_HOST_PTR, hostbuf=host)

    def constant(self, key: str, arrays: Mapping[str, np.ndarray]) -> cl.Buffer:
        """The weights `arrays[key]`, uploaded at the first request for their key."""
        if key not in self._constants:
            flat = np.ascontiguousarray(arrays[key]).reshape(-1)
            buffer, host = self._buffer(f"weights {key}", flat.nbytes)
            if host is not None:
                host[: flat.nbytes] = flat.view(np.uint8)
            elif flat.nbytes:
                self.write(buffer, flat)
            self._constants[key] = buffer
        return self._constants[key]

    def write(self, buffer: Any, flat: np.ndarray) -> None:
        opencl().enqueue_copy(self._queue, buffer, flat, is_blocking=True)

    def read(self, buffer: Any, flat: np.ndarray) -> None:
        opencl().enqueue_copy(self._queue, flat, buffer, is_blocking=True)

    def _around_pinned(self, other: Memory, nbytes: int) -> tuple[cl.Buffer, np.ndarray]:
        host = other.pinned(_rounded(nbytes))
        host[:] = 0
        return self.around(host), host

    def image(self, name: str, width: int, height: int) -> tuple[Any, np.ndarray | None]:
        """A zeroed image of four floats a texel, and its texels (height, width, 4) where the device works in the host's
        memory (PoCL 3 cannot transfer images of parts of a device; it needs not).

        Raises:
            DeviceError: it is larger than the device allows, or there is no memory left.
        """
        ocl = opencl()
        nbytes = width * height * 16
        self._require(name, nbytes)
        form = ocl.ImageFormat(ocl.channel_order.RGBA, ocl.channel_type.FLOAT)
        flags, shape = ocl.mem_flags, (width, height)
        host = aligned(nbytes).view(np.float32)[: nbytes // 4].reshape(height, width, 4) if self.in_host else None
        try:
            if host is not None:
                flag = flags.READ_WRITE | flags.USE_HOST_PTR
                made = ocl.create_image(self.context, flag, form, shape=shape, hostbuf=host)
            else:
                made = ocl.create_image(self.context, flags.READ_WRITE, form, shape=shape)
                self.write_image(made, np.zeros((height, width, 4), np.float32))
        except (ocl.Error, MemoryError) as error:
            raise DeviceError(f"{self.label}: no memory for {name} ({nbytes / 2**20:.0f} MiB): {error}") from None
        self.nbytes += nbytes
        return made, host

    def write_image(self, image: Any, texels: np.ndarray) -> None:
        """Fill an image from (height, width, 4) texels."""
        region = (texels.shape[1], texels.shape[0])
        opencl().enqueue_copy(self._queue, image, texels, origin=(0, 0), region=region, is_blocking=True)

    def read_image(self, image: Any, texels: np.ndarray) -> None:
        region = (texels.shape[1], texels.shape[0])
        opencl().enqueue_copy(self._queue, texels, image, origin=(0, 0), region=region, is_blocking=True)

    def _require(self, name: str, nbytes: int) -> None:
        """Raise `DeviceError` unless there may be so much memory, in one piece."""
        if nbytes > self._largest:
            raise DeviceError(
                f"{self.label}: {name} needs {nbytes / 2**20:.0f} MiB; the device allows {self._largest / 2**20:.0f} "
                "MiB for one buffer"
            )
        if self.nbytes + nbytes > self._capacity:  # asked for all the same, a host would begin to swap or kill us
            raise DeviceError(
                f"{self.label}: no memory for {name} ({nbytes / 2**20:.0f} MiB): {self.nbytes / 2**20:.0f} MiB of the "
                f"device's {self._capacity / 2**20:.0f} MiB are in use"
            )

    def _buffer(self, name: str, nbytes: int) -> tuple[Any, np.ndarray | None]:
        ocl = opencl()
        self._require(name, nbytes)
        flags = ocl.mem_flags
        try:
            if self.in_host:
                host = aligned(nbytes)
                device = ocl.Buffer(self.context, flags.READ_WRITE | flags.USE_HOST_PTR, hostbuf=host)
                self.nbytes += host.nbytes
                return device, host
            size = max(nbytes, _LEAST_BYTES)
            device = ocl.Buffer(self.context, flags.READ_WRITE, size)
            ocl.enqueue_fill_buffer(self._queue, device, np.uint8(0), 0, size).wait()
        except (ocl.Error, MemoryError) as error:
            raise DeviceError(f"{self.label}: no memory for {name} ({nbytes / 2**20:.0f} MiB): {error}") from None
        self.nbytes += size
        return device, None
