"""One task graph again and again on an otherwise idle machine: what `simulate` and `replay` ask for."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field

import simpy

from codl.sim.lanes import Order
from codl.sim.machine import Job, Load, Machine

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
    record = Record()

    def watch(now: int, allocated: float) -> None:
        points = record.bandwidth
        if points and points[-1][0] == now:
            points[-1] = (now, allocated)  # what lasts no time was never there
        elif not points or points[-1][1] != allocated:
            points.append((now, allocated))

    machine = Machine(env, capacity, watch)

    def stream() -> Generator[simpy.Event, None, None]:
        for request in range(requests):
            began = int(env.now)
            done = env.event()
            job = Job(order, load, durations(request), done.succeed, request)
            machine.submit(job)
            yield done
            record.latencies_ns.append(int(env.now) - began)
            if not request:
                record.first = (job.starts, job.ends)
                machine.watch = None  # the bandwidth counter shows the first inference

    env.run(until=env.process(stream()))
    record.bytes_moved = machine.memory.moved
    record.makespan_ns = int(env.now)
    record.executed = machine.executed
    return record
