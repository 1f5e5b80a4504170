"""A task graph with what its tasks cost on a machine: what the interpreter runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from codl.graph import Graph, Node
from codl.hardware.schema import Hardware
from codl.ops import Work
from codl.region import Region
from codl.sim.lanes import Order
from codl.sim.machine import Load
from codl.tasks import Task, TaskGraph, TaskKind

WORK = frozenset({TaskKind.KERNEL, TaskKind.TRANSFORM, TaskKind.COPY})
"""Kinds that keep a processor busy, and so are slowed by (and slow) the work of another."""


class TaskCost(Protocol):
    """What a task costs when nothing else runs: integer nanoseconds, bytes of memory traffic, joules above idle."""

    @property
    def duration_ns(self) -> int: ...
    @property
    def nbytes(self) -> int: ...
    @property
    def joules(self) -> float: ...


class Cost(Protocol):
    """The part of `codl.cost.CostModel` that the simulator asks."""

    @property
    def graph(self) -> Graph: ...
    def task(self, task: Task, handed_over: Task | None = None) -> TaskCost: ...
    def work(self, node: Node, out: Region) -> Work: ...


@dataclass(frozen=True, slots=True)
class Program:
    """What each task costs alone, by index.

    Attributes:
        joules: above idle, memory traffic included.
        replayed_bytes: traffic of tasks whose durations were measured; the memory is not asked for it again.
    """

    tasks: TaskGraph
    order: Order
    durations: Sequence[int]
    joules: Sequence[float]
    load: Load
    replayed_bytes: float

    @staticmethod
    def of(tasks: TaskGraph, cost: Cost, hardware: Hardware, measured: Mapping[str, int] | None = None) -> Program:
        """At nominal clocks.

        Args:
            measured: durations by task id that replace predicted ones; nothing slows these tasks further.

        Raises:
            PlanError: a task depends on one that does not come before it.
            UncalibratedError: the hardware lacks a constant that a task needs.
        """
        known = measured or {}
        order = Order.of(tasks)
        costs = [cost.task(task, tasks.handed_over.get(task.id)) for task in tasks.tasks]
        slowdown = {name: processor.contention for name, processor in hardware.processors.items()}
        crowds = any(value > 1 for value in slowdown.values())
        fixed = [task.id in known for task in tasks.tasks]
        load = Load(
            lanes=[task.lane for task in tasks.tasks],
            nbytes=[c.nbytes for c in costs],
            slowdowns=[slowdown.get(task.lane, 1.0) if task.kind in WORK else 1.0 for task in tasks.tasks],
            shared=[
                not told and (c.nbytes > 0 or (crowds and task.kind in WORK))
                for task, c, told in zip(tasks.tasks, costs, fixed, strict=True)
            ],
        )
        return Program(
            tasks,
            order,
            durations=[known.get(task.id, c.duration_ns) for task, c in zip(tasks.tasks, costs, strict=True)],
            joules=[c.joules for c in costs],
            load=load,
            replayed_bytes=float(sum(c.nbytes for c, told in zip(costs, fixed, strict=True) if told)),
        )

    def metered(
        self, hardware: Hardware, clocked: Mapping[tuple[str, float], Cost], varying: Sequence[str]
    ) -> Program:  # fmt: skip
        """The same with power, and with paces at other clocks.

        Args:
            clocked: costs by processor and relative clock, for every clock that it may run at.
            varying: lanes whose pace may change while a task runs.
        """
        active = {name: processor.active_power for name, processor in hardware.processors.items()}
        load, tasks = self.load, self.tasks.tasks
        watts = [active[t.lane] if j and t.lane in active else 0.0 for t, j in zip(tasks, self.joules, strict=True)]
        drawn = [w * ns * 1e-9 for w, ns in zip(watts, self.durations, strict=True)]
        return Program(
            self.tasks,
            self.order,
            self.durations,
            self.joules,
            Load(
                load.lanes,
                load.nbytes,
                load.slowdowns,
                [shared or task.lane in varying for shared, task in zip(load.shared, tasks, strict=True)],
                watts,
                [max(0.0, j - own) for j, own in zip(self.joules, drawn, strict=True)],
                {(lane, clock): self._paces(lane, cost) for (lane, clock), cost in clocked.items()},
            ),
            self.replayed_bytes,
        )

    def _paces(self, lane: str, cost: Cost) -> list[float]:
        paces = []
        for task, nominal in zip(self.tasks.tasks, self.durations, strict=True):
            if task.lane != lane or not nominal:
                paces.append(1.0)
            else:
                paces.append(nominal / max(nominal, cost.task(task).duration_ns))
        return paces

    def jittered(self, jitter: float, *seed: int) -> Callable[[int], Sequence[int]]:
        """Durations of inference number k; each has its own stream of random numbers.

        Args:
            jitter: relative standard deviation of every duration (log-normal, mean 1).
        """
        if not jitter:
            return lambda request: self.durations
        alone = np.asarray(self.durations, dtype=np.float64)
        sigma = np.sqrt(np.log1p(jitter * jitter))

        def draw(request: int) -> Sequence[int]:
            normal = np.random.default_rng([*seed, request]).standard_normal(alone.size)
            drawn: list[int] = np.rint(alone * np.exp(sigma * normal - sigma * sigma / 2)).astype(np.int64).tolist()
            return drawn

        return draw
