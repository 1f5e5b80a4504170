"""Repeated runs of one executor: latencies, their noise, and the trace of a typical run."""

from __future__ import annotations

import gc
import math
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np

from codl.errors import InputError
from codl.real.executor import Executor, Run
from codl.trace import Trace

WARM_UPS = 2
"""Runs of each executor that do not count."""


@dataclass(frozen=True)
class Measurement:
    """Latencies in ms.

    `runs_ms` are makespans (first enqueue to last end), `wall_ms` the same runs with writing the inputs and reading
    the outputs. `trace` is of the run whose latency is the median (of two middle runs, the faster), `traces` of every
    run, `outputs` of the last run.
    """

    runs_ms: tuple[float, ...]
    wall_ms: tuple[float, ...]
    trace: Trace
    outputs: Mapping[str, np.ndarray]
    traces: tuple[Trace, ...] = ()

    @property
    def median_ms(self) -> float:
        return statistics.median(self.runs_ms)

    @property
    def noise(self) -> float:
        """Interquartile range of the runs over their median; 0 for a single run."""
        if len(self.runs_ms) < 2:
            return 0.0
        low, high = np.percentile(self.runs_ms, [25, 75])
        return float(high - low) / self.median_ms

    @property
    def uncertainty(self) -> float:
        """Half of the 95 % confidence interval of the median, over the median: McGill, Tukey and Larsen (The American
        Statistician 32, 1978), 1.57 interquartile ranges over the root of the number of runs."""
        return 1.57 * self.noise / math.sqrt(len(self.runs_ms))


def measure(
    executor: Executor, inputs: Mapping[str, np.ndarray], runs: int, warmup: int = WARM_UPS,
    done: Callable[[], None] = lambda: None,
) -> Measurement:  # fmt: skip
    """Run `runs` times after `warmup` runs that do not count; `done` is told of each run that ended.

    Raises:
        InputError: `runs` is not positive, or what `Executor.run` raises.
    """
    return measure_interleaved([executor], inputs, runs, warmup, done)[0]


def measure_interleaved(
    executors: Sequence[Executor], inputs: Mapping[str, np.ndarray], runs: int, warmup: int = WARM_UPS,
    done: Callable[[], None] = lambda: None, between: Callable[[], None] = lambda: None,
) -> list[Measurement]:  # fmt: skip
    """Measure several executors of one model, a run of each in turn, so that a disturbance hits a round and not an
    executor. The order of the turns changes from round to round, so that none always follows the same one.

    Args:
        done: told of each run that ended, warm-ups included. It should take next to no time.
        between: called before each round, and after the last one.

    Raises:
        InputError: `runs` is not positive, or what `Executor.run` raises.
    """
    if runs < 1:
        raise InputError(f"{runs} runs were asked for; at least one is needed")
    for _ in range(warmup):
        for executor in executors:
            executor.run(inputs)
            done()
    found: list[list[Run]] = [[] for _ in executors]
    order = np.random.default_rng(0)
    with _no_garbage_collection():
        for _ in range(runs):
            between()
            for index in order.permutation(len(executors)).tolist():
                found[index] = [replace(run, outputs={}) for run in found[index]]
                found[index].append(executors[index].infer(inputs, trace=True))
                done()
        between()
    return [_measurement(each) for each in found]


def _measurement(runs: Sequence[Run]) -> Measurement:
    traces = tuple(run.trace for run in runs if run.trace is not None)
    latencies = tuple(trace.makespan_ns / 1e6 for trace in traces)
    middle = sorted(range(len(runs)), key=lambda index: latencies[index])[(len(runs) - 1) // 2]
    walls = tuple(run.wall_ns / 1e6 for run in runs)
    return Measurement(latencies, walls, traces[middle], runs[-1].outputs, traces)


@contextmanager
def _no_garbage_collection() -> Iterator[None]:
    """A collection in the middle of a run looks like a slow device."""
    enabled = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
