"""Streams of requests on one simulated machine: queueing, dropping, deadlines, priorities, choice of plans.

A request waits in its stream's queue until one of the stream's `in_flight` places is free; then its inference begins,
and its tasks compete with those of all other inferences (`codl.sim.machine`) under the conditions of the moment
(`codl.sim.conditions`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import simpy

from codl.hardware.schema import Hardware
from codl.sim.arrivals import arrivals
from codl.sim.conditions import Climate, Conditions, State, check
from codl.sim.machine import Job, Machine
from codl.sim.program import Program
from codl.switching import History, Switcher
from codl.tasks import HOST_LANE
from codl.workload import Stream, Workload

Start = Callable[[int, Program, Job], None]
"""Told of every segment of an inference that begins: request, program, job."""


@dataclass(frozen=True)
class Client:
    """A stream with the plans that serve it: one, or several among which `stream.adapt` chooses.

    Args:
        programs: by plan, its segments; all plans have the same number of them, and a plan may take over from another
            where a segment ends.
        states: for `adapt: state`, the index of the plan for each state.
    """

    name: str
    stream: Stream
    programs: tuple[tuple[Program, ...], ...]
    states: Mapping[State, int] = field(default_factory=dict)


@dataclass(slots=True)
class Served:
    """What became of the requests of one stream, by request; times in nanoseconds, -1 for what never happened.

    Attributes:
        plans: index of the plan that served each segment of each, in order; empty for dropped ones.
        joules: drawn for each request's tasks, idle power not included.
        requests_ns: integral over time of the number of requests in the system, counted at arrivals and ends.
        history: of the plans, where there are several; latencies in ns.
    """

    arrived: list[int] = field(default_factory=list)
    began: list[int] = field(default_factory=list)
    ended: list[int] = field(default_factory=list)
    plans: list[tuple[int, ...]] = field(default_factory=list)
    joules: list[float] = field(default_factory=list)
    requests_ns: int = 0
    history: History | None = None


@dataclass(frozen=True)
class WorkloadRecord:
    """One repetition of a workload.

    Attributes:
        busy_ns: by lane.
        joules: by processor, for tasks, without memory traffic.
        executed: tasks.
    """

    streams: tuple[Served, ...]
    duration_ns: int
    busy_ns: Mapping[str, int]
    joules: Mapping[str, float]
    memory_joules: float
    idle_joules: float
    climate: Climate
    executed: int

    @property
    def total_joules(self) -> float:
        """Drawn by the whole device, others' load included."""
        others = sum(self.climate.background_joules.values())
        return sum(self.joules.values()) + self.memory_joules + self.idle_joules + others


class _Service:
    """One stream at work."""

    def __init__(
        self, client: Client, number: int, workload: Workload, repetition: int, machine: Machine,
        conditions: Conditions, numbers: Callable[[], int], started: Start | None,
    ) -> None:  # fmt: skip
        self.client, self.machine, self.conditions = client, machine, conditions
        self.numbers, self.started = numbers, started
        self.served = Served()
        self.queue: deque[int] = deque()
        self.under_way = 0
        self.left = client.stream.requests
        self.done = machine.env.event()
        seed = (workload.seed, repetition, number)
        self.durations = [
            [each.jittered(workload.jitter, *seed, *([k] if k else [])) for k, each in enumerate(segments)]
            for segments in client.programs
        ]
        self.segments = len(client.programs[0]) if client.programs else 1
        adapts = client.stream.adapt == "latency"
        self.switcher = Switcher(len(client.programs), segments=self.segments) if adapts else None
        if len(client.programs) > 1:
            self.served.history = History(len(client.programs), self.segments)
        self._times = arrivals(client.stream, (*seed, 1 << 20))
        if self._times is not None:
            self.left = len(self._times)
        self._in_system = 0
        self._counted = 0
        machine.env.process(self._arrive())

    def _arrive(self) -> Generator[simpy.Event, None, None]:
        env = self.machine.env
        if self._times is None:
            yield env.timeout(round(self.client.stream.start * 1e9))
            for _ in range(min(self.client.stream.in_flight, self.left)):
                self._request()
            return
        for time in self._times:
            yield env.timeout(time - int(env.now))
            self._request()

    def _count(self, change: int) -> None:
        now = int(self.machine.env.now)
        self.served.requests_ns += self._in_system * (now - self._counted)
        self._in_system += change
        self._counted = now

    def _request(self) -> None:
        """A request comes now."""
        served, stream = self.served, self.client.stream
        request = len(served.arrived)
        served.arrived.append(int(self.machine.env.now))
        served.began.append(-1)
        served.ended.append(-1)
        served.plans.append(())
        served.joules.append(0.0)
        self._count(1)
        self.queue.append(request)
        self._serve()
        if stream.queue is not None and len(self.queue) > stream.queue:
            if stream.drop == "newest":
                self.queue.pop()
            else:
                self.queue.popleft()
            self._leave()

    def _serve(self) -> None:
        """Begin as many inferences as there are places for."""
        while self.queue and self.under_way < self.client.stream.in_flight:
            request = self.queue.popleft()
            self.under_way += 1
            self.served.began[request] = int(self.machine.env.now)
            self._segment(request, self.numbers())

    def _segment(self, request: int, number: int) -> None:
        """Begin the next segment of an inference."""
        served = self.served
        segment, plan = len(served.plans[request]), self._plan(len(served.plans[request]))
        program = self.client.programs[plan][segment]
        served.plans[request] = (*served.plans[request], plan)
        job = Job(
            program.order, program.load, self.durations[plan][segment](request),
            partial(self._ended, request, int(self.machine.env.now)), number, self.client.stream.priority,
        )  # fmt: skip
        if self.started is not None:
            self.started(request, program, job)
        self.machine.submit(job)

    def _plan(self, segment: int) -> int:
        """The plan of a segment that begins now."""
        chosen = 0
        if self.switcher is not None:
            chosen = self.switcher.choose(segment)
        elif self.client.stream.adapt == "state":
            chosen = self.client.states[self.conditions.state]
        if self.served.history is not None:
            self.served.history.begin(chosen)
        return chosen

    def _ended(self, request: int, began: int, job: Job) -> None:
        """A segment of an inference has ended, and perhaps with it the inference."""
        served = self.served
        now = int(self.machine.env.now)
        served.joules[request] += job.joules
        plans = served.plans[request]
        if self.switcher is not None:
            self.switcher.observe(plans[-1], now - began, len(plans) - 1)
        if served.history is not None:
            served.history.end(plans[-1], len(plans) - 1, now - began)
        if len(plans) < self.segments:
            self._segment(request, job.number)
            return
        served.ended[request] = now
        self.under_way -= 1
        self._leave()
        if self._times is None and len(served.arrived) < self.client.stream.requests:
            self._request()
        else:
            self._serve()

    def _leave(self) -> None:
        self._count(-1)
        self.left -= 1
        if not self.left:
            self.done.succeed()


def run_workload(
    workload: Workload, clients: Sequence[Client], hardware: Hardware, repetition: int = 0,
    started: Callable[[Client], Start] | None = None,
) -> WorkloadRecord:  # fmt: skip
    """Simulate a workload until its last request has left.

    Args:
        repetition: which one; each has its own random numbers.
        started: given a client, what to tell of its inferences.

    Raises:
        InputError: the workload names a processor that the hardware lacks.
        FileError: a recorded arrival trace cannot be read.
    """
    check(workload, hardware)
    env = simpy.Environment()
    machine = Machine(env, hardware.memory.bandwidth * 1e-9)
    conditions = Conditions(workload, hardware, machine)
    counter = iter(range(sum(client.stream.requests for client in clients)))
    services = [
        _Service(
            client, number, workload, repetition, machine, conditions, counter.__next__,
            None if started is None else started(client),
        )
        for number, client in enumerate(clients)
    ]  # fmt: skip
    env.run(until=simpy.AllOf(env, [service.done for service in services]))
    conditions.settle()
    duration = int(env.now)
    lanes = {HOST_LANE, *hardware.processors}
    return WorkloadRecord(
        tuple(service.served for service in services),
        duration,
        {name: machine.lanes[name].busy_ns for name in sorted(lanes) if name in machine.lanes},
        {name: machine.lane(name).joules for name in hardware.processors},
        machine.memory_joules,
        hardware.power.idle * duration * 1e-9,
        conditions.climate,
        machine.executed,
    )
