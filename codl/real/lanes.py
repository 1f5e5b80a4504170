"""The lanes of a task graph on the devices that play them: one in-order queue a lane, one memory a device.

Contexts, built programs and clock offsets are kept for the life of the process, so that executors share them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any, Protocol

from codl.errors import PlanError
from codl.ops.launch import DeviceTraits, KernelProgram
from codl.real.clock import ClockOffset, measure_offset
from codl.real.devices import DeviceInfo, open_device
from codl.real.launcher import Launcher, ProgramCache, traits
from codl.real.memory import Memory
from codl.real.native.devices import is_native
from codl.real.native.launcher import native_launcher
from codl.real.native.launcher import traits as native_traits
from codl.real.native.memory import NativeMemory
from codl.real.native.queue import NativeQueue
from codl.real.opencl import opencl

if TYPE_CHECKING:
    import pyopencl as cl


class Launches(Protocol):
    """What prepares and enqueues launches: `Launcher` on OpenCL devices, `NativeLauncher` on native ones."""

    queue: Any
    traits: DeviceTraits

    def prepare(
        self, program: KernelProgram, inputs: Sequence[Any], output: Any, constants: Mapping[str, Any],
        scratch: Mapping[str, Any],
    ) -> tuple[Any, ...]: ...  # fmt: skip

    def bound(self, command: Any) -> Callable[[Any], Any]: ...

    def enqueue(self, command: Any, wait_for: Any = None, queue: Any = None) -> Any: ...


@dataclass(frozen=True, slots=True)
class Lane:
    """One processor's in-order queue (`launcher.queue`) and the memory that it works in."""

    name: str
    device: DeviceInfo
    launcher: Launches
    memory: Memory

    @property
    def queue(self) -> Any:
        return self.launcher.queue


@dataclass(frozen=True)
class Lanes:
    """All lanes of one executor but the host's.

    `transfer` is a queue a memory, for maps and for reads that must not wait behind kernels queued later.
    """

    by_name: Mapping[str, Lane]
    transfer: Mapping[str, cl.CommandQueue | NativeQueue]
    clocks: dict[str, ClockOffset] = field(default_factory=dict)

    @staticmethod
    def open(devices: Mapping[str, DeviceInfo]) -> Lanes:
        """Queues and memories for lanes played by these devices. Parts of one device share its memory."""
        parts: dict[str, dict[str, None]] = {}
        for device in devices.values():
            parts.setdefault(device.root, {})[device.id] = None
        memories: dict[str, Memory] = {}
        queues: dict[str, Any] = {}
        for root, ids in parts.items():
            if is_native(root):
                memories[root], queues[root] = NativeMemory(root), NativeQueue(1, None)
                continue
            context, _ = _context(tuple(sorted(ids)))
            queues[root] = _queue(context, next(iter(ids)))
            memories[root] = Memory(context, queues[root], root)
        lanes = {}
        for name, device in devices.items():
            launcher: Launches
            if is_native(device.id):
                launcher = native_launcher(device.id)
            else:
                context, programs = _context(tuple(sorted(parts[device.root])))
                launcher = Launcher(open_device(device.id), context, programs)
            lanes[name] = Lane(name, device, launcher, memories[device.root])
        opened = Lanes(lanes, queues)
        opened.measure_clocks()
        return opened

    def launcher(self, memory: Memory) -> Launches:
        """Of a lane that works in this memory."""
        return next(lane.launcher for lane in self.by_name.values() if lane.memory is memory)

    def shared_memory(self) -> Memory:
        """The one memory of all lanes.

        Raises:
            PlanError: they have several.
        """
        first, *others = self.by_name.values()
        for lane in others:
            if lane.memory is not first.memory:
                raise PlanError(
                    f"the plan keeps tensors in memory that {first.name} and {lane.name} share, but "
                    f"{first.device.id} and {lane.device.id} have separate memories; "
                    "plan for hardware whose sharing is 'copied'"
                )
        return first.memory

    def measure_clocks(self, drifting_only: bool = False) -> None:
        """Measure how each device clock relates to the host's; `drifting_only`: where it is not the same clock."""
        for root, queue in self.transfer.items():
            if not (drifting_only and root in self.clocks and self.clocks[root].offset_ns == 0):
                self.clocks[root] = measure_offset(queue)

    def close(self) -> None:
        """End the threads of native lanes; drivers keep their own."""
        queues = [*(lane.queue for lane in self.by_name.values()), *self.transfer.values()]
        for queue in queues:
            if isinstance(queue, NativeQueue):
                queue.close()

    @property
    def nbytes(self) -> int:
        """Bytes allocated in all memories."""
        memories = {lane.device.root: lane.memory for lane in self.by_name.values()}
        return sum(memory.nbytes for memory in memories.values())


def traits_of(device: DeviceInfo) -> DeviceTraits:
    """What kernel variants may know of a device."""
    return native_traits(device.compute_units) if is_native(device.id) else traits(open_device(device.id))


@cache
def _context(ids: tuple[str, ...]) -> tuple[cl.Context, ProgramCache]:
    context = opencl().Context([open_device(device_id) for device_id in ids])
    return context, ProgramCache(context)


def _queue(context: cl.Context, device_id: str) -> cl.CommandQueue:
    ocl = opencl()
    queue: cl.CommandQueue = ocl.CommandQueue(
        context, open_device(device_id), properties=ocl.command_queue_properties.PROFILING_ENABLE
    )
    return queue
