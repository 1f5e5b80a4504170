"""What a calibration measured, by what it was measured of: times of probes and of the reference kernel."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np

from codl.calibrate.fit import Timing
from codl.calibrate.measure import Samples, noise
from codl.calibrate.phases import alone, reference_probe
from codl.calibrate.probes import Probe
from codl.calibrate.sequence import TOGETHER, Sequence
from codl.graph import Graph
from codl.ops import REGISTRY
from codl.ops.launch import DeviceTraits
from codl.ops.spec import Work
from codl.real.devices import Assignment, DeviceInfo
from codl.real.overheads import Overheads

NS = 1e-9
"""Seconds."""


@dataclass(frozen=True)
class Results:
    """Everything measured, with what it was measured on."""

    graph: Graph
    program: Sequence
    samples: Samples
    devices: Assignment
    traits: Mapping[str, DeviceTraits]
    """By lane."""
    overheads: Mapping[str, Overheads] = field(default_factory=dict)
    """By lane."""

    @property
    def lanes(self) -> tuple[str, ...]:
        return tuple(self.traits)

    def device(self, lane: str) -> DeviceInfo:
        return self.devices.for_lanes([lane])[lane]

    def work(self, probe: Probe) -> Work:
        return REGISTRY[probe.node].work(self.graph, probe.node, probe.region)

    def timings(self, lane: str, data_type: str = "buffer") -> list[Timing]:
        """What a processor takes alone, typically, by kernels of a data type; the reference kernel, which ran many
        times, once."""
        mine = [timed for timed in self.program.timed if timed.phase == alone(lane)]
        times: dict[Probe, list[float]] = {}
        for timed in mine:
            if timed.probe.data_type == data_type:
                times.setdefault(timed.probe, []).append(self.samples.undisturbed_ns(timed.task) * NS)
        slowdown = self.samples.slowdown(timed.task for timed in mine)
        launch = median(self.samples.gaps[lane]) * NS
        return [
            Timing(self.work(probe), probe.algorithm, probe.node.name, slowdown * median(seconds) + launch)
            for probe, seconds in times.items()
        ]

    def noise(self, lane: str) -> float:
        """Relative spread of the reference kernel on a processor that works alone, over places and rounds."""
        return noise(np.array(self.reference(lane), dtype=float))

    def reference(self, lane: str) -> list[int]:
        """Nanoseconds of the reference kernel on a processor that works alone, over places and rounds."""
        reference = reference_probe(self.graph)
        return [
            ns
            for timed in self.program.timed
            if timed.phase == alone(lane) and timed.probe == reference
            for ns in self.samples.tasks[timed.task]
        ]

    def pace(self, lane: str, phase: str) -> list[int]:
        """Nanoseconds of the reference kernel where it was asked for the machine's pace, over rounds."""
        mine = [timed for timed in self.program.timed if timed.phase == phase and timed.lane == lane]
        return [ns for timed in mine for ns in self.samples.tasks[timed.task]]

    def slowdowns(self, lane: str) -> list[tuple[Work, float]]:
        """(work, time together / time alone) of kernels that ran while the other processors worked too.

        Of undisturbed times: handing over many small probes keeps the host's thread busy, on a core that one of the
        processors may be, as a network's larger kernels do not.
        """
        by_probe = {timed.probe: timed.task for timed in self.program.timed if timed.phase == alone(lane)}
        found = []
        for timed in self.program.timed:
            if timed.phase == TOGETHER and timed.lane == lane and self.samples.tasks[timed.task]:
                task, twin = timed.task, by_probe[timed.probe]
                ratio = self.samples.undisturbed_ns(task) / self.samples.undisturbed_ns(twin)
                found.append((self.work(timed.probe), ratio))
        return found


def median(values: Iterable[float]) -> float:
    """0 of nothing."""
    found = list(values)
    return float(np.median(found)) if found else 0.0


def significant(value: float) -> float:
    """Four significant digits: what a measurement can tell, and what a person can read."""
    return float(f"{value:.4g}")
