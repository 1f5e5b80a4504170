"""The OpenCL devices of this machine: what is there, who plays the CPU and the GPU, and why.

Ids are `platform:index` (`pocl:0`, `nvidia:0`); a CPU device's cores A to B are `pocl:0.A-B`, one core is `pocl:0.A`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from codl.errors import DeviceError
from codl.real.native.devices import INSTALL_HINT as NATIVE_HINT
from codl.real.native.devices import ROOT, available, cores_of, is_native, version
from codl.real.native.memory import memory_bytes
from codl.real.opencl import INSTALL_HINT, opencl
from codl.real.processor import cpu_clock_hz, cpu_model, cpu_vector_width

if TYPE_CHECKING:
    import pyopencl as cl

_PREFIXES = {
    "Portable Computing Language": "pocl",
    "NVIDIA CUDA": "nvidia",
    "AMD Accelerated Parallel Processing": "amd",
    "ARM Platform": "arm",
    "QUALCOMM Snapdragon(TM)": "qualcomm",
}


@dataclass(frozen=True, slots=True)
class DeviceInfo:
    """One OpenCL device, or some cores of one. Clocks in Hz, memory in bytes."""

    id: str
    root: str
    """Id of the device that it is a part of; its own id for a whole device. Parts of one root share one memory."""
    name: str
    platform: str
    version: str
    kind: str
    """`cpu`, `gpu` or `other`."""
    compute_units: int
    clock_hz: float
    memory_bytes: int
    vector_width: int
    """Preferred width of float vectors: 8 with AVX2, 1 on most GPUs."""
    fp16: bool
    image_limits: tuple[int, int]
    """Width and height, in texels, that the largest image may have; (0, 0) without images."""
    unified_memory: bool
    """The device works in the host's own memory."""


@dataclass(frozen=True, slots=True)
class Assignment:
    """Who plays which processor."""

    cpu: DeviceInfo
    gpu: DeviceInfo
    why: str
    shared_memory: bool
    """Both work in one memory (one OpenCL context); otherwise tensors are copied between them."""

    def for_lanes(self, lanes: Iterable[str]) -> dict[str, DeviceInfo]:
        """The device of each lane, by the lane's name (`gpu...`, `cpu...`).

        Raises:
            DeviceError: a lane is called otherwise.
        """
        table = {}
        for lane in lanes:
            role = lane.lower()[:3]
            if role not in ("cpu", "gpu"):
                raise DeviceError(f"no device plays the processor {lane!r}; this machine has a cpu and a gpu")
            table[lane] = self.cpu if role == "cpu" else self.gpu
        return table


# -- finding -----------------------------------------------------------------------------------------------------------


@cache
def _roots() -> Mapping[str, cl.Device]:
    """Whole devices by id. Platforms with one prefix are numbered on, in the loader's order."""
    ocl = opencl()
    try:
        platforms = ocl.get_platforms()
    except ocl.Error:
        platforms = []
    table: dict[str, cl.Device] = {}
    count: dict[str, int] = {}
    for host in platforms:
        prefix = _prefix(host.name)
        try:
            devices = host.get_devices()
        except ocl.Error:
            continue  # a platform without a device
        for device in devices:
            index = count.get(prefix, 0)
            table[f"{prefix}:{index}"] = device
            count[prefix] = index + 1
    if not table:
        raise DeviceError(f"no OpenCL device was found; {INSTALL_HINT}")
    return table


def _prefix(name: str) -> str:
    if name.startswith("Intel"):
        return "intel"
    return _PREFIXES.get(name.strip("\0 "), re.sub(r"[^a-z0-9]+", "", name.lower().split(" ")[0]) or "opencl")


@cache
def open_device(device_id: str) -> cl.Device:
    """The OpenCL device of an id, or of some cores of it (`pocl:0.2-3`).

    Raises:
        DeviceError: there is none; the message lists the ids.
    """
    match = re.fullmatch(r"(\w+:\d+)(?:\.(\d+)(?:-(\d+))?)?", device_id)
    root = _roots().get(match.group(1)) if match else None
    if match is None or root is None:
        raise DeviceError(f"unknown device {device_id!r}; {_known()}")
    if match.group(2) is None:
        return root
    ocl = opencl()
    first = int(match.group(2))
    last = int(match.group(3)) if match.group(3) else first
    cores = root.max_compute_units
    if not first <= last < cores:
        raise DeviceError(f"unknown device {device_id!r}: {match.group(1)} has the cores 0 to {cores - 1}; {_known()}")
    if first == 0 and last == cores - 1:
        return root
    counts = [count for count in (first, last - first + 1, cores - 1 - last) if count]
    properties: list[Any] = [ocl.device_partition_property.BY_COUNTS, *counts, 0]
    try:
        parts = root.create_sub_devices(properties)
    except ocl.Error:
        raise DeviceError(f"{device_id}: {match.group(1)} ({root.name}) cannot be partitioned into cores") from None
    part: cl.Device = parts[1 if first else 0]
    return part


def _known() -> str:
    ids = [info.id for info in find()]
    cores = [info for info in find() if info.kind == "cpu" and info.compute_units > 2 and info.id == info.root]
    more = f"; cores of {cores[0].id} as {cores[0].id}.0 or {cores[0].id}.0-1" if cores else ""
    return f"this machine has: {', '.join(ids)}{more}"


def describe(device_id: str) -> DeviceInfo:
    """The properties of a device.

    Raises:
        DeviceError: no such device.
    """
    if is_native(device_id):
        return _native(device_id)
    ocl = opencl()
    device = open_device(device_id)
    kind = "cpu" if device.type & ocl.device_type.CPU else "gpu" if device.type & ocl.device_type.GPU else "other"
    return DeviceInfo(
        id=device_id,
        root=device_id.split(".")[0],
        name=device.name.strip("\0 "),
        platform=device.platform.name.strip("\0 "),
        version=f"{device.version.strip()}, driver {device.driver_version.strip()}",
        kind=kind,
        compute_units=device.max_compute_units,
        clock_hz=device.max_clock_frequency * 1e6,
        memory_bytes=device.global_mem_size,
        vector_width=device.preferred_vector_width_float,
        fp16="cl_khr_fp16" in device.extensions.split(),
        image_limits=(device.image2d_max_width, device.image2d_max_height) if device.image_support else (0, 0),
        unified_memory=kind == "cpu" or bool(device.host_unified_memory),
    )


def _native(device_id: str) -> DeviceInfo:
    """What a native device is like: the CPU of this machine."""
    cores = cores_of(device_id)
    if cores is None:
        raise DeviceError(f"unknown device {device_id!r}; {_known()}")
    if not available():
        raise DeviceError(f"{device_id}: {NATIVE_HINT}")
    return DeviceInfo(
        id=device_id, root=ROOT, name=cpu_model(), platform="codl", version=version(), kind="cpu",
        compute_units=len(cores), clock_hz=cpu_clock_hz(), memory_bytes=memory_bytes(),
        vector_width=cpu_vector_width(), fp16=False, image_limits=(0, 0), unified_memory=True,
    )  # fmt: skip


@cache
def find() -> tuple[DeviceInfo, ...]:
    """All devices of this machine: whole ones, and the two halves of each CPU that can be partitioned.

    Raises:
        DeviceError: no OpenCL device at all; says what to install.
    """
    found = []
    for device_id in (*_roots(), *([ROOT] if available() else [])):
        whole = describe(device_id)
        found.append(whole)
        found.extend(describe(half) for half in _halves(whole))
    return tuple(found)


def _halves(device: DeviceInfo) -> tuple[str, ...]:
    """Ids of two disjoint sets of equally many cores; nothing where the device cannot be partitioned."""
    ocl = opencl()
    size = device.compute_units // 2
    if device.kind != "cpu" or not size:
        return ()
    if not is_native(device.id):
        offered: Any = open_device(device.id).partition_properties
        if ocl.device_partition_property.BY_COUNTS not in offered:
            return ()
    return (_cores(device.root, 0, size - 1), _cores(device.root, size, 2 * size - 1))


def _cores(root: str, first: int, last: int) -> str:
    return f"{root}.{first}" if first == last else f"{root}.{first}-{last}"


# -- choosing ----------------------------------------------------------------------------------------------------------


def choose(cpu: str | None = None, gpu: str | None = None) -> Assignment:
    """Decide who plays the CPU and the GPU; ids given by the user are taken as they are.

    Without a GPU the CPU device is halved: one half plays the GPU, the other the CPU, in one memory.

    Raises:
        DeviceError: an unknown id, or no device at all.
    """
    chosen_cpu = describe(cpu) if cpu else None
    chosen_gpu = describe(gpu) if gpu else None
    wholes = [info for info in find() if info.id == info.root]
    gpus = [info for info in wholes if info.kind == "gpu"]
    cpus = sorted((info for info in wholes if info.kind == "cpu"), key=lambda info: not info.id.startswith("pocl"))
    if chosen_cpu and chosen_gpu:
        return _assignment(chosen_cpu, chosen_gpu, "both devices were asked for")
    if chosen_gpu and chosen_gpu.kind == "cpu":
        rest = _rest(chosen_gpu)
        return _assignment(rest or chosen_gpu, chosen_gpu, f"the GPU was asked for; {_rest_reason(rest)}")
    if chosen_gpu or gpus:
        best = chosen_gpu or max(gpus, key=lambda info: info.compute_units * info.clock_hz)
        partner = chosen_cpu or (cpus[0] if cpus else best)
        why = f"{best.name} is a GPU" if not chosen_gpu else f"{best.name} was asked for"
        reason = "was asked for as the CPU" if chosen_cpu else "runs OpenCL on the CPU"
        if partner is best:
            return _assignment(best, best, f"{why}; no OpenCL CPU device was found, so it plays both roles")
        return _assignment(partner, best, f"{why}; {partner.id} {reason}; tensors are copied between their memories")
    if chosen_cpu:
        rest = _rest(chosen_cpu)
        return _assignment(chosen_cpu, rest or chosen_cpu, f"the CPU was asked for, no GPU found; {_rest_reason(rest)}")
    return _divided(cpus[0] if cpus else wholes[0])


def _divided(device: DeviceInfo) -> Assignment:
    halves = _halves(device)
    if not halves:
        why = f"no GPU found and {device.id} has one core or cannot be partitioned, so both roles share it"
        return _assignment(device, device, why)
    first, second = halves
    cores = device.compute_units // 2
    how = "one core" if cores == 1 else f"{cores} cores"
    why = f"no GPU found: {how} of {device.id} ({device.name}) each play the GPU and the CPU"
    return _assignment(describe(second), describe(first), why)


def _rest(taken: DeviceInfo) -> DeviceInfo | None:
    """The larger run of cores that a part of a CPU device leaves free."""
    match = re.fullmatch(r"(\w+:\d+)\.(\d+)(?:-(\d+))?", taken.id)
    if match is None:
        return None
    first, cores = int(match.group(2)), describe(taken.root).compute_units
    last = int(match.group(3) or first)
    runs = [(a, b) for a, b in ((0, first - 1), (last + 1, cores - 1)) if a <= b]
    if not runs:
        return None
    return describe(_cores(taken.root, *max(runs, key=lambda run: run[1] - run[0])))


def _rest_reason(rest: DeviceInfo | None) -> str:
    return f"{rest.id} is what is left of that device" if rest else "the same device plays both roles"


def _assignment(cpu: DeviceInfo, gpu: DeviceInfo, why: str) -> Assignment:
    return Assignment(cpu, gpu, why, shared_memory=cpu.root == gpu.root)
