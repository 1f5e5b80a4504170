"""Memory bandwidth as a fluid that running tasks share, max-min fair. No clock of its own: it is told the time.

A task that alone takes `duration` nanoseconds and moves `nbytes` demands `nbytes / duration`. While the sum of the
demands stays within the capacity everybody gets what they demand. Otherwise no task gets more than it demands, and a
task that gets less than it demands gets at least as much as every other: the max-min fair share (Bertsekas and
Gallager, Data Networks, 6.5.2). A task then advances at allocated / demanded of its own speed.

Besides bandwidth, a measured slowdown may apply to a task for as long as another lane works too (shared caches, power
and thermal limits), and a task may be given another pace from outside (its processor's clock, or others that take a
share of it). Both scale the task's demand along with its speed.

Since the alone time is by definition reached when a task runs alone, a task never demands more than the capacity:
what a cost claims beyond that is taken to be served by caches.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, inf
from typing import Any

_ROUNDING_NS = 1e-6
"""Floating-point dust: work that would end this much after a whole nanosecond ends on it."""


def max_min_fair(demands: Sequence[float], capacity: float) -> list[float]:
    """The max-min fair allocation of `capacity` to `demands` (same unit), in the order of the demands.

    The smallest demands are served first, each at most an equal share of what is left (progressive filling).
    """
    if sum(demands) <= capacity:
        return list(demands)
    shares = [0.0] * len(demands)
    left = capacity
    waiting = len(demands)
    for index in sorted(range(len(demands)), key=demands.__getitem__):
        shares[index] = min(demands[index], left / waiting)
        left -= shares[index]
        waiting -= 1
    return shares


class Flow:
    """The memory traffic of one running task.

    Attributes:
        key: whatever the caller knows the task by.
        lane: who executes it.
        demand: bytes per nanosecond that it moves when it runs alone at pace 1.
        pace: how fast it would run if memory did not limit it, 0 < pace <= 1.
        slowdown: how much slower it runs, whatever the bandwidth, while another lane works too (>= 1).
        allocated: bytes per nanosecond that it moves now.
        speed: nanoseconds of its alone time that it does in a nanosecond, 0 < speed <= 1.
        work: nanoseconds of its alone time that are still to do, at `since`.
        end_ns: when it will end if nothing changes.
    """

    __slots__ = ("allocated", "demand", "end_ns", "key", "lane", "nbytes", "pace", "since", "slowdown", "speed", "work")

    def __init__(self, key: Any, lane: str, now: int, duration_ns: int, nbytes: float, slowdown: float) -> None:
        self.key = key
        self.lane = lane
        self.nbytes = nbytes
        self.demand = nbytes / duration_ns
        self.slowdown = slowdown
        self.pace = 1.0
        self.allocated = self.demand
        self.speed = 1.0
        self.work = float(duration_ns)
        self.since = now
        self.end_ns = now + duration_ns

    def _advance(self, now: int) -> None:
        self.work = max(0.0, self.work - (now - self.since) * self.speed)
        self.since = now


class BandwidthServer:
    """The memory that all processors share.

    Args:
        capacity: bytes per nanosecond; `inf` for a memory that never limits.

    Whoever calls owns the clock. All starts and ends of one moment are told with `add` and `remove`, then `share` gives
    the flows whose `end_ns` is no longer what it was. The end of a flow is told at its `end_ns`.
    """

    def __init__(self, capacity: float = inf) -> None:
        self.capacity = capacity
        self.background = 0.0
        """Bytes per nanosecond that somebody else wants; served like a flow that never ends."""
        self.flows: list[Flow] = []
        self.moved = 0.0
        """Bytes that ended flows have moved."""
        self._slowed = False

    @property
    def allocated(self) -> float:
        """Bytes per nanosecond that flow now; never more than the capacity."""
        return sum(flow.allocated for flow in self.flows)

    def add(
        self, now: int, key: Any, duration_ns: int, nbytes: float, lane: str = "", slowdown: float = 1.0
    ) -> Flow:  # fmt: skip
        """A task starts that takes `duration_ns` > 0 when alone."""
        flow = Flow(key, lane, now, duration_ns, min(nbytes, self.capacity * duration_ns), slowdown)
        self.flows.append(flow)
        return flow

    def remove(self, now: int, flow: Flow) -> None:
        """A task ends."""
        self.moved += flow.nbytes
        self.flows.remove(flow)

    def share(self, now: int) -> list[Flow]:
        """Share the bandwidth anew; the flows whose end moved, in the order in which they started."""
        flows = self.flows
        paces = [flow.pace for flow in flows]
        if len({flow.lane for flow in flows}) > 1:
            paces = [flow.pace / flow.slowdown for flow in flows]
        demands = [flow.demand * pace for flow, pace in zip(flows, paces, strict=True)]
        demands.append(self.background)
        slowed = sum(demands) > self.capacity or min(paces, default=1.0) < 1.0
        if not slowed and not self._slowed:
            return []  # nobody was slowed and nobody is
        self._slowed = slowed
        changed = []
        shares = max_min_fair(demands, self.capacity)
        for flow, pace, demand, allocated in zip(flows, paces, demands[:-1], shares[:-1], strict=True):
            speed = pace * allocated / demand if demand else pace
            flow.allocated = allocated
            if speed != flow.speed:
                flow._advance(now)
                flow.speed = speed
                end = now + ceil(flow.work / speed - _ROUNDING_NS)
                if end != flow.end_ns:
                    flow.end_ns = end
                    changed.append(flow)
        return changed
