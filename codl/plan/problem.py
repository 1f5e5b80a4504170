"""What every planner works on: a graph, a hardware description and its costs, and the decisions that make a plan."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from codl.cost import CostModel
from codl.errors import InputError
from codl.graph import Graph
from codl.hardware import Hardware
from codl.ops import REGISTRY, Dimension
from codl.plan.boxes import Floats, Ids
from codl.plan.evaluate import NS_PER_S, Concurrency, Parts, PlanLatency, chain_parts, pieces_of, plan_latency
from codl.plan.model import Chain, Plan, ProcessorUse, Reference
from codl.plan.sharing import SharingModel
from codl.plan.tables import Tables
from codl.region import Region

OBJECTIVES = ("latency", "energy", "edp")


@dataclass(frozen=True, slots=True)
class Weights:
    """What a planner minimises: latency * ns + energy * joules above idle."""

    latency: float = 1.0
    energy: float = 0.0


@dataclass(frozen=True)
class Problem:
    """One planning problem.

    Args:
        cost: costs for the data types that the plan will use.
        delta: largest difference between a chain's ratio and those that its operators would have alone.
        ratio_step: distance of the ratios that the paper's planners try.
        weights: of latency and energy.
    """

    graph: Graph
    hardware: Hardware
    cost: CostModel
    delta: float = 0.3
    ratio_step: float = 0.1
    weights: Weights = Weights()

    @cached_property
    def pair(self) -> tuple[str, ...]:
        """The processors that share operators, in dealing order: a GPU and a CPU where there are both."""
        processors = self.hardware.processors
        chosen = {name for name in (self.gpu, self.cpu) if name}
        for name in processors:
            if len(chosen) < 2:
                chosen.add(name)
        return tuple(name for name in processors if name in chosen)

    @cached_property
    def gpu(self) -> str | None:
        return _pick(self.hardware, "gpu")

    @cached_property
    def cpu(self) -> str | None:
        return _pick(self.hardware, "cpu")

    @cached_property
    def rest(self) -> int:
        """Index in `pair` of the processor with which data is taken to be between operators planned one by one."""
        home = self.hardware.sharing.home
        return self.pair.index(home) if home in self.pair else 0

    @cached_property
    def alignment(self) -> dict[Dimension, int]:
        return {Dimension(name): value for name, value in self.hardware.alignment.items() if value > 1}

    @cached_property
    def tables(self) -> Tables:
        return Tables(self.graph, self.cost, self.pair, self.alignment)

    @cached_property
    def concurrency(self) -> Concurrency:
        return Concurrency(self.cost, self.pair)

    def sharing(self, bound: bool) -> SharingModel:
        """Sharing costs of a plan that uses the whole pair."""
        kinds = {name: processor.kind for name, processor in self.hardware.processors.items()}
        sharing = self.hardware.sharing
        return SharingModel(self.cost, sharing.kind, self.pair, kinds, self.cost.data_types, sharing.home, bound)

    def weighted(self, weights: Weights) -> Problem:
        """The same problem with another objective; tables are shared."""
        other = replace(self, weights=weights)
        other.__dict__["tables"] = self.tables
        other.__dict__["_parts"] = self._parts
        return other

    def host_only(self, index: int) -> bool:
        """Whether only a CPU can run an operator."""
        return REGISTRY[self.graph.nodes[index]].host_only

    def placements(self, index: int) -> tuple[int, ...]:
        """Indices in `pair` of the processors that can run an operator whole.

        Raises:
            InputError: none can.
        """
        if not self.host_only(index):
            return tuple(range(len(self.pair)))
        able = tuple(i for i, name in enumerate(self.pair) if name == self.cpu)
        if not able:
            node = self.graph.nodes[index]
            raise InputError(
                f"{self.hardware.name}: no processor of kind cpu, which {node.name} ({node.onnx_op or node.op}) needs"
            )
        return able

    def kernels(self, costs: Floats) -> Floats:
        """The value of kernels of both processors, working at once.

        Args:
            costs: as in `Columns`, (2, columns, 3).
        """
        first, second = costs
        ns = self.concurrency.pair(first[:, 0], second[:, 0], first[:, 1] + second[:, 1])
        found: Floats = self.value(ns, first[:, 2] + second[:, 2])
        return found

    def value(self, ns: Any, joules: Any) -> Any:
        """What is minimised; scalars or arrays."""
        if not self.weights.energy:
            return self.weights.latency * ns
        return self.weights.latency * ns + self.weights.energy * joules

    def grid(self, index: int, dimension: Dimension) -> Ids:
        """Indices into `tables.cuts` of the ratios 0, step, ..., 1 that really cut an operator in two."""
        if dimension not in self.tables.dimensions(index):
            return np.zeros(0, dtype=np.int64)
        extent, alignment = self.tables.extent(index, dimension), self.alignment.get(dimension, 1)
        steps = round(1 / self.ratio_step)
        wanted = {round(step * self.ratio_step * extent / alignment) for step in range(1, steps)}
        return np.array(sorted(k - 1 for k in wanted if 0 < k * alignment < extent), dtype=np.int64)

    def nearest(self, index: int, dimension: Dimension, ratio: float) -> int:
        """The aligned cut nearest to a ratio; 0 if an operator cannot be cut."""
        if dimension not in self.tables.dimensions(index):
            return 0
        cuts = self.tables.cuts(index, dimension)
        if not len(cuts):
            return 0
        return int(cuts[np.argmin(np.abs(cuts - ratio * self.tables.extent(index, dimension)))])

    def flops(self, index: int) -> float:
        """Floating-point operations of an operator."""
        node = self.graph.nodes[index]
        return REGISTRY[node].work(self.graph, node, Region.full(self.graph.tensors[node.output].shape)).flops

    def split(self, start: int, stop: int, dimension: Dimension, cut: int) -> Chain:
        """The operators start..stop as a chain of a plan, the last one's output cut in two."""
        ratio = cut / self.tables.extent(stop, dimension)
        operators = tuple(node.name for node in self.graph.nodes[start : stop + 1])
        return Chain(operators=operators, dimension=dimension, shares={self.pair[0]: ratio, self.pair[1]: 1 - ratio})

    def placed(self, index: int, processor: int) -> Chain:
        """One operator on one processor."""
        return Chain(operators=(self.graph.nodes[index].name,), shares={self.pair[processor]: 1.0})

    def plan(self, planner: str, chains: Sequence[Chain], started: float | None = None) -> Plan:
        """The plan with these chains, complete with references, kernel choices and the latency to expect.

        Args:
            started: when planning began, by `time.perf_counter`.
        """
        update: dict[str, object] = {
            "planner": planner,
            "chains": tuple(chains),
            "predicted_ms": self.latency(chains).total_ns / 1e6,
            "algorithms": self._algorithms(chains),
        }
        if started is not None:
            update["planning_ms"] = (time.perf_counter() - started) * 1e3
        return self._bare.model_copy(update=update)

    @cached_property
    def _bare(self) -> Plan:
        """A plan without decisions."""
        return Plan(
            model=Reference(name=self.graph.name, digest=self.graph.digest),
            hardware=Reference(name=self.hardware.name, digest=self.hardware.digest),
            planner="",
            processors={
                name: ProcessorUse(kind=processor.kind, data_type=self.cost.data_types[name])
                for name, processor in self.hardware.processors.items()
            },
            sharing=self.hardware.sharing.kind,
            home=self.hardware.sharing.home,
            alignment=self.alignment,
            chains=(),
            data_types=self.cost.operators,
        )

    def latency(self, chains: Sequence[Chain]) -> PlanLatency:
        """The summed latency of the plan with these chains."""
        bare = self._bare.model_copy(update={"chains": tuple(chains)})
        return plan_latency(self.graph, bare, self.cost, parts=[self.parts(chain) for chain in chains])

    def parts(self, chain: Chain) -> Parts:
        """What the processors do in a chain. Kept, since the plans that a search weighs have many chains in common."""
        key = (chain.operators, chain.dimension, tuple(chain.shares.items()), tuple(chain.branches.items()))
        if key not in self._parts:
            pieces = pieces_of(self.graph, chain, self.alignment, tuple(self.hardware.processors))
            self._parts[key] = chain_parts(self.graph, chain, pieces, self.tables.kernel, self.cost)
        return self._parts[key]

    @cached_property
    def _parts(self) -> dict[object, Parts]:
        return {}

    def _algorithms(self, chains: Sequence[Chain]) -> dict[str, dict[str, str]]:
        """The kernel library's choice for every part, by operator and processor."""
        chosen = {name: used for chain in chains for name, used in self.parts(chain).algorithms.items()}
        return {node.name: dict(chosen[node.name]) for node in self.graph.nodes if node.name in chosen}

    def objective(self, chains: Sequence[Chain]) -> float:
        """What is minimised, of a whole plan."""
        latency = self.latency(chains)
        idle = self.hardware.power.idle * latency.total_ns / NS_PER_S
        return float(self.weights.latency * latency.total_ns + self.weights.energy * (latency.joules - idle))


def _pick(hardware: Hardware, kind: str) -> str | None:
    """The processor of a kind: the one that has its name, else the first; None if there is none."""
    able = [name for name, processor in hardware.processors.items() if processor.kind == kind]
    return kind if kind in able else able[0] if able else None
