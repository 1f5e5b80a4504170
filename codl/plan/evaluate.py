"""The latency of a plan as the paper defines it: summed over chains, not read off a clock.

    chain = data transform + map + synchronisation + max(sum of CPU kernels, sum of GPU kernels) + output transform

Every sum of kernels includes the halo; data is transformed, mapped or copied only where processors really share it, by
the rules of `codl.plan.lower`. Two physical bounds are added to the maximum: while both processors work each is slower
by its `contention`, and all traffic must pass through the memory's bandwidth.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from codl.cost import CostModel, KernelCost
from codl.graph import Graph
from codl.ops import Dimension
from codl.plan.model import Chain, Plan
from codl.plan.partition import Piece, chain_pieces, exits, external_reads, output_parts, placed_regions
from codl.plan.sharing import Ledger, Share, SharingModel
from codl.region import Region

NS_PER_S = 1e9


@dataclass(frozen=True, slots=True)
class ChainLatency:
    """One chain of a plan. Times in nanoseconds; `kernels` by processor, halo included."""

    operators: tuple[str, ...]
    share: Share
    kernels: Mapping[str, float]
    compute_ns: float
    joules: float

    @property
    def total_ns(self) -> float:
        return self.share.ns + self.compute_ns


@dataclass(frozen=True, slots=True)
class PlanLatency:
    """A plan's latency and energy. `joules` includes the device's idle power over the latency."""

    chains: tuple[ChainLatency, ...]
    finish: Share
    """Bringing the outputs to where the caller reads them."""
    total_ns: float
    compute_ns: float
    sharing_ns: float
    joules: float


class Concurrency:
    """How long processors that work at the same time take, from how long each takes alone."""

    def __init__(self, cost: CostModel, processors: Sequence[str]) -> None:
        hardware = cost.hardware
        self.contention = [hardware.processors[name].contention for name in processors]
        self.bandwidth = hardware.memory.bandwidth / NS_PER_S

    def pair(self, first: Any, second: Any, nbytes: Any) -> Any:
        """Nanoseconds until both are done; scalars or arrays.

        Args:
            first, second: kernel time of either processor, alone on the machine.
            nbytes: memory traffic of both.
        """
        a, b = self.contention
        if a == b == 1:
            return np.maximum(np.maximum(first, second), nbytes / self.bandwidth)
        slow_first, slow_second = first * a, second * b
        # Both are slowed until the shorter one ends; the rest of the longer one runs undisturbed.
        joint = np.where(
            slow_first <= slow_second, second + slow_first * (1 - 1 / b), first + slow_second * (1 - 1 / a)
        )
        return np.maximum(joint, nbytes / self.bandwidth)

    def together(self, kernels: Sequence[float], nbytes: float) -> float:
        """`pair` for any number of processors; exact for two, for more all are slowed throughout."""
        if len(kernels) == 1:
            return kernels[0]
        if len(kernels) == 2:
            return float(self.pair(kernels[0], kernels[1], nbytes))
        slowed = [ns * factor for ns, factor in zip(kernels, self.contention, strict=True)]
        return float(max(*slowed, nbytes / self.bandwidth))


Boxes = dict[str, dict[str, Region]]
"""processor -> operator -> box that it computes"""


@dataclass(frozen=True, slots=True)
class Parts:
    """What the processors do in a chain, wherever its inputs are.

    Args:
        pieces: what each processor computes and reads, in dealing order.
        leaving: values made in the chain that are read outside of it.
        kernels: nanoseconds of each processor, halo included; `compute_ns` all of them, at once.
        joules: of the kernels.
        algorithms: their variants, by operator and processor.
    """

    pieces: Mapping[str, Piece]
    leaving: tuple[str, ...]
    kernels: Mapping[str, float]
    compute_ns: float
    joules: float
    algorithms: Mapping[str, Mapping[str, str]]


Kernels = Callable[[str, Region, str], tuple[KernelCost, str]]
"""(operator, box of its output, processor) -> what computing it costs, and with which kernel variant"""


def plan_latency(
    graph: Graph, plan: Plan, cost: CostModel, *, bound: bool = False, parts: Sequence[Parts] | None = None
) -> PlanLatency:
    """The summed latency of a plan (the module's formula).

    Args:
        bound: count synchronisations at the planner's upper bound instead of their typical value.
        parts: `chain_parts` of each chain, where they are known.

    Raises:
        UncalibratedError: a constant that the prediction needs is missing.
    """
    used = tuple(name for name in plan.processors if any(name in chain.shares for chain in plan.chains))
    kinds = {name: use.kind for name, use in plan.processors.items()}
    data_types = {name: use.data_type for name, use in plan.processors.items()}
    model = SharingModel(cost, plan.sharing, used, kinds, data_types, plan.home, bound)
    ledger = Ledger(graph, model)
    if parts is None:

        def kernel(name: str, region: Region, processor: str) -> tuple[KernelCost, str]:
            algorithm = plan.algorithms.get(name, {}).get(processor, "")
            return cost.kernel(graph.by_name[name], region, processor, algorithm), algorithm

        parts = [
            chain_parts(graph, chain, pieces_of(graph, chain, plan.alignment, plan.processors), kernel, cost)
            for chain in plan.chains
        ]
    chains = tuple(_chain(graph, chain, known, ledger) for chain, known in zip(plan.chains, parts, strict=True))
    finish = _finish(graph, ledger)
    compute = sum(chain.compute_ns for chain in chains)
    sharing = sum(chain.share.ns for chain in chains) + finish.ns
    idle = cost.hardware.power.idle * (compute + sharing) / NS_PER_S
    joules = sum(chain.joules for chain in chains) + finish.joules + idle
    return PlanLatency(chains, finish, compute + sharing, compute, sharing, joules)


def pieces_of(
    graph: Graph, chain: Chain, alignment: Mapping[Dimension, int], processors: Iterable[str]
) -> dict[str, Piece]:
    """What each processor computes of a chain and reads for it, in dealing order."""
    if chain.branches:
        inside = {value for name in chain.operators for value in graph.by_name[name].outputs}
        placed = placed_regions(graph, {name: chain.branches[name] for name in processors if name in chain.branches})
        return {name: Piece(own, external_reads(graph, own, inside)) for name, own in placed.items()}
    shares = {name: chain.shares[name] for name in processors if name in chain.shares}
    step = alignment.get(chain.dimension, 1) if chain.dimension else 1
    parts = output_parts(graph, chain.operators[-1], chain.dimension, shares, step)
    return chain_pieces(graph, chain.operators, parts)


def chain_boxes(graph: Graph, chain: Chain, alignment: Mapping[Dimension, int], processors: Iterable[str]) -> Boxes:
    """What each processor computes of a chain, in dealing order."""
    return {name: piece.boxes for name, piece in pieces_of(graph, chain, alignment, processors).items()}


def chain_parts(graph: Graph, chain: Chain, pieces: Mapping[str, Piece], kernel: Kernels, cost: CostModel) -> Parts:
    """What the processors do in a chain, and how long that takes.

    Args:
        pieces: its `pieces_of`.
        cost: what the machine is like; kernels are asked for by `kernel`.

    Raises:
        UncalibratedError: see `plan_latency`.
    """
    kernels: dict[str, float] = {}
    algorithms: dict[str, dict[str, str]] = {}
    nbytes = joules = 0.0
    for processor, piece in pieces.items():
        kernels[processor] = 0.0
        for name, region in piece.boxes.items():
            each, algorithms.setdefault(name, {})[processor] = kernel(name, region, processor)
            kernels[processor] += each.ns
            nbytes += each.nbytes
            joules += each.joules
    compute = Concurrency(cost, list(pieces)).together(list(kernels.values()), nbytes)
    return Parts(pieces, exits(graph, chain.operators), kernels, compute, joules, algorithms)


def _chain(graph: Graph, chain: Chain, parts: Parts, ledger: Ledger) -> ChainLatency:
    model, pieces = ledger.model, parts.pieces
    share = model.together([ledger.fetch(processor, piece.reads) for processor, piece in pieces.items()])
    for value in parts.leaving:
        producer = graph.producer[value]
        whole = Region.full(graph.tensors[value].shape)
        makers = {p: piece.boxes for p, piece in pieces.items() if producer.name in piece.boxes or not chain.branches}
        made = {p: own[producer.name] if value == producer.output else whole for p, own in makers.items()}
        ledger.write(value, made)
    if model.home and len(pieces) > 1:
        wholes = {value: Region.full(graph.tensors[value].shape) for value in parts.leaving}
        share = share + ledger.fetch(model.home, wholes)
        for value, whole in wholes.items():  # the others' parts are the home processor's now
            ledger.write(value, {model.home: whole})
        for processor, piece in pieces.items():
            if processor != model.home:
                ledger.forget(processor, piece.reads)
    return ChainLatency(chain.operators, share, parts.kernels, parts.compute_ns, parts.joules + share.joules)


def _finish(graph: Graph, ledger: Ledger) -> Share:
    """Outputs that no processor holds whole, or that lie in another memory than the caller's, are brought together."""
    model = ledger.model
    if model.plain or (model.sharing == "mapped" and not model.images):
        return Share()  # all parts lie in one buffer
    wanted = {}
    for value in graph.outputs:
        if value in graph.weights:
            continue
        whole = Region.full(graph.tensors[value].shape)
        held = any(sum(box.size for box in boxes) >= whole.size for boxes in ledger.valid[value].values())
        if model.sharing == "copied" or not held:
            wanted[value] = whole
    return ledger.fetch(model.host, wanted)
