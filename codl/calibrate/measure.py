"""Running a sequence of probes again and again, and reading times out of the traces.

This is the one timing routine of calibration. Every round runs everything once, so that all measurements are
interleaved and a disturbance hits a round, not a shape; the first rounds are dropped (kernels are compiled, caches
filled). A kernel's time is the lowest decile over the others, times what all of them have in common: how much longer a
kernel takes typically. Where a neighbour uses a core's other half every so often, kernels alternate between two paces,
and a median falls on either by chance.

What a kernel costs is the time that it keeps its lane, as the simulator, whose lanes have no gaps, must count it: its
span, and the gap before it (the launch latency of the device). That gap tells more of the command before than of the
kernel: where that takes milliseconds, a CPU's other threads sleep deeper. So spans are measured, and all kernels get
the gap that follows a short command, since it counts most where kernels are short.
"""

from __future__ import annotations

import gc
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from codl.calibrate.sequence import TOGETHER, TURNS, WAITS, Sequence
from codl.errors import CodlError
from codl.graph import Graph
from codl.io import read_json, write_json
from codl.real.devices import Assignment
from codl.tasks import TaskGraph, TaskKind
from codl.trace import Trace, typical

WARM_UPS = 1
FRESH_S = 3600.0
"""Seconds for which the rounds of an interrupted calibration count: a machine changes over a day."""
SHORT_NS = 500_000
"""A command is short below this."""
PRECISE = 0.01
"""Measuring ends early when the medians are known to this relative uncertainty."""


@dataclass
class Samples:
    """Times in nanoseconds, one a round: of kernels (their spans) and copies by task id, of handing each of them over
    by the same id, of waits between lanes (the host's among them) by (source, target), and of the gaps between kernels
    that ran back to back, the first of them a short one, by lane (the launch latency)."""

    tasks: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))
    enqueues: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))
    syncs: dict[tuple[str, str], list[int]] = field(default_factory=lambda: defaultdict(list))
    gaps: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))
    rounds: int = 0

    def write(self, path: Path, digest: str) -> None:
        """Keep what was measured so far, of the sequence with this digest."""
        pairs = {f"{source}>{target}": times for (source, target), times in self.syncs.items()}
        document = {"digest": digest, "rounds": self.rounds, "tasks": self.tasks, "enqueues": self.enqueues,
                    "syncs": pairs, "gaps": self.gaps}  # fmt: skip
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, document)

    @staticmethod
    def resumed(path: Path, digest: str) -> Samples:
        """What an interrupted measurement of the same sequence kept; nothing where there is none, or it is older than
        `FRESH_S`."""
        samples = Samples()
        try:
            if time.time() - path.stat().st_mtime > FRESH_S:
                return samples
            known = read_json(path)
            if known["digest"] != digest:
                return samples
            samples.rounds = int(known["rounds"])
            for name in ("tasks", "enqueues", "gaps"):
                getattr(samples, name).update(known[name])
            for pair, times in known["syncs"].items():
                source, _, target = pair.partition(">")
                samples.syncs[source, target] = times
        except (OSError, CodlError, KeyError, TypeError, ValueError, AttributeError):
            return Samples()
        return samples

    def median_ns(self, task: str) -> float:
        return float(np.median(self.tasks[task]))

    def undisturbed_ns(self, task: str) -> float:
        """The lowest decile: what slows a task in every round is in it, what slows it in some is not."""
        return float(np.percentile(self.tasks[task], 10))

    def slowdown(self, tasks: Iterable[str]) -> float:
        """How much longer than undisturbed tasks take typically; in the median of them."""
        return float(np.median([typical(self.tasks[task]) / self.undisturbed_ns(task) for task in tasks]))

    def uncertainty(self) -> float:
        """Relative standard error of a typical task's median, from the spread between rounds."""
        if self.rounds < 3:
            return float("inf")
        times = np.array([row for row in self.tasks.values() if len(row) == self.rounds], dtype=float)
        medians = np.median(times, axis=1, keepdims=True)
        spread = 1.4826 * np.median(np.abs(times - medians), axis=1) / medians[:, 0]
        return float(1.2533 * np.median(spread) / np.sqrt(self.rounds))

    def add(self, trace: Trace, sequence: Sequence) -> None:
        """Read one round."""
        kept = {timed.task for timed in sequence.timed} | set(sequence.copies) | set(sequence.transforms)
        kept -= _left_alone(trace, sequence)
        probes = {timed.task for timed in sequence.timed}
        back_to_back = {timed.task for timed in sequence.timed if timed.phase not in (TURNS, WAITS)}
        before: dict[str, int] = {}
        for task_id, occupied in occupancy(trace, sequence.tasks).items():
            span = trace.by_id[task_id]
            if task_id in kept:
                self.tasks[task_id].append(max(1, span.duration_ns) if task_id in probes else occupied)
                if task_id in back_to_back and before.get(span.lane, SHORT_NS) < SHORT_NS:
                    self.gaps[span.lane].append(occupied - span.duration_ns)
            before[span.lane] = span.duration_ns
        by_id, handed_over = sequence.tasks.by_id, sequence.tasks.handed_over
        for span in trace.spans:
            task = by_id[span.task_id]
            if task.id in handed_over:
                self.enqueues[handed_over[task.id].id].append(span.duration_ns)
            elif task.kind is TaskKind.SYNC and task.chain.startswith((TURNS, WAITS)):
                self.syncs[task.source, task.lane].append(span.duration_ns)
        self.rounds += 1


def _left_alone(trace: Trace, sequence: Sequence) -> set[str]:
    """Tasks that were to run beside another processor's, but after that one had run out of work."""
    ends: dict[str, int] = {}
    together = [timed for timed in sequence.timed if timed.phase == TOGETHER]
    for timed in together:
        ends[timed.lane] = max(ends.get(timed.lane, 0), trace.by_id[timed.task].end_ns)
    first = min(ends.values(), default=0)
    return {timed.task for timed in together if trace.by_id[timed.task].end_ns > first}


_TIMED = (TaskKind.KERNEL, TaskKind.COPY, TaskKind.TRANSFORM)


def occupancy(trace: Trace, tasks: TaskGraph) -> Mapping[str, int]:
    """How long each kernel, copy and transform kept its lane, in nanoseconds."""
    handed = {task.id: task.deps[0] for task in tasks.tasks if task.kind in _TIMED}
    occupied = trace.occupied_ns(handed)
    return {task: max(1, occupied[task]) for task in handed}


def noise(times: np.ndarray) -> float:
    """Relative spread of repeated measurements: half the interquartile range over the median."""
    low, middle, high = np.percentile(times, [25, 50, 75])
    return float((high - low) / 2 / middle)


def measure(
    graph: Graph, sequence: Sequence, devices: Assignment, rounds: tuple[int, int], step: Callable[[str], None],
    partial: Path | None = None,
) -> Samples:  # fmt: skip
    """Execute a sequence until the medians are precise enough.

    Args:
        rounds: at least and at most so many, after the warm-up.
        step: told of every round.
        partial: where every round is kept, so that an interrupted measurement goes on where it was; deleted at the end.

    Raises:
        DeviceError: a kernel does not build, or a device failed.
    """
    from codl.real.executor import Executor

    step("compiling kernels")
    random = np.random.default_rng(1)
    inputs = {name: random.standard_normal(graph.tensors[name].shape, dtype=np.float32) for name in graph.inputs}
    least, most = rounds
    samples = Samples.resumed(partial, sequence.tasks.digest) if partial else Samples()
    with Executor(graph, sequence.tasks, devices) as executor:
        for index in range(WARM_UPS + max(0, most - samples.rounds)):
            step("warming up" if index < WARM_UPS else "timing kernels")
            gc.collect()
            gc.disable()  # a collection in the middle of a round looks like a slow device
            try:
                _, trace = executor.run(inputs, trace=True)
            finally:
                gc.enable()
            if index >= WARM_UPS and trace is not None:
                samples.add(trace, sequence)
                if partial:
                    samples.write(partial, sequence.tasks.digest)
                if samples.rounds >= least and samples.uncertainty() < PRECISE:
                    break
    if partial:
        partial.unlink(missing_ok=True)
    return samples
