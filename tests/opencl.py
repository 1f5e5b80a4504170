"""Devices, inputs and executors for tests, the same on machines with and without a GPU."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from codl.graph import Graph
from codl.plan.lower import lower
from codl.plan.model import Plan
from codl.real.devices import Assignment, DeviceInfo, choose, find
from codl.real.executor import Executor


@cache
def halves() -> Assignment:
    """Two halves of the OpenCL CPU device as `gpu` and `cpu`, in one memory; the whole twice where it has one core."""
    whole = next(info for info in find() if info.kind == "cpu" and info.id == info.root)
    parts = [info for info in find() if info.root == whole.id and info.id != whole.id]
    first, second = parts or (whole, whole)
    return choose(cpu=second.id, gpu=first.id)


@cache
def native_halves() -> Assignment:
    """The same of this machine as a native device."""
    pytest.importorskip("numba", reason="native devices need numba")
    parts = [info.id for info in find() if info.root == "native:0" and info.id != "native:0"]
    first, second = parts or ("native:0", "native:0")
    return choose(cpu=second, gpu=first)


def inputs_of(graph: Graph, seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {name: rng.standard_normal(graph.tensors[name].shape).astype(np.float32) for name in graph.inputs}


def executor_of(graph: Graph, plan: Plan, devices: Assignment | dict[str, DeviceInfo], **options: float) -> Executor:
    return Executor(graph, lower(graph, plan), devices, **options)
