"""What is asked of a machine over time: the schema of a scenario's `workload` section.

Streams of requests share one machine, beside background load, while clocks and temperatures change. Everything here is
what people write; `codl.sim` gives it its meaning. Quantities carry their units.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from codl.documents import Section
from codl.units import (
    BytesPerSecond,
    Celsius,
    Hertz,
    JoulesPerKelvin,
    Kelvins,
    KelvinsPerWatt,
    Seconds,
)

REST = "rest"
"""What a thermal node takes besides processors: the device's idle power and that of its memory."""


class Arrivals(Section):
    """When requests come. One of the fields; with none of them, each request comes when the one before has ended."""

    periodic: Hertz | None = None
    """So many a second, evenly spaced: a camera."""
    poisson: Hertz | None = None
    """So many a second on average, independent of each other."""
    trace: str | None = None
    """A CSV file with a column `arrival_ms`, looked for beside the scenario file."""

    @model_validator(mode="after")
    def _one(self) -> Arrivals:
        given = [name for name in ("periodic", "poisson", "trace") if getattr(self, name) is not None]
        if len(given) > 1:
            raise ValueError(f"give one of periodic, poisson and trace, not {' and '.join(given)}")
        if 0.0 in (self.periodic, self.poisson):
            raise ValueError("a rate must be above 0")
        return self


class Stream(Section):
    """Requests for inferences of one network."""

    name: str = ""
    """In results; the model's name if it is not given."""
    model: str | None = None
    """MODEL as on the command line; without it, each of the scenario's models in turn."""
    planner: str | None = None
    """PLANNER; without it, each of the scenario's planners in turn."""
    arrivals: Arrivals = Arrivals()
    start: Seconds = 0.0
    """When the first request may come."""
    requests: int = Field(default=100, gt=0, le=1_000_000)
    priority: int = 0
    """A processor that becomes free takes the waiting task of the highest priority. Running tasks are not preempted."""
    in_flight: int = Field(default=1, gt=0)
    """Inferences that may be under way at once: a pipeline over frames."""
    queue: int | None = Field(default=None, ge=0)
    """Requests that may wait for their inference to begin; unlimited if it is not given."""
    drop: Literal["newest", "oldest"] = "newest"
    """Which request goes when the queue is full."""
    deadline: Seconds | None = None
    """From arrival to end. Later ends count as misses; a dropped request misses its deadline too."""
    adapt: Literal["state", "latency"] | None = None
    """Choose among plans made for the clocks and loads that the workload reaches, anew for every inference: `state`
    knows the clocks and loads, `latency` only the latencies of inferences that have ended."""


class Background(Section):
    """Load that is not ours, from `start` to `stop`: a share of a processor, or memory bandwidth."""

    processor: str | None = None
    share: float = Field(default=0.0, ge=0, lt=1)
    """Of the processor's time; our tasks run at 1 - share of their pace, and the processor draws that much power."""
    bandwidth: BytesPerSecond | None = None
    """Memory traffic, served max-min fair with that of our tasks."""
    start: Seconds = 0.0
    stop: Seconds | None = None

    @model_validator(mode="after")
    def _one(self) -> Background:
        if (self.processor is None) == (self.bandwidth is None):
            raise ValueError("give either processor and share, or bandwidth")
        if self.processor is not None and not self.share:
            raise ValueError("processor needs a share, such as 0.3")
        if self.stop is not None and self.stop <= self.start:
            raise ValueError("stop must come after start")
        return self


class FrequencyStep(Section):
    """From a moment on, a processor runs at a clock relative to its nominal one."""

    at: Seconds
    processor: str
    clock: float = Field(ge=1e-3, le=1)


class Node(Section):
    """A lump of the device with one temperature: C dT/dt = power - (T - T of `to`) / R."""

    resistance: KelvinsPerWatt
    capacity: JoulesPerKelvin
    to: str | None = None
    """The node that it gives its heat to; the ambient air if it is not given."""
    takes: tuple[str, ...] = ()
    """Processors whose power heats it, and `rest`: what no processor draws."""
    initial: Celsius | None = None
    """The ambient temperature if it is not given."""

    @model_validator(mode="after")
    def _positive(self) -> Node:
        if not self.resistance > 0 or not self.capacity > 0:
            raise ValueError("resistance and capacity must be above 0")
        return self


class Trip(Section):
    """While a node is hotter than this, a processor's clock is limited."""

    node: str
    above: Celsius
    processor: str
    clock: float = Field(ge=1e-3, le=1)


class Thermal(Section):
    """Temperatures, and what they do to clocks."""

    ambient: Celsius
    nodes: dict[str, Node] = Field(min_length=1)
    trips: tuple[Trip, ...] = ()
    hysteresis: Kelvins = 3.0
    """A limit is lifted once the node is this much cooler than where it began."""
    step: Seconds = 0.1
    """Temperatures are worked out, and limits set, this often."""

    @model_validator(mode="after")
    def _consistent(self) -> Thermal:
        if not self.step > 0:
            raise ValueError("step must be above 0")
        for name, node in self.nodes.items():
            if node.to is not None and (node.to not in self.nodes or node.to == name):
                raise ValueError(f"nodes.{name}.to: {node.to!r} is not another of nodes: {', '.join(self.nodes)}")
        for trip in self.trips:
            if trip.node not in self.nodes:
                raise ValueError(f"trips: {trip.node!r} is not one of nodes: {', '.join(self.nodes)}")
        taken = [name for node in self.nodes.values() for name in node.takes]
        for name in taken:
            if taken.count(name) > 1:
                raise ValueError(f"nodes: the power of {name!r} heats two of them")
        return self


class Workload(Section):
    """The `workload` section of a scenario."""

    streams: tuple[Stream, ...] = Field(min_length=1)
    background: tuple[Background, ...] = ()
    frequency: tuple[FrequencyStep, ...] = ()
    thermal: Thermal | None = None
    power_exponent: float = Field(default=3.0, ge=0, le=4)
    """A processor's active power is proportional to clock ** this: 3 where voltage follows frequency (P ~ f V^2)."""
    jitter: float = Field(default=0.0, ge=0, le=1)
    """Relative standard deviation of every task's duration from inference to inference (log-normal, mean 1)."""
    seed: int = Field(default=0, ge=0)
    repetitions: int = Field(default=1, gt=0, le=10_000)
    """With other random numbers; results are means with confidence intervals."""
    warm_up: int = Field(default=0, ge=0)
    """Requests at the beginning of each stream that do not count in its latencies."""

    @model_validator(mode="after")
    def _consistent(self) -> Workload:
        named = [stream.model is not None for stream in self.streams]
        if any(named) and not all(named):
            raise ValueError("streams: name the model of all of them, or of none")
        for stream in self.streams:
            if stream.requests <= self.warm_up:
                raise ValueError(f"warm_up: {self.warm_up} leaves none of a stream's {stream.requests} requests")
        return self

    @property
    def names_models(self) -> bool:
        """Whether the streams say which networks run; otherwise the workload is run once for each of a scenario's."""
        return self.streams[0].model is not None
