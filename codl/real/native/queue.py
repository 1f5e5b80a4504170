"""Queues of native devices: commands collected, handed to threads as one list, and what becomes of them."""

from __future__ import annotations

import os
import queue
import threading
import weakref
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

_IDLE, _COMPLETE = 1, 0  # as OpenCL's execution status: 0 is complete


@dataclass(frozen=True, slots=True)
class Command:
    """One kernel ready to run. `held` keeps alive what its slots point to.

    Args:
        kernel: address of its function; 0 for a command that computes nothing.
        slots: what it takes (`codl.ops.native.abi`).
        extents: work-items along three axes.
    """

    kernel: int
    slots: np.ndarray
    extents: tuple[int, int, int]
    held: tuple[Any, ...] = ()


_NOTHING = Command(0, np.zeros(1, np.int64), (1, 1, 1))


class _Batch:
    """Commands that are handed over together.

    Args:
        queue: where they wait until they are; none from then on.
    """

    def __init__(self, queue: NativeQueue) -> None:
        self.queue: NativeQueue | None = queue
        self.commands: list[Command] = []
        self.waits: list[tuple[int, Event]] = []
        """(position of a command, what it waits for)."""
        self.events: np.ndarray | None = None
        """int64 (commands, EVENT), once it is handed over."""
        self.finished = threading.Event()

    def flush(self) -> None:
        if self.queue is not None:
            self.queue.flush()


@dataclass(frozen=True, slots=True)
class Event:
    """A command that was enqueued. `profile`, `wait` and `command_execution_status` are OpenCL's."""

    _batch: _Batch
    _position: int

    def wait(self) -> None:
        """Until the command is complete; it is flushed for that, if nobody did."""
        self._batch.flush()
        self._batch.finished.wait()

    @property
    def command_execution_status(self) -> int:
        events = self._batch.events
        return _IDLE if events is None or not events[self._position, 0] else _COMPLETE

    @property
    def profile(self) -> Profile:
        """When it ran, on the host's clock; right once it is complete."""
        assert self._batch.events is not None
        _, start, end = self._batch.events[self._position, :3].tolist()
        return Profile(start, end)

    def status_word(self) -> int:
        """Address of the word that says whether it is complete. It is flushed, since another queue waits for it."""
        self._batch.flush()
        assert self._batch.events is not None
        return int(self._batch.events.ctypes.data + self._position * self._batch.events.strides[0])


@dataclass(frozen=True, slots=True)
class Profile:
    start: int
    end: int


@dataclass
class _Shared:
    """What threads and their queue share; the queue itself must be free to be collected."""

    batches: list[queue.SimpleQueue[_Work | None]] = field(default_factory=list)
    stop: np.ndarray = field(default_factory=lambda: np.zeros(1, np.int64))


@dataclass(frozen=True, slots=True)
class _Work:
    batch: _Batch
    commands: np.ndarray
    waits: np.ndarray
    counters: np.ndarray


class NativeQueue:
    """An in-order queue whose commands all of its threads compute together.

    Args:
        cores: what the threads run on, one each; None leaves that to the system.
        threads: how many there are.
    """

    def __init__(self, threads: int, cores: Sequence[int] | None) -> None:
        self._pending = _Batch(self)
        self._lists: dict[tuple[int, ...], tuple[tuple[Command, ...], np.ndarray]] = {}
        self._shared = _Shared()
        for number in range(threads):
            inbox: queue.SimpleQueue[_Work | None] = queue.SimpleQueue()
            self._shared.batches.append(inbox)
            core = None if cores is None else cores[number]
            threading.Thread(
                target=_serve, args=(inbox, self._shared.stop, core, number == 0), name=f"codl-native-{number}",
                daemon=True,
            ).start()  # fmt: skip
        weakref.finalize(self, _end, self._shared)

    def enqueue(self, command: Command, waits: Sequence[Event] | None = None) -> Event:
        """Append a command; it runs once the queue is flushed."""
        batch = self._pending
        position = len(batch.commands)
        batch.commands.append(command)
        for event in waits or ():
            batch.waits.append((position, event))
        return Event(batch, position)

    def marker(self, waits: Sequence[Event] | None = None) -> Event:
        """A command that computes nothing."""
        return self.enqueue(_NOTHING, waits)

    def flush(self) -> None:
        """Hand what was enqueued to the threads."""
        from codl.real.native import engine

        batch = self._pending
        if not batch.commands:
            return
        self._pending = _Batch(self)
        batch.queue = None
        commands, waits = self._as_list(batch.commands), np.zeros(len(batch.waits), np.int64)
        if batch.waits:
            commands = commands.copy()
            for number, (position, event) in enumerate(batch.waits):
                waits[number] = event.status_word()
                if not commands[position, engine.WAITS]:
                    commands[position, engine.FIRST_WAIT] = number
                commands[position, engine.WAITS] += 1
        batch.events = _lines(len(commands), engine.EVENT)
        work = _Work(batch, commands, waits, _lines(len(commands), engine.COUNTERS))
        for inbox in self._shared.batches:
            inbox.put(work)

    def finish(self) -> None:
        """Wait for everything that was enqueued."""
        self.marker().wait()

    def _as_list(self, commands: list[Command]) -> np.ndarray:
        """Rows for `engine.go_through`; the same commands in the same order are put together once."""
        from codl.real.native import engine

        key = tuple(map(id, commands))
        if key not in self._lists:
            rows = np.zeros((len(commands), engine.COMMAND), np.int64)
            for row, command in zip(rows, commands, strict=True):
                row[engine.KERNEL], row[engine.SLOTS] = command.kernel, command.slots.ctypes.data
                row[engine.EXTENTS : engine.EXTENTS + 3] = command.extents
            self._lists[key] = (tuple(commands), rows)  # the commands are held: no other may get their ids
        return self._lists[key][1]


def _lines(count: int, width: int) -> np.ndarray:
    """Zeros, int64 (count, width), whose rows begin at cache lines."""
    raw = np.zeros(count * width + 8, np.int64)
    start = -raw.ctypes.data % 64 // 8
    return raw[start : start + count * width].reshape(count, width)


def _serve(inbox: queue.SimpleQueue[_Work | None], stop: np.ndarray, core: int | None, first: bool) -> None:
    from codl.real.native.engine import go_through

    if core is not None and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(threading.get_native_id(), {core})
    while (work := inbox.get()) is not None:
        assert work.batch.events is not None
        go_through(
            work.commands, work.waits, work.counters.ctypes.data, work.batch.events.ctypes.data, stop.ctypes.data
        )
        if first:
            work.batch.finished.set()
        del work


def _end(shared: _Shared) -> None:
    """Let the threads end."""
    shared.stop[0] = 1
    for inbox in shared.batches:
        inbox.put(None)
