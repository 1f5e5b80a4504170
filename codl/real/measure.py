"""Repeated runs of one executor: latencies, their noise, and the trace of a typical run."""

from __future__ import annotations

import gc
import statistics
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from codl.errors import InputError
from codl.real.executor import Executor
from codl.trace import Trace


@dataclass(frozen=True)
class Measurement:
    """Latencies in ms.

    `runs_ms` are makespans (first enqueue to last end), `wall_ms` the same runs with writing the inputs and reading
    the outputs. `trace` is of the run whose latency is the median (of two middle runs, the faster), `outputs` of
    the last run.
    """

    runs_ms: tuple[float, ...]
    wall_ms: tuple[float, ...]
    trace: Trace
    outputs: Mapping[str, np.ndarray]

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


def measure(executor: Executor, inputs: Mapping[str, np.ndarray], runs: int, warmup: int = 2) -> Measurement:
    """Run `runs` times after `warmup` runs that do not count.

    Raises:
        InputError: `runs` is not positive, or what `Executor.run` raises.
    """
    if runs < 1:
        raise InputError(f"{runs} runs were asked for; at least one is needed")
    for _ in range(warmup):
        executor.run(inputs)
    latencies, walls, traces = [], [], []
    outputs: Mapping[str, np.ndarray] = {}
    with _no_garbage_collection():
        for _ in range(runs):
            result = executor.infer(inputs, trace=True)
            walls.append(result.wall_ns / 1e6)
            assert result.trace is not None
            latencies.append(result.trace.makespan_ns / 1e6)
            traces.append(result.trace)
            outputs = result.outputs
    middle = sorted(range(runs), key=lambda index: latencies[index])[(runs - 1) // 2]
    return Measurement(tuple(latencies), tuple(walls), traces[middle], outputs)


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
