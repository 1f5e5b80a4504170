"""What a worker does, in this process, in another one or on another machine: plan once, simulate each run."""

from __future__ import annotations

import threading
from functools import lru_cache

import numpy as np

from codl import hardware as hw
from codl import models
from codl.errors import CodlError, InputError
from codl.graph import Graph
from codl.runs import IDEAL, Prepared, Row, Workspace, simulated_row
from codl.sim import SimulationResult, simulate
from codl.sweep.expansion import Chunk, Setup, code_version
from codl.sweep.spec import Inferences
from codl.workload import Workload
from codl.workloads import workload_rows

RESULTS = (
    "latency_ms", "p50_ms", "p95_ms", "p99_ms", "summed_ms", "throughput_per_s", "energy_j",
    "average_power_w", "peak_memory_mb", "compute_ms", "sharing_ms", "cpu_busy", "gpu_busy", "data_type", "chains",
    "split_operators", "planning_ms",
)  # fmt: skip
"""Columns of a row that every sweep has, where they could be worked out; `error` says why they are missing."""


Results = list[tuple[str, list[Row]]]
"""Run ids and what came of them: one row, or one a stream of a workload."""
_SAID = frozenset({"model", "hardware", "planner", "seed"})
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
        return [(run, _rows(chunk.setup, asked)) for run, asked in chunk.runs]


def _rows(setup: Setup, asked: Inferences | Workload) -> list[Row]:
    try:
        if isinstance(asked, Workload):
            if setup.planner == IDEAL:
                return failed(f"{IDEAL} is a bound, not a plan: it cannot serve a workload")
            rows, _ = workload_rows(_workspace(setup), asked, setup.model, setup.planner)
            return [_flat(row) for row in rows]
        if setup.planner == IDEAL:
            return [{"latency_ms": _workspace(setup).bound(setup.model)["latency_ms"]}]
        run = _prepared(setup)
        result = simulate(
            run.tasks, run.cost, run.hardware, requests=asked.requests, jitter=asked.jitter, seed=asked.seed
        )
        return [_results(run, result)]
    except CodlError as error:
        return failed(str(error))
    except MemoryError:
        return failed("out of memory")
    except Exception as error:  # a bug in codl must not cost the other runs either
        return failed(f"unexpected {type(error).__name__}: {error}")


def failed(why: str) -> list[Row]:
    return [{"error": why}]


def _results(run: Prepared, result: SimulationResult) -> Row:
    row = simulated_row(run, result)
    percentiles = np.percentile(result.latencies_ns, (50, 95, 99)) / 1e6
    row |= {f"p{q}_ms": float(value) for q, value in zip((50, 95, 99), percentiles, strict=True)}
    return {name: row[name] for name in RESULTS if name in row}


def _flat(row: Row, prefix: str = "") -> Row:
    """A row of a workload without what the sweep says anyway; nested figures as `utilisation.gpu`."""
    flat: Row = {}
    for name, value in row.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{name}.")
        elif value is not None and prefix + name not in _SAID:
            flat[prefix + name] = value
    return flat


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
