"""COPY: boxes of tensors from one memory to another.

Within one context the device copies. Between a device that works in the host's memory (the CPU) and one that does not
(a GPU), the latter's driver reads or writes the former's memory directly, if the box lies in few pieces there. A box of
many small pieces (some channels of every pixel) would take as many transfers: each device packs or unpacks its own
side by a kernel (drivers copy rectangles row by row, 25,000 rows of 200 bytes in half a millisecond), and one piece
crosses. Whatever else is asked for goes through an array on the host, while the host waits.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from codl.ops.launch import Input, KernelProgram, Output, View
from codl.ops.strided import Loop, Operand, elementwise
from codl.real.clock import host_ns
from codl.real.lanes import Lane, Lanes, Launches
from codl.real.memory import Allocation
from codl.real.native.queue import NativeQueue
from codl.real.opencl import opencl
from codl.real.rectangles import Rectangle, rectangles
from codl.real.steps import HOST, Issue, Place, Waits
from codl.region import Region

Enqueue = Callable[[Waits], Any]
_Shown = tuple[Any, View]
"""A buffer, and where elements lie in it."""


@dataclass(frozen=True, slots=True)
class Piece:
    """One box, and the storage that it comes from and goes to."""

    source: Allocation
    target: Allocation
    box: Region

    @property
    def nbytes(self) -> int:
        return self.box.size * self.source.dtype.itemsize

    def rectangles(self) -> tuple[Rectangle, ...]:
        views = View.of(self.source.region), View.of(self.target.region)
        return rectangles(*views, self.box, self.source.dtype.itemsize)


def copy(pieces: Sequence[Piece], lane: Lane, lanes: Lanes, packed: bool = False) -> list[tuple[Place, Issue]]:
    """Where and how to copy these pieces of one tensor on a lane (the reader's): one step, or where they are to be
    packed and cross memories two that follow each other."""
    places = [_place(piece, lane, lanes) for piece in pieces]
    if not places or any(place is HOST or place.queue is not places[0].queue for place in places):
        return [(HOST, _through_host(pieces))]
    source, target = pieces[0].source, pieces[0].target
    if packed and (source.host is None) != (target.host is None):
        return _packed(pieces, lane, lanes)
    queue = places[0].queue
    enqueues = [_enqueue(queue, p.source, p.target, r) for p in pieces for r in p.rectangles()]
    return [(places[0], in_order(enqueues, queue))]


def _packed(pieces: Sequence[Piece], lane: Lane, lanes: Lanes) -> list[tuple[Place, Issue]]:
    """Pack on the source's side, move one block of pinned host memory, unpack on the target's."""
    source, target = pieces[0].source.memory, pieces[0].target.memory
    there = Place(lanes.transfer[source.label], source.context, source.label)
    here = Place(lane.queue, target.context, target.label)
    nbytes = sum(piece.nbytes for piece in pieces)
    reading = pieces[0].source.host is None  # from a memory that is not the host's
    pinned = (source if reading else target).pinned(nbytes)
    packed: Any = source.scratch(nbytes) if reading else source.around(pinned)
    arrived: Any = target.around(pinned) if reading else target.scratch(nbytes)
    packer, unpacker = lanes.launcher(source), lane.launcher
    pack: list[Enqueue] = []
    unpack: list[Enqueue] = []
    offset = 0  # elements
    for piece in pieces:
        box = View.of(piece.box)
        block = View(box.region, box.offset + offset, box.strides)
        whole = View.of(piece.source.region), View.of(piece.target.region)
        pack += _moved(packer, there.queue, (piece.source.device, whole[0]), (packed, block), piece)
        unpack += _moved(unpacker, here.queue, (arrived, block), (piece.target.device, whole[1]), piece)
        offset += piece.box.size
    if reading:
        pack.append(_plain(there.queue, pinned, packed))
    else:
        unpack.insert(0, _plain(here.queue, arrived, pinned))
    return [(there, in_order(pack, there.queue)), (here, in_order(unpack, here.queue))]


def _moved(launcher: Launches, queue: Any, source: _Shown, target: _Shown, piece: Piece) -> list[Enqueue]:
    """A piece's box between two buffers of one context."""
    (here, read), (there, written), box = source, target, piece.box
    if piece.source.dtype != np.float32:
        found = rectangles(read, written, box, piece.source.dtype.itemsize)
        return [_within(queue, here, there, r) for r in found]
    loop = Loop(box.shape, (Operand.of(Output(), written, box), Operand.of(Input(0), read, box)))
    program = KernelProgram(elementwise(loop, launcher.traits))
    return [partial(launcher.enqueue, each, queue=queue) for each in launcher.prepare(program, [here], there, {}, {})]


def in_order(enqueues: Sequence[Enqueue], queue: Any) -> Issue:
    """Commands of one in-order queue, of which the first waits; a marker where there is none."""
    chain = list(enqueues) or [partial(_marker, queue)]
    first_enqueue, *others = chain

    def alone(waits: Waits) -> tuple[Any, Any]:
        event = first_enqueue(waits)
        return event, event

    def issue(waits: Waits) -> tuple[Any, Any]:
        first = last = first_enqueue(waits)
        for enqueue in others:
            last = enqueue(None)
        return first, last

    return issue if others else alone


def _marker(queue: Any, waits: Waits) -> Any:
    return queue.marker(waits) if isinstance(queue, NativeQueue) else opencl().enqueue_marker(queue, wait_for=waits)


def _place(piece: Piece, lane: Lane, lanes: Lanes) -> Place:
    source, target = piece.source, piece.target
    if source.device is None or target.device is None:
        return HOST
    if isinstance(lane.queue, NativeQueue) and source.host is not None:
        return HOST  # from the host's memory to the host's memory, where no driver copies
    if source.memory is target.memory and source.memory is lane.memory:
        return Place(lane.queue, lane.memory.context, lane.device.root)
    if source.host is not None and target.memory is lane.memory:
        return Place(lane.queue, lane.memory.context, lane.device.root)
    if target.host is not None:
        root = source.memory.label
        return Place(lanes.transfer[root], source.memory.context, root)
    return HOST


def _plain(queue: Any, target: Any, source: Any) -> Enqueue:
    """The whole of a block between the host and a device."""
    ocl = opencl()
    return lambda waits: ocl.enqueue_copy(queue, target, source, wait_for=waits, is_blocking=False)


def _within(queue: Any, source: Any, target: Any, r: Rectangle) -> Enqueue:
    """A rectangle between two buffers of one context."""
    ocl = opencl()
    return lambda waits: ocl.enqueue_copy(
        queue, target, source, src_origin=r.source_origin, dst_origin=r.target_origin, region=r.size,
        src_pitches=r.source_pitches, dst_pitches=r.target_pitches, wait_for=waits,
    )  # fmt: skip


def _enqueue(queue: Any, source: Allocation, target: Allocation, r: Rectangle) -> Enqueue:
    ocl = opencl()
    if source.memory is target.memory:
        return _within(queue, source.device, target.device, r)
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
