"""Task graphs as SimPy events: who runs when on processors, memory and power that several inferences share.

One SimPy event per task (its end), plus one for each time that contention or a changed clock moves an end. Within an
inference the rules of the lanes are those of `codl.sim.lanes`: in-order queues. Between inferences a lane that becomes
free takes the waiting task of the highest priority, of equal ones that of the oldest inference; a running task is never
preempted. Sharing of bandwidth is that of `codl.sim.bandwidth`; here is only the clock, and the meters for energy.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from heapq import heappop, heappush

import simpy

from codl.sim.bandwidth import BandwidthServer, Flow
from codl.sim.lanes import Lanes, Order


@dataclass(frozen=True, slots=True)
class Load:
    """What tasks put on the machine, by the task's index.

    Args:
        lanes: the lane of each task.
        nbytes: memory traffic of each.
        slowdowns: slowdown of each while another lane works too.
        shared: whether the end of the task may move: it competes with others, or its lane's pace may change.
        watts: what its lane draws above idle while it runs at its nominal clock.
        joules: what its memory traffic takes besides.
        paces: by (lane, clock), how fast each task runs compared with the nominal clock; 1 where it is not given.
    """

    lanes: Sequence[str]
    nbytes: Sequence[float]
    slowdowns: Sequence[float]
    shared: Sequence[bool]
    watts: Sequence[float] = ()
    joules: Sequence[float] = ()
    paces: Mapping[tuple[str, float], Sequence[float]] = field(default_factory=dict)

    @staticmethod
    def fixed(lanes: Sequence[str]) -> Load:
        """Tasks that take what they take: no traffic, no power."""
        return Load(lanes, [0.0] * len(lanes), [1.0] * len(lanes), [False] * len(lanes))


class Running:
    """A task on its lane. `flow` is None where nothing can move its end."""

    __slots__ = ("flow", "job", "lane", "since", "task", "watts")

    def __init__(self, job: Job, task: int, lane: Lane, now: int) -> None:
        self.job = job
        self.task = task
        self.lane = lane
        self.flow: Flow | None = None
        self.since = now
        self.watts = 0.0


class Lane:
    """A processor (or the host thread): one running task, those that wait for it, and its meters.

    Attributes:
        clock: relative to the nominal one.
        share: of its time that belongs to somebody else.
        power: its draw for a task at this clock and share, relative to the nominal one.
        busy_ns: time spent on tasks that have ended.
        joules: drawn for tasks, without memory traffic.
    """

    __slots__ = ("busy_ns", "clock", "joules", "name", "power", "running", "share", "waiting")

    def __init__(self, name: str) -> None:
        self.name = name
        self.running: Running | None = None
        self.waiting: list[tuple[int, int, int, Job]] = []
        self.clock = 1.0
        self.share = 0.0
        self.power = 1.0
        self.busy_ns = 0
        self.joules = 0.0


class Job:
    """One inference: a task graph with the durations that its tasks have this time.

    Args:
        number: its rank by age among all inferences of the machine.
        done: called when the last task has ended.

    Attributes:
        starts, ends: nanoseconds, by the task's index.
        joules: drawn for its tasks so far.
    """

    __slots__ = ("done", "durations", "ends", "joules", "lanes", "load", "number", "priority", "starts")

    def __init__(
        self, order: Order, load: Load, durations: Sequence[int], done: Callable[[Job], object], number: int = 0,
        priority: int = 0,
    ) -> None:  # fmt: skip
        self.lanes = Lanes(order)
        self.load = load
        self.durations = durations
        self.done = done
        self.number = number
        self.priority = priority
        self.starts = [0] * len(durations)
        self.ends = [0] * len(durations)
        self.joules = 0.0


class Machine:
    """Lanes and the memory between them, in a SimPy environment.

    Args:
        capacity: bytes per nanosecond that the memory carries.
        watch: told the time and the allocated bytes per nanosecond when bandwidth was shared anew.
    """

    def __init__(
        self, env: simpy.Environment, capacity: float, watch: Callable[[int, float], None] | None = None
    ) -> None:  # fmt: skip
        self.env = env
        self.memory = BandwidthServer(capacity)
        self.watch = watch
        self.lanes: dict[str, Lane] = {}
        self.memory_joules = 0.0
        self.executed = 0

    def lane(self, name: str) -> Lane:
        found = self.lanes.get(name)
        if found is None:
            found = self.lanes[name] = Lane(name)
        return found

    def submit(self, job: Job) -> None:
        """Begin an inference now."""
        if not job.durations:
            simpy.Timeout(self.env, 0, job).callbacks.append(_without_tasks)
            return
        self._begin(job, job.lanes.start(), None, False)

    def set_pace(self, name: str, clock: float, share: float, power: float) -> None:
        """Change a lane's clock, the share of it that belongs to somebody else, and its relative draw."""
        lane = self.lane(name)
        self._settle(lane)
        lane.clock, lane.share, lane.power = clock, share, power
        run = lane.running
        if run is not None:
            run.watts = self._watts(run)
            if run.flow is not None:
                run.flow.pace = self._pace(run.job.load, run.task, lane)
                self._share([])

    def set_background(self, demand: float) -> None:
        """Bytes per nanosecond of traffic that is not ours."""
        self.memory.background = demand
        self._share([])

    def settle(self) -> None:
        """Bring all meters up to now."""
        for lane in self.lanes.values():
            self._settle(lane)

    def _settle(self, lane: Lane) -> None:
        run = lane.running
        if run is not None and run.watts:
            now = int(self.env.now)
            joules = run.watts * (now - run.since) * 1e-9
            run.since = now
            run.job.joules += joules
            lane.joules += joules

    def _pace(self, load: Load, task: int, lane: Lane) -> float:
        paces = load.paces.get((lane.name, lane.clock))
        return (1.0 if paces is None else paces[task]) * (1.0 - lane.share)

    def _watts(self, run: Running) -> float:
        watts = run.job.load.watts
        return watts[run.task] * run.lane.power if watts else 0.0

    def _begin(self, job: Job, ready: list[int], freed: Lane | None, ended: bool) -> None:
        """Tasks of a job may start now, and a lane may have become free; `ended` says that one which used memory has
        just ended."""
        lanes = []
        names = job.load.lanes
        for task in ready:
            lane = self.lane(names[task])
            heappush(lane.waiting, (-job.priority, job.number, task, job))
            lanes.append(lane)
        if freed is not None and freed.waiting and freed not in lanes:
            lanes.append(freed)
        fresh = []
        for lane in lanes:
            if lane.running is None and lane.waiting:
                _, _, task, owner = heappop(lane.waiting)
                run = self._start(owner, task, lane)
                if run.flow is not None:
                    fresh.append(run)
        if fresh or ended:
            self._share(fresh)

    def _start(self, job: Job, task: int, lane: Lane) -> Running:
        now = int(self.env.now)
        job.starts[task] = now
        run = lane.running = Running(job, task, lane, now)
        run.watts = self._watts(run)
        duration, load = job.durations[task], job.load
        if duration and load.shared[task]:
            run.flow = self.memory.add(now, run, duration, load.nbytes[task], lane.name, load.slowdowns[task])
            run.flow.pace = self._pace(load, task, lane)
        else:
            self._schedule(run, duration)
        return run

    def _share(self, fresh: Sequence[Running]) -> None:
        """Share the bandwidth anew, and schedule the ends that moved and those of fresh tasks."""
        now = int(self.env.now)
        moved = self.memory.share(now)
        for flow in moved:
            self._schedule(flow.key, flow.end_ns - now)
        if fresh:
            rescheduled = {id(flow) for flow in moved}
            for run in fresh:
                assert run.flow is not None
                if id(run.flow) not in rescheduled:
                    self._schedule(run, run.flow.end_ns - now)
        if self.watch is not None:
            self.watch(now, self.memory.allocated)

    def _schedule(self, run: Running, delay: int) -> None:
        event = simpy.Timeout(self.env, delay, run)
        event.callbacks.append(self._ended)

    def _ended(self, event: simpy.Event) -> None:
        run: Running = event._value
        now = int(self.env.now)
        lane, flow, job = run.lane, run.flow, run.job
        if lane.running is not run or (flow is not None and flow.end_ns != now):
            return  # this end was moved, or moved away and back and already taken
        if flow is not None:
            self.memory.remove(now, flow)
        task = run.task
        job.ends[task] = now
        if run.watts:
            self._settle(lane)
        if job.load.joules:
            joules = job.load.joules[task]
            job.joules += joules
            self.memory_joules += joules
        lane.busy_ns += now - job.starts[task]
        lane.running = None
        self.executed += 1
        self._begin(job, job.lanes.end(task), lane, flow is not None)
        if not job.lanes.left:
            job.done(job)


def _without_tasks(event: simpy.Event) -> None:
    event._value.done(event._value)
