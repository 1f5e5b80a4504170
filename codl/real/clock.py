"""Device clocks on the host's time line.

The offset of a device clock is bracketed: a marker is queued between two readings of the host clock and completes
before a third, and its own time stamps must lie there too. Every marker narrows the interval in which the offset lies.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from codl.real.native.queue import NativeQueue
from codl.real.opencl import opencl

if TYPE_CHECKING:
    import pyopencl as cl

_MARKERS = 12


def _host_clock() -> Callable[[], int]:
    """PoCL stamps with CLOCK_MONOTONIC_RAW, which NTP does not steer; where it exists, it is our clock too."""
    if hasattr(time, "CLOCK_MONOTONIC_RAW"):
        raw = time.CLOCK_MONOTONIC_RAW
        return lambda: time.clock_gettime_ns(raw)
    return time.perf_counter_ns


host_ns = _host_clock()
"""The host clock: nanoseconds from an arbitrary origin."""


@dataclass(frozen=True, slots=True)
class ClockOffset:
    """Add `offset_ns` to a device time stamp to get host time; it is right to within `uncertainty_ns`."""

    offset_ns: int
    uncertainty_ns: int


def measure_offset(queue: cl.CommandQueue | NativeQueue) -> ClockOffset:
    """The offset between a queue's device clock and the host clock, which must be idle meanwhile."""
    if isinstance(queue, NativeQueue):
        return ClockOffset(0, 0)  # its threads read the host's clock
    ocl = opencl()
    at_queueing: list[tuple[int, int]] = []
    at_completion: list[tuple[int, int]] = []
    for _ in range(_MARKERS):
        before = host_ns()
        event = ocl.enqueue_marker(queue)
        queued = host_ns()
        event.wait()
        after = host_ns()
        profile = event.profile
        at_queueing.append((before - profile.queued, queued - profile.queued))
        at_completion.append((before - profile.start, after - profile.end))
    narrow = _intersection([*at_queueing, *at_completion])
    # Some drivers stamp the queueing with another clock than the execution; then only the execution counts.
    low, high = narrow or _intersection(at_completion) or min(at_completion, key=lambda pair: pair[1] - pair[0])
    if low <= 0 <= high:
        return ClockOffset(0, (high - low + 1) // 2)  # the very same clock, as far as can be told
    return ClockOffset((low + high) // 2, (high - low + 1) // 2)


def _intersection(intervals: list[tuple[int, int]]) -> tuple[int, int] | None:
    low = max(pair[0] for pair in intervals)
    high = min(pair[1] for pair in intervals)
    return (low, high) if low <= high else None
