"""The task graph as SimPy events: who runs when, with memory bandwidth shared by everything that runs.

One SimPy event per task (its end), plus one for each time that contention moves an end. The rules of the lanes are
those of `codl.sim.lanes`, the sharing of bandwidth that of `codl.sim.bandwidth`; here is only the clock.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field

import simpy

from codl.sim.bandwidth import BandwidthServer, Flow
from codl.sim.lanes import Lanes, Order

Times = tuple[Sequence[int], Sequence[int]]
"""Start and end of every task of one inference, in nanoseconds, by the task's index."""


@dataclass(slots=True)
class Record:
    """What one simulation leaves behind.

    `first` holds the times of the first inference, `bandwidth` the allocated bytes per nanosecond over it, as
    (time_ns, value) at every change.
    """

    first: Times = ((), ())
    latencies_ns: list[int] = field(default_factory=list)
    bandwidth: list[tuple[int, float]] = field(default_factory=list)
    bytes_moved: float = 0.0
    makespan_ns: int = 0
    executed: int = 0
    """Tasks executed, over all inferences."""


@dataclass(frozen=True, slots=True)
class Load:
    """What tasks put on the machine, by the task's index.

    Args:
        lanes: the lane of each task.
        nbytes: memory traffic of each.
        slowdowns: slowdown of each while another lane works too.
        shared: whether the task competes with others at all (for bandwidth, or by a slowdown).
    """

    lanes: Sequence[str]
    nbytes: Sequence[float]
    slowdowns: Sequence[float]
    shared: Sequence[bool]


class Inference:
    """One run of all tasks in a SimPy environment. `done` succeeds when the last task has ended."""

    def __init__(
        self, env: simpy.Environment, order: Order, durations: Sequence[int], load: Load, memory: BandwidthServer,
        watch: Callable[[int, float], None] | None = None,
    ) -> None:  # fmt: skip
        self.env = env
        self.durations = durations
        self.load = load
        self.memory = memory
        self.watch = watch
        self.lanes = Lanes(order)
        self.starts = [0] * len(durations)
        self.ends = [0] * len(durations)
        self.flows: dict[int, Flow] = {}
        self.done = env.event()
        self._begin(self.lanes.start(), False)
        if not durations:
            self.done.succeed()

    def _begin(self, tasks: list[int], ended: bool) -> None:
        """Start tasks now; `ended` says that one which used memory has just ended."""
        now = int(self.env.now)
        load = self.load
        fresh = []
        for task in tasks:
            self.starts[task] = now
            duration = self.durations[task]
            if duration and load.shared[task]:
                self.flows[task] = self.memory.add(
                    now, task, duration, load.nbytes[task], load.lanes[task], load.slowdowns[task]
                )
                fresh.append(task)
            else:
                self._schedule(task, duration)
        if fresh or ended:
            moved = self.memory.share(now)
            for flow in moved:
                self._schedule(flow.key, flow.end_ns - now)
            rescheduled = {flow.key for flow in moved}
            for task in fresh:
                if task not in rescheduled:
                    self._schedule(task, self.flows[task].end_ns - now)
            if self.watch is not None:
                self.watch(now, self.memory.allocated)

    def _schedule(self, task: int, delay: int) -> None:
        event = simpy.Timeout(self.env, delay, task)
        event.callbacks.append(self._ended)

    def _ended(self, event: simpy.Event) -> None:
        task = event._value
        now = int(self.env.now)
        flow = self.flows.get(task)
        if flow is not None:
            if flow.end_ns != now:
                return  # contention has moved this end
            del self.flows[task]
            self.memory.remove(now, flow)
        elif self.ends[task]:
            return  # an end that was moved away and back: already taken
        self.ends[task] = now
        self._begin(self.lanes.end(task), flow is not None)
        if not self.lanes.left:
            self.done.succeed()


def run(
    order: Order, load: Load, capacity: float, requests: int, durations: Callable[[int], Sequence[int]]
) -> Record:  # fmt: skip
    """Interpret a task graph `requests` times, each inference beginning when the one before has ended.

    Args:
        load: what the tasks put on the machine.
        capacity: bytes per nanosecond that the memory carries.
        durations: the alone times of all tasks of inference number k, in nanoseconds.
    """
    env = simpy.Environment()
    memory = BandwidthServer(capacity)
    record = Record()

    def watch(now: int, allocated: float) -> None:
        points = record.bandwidth
        if points and points[-1][0] == now:
            points[-1] = (now, allocated)  # what lasts no time was never there
        elif not points or points[-1][1] != allocated:
            points.append((now, allocated))

    def stream() -> Generator[simpy.Event, None, None]:
        for request in range(requests):
            began = int(env.now)
            inference = Inference(env, order, durations(request), load, memory, None if request else watch)
            yield inference.done
            record.latencies_ns.append(int(env.now) - began)
            record.executed += len(inference.ends)
            if not request:
                record.first = (inference.starts, inference.ends)

    env.run(until=env.process(stream()))
    record.bytes_moved = memory.moved
    record.makespan_ns = int(env.now)
    return record
