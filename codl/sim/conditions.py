"""What changes around the inferences while they run: clocks, background load, temperatures.

A `State` is what a plan can be made for: the clock of each processor, the share of it that others use, and the memory
bandwidth that they use. `Conditions` knows all states that a workload can reach, and puts the present one into effect.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product

import simpy

from codl.errors import InputError
from codl.hardware.schema import Hardware
from codl.sim.machine import Machine
from codl.sim.thermal import Limits, ThermalModel
from codl.workload import REST, Workload


@dataclass(frozen=True, slots=True)
class State:
    """Clocks relative to the nominal one, shares of processors' time and bytes per second that belong to others."""

    clocks: tuple[tuple[str, float], ...]
    shares: tuple[tuple[str, float], ...]
    bandwidth: float

    @property
    def nominal(self) -> bool:
        idle = not self.bandwidth and not any(share for _, share in self.shares)
        return idle and all(clock == 1 for _, clock in self.clocks)


@dataclass(slots=True)
class Climate:
    """What was observed: (time_ns, value) at every change of a clock, and at every thermal step of a temperature; and
    the joules that others drew, by processor, those of their memory traffic as `rest`."""

    clocks: dict[str, list[tuple[int, float]]] = field(default_factory=dict)
    temperatures: dict[str, list[tuple[int, float]]] = field(default_factory=dict)
    background_joules: dict[str, float] = field(default_factory=dict)


def check(workload: Workload, hardware: Hardware) -> None:
    """Raise `InputError` where the workload names a processor that the hardware lacks, or wants more bandwidth than
    there is."""
    known = set(hardware.processors)
    named = [("background", load.processor) for load in workload.background if load.processor is not None]
    named += [("frequency", step.processor) for step in workload.frequency]
    if workload.thermal:
        named += [("thermal.trips", trip.processor) for trip in workload.thermal.trips]
        takes = [name for node in workload.thermal.nodes.values() for name in node.takes if name != REST]
        named += [("thermal.nodes", name) for name in takes]
    for section, name in named:
        if name not in known:
            raise InputError(
                f"workload.{section}: {hardware.name} has no processor {name!r}; it has {', '.join(sorted(known))}"
            )
    for at in _moments(workload):
        shares, _ = _background(workload, at)
        for name, share in shares.items():
            if share >= 1:
                raise InputError(f"workload.background: {share:.0%} of {name!r} at {at:g} s; less than 100% is allowed")


def clocks(workload: Workload) -> dict[str, tuple[float, ...]]:
    """By processor, the clocks that it may have, the nominal one first; only those with more than that one."""
    found: dict[str, set[float]] = {}
    for step in workload.frequency:
        found.setdefault(step.processor, set()).add(step.clock)
    for trip in workload.thermal.trips if workload.thermal else ():
        found.setdefault(trip.processor, set()).add(trip.clock)
    return {name: tuple(sorted(values | {1.0}, reverse=True)) for name, values in found.items()}


def varying(workload: Workload) -> tuple[str, ...]:
    """The processors whose pace may change while a task runs."""
    return tuple(dict.fromkeys([*clocks(workload), *(b.processor for b in workload.background if b.processor)]))


MOST_STATES = 64
"""A plan is made for every state; more of them are a mistake rather than a wish."""


def states(workload: Workload) -> tuple[State, ...]:
    """Every state that the workload may reach, the nominal one first.

    Raises:
        InputError: there are more than `MOST_STATES`.
    """
    possible = clocks(workload)
    loads: dict[tuple[tuple[tuple[str, float], ...], float], None] = {_key({}, 0.0): None}
    for at in _moments(workload):
        loads[_key(*_background(workload, at))] = None
    count = len(loads)
    for values in possible.values():
        count *= len(values)
    if count > MOST_STATES:
        raise InputError(
            f"workload: its clocks and background loads make {count} states; plans can adapt to {MOST_STATES}"
        )
    return tuple(
        State(tuple(zip(possible, chosen, strict=True)), shares, bandwidth)
        for shares, bandwidth in loads
        for chosen in product(*possible.values())
    )


def _key(shares: Mapping[str, float], bandwidth: float) -> tuple[tuple[tuple[str, float], ...], float]:
    return tuple(sorted((name, share) for name, share in shares.items() if share)), bandwidth


def _moments(workload: Workload) -> list[float]:
    """When background load comes or goes, in seconds."""
    times = {0.0}
    for load in workload.background:
        times |= {load.start, *(() if load.stop is None else (load.stop,))}
    return sorted(times)


def _background(workload: Workload, at: float) -> tuple[dict[str, float], float]:
    """Shares by processor and bytes per second of the background load at a moment, in seconds."""
    shares: dict[str, float] = {}
    bandwidth = 0.0
    for load in workload.background:
        if load.start <= at and (load.stop is None or at < load.stop):
            if load.processor is not None:
                shares[load.processor] = shares.get(load.processor, 0.0) + load.share
            else:
                bandwidth += load.bandwidth or 0.0
    return shares, bandwidth


class Conditions:
    """Puts a workload's conditions into effect on a machine.

    Attributes:
        state: the present one.
        climate: what was observed so far.
    """

    def __init__(self, workload: Workload, hardware: Hardware, machine: Machine) -> None:
        self.workload, self.hardware, self.machine = workload, hardware, machine
        self.climate = Climate()
        self._possible = clocks(workload)
        self._steps = dict.fromkeys(hardware.processors, 1.0)
        self._limits: dict[str, float] = {}
        self._shares: dict[str, float] = {}
        self._bandwidth = 0.0
        self._since = 0
        self.state = State((), (), 0.0)
        self.apply(0.0)
        env = machine.env
        times = {at for at in _moments(workload) if at} | {step.at for step in workload.frequency if step.at}
        if times:
            env.process(self._timeline(sorted(times)))
        if workload.thermal:
            env.process(self._heat())

    def apply(self, at: float) -> None:
        """Put what holds at a moment, in seconds, into effect."""
        self.settle()
        for step in sorted(self.workload.frequency, key=lambda step: step.at):
            if step.at <= at:
                self._steps[step.processor] = step.clock
        self._shares, self._bandwidth = _background(self.workload, at)
        self.machine.set_background(self._bandwidth * 1e-9)
        for name in self.hardware.processors:
            self._set(name)
        self._remember()

    def _set(self, name: str) -> None:
        clock = min(self._steps[name], self._limits.get(name, 1.0))
        share = self._shares.get(name, 0.0)
        lane = self.machine.lane(name)
        if (lane.clock, lane.share) != (clock, share):
            # What others take of a processor they also draw; our task draws the rest.
            power = clock**self.workload.power_exponent * (1 - share)
            self.machine.set_pace(name, clock, share, power)
        points = self.climate.clocks.setdefault(name, [])
        if not points or points[-1][1] != clock:
            points.append((int(self.machine.env.now), clock))

    def _remember(self) -> None:
        now = {name: self.machine.lane(name).clock for name in self._possible}
        shares, bandwidth = _key(self._shares, self._bandwidth)
        self.state = State(tuple(now.items()), shares, bandwidth)

    def _background_watts(self) -> dict[str, float]:
        """What others draw at the moment, by processor, and for their memory traffic as `rest`."""
        found = {REST: self._bandwidth * self.hardware.memory.energy}
        for name, share in self._shares.items():
            clock = self.machine.lane(name).clock
            found[name] = self.hardware.processors[name].active_power * share * clock**self.workload.power_exponent
        return found

    def settle(self) -> None:
        """Bring all meters up to now, those of the background included."""
        self.machine.settle()
        now = int(self.machine.env.now)
        joules = self.climate.background_joules
        for name, watts in self._background_watts().items():
            joules[name] = joules.get(name, 0.0) + watts * (now - self._since) * 1e-9
        self._since = now

    def _timeline(self, times: Sequence[float]) -> Generator[simpy.Event, None, None]:
        env = self.machine.env
        for at in times:
            yield env.timeout(round(at * 1e9) - int(env.now))
            self.apply(at)

    def _heat(self) -> Generator[simpy.Event, None, None]:
        """Every step: average power since the last one, temperatures, limits."""
        thermal = self.workload.thermal
        assert thermal is not None
        env, model, limits = self.machine.env, ThermalModel(thermal), Limits(thermal)
        step = max(1, round(thermal.step * 1e9))
        before = self._drawn()
        self._record(model.temperatures)
        self._limit(limits.clocks(model.temperatures))
        while True:
            yield env.timeout(step)
            self.settle()
            drawn = self._drawn()
            watts = {name: (drawn[name] - before[name]) / (step * 1e-9) for name in drawn}
            before = drawn
            watts[REST] += self.hardware.power.idle
            heat = {name: sum(watts.get(source, 0.0) for source in node.takes) for name, node in thermal.nodes.items()}
            temperatures = model.step(step * 1e-9, heat)
            self._record(temperatures)
            self._limit(limits.clocks(temperatures))

    def _drawn(self) -> dict[str, float]:
        drawn = {name: self.machine.lane(name).joules for name in self.hardware.processors}
        drawn[REST] = self.machine.memory_joules
        for name, joules in self.climate.background_joules.items():
            drawn[name] += joules
        return drawn

    def _record(self, temperatures: Mapping[str, float]) -> None:
        now = int(self.machine.env.now)
        for name, value in temperatures.items():
            self.climate.temperatures.setdefault(name, []).append((now, value))

    def _limit(self, found: dict[str, float]) -> None:
        if found != self._limits:
            self.settle()  # what others draw depends on the clock
            self._limits = found
            for name in self._possible:
                self._set(name)
            self._remember()
