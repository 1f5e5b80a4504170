"""The host thread of an executor: it enqueues and waits, while its caller keeps an eye on the clock.

OpenCL cannot wait for a limited time. A caller that hands its waiting to this thread can: it gives up on a device that
does not answer, at no cost to what is being timed.
"""

from __future__ import annotations

import queue
import threading
import weakref
from collections.abc import Callable
from typing import Any, TypeVar

from codl.errors import DeviceError

Result = TypeVar("Result")
Job = Callable[[], Any]


class Worker:
    """One long-lived thread that runs jobs, one at a time.

    Args:
        label: what it works for, for messages.
    """

    def __init__(self, label: str) -> None:
        self.label = label
        self._jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._results: queue.SimpleQueue[tuple[Any, BaseException | None]] = queue.SimpleQueue()
        self._stuck = False
        self._thread = threading.Thread(
            target=_serve, args=(self._jobs, self._results), name=f"codl {label}", daemon=True
        )
        self._thread.start()
        self._finalizer = weakref.finalize(self, self._jobs.put, None)

    def call(
        self, job: Callable[[], Result], timeout_s: float, progress: Callable[[], Any],
        meanwhile: Callable[[], None] | None = None,
    ) -> Result:  # fmt: skip
        """Run a job; its result or exception.

        Args:
            timeout_s: how long to wait while `progress()` keeps returning the same value.
            meanwhile: done by the caller while the thread wakes up, which takes it about 50 us.

        Raises:
            DeviceError: no progress for that long; the thread is lost then, and every later call fails.
        """
        if not self._finalizer.alive:
            raise DeviceError(f"{self.label}: this executor is closed")
        if self._stuck:
            raise DeviceError(f"{self.label}: gave up on this device before; open a new executor")
        seen = progress()
        try:
            self._jobs.put(job)
            if meanwhile is not None:
                meanwhile()
            result, error = self._answer(timeout_s, progress, seen)
        except BaseException:  # no answer, or the caller was interrupted: what the thread is doing cannot be
            self._stuck = True
            raise
        if error is not None:
            raise error
        final: Result = result
        return final

    def _answer(self, timeout_s: float, progress: Callable[[], Any], seen: Any) -> tuple[Any, BaseException | None]:
        """What the thread hands back. `seen`: the progress when the job began."""
        while True:
            try:
                return self._results.get(timeout=timeout_s)
            except queue.Empty:
                now = progress()
                if now == seen:
                    raise DeviceError(f"{self.label}: no answer for {timeout_s:g} s") from None
                seen = now

    def close(self) -> None:
        """Let the thread end after its present job."""
        self._finalizer()


def _serve(jobs: queue.SimpleQueue[Job | None], results: queue.SimpleQueue[tuple[Any, BaseException | None]]) -> None:
    while (job := jobs.get()) is not None:
        try:
            results.put((job(), None))
        except BaseException as error:  # handed to the caller, whatever it is
            results.put((None, error))
        del job
