"""Contestants that take turns, each in a process of its own that stands still while the others run.

Thread pools of inference engines keep looking for work after a run, for up to 200 ms and on cores that the next engine
needs. In one process nobody can stop them; a process that waits for its turn is stopped by SIGSTOP.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from types import TracebackType
from typing import Any, Self

import numpy as np

Run = Callable[[], list[np.ndarray]]
"""One call, from the caller's array to arrays that the caller may read."""

TURN_S, MOST_CALLS = 0.1, 15
"""A turn's timed calls take about so long together, and are no more than these."""


class Unavailable(Exception):
    """A contestant cannot take part; says why."""


class Contestant:
    """A process that loads an engine and then runs it whenever it is its turn.

    Args:
        load: makes what is run; a function of a module, called in the process with `arguments`.

    Raises:
        Unavailable: it cannot be loaded, or the process dies.
    """

    def __init__(self, load: Callable[..., Run], *arguments: Any) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, other = context.Pipe()
        self._process = context.Process(target=_serve, args=(other, load, arguments), daemon=True)
        self._process.start()
        other.close()
        self.outputs: list[np.ndarray] = self._receive()
        """Of its first call."""
        self._signal(signal.SIGSTOP)

    def turn(self) -> float:
        """The median wall time of a turn's calls in ms; the first call, which pays for the change, is not counted."""
        self._signal(signal.SIGCONT)
        self._pipe.send("turn")
        taken: float = self._receive()
        self._signal(signal.SIGSTOP)
        return taken

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.join()

    def _signal(self, number: signal.Signals) -> None:
        os.kill(self._process.pid or 0, number)

    def _receive(self) -> Any:
        try:
            found = self._pipe.recv()
        except EOFError:
            self._process.join()
            raise Unavailable(f"its process ends with exit code {self._process.exitcode}") from None
        if isinstance(found, Unavailable):
            self._process.join()
            raise found
        return found


def _serve(pipe: Connection, load: Callable[..., Run], arguments: tuple[Any, ...]) -> None:
    os.dup2(2, 1)  # engines print what they like; standard output is the table's
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent's to handle
    try:
        run = load(*arguments)
        outputs = [np.array(output) for output in run()]
    except ImportError as error:
        pipe.send(Unavailable(f"not installed: {error}"))
        return
    except Exception as error:
        pipe.send(Unavailable(f"cannot read it: {error}"))
        return
    pipe.send(outputs)
    while pipe.recv():
        pipe.send(_turn(run))


def _turn(run: Run) -> float:
    before = time.perf_counter()
    run()
    first = time.perf_counter() - before
    times = []
    for _ in range(max(1, min(MOST_CALLS, round(TURN_S / first)))):
        before = time.perf_counter()
        run()
        times.append(time.perf_counter() - before)
    return float(np.median(times)) * 1e3
