"""A small deterministic cost model and hardware description for tests of search: no calibration, exact numbers.

It has the interface of `codl.cost.CostModel` and of the parts of `codl.hardware.Hardware` that planning uses.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import SimpleNamespace

from codl.cost import KernelCost, TaskCost
from codl.graph import Graph, Node
from codl.region import Region
from codl.tasks import Task, TaskKind


def hardware(
    sharing: str = "unified",
    home: str | None = None,
    image: bool = False,
    processors: tuple[str, ...] = ("gpu", "cpu"),
    **alignment,
) -> SimpleNamespace:
    """Two processors without contention on a memory that is never the bottleneck."""
    types = {"gpu": ("image", "buffer") if image else ("buffer",), "cpu": ("buffer",)}
    return SimpleNamespace(
        name="fake",
        digest="0" * 16,
        fingerprint="",
        processors={
            name: SimpleNamespace(kind=name, data_types=types[name], contention=1.0, active_power=1.0)
            for name in processors
        },
        sharing=SimpleNamespace(kind=sharing, home=home),
        alignment=alignment,
        memory=SimpleNamespace(bandwidth=1e30, energy=0.0),
        power=SimpleNamespace(idle=1.0),
    )


@dataclass
class FakeCost:
    """Kernel time = launch + rate * elements, and `noise` * a pseudo-random number that depends on the box.

    Times are in nanoseconds, rates by processor in nanoseconds an element.
    """

    hardware: SimpleNamespace
    graph: Graph
    data_types: dict[str, str] = field(default_factory=dict)
    rates: dict[str, float] = field(default_factory=lambda: {"gpu": 1.0, "cpu": 1.0})
    launch: float = 10.0
    noise: float = 0.0
    seed: int = 0
    sync: float = 50.0
    bound_sync: float = 80.0
    fixed: float = 5.0
    per_byte: float = 0.01
    operators: dict[str, dict[str, str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.data_types = self.data_types or {n: p.data_types[0] for n, p in self.hardware.processors.items()}

    def as_predicted(self) -> FakeCost:
        return self

    def with_data_types(self, data_types: Mapping[str, str], operators: Mapping | None = None) -> FakeCost:
        return replace(self, data_types=dict(data_types), operators=dict(operators or {}))

    def choices(self, processor: str) -> tuple[str, ...]:
        return self.hardware.processors[processor].data_types[:1]

    def able(self, node: Node, processor: str) -> bool:
        return True

    def algorithm(self, node: Node, out: Region, processor: str) -> str:
        return ""

    def kernel(self, node: Node, out: Region, processor: str, algorithm: str = "") -> KernelCost:
        shape = self.graph.tensors[node.output].shape
        text = repr((node.op, sorted(node.attributes.items()), shape, out.ranges, processor, self.seed))
        work = out.size * (9 if node.op == "conv" else 1)
        slow = 4.0 if self.data_types[processor] == "buffer" and processor == "gpu" else 1.0
        ns = self.launch + slow * self.rates[processor] * work
        ns *= 1 + self.noise * (zlib.crc32(text.encode()) % 1000) / 1000
        return KernelCost(ns, float(4 * out.size), ns * 1e-9 * (1.0 if processor == "gpu" else 3.0))

    def sync_ns(self, source: str, target: str, bound: bool = False) -> float:
        return self.bound_sync if bound else self.sync

    def transform_ns(self, processor: str, nbytes: float) -> float:
        return self.fixed + self.per_byte * nbytes

    def map_ns(self, nbytes: float) -> float:
        return self.fixed + self.per_byte * nbytes

    def unmap_ns(self, nbytes: float) -> float:
        return self.fixed

    def copy_ns(self, source: str, target: str, nbytes: float) -> float:
        return self.fixed + self.per_byte * nbytes

    def task(self, task: Task, handed_over: Task | None = None) -> TaskCost:
        ns = {
            TaskKind.MAP: self.map_ns, TaskKind.UNMAP: self.unmap_ns,
            TaskKind.TRANSFORM: lambda n: self.transform_ns(task.lane, n),
            TaskKind.COPY: lambda n: self.copy_ns(task.source, task.lane, n),
        }[task.kind](task.nbytes)  # fmt: skip
        return TaskCost(round(ns), 2 * task.nbytes, ns * 1e-9)
