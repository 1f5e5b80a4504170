"""Workloads on machines with hand-chosen prices, for the tests of queueing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from codl.hardware.schema import Hardware
from codl.sim.conditions import varying
from codl.sim.program import Program
from codl.sim.workload import Client, WorkloadRecord, run_workload
from codl.tasks import TaskGraph
from codl.workload import Workload
from tests.machines import Price, Prices, kernel, machine, task_graph

MS = 1_000_000


def workload(*streams: Mapping[str, Any], **fields: Any) -> Workload:
    return Workload.model_validate({"streams": streams or ({},), **fields})


def program(
    tasks: TaskGraph, prices: Mapping[str, Price], wanted: Workload, hardware: Hardware | None = None,
    clocked: Any = None,
) -> Program:  # fmt: skip
    on = hardware or machine()
    return Program.of(tasks, Prices(prices), on).metered(on, clocked or {}, varying(wanted))


def one_kernel(wanted: Workload, duration_ns: int = MS, lane: str = "gpu", **price: float) -> Program:
    """A network of one operator."""
    return program(task_graph(kernel("k", lane)), {"k": Price(duration_ns, **price)}, wanted)


def serve(
    wanted: Workload, *programs: Program, hardware: Hardware | None = None, repetition: int = 0
) -> WorkloadRecord:  # fmt: skip
    """Each stream served by one of the programs (the only one by all)."""
    many = programs * len(wanted.streams) if len(programs) == 1 else programs
    clients = [Client(f"s{i}", stream, ((p,),)) for i, (stream, p) in enumerate(zip(wanted.streams, many, strict=True))]
    return run_workload(wanted, clients, hardware or machine(), repetition)
