"""COPY: boxes of tensors from one memory to another.

Within one context the device copies. Between a device that works in the host's memory (the CPU) and one that does not
(a GPU), the latter's driver reads or writes the former's memory directly: one transfer, no staging. Whatever else is
asked for goes through an array on the host, while the host waits.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from codl.ops.launch import View
from codl.real.clock import host_ns
from codl.real.lanes import Lane, Lanes
from codl.real.memory import Allocation, Rectangle, rectangles
from codl.real.opencl import opencl
from codl.real.steps import HOST, Issue, Place, Waits
from codl.region import Region

Enqueue = Callable[[Waits], Any]


@dataclass(frozen=True, slots=True)
class Piece:
    """One box, and the storage that it comes from and goes to."""

    source: Allocation
    target: Allocation
    box: Region

    def rectangles(self) -> tuple[Rectangle, ...]:
        views = View.of(self.source.region), View.of(self.target.region)
        return rectangles(*views, self.box, self.source.dtype.itemsize)


def copy(pieces: Sequence[Piece], lane: Lane, lanes: Lanes) -> tuple[Place, Issue]:
    """Where and how to copy these pieces on a lane (the reader's)."""
    places = [_place(piece, lane, lanes) for piece in pieces]
    if not places or any(place is HOST or place.queue is not places[0].queue for place in places):
        return HOST, _through_host(pieces)
    enqueues = [enqueue for piece in pieces for enqueue in _enqueues(piece, places[0].queue)]
    return places[0], in_order(enqueues, places[0].queue)


def in_order(enqueues: Sequence[Enqueue], queue: Any) -> Issue:
    """Commands of one in-order queue, of which the first waits; a marker where there is none."""
    ocl = opencl()
    chain = list(enqueues) or [lambda waits: ocl.enqueue_marker(queue, wait_for=waits)]
    first_enqueue, *others = chain

    def issue(waits: Waits) -> tuple[Any, Any]:
        first = last = first_enqueue(waits)
        for enqueue in others:
            last = enqueue(None)
        return first, last

    return issue


def _place(piece: Piece, lane: Lane, lanes: Lanes) -> Place:
    source, target = piece.source, piece.target
    if source.device is None or target.device is None:
        return HOST
    if source.memory is target.memory and source.memory is lane.memory:
        return Place(lane.queue, lane.memory.context, lane.device.root)
    if source.host is not None and target.memory is lane.memory:
        return Place(lane.queue, lane.memory.context, lane.device.root)
    if target.host is not None:
        root = source.memory.label
        return Place(lanes.transfer[root], source.memory.context, root)
    return HOST


def _enqueues(piece: Piece, queue: Any) -> list[Enqueue]:
    source, target = piece.source, piece.target
    return [_enqueue(queue, source, target, rectangle) for rectangle in piece.rectangles()]


def _enqueue(queue: Any, source: Allocation, target: Allocation, r: Rectangle) -> Enqueue:
    ocl = opencl()
    if source.memory is target.memory:
        return lambda waits: ocl.enqueue_copy(
            queue, target.device, source.device, src_origin=r.source_origin, dst_origin=r.target_origin, region=r.size,
            src_pitches=r.source_pitches, dst_pitches=r.target_pitches, wait_for=waits,
        )  # fmt: skip
    if source.host is not None:
        return lambda waits: ocl.enqueue_copy(
            queue, target.device, source.host, buffer_origin=r.target_origin, host_origin=r.source_origin,
            region=r.size, buffer_pitches=r.target_pitches, host_pitches=r.source_pitches, wait_for=waits,
            is_blocking=False,
        )  # fmt: skip
    return lambda waits: ocl.enqueue_copy(
        queue, target.host, source.device, buffer_origin=r.source_origin, host_origin=r.target_origin,
        region=r.size, buffer_pitches=r.source_pitches, host_pitches=r.target_pitches, wait_for=waits,
        is_blocking=False,
    )  # fmt: skip


def _through_host(pieces: Sequence[Piece]) -> Issue:
    """Read whole buffers, write whole buffers, nothing in parallel: always possible."""

    def issue(waits: Waits) -> tuple[int, int]:
        start = host_ns()
        for piece in pieces:
            values = piece.target.read()
            values[_slices(piece.box, piece.target.region)] = piece.source.read()[
                _slices(piece.box, piece.source.region)
            ]
            piece.target.write(values)
        return start, host_ns()

    return issue


def _slices(box: Region, whole: Region) -> tuple[slice, ...]:
    pairs = zip(box.ranges, whole.ranges, strict=True)
    return tuple(slice(start - origin, stop - origin) for (start, stop), (origin, _) in pairs)
