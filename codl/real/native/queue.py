"""Queues of native devices: commands collected, handed to threads as lists, and what becomes of them."""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

_RUNNING, _COMPLETE = 1, 0  # as OpenCL's execution status: 0 is complete
_SLEEPERS = np.zeros(8, np.int64)
"""How many threads of this process' queues sleep until a command is complete, in the first word."""
_NAP_NS = 2_000_000
"""Longest sleep of a thread: then it looks whether it is to stop."""
_LEFT = 5  # engine.LEFT, without importing numba
_EARLY = 4
"""Commands after which a queue that had nothing to do is flushed, so that its threads begin; later each time four times
as many, since a list costs more than a command."""


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
    """Commands that are handed over together."""

    __slots__ = ("commands", "complete", "events", "held", "queue", "waits", "work")

    def __init__(self, queue: NativeQueue) -> None:
        self.queue = queue
        self.commands: list[Command] = []
        self.waits: list[tuple[int, int]] = []
        """(position of a command, address of a status word that it waits for)."""
        self.events: np.ndarray | None = None
        """int64 (commands, EVENT), once it is handed over."""
        self.work: np.ndarray | None = None
        """The row that the threads got the address of."""
        self.held: tuple[np.ndarray, ...] = ()
        """What else they read."""
        self.complete = False

    def flush(self) -> None:
        if self.events is None:
            self.queue.flush()

    def inside(self, threads: int) -> bool:
        """Whether some of its threads have not left it."""
        return self.work is not None and self.work[_LEFT] < threads


@dataclass(slots=True)
class Event:
    """A command that was enqueued. `profile`, `wait` and `command_execution_status` are OpenCL's."""

    _batch: _Batch
    _position: int

    def wait(self) -> None:
        """Until the command is complete; it is flushed for that, if nobody did."""
        self._batch.flush()
        self._batch.queue.complete(self._batch)

    @property
    def command_execution_status(self) -> int:
        events = self._batch.events
        return _RUNNING if events is None or not events[self._position, 0] else _COMPLETE

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


class NativeQueue:
    """An in-order queue whose commands all of its threads compute together. One thread at a time may use it.

    Args:
        threads: how many there are.
        cores: what the threads run on, one each; None leaves that to the system.
    """

    def __init__(self, threads: int, cores: Sequence[int] | None) -> None:
        self._pending = _Batch(self)
        self._early = _EARLY
        self._lists: dict[tuple[int, ...], tuple[tuple[Command, ...], np.ndarray]] = {}
        self._running: dict[int, _Batch] = {}
        """By the address that the threads got."""
        self._left: list[_Batch] = []
        """Complete ones, in which a thread that came late may still look around."""
        self._house = np.array([0, _SLEEPERS.ctypes.data, 0, _NAP_NS], np.int64)  # engine.HOUSE
        self._done, done = os.pipe()
        self._inboxes: list[int] = []
        for number in range(threads):
            inbox, outbox = os.pipe()
            self._inboxes.append(outbox)
            core = None if cores is None else cores[number]
            threading.Thread(
                target=_serve, args=(inbox, -1 if number else done, self._house, core),
                name=f"codl-native-{number}", daemon=True,
            ).start()  # fmt: skip
        self._finalizer = weakref.finalize(self, _end, self._house, self._inboxes, self._done)

    def enqueue(self, command: Command, waits: Sequence[Event] | None = None) -> Event:
        """Append a command; it runs once the queue is flushed, or soon. What it waits for is flushed at once."""
        words = [event.status_word() for event in waits or ()]
        batch = self._pending
        position = len(batch.commands)
        batch.commands.append(command)
        batch.waits += [(position, word) for word in words]
        if position + 1 == self._early:
            self._early *= 4
            self.flush()
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
        commands, waits = self._as_list(batch.commands), np.zeros(len(batch.waits), np.int64)
        if batch.waits:
            commands = commands.copy()
            for number, (position, word) in enumerate(batch.waits):
                waits[number] = word
                if not commands[position, engine.WAITS]:
                    commands[position, engine.FIRST_WAIT] = number
                commands[position, engine.WAITS] += 1
        batch.events, counters = _lines(len(commands), engine.EVENT), _lines(len(commands), engine.COUNTERS)
        parts = commands, waits, counters, batch.events
        batch.held, batch.work = parts, np.array([*(p.ctypes.data for p in parts), len(commands), 0], np.int64)
        address = int(batch.work.ctypes.data)
        self._left = [each for each in self._left if each.inside(len(self._inboxes))]
        self._running[address] = batch
        letter = address.to_bytes(8, "little")
        for inbox in self._inboxes:
            os.write(inbox, letter)

    def finish(self) -> None:
        """Wait for everything that was enqueued."""
        self.marker().wait()

    def close(self) -> None:
        """Let go of all commands, and let the threads end."""
        self._lists.clear()
        self._finalizer()

    def complete(self, batch: _Batch) -> None:
        """Wait for all commands of a list that was handed over."""
        while not batch.complete:
            done = self._running.pop(int.from_bytes(os.read(self._done, 8), "little"))
            done.complete = True
            self._left.append(done)
        self._early = _EARLY

    def _as_list(self, commands: list[Command]) -> np.ndarray:
        """Rows for `engine.serve`; the same commands in the same order are put together once."""
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


def _serve(inbox: int, done: int, house: np.ndarray, core: int | None) -> None:
    from codl.real.native.engine import serve

    if core is not None:
        os.sched_setaffinity(threading.get_native_id(), {core})
    letter = np.zeros(8, np.int64)
    serve(inbox, done, letter.ctypes.data, house.ctypes.data)


def _end(house: np.ndarray, inboxes: Sequence[int], done: int) -> None:
    """Let the threads end; each closes its own ends of the pipes."""
    house[0] = 1
    for inbox in inboxes:
        os.write(inbox, bytes(8))
        os.close(inbox)
    os.close(done)
