"""What a worker does, in this process, in another one or on another machine: plan once, simulate each run."""

from __future__ import annotations

import threading
from functools import lru_cache
from typing import Any

import numpy as np

from codl import hardware as hw
from codl import models
from codl.errors import CodlError, InputError
from codl.graph import Graph
from codl.runs import IDEAL, Prepared, Row, Workspace, simulated_row
from codl.sim import SimulationResult, simulate
from codl.sweep.expansion import Chunk, Setup, code_version

RESULTS = (
    "latency_ms", "latency_p50_ms", "latency_p95_ms", "latency_p99_ms", "summed_ms", "throughput_per_s", "energy_j",
    "average_power_w", "peak_memory_mb", "compute_ms", "sharing_ms", "cpu_busy", "gpu_busy", "data_type", "chains",
    "split_operators", "planning_ms",
)  # fmt: skip
"""Columns of a row that were worked out; `error` says why they are missing."""


Results = list[tuple[str, Row]]
"""Run ids and what came of them."""
_TURN = threading.Lock()
"""A Dask worker may have several threads. They would only take turns in Python code, and planning shares caches."""


class WrongVersion(InputError):
    """A worker runs another version of codl than the one that asks."""


def work(chunk: Chunk) -> Results:
    """The results of a chunk's runs, by run id.

    Whatever goes wrong with a run is in its row under `error`: one bad combination must not cost the others.

    Raises:
        WrongVersion: this worker would compute something else than was asked for.
    """
    if chunk.code != code_version():
        raise WrongVersion(
            f"a worker runs codl's code {code_version()}, this sweep is for {chunk.code}; install the same version"
        )
    with _TURN:
        return [(run, _row(chunk.setup, requests, jitter, seed)) for run, requests, jitter, seed in chunk.runs]


def _row(setup: Setup, requests: int, jitter: float, seed: int) -> Row:
    try:
        if setup.planner == IDEAL:
            bound = _workspace(setup).bound(setup.model)
            return {"latency_ms": bound["latency_ms"]}
        run = _prepared(setup)
        result = simulate(run.tasks, run.cost, run.hardware, requests=requests, jitter=jitter, seed=seed)
        return _results(run, result)
    except CodlError as error:
        return failed(str(error))
    except MemoryError:
        return failed("out of memory")
    except Exception as error:  # a bug in codl must not cost the other runs either
        return failed(f"unexpected {type(error).__name__}: {error}")


def failed(why: str) -> Row:
    return {"error": why}


def _results(run: Prepared, result: SimulationResult) -> Row:
    row = simulated_row(run, result)
    percentiles = np.percentile(result.latencies_ns, (50, 95, 99)) / 1e6
    row |= {f"latency_p{q}_ms": float(value) for q, value in zip((50, 95, 99), percentiles, strict=True)}
    return {name: _plain(row[name]) for name in RESULTS if name in row}


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value


@lru_cache(maxsize=4)
def _prepared(setup: Setup) -> Prepared:
    return _workspace(setup).prepare(setup.model, setup.planner)


def _workspace(setup: Setup) -> Workspace:
    hardware = hw.overrides(setup.hardware, setup.overrides)
    graphs = {setup.model: _graph(setup.model, setup.shapes, setup.content)}
    return Workspace(hardware, setup.data_type, dict(setup.shapes), setup.objective, graphs)


@lru_cache(maxsize=2)
def _graph(model: str, shapes: tuple[tuple[str, tuple[int, ...]], ...], content: str) -> Graph:
    """A graph holds its weights, half a gigabyte in a large network; `content` makes a changed file another entry."""
    return models.load(model, dict(shapes))
