"""MAP and UNMAP: handing shared buffers to the host processor and back, without a copy.

A MAP task says when a lane takes buffers over, not which: those are the shared buffers that the lane's kernels touch
from then on. An UNMAP gives back all that the lane holds. What a lane writes without having mapped it first (it reads
nothing of others) is mapped before the run begins; what it still holds at the end is unmapped after the run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from codl.real.memory import Allocation
from codl.real.moves import in_order
from codl.real.native.queue import NativeQueue
from codl.real.opencl import opencl
from codl.real.steps import Issue, Waits
from codl.tasks import SHARED, TaskGraph, TaskKind


@dataclass(frozen=True)
class MapPlan:
    """Buffers by MAP or UNMAP task, and those to be mapped beforehand."""

    buffers: Mapping[str, tuple[str, ...]]
    before: tuple[str, ...]


def plan_maps(tasks: TaskGraph) -> MapPlan:
    """Which buffers each MAP and UNMAP handles."""
    buffers: dict[str, tuple[str, ...]] = {}
    before: list[str] = []
    held: dict[str, dict[str, None]] = {lane: {} for lane in tasks.lanes}
    written: dict[str, dict[str, None]] = {lane: {} for lane in tasks.lanes}
    for index, task in enumerate(tasks.tasks):
        if task.kind is TaskKind.KERNEL:
            written[task.lane].update(dict.fromkeys(_shared(tasks, [access.buffer for access in task.writes])))
        elif task.kind is TaskKind.MAP:
            touched = _touched_after(tasks, index)
            buffers[task.id] = tuple(name for name in touched if name not in held[task.lane])
            held[task.lane].update(dict.fromkeys(touched))
        elif task.kind is TaskKind.UNMAP:
            unmapped_writes = [name for name in written[task.lane] if name not in held[task.lane]]
            before.extend(name for name in unmapped_writes if name not in before)
            buffers[task.id] = tuple(dict.fromkeys((*held[task.lane], *unmapped_writes)))
            held[task.lane], written[task.lane] = {}, {}
    return MapPlan(buffers, tuple(before))


def _touched_after(tasks: TaskGraph, index: int) -> list[str]:
    """Shared buffers that the kernels of a MAP's lane touch from there to the lane's next MAP or UNMAP."""
    lane = tasks.tasks[index].lane
    touched: dict[str, None] = {}
    for task in tasks.tasks[index + 1 :]:
        if task.lane != lane:
            continue
        if task.kind in (TaskKind.MAP, TaskKind.UNMAP):
            break
        if task.kind is TaskKind.KERNEL:
            touched.update(dict.fromkeys(_shared(tasks, [a.buffer for a in (*task.reads, *task.writes)])))
    return list(touched)


def _shared(tasks: TaskGraph, names: Sequence[str]) -> list[str]:
    return [name for name in names if tasks.buffers[name].space == SHARED]


@dataclass
class Maps:
    """Buffers that are mapped now. One run at a time."""

    queue: Any
    storage: Mapping[str, Allocation]
    held: dict[str, np.ndarray] = field(default_factory=dict)

    def map(self, names: Sequence[str]) -> Issue:
        """Map these buffers for reading and writing."""
        return in_order([self._mapper(name) for name in names if self._mappable(name)], self.queue)

    def unmap(self, names: Sequence[str]) -> Issue:
        """Give these buffers back."""
        return in_order([self._unmapper(name) for name in names if self._mappable(name)], self.queue)

    def begin(self, names: Sequence[str]) -> None:
        """Map buffers outside any span, and wait for it."""
        self.map(names)(None)[1].wait()

    def end(self) -> None:
        """Give back all that is still mapped, and wait for it."""
        self.unmap(list(self.held))(None)[1].wait()

    def _mappable(self, name: str) -> bool:
        """A native device takes nothing over: its memory is the host's."""
        return (
            not isinstance(self.queue, NativeQueue)
            and self.storage[name].device is not None
            and self.storage[name].nbytes > 0
        )

    def _mapper(self, name: str) -> Any:
        ocl = opencl()
        storage = self.storage[name]
        flags = ocl.map_flags.READ | ocl.map_flags.WRITE

        def enqueue(waits: Waits) -> Any:
            array, event = ocl.enqueue_map_buffer(
                self.queue, storage.device, flags, 0, (storage.nbytes,), np.uint8, wait_for=waits, is_blocking=False
            )
            self.held[name] = array
            return event

        return enqueue

    def _unmapper(self, name: str) -> Any:
        def enqueue(waits: Waits) -> Any:
            mapping: Any = self.held.pop(name).base
            return mapping.release(self.queue, waits)

        return enqueue
