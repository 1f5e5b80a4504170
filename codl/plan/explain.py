"""Why a plan is what it is: what every operator would have cost otherwise, and the term that decides.

Alternatives are costed as the paper's planner costs them (`codl.plan.singles`): each operator by itself, its data with
the processor that results are brought home to, synchronisation at its planning bound. That is what makes them
comparable: a plan's own latency also knows what a neighbour has already left where it is needed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from codl.cost import CostModel
from codl.graph import Graph, Node
from codl.hardware import Hardware
from codl.ops import REGISTRY
from codl.plan.columns import DIMENSIONS
from codl.plan.evaluate import Boxes, Concurrency, chain_boxes
from codl.plan.model import Chain, Plan
from codl.plan.partition import external_reads
from codl.plan.problem import Problem
from codl.plan.sharing import Fetch, Share
from codl.plan.singles import Isolated, weighed

TERMS = ("compute", "transform, copy", "map, unmap", "sync")
"""What the cost of an alternative is made of, in the order of `Alternative.terms`."""

_UNWEIGHED = {"optimal": ("neighbours", "the whole plan is faster so: results are where neighbours need them")}
"""By planner, the term and the reason for what is cheaper by itself and was not chosen."""


@dataclass(frozen=True)
class Alternative:
    """One way to compute an operator, or a chain of them. Times in nanoseconds.

    Attributes:
        chain: as a plan would hold it.
        kernels: by processor, the sum of its kernels, halo included, alone on the machine.
        compute_ns: until all are done: the longer one, with contention and the memory's bandwidth.
        share: data-sharing overhead.
    """

    chain: Chain
    kernels: Mapping[str, float]
    compute_ns: float
    share: Share

    @property
    def total_ns(self) -> float:
        return self.compute_ns + self.share.ns

    @property
    def terms(self) -> dict[str, float]:
        """Nanoseconds by the names of `TERMS`."""
        return dict(zip(TERMS, (self.compute_ns, self.share.move, self.share.map, self.share.sync), strict=True))

    @property
    def label(self) -> str:
        """`gpu alone`, or `height, gpu 60 %, cpu 40 %`."""
        if len(self.chain.shares) == 1 or self.chain.dimension is None:
            return f"{next(iter(self.chain.shares))} alone"
        shares = ", ".join(f"{name} {100 * share:.0f} %" for name, share in self.chain.shares.items())
        return f"{self.chain.dimension.value.replace('_', ' ')}, {shares}"


@dataclass(frozen=True)
class Explanation:
    """One operator of a plan.

    Attributes:
        placements: on each processor that can run it, whole.
        splits: the best ratio along each dimension that it can be cut along.
        chosen: what the plan does with it, by itself.
        chain: the plan's chain that it is in, if that has several operators.
        members: the operators of that chain one by one, each at its best.
        beside: whether it runs whole beside another branch of the network.
    """

    node: Node
    planner: str
    placements: tuple[Alternative, ...]
    splits: tuple[Alternative, ...]
    chosen: Alternative
    chain: Alternative | None = None
    members: tuple[Alternative, ...] = ()
    beside: bool = False

    @cached_property
    def best(self) -> Alternative:
        """The cheapest alternative for this operator by itself."""
        return min((*self.placements, *self.splits), key=lambda each: each.total_ns)

    @property
    def rival(self) -> Alternative | None:
        """What the decision is judged against: the best split of an operator that runs whole, the best placement of
        one that is split. None where there is no such alternative."""
        rivals = self.splits if len(self.chosen.chain.shares) == 1 else self.placements
        return min(rivals, key=lambda each: each.total_ns, default=None)

    @property
    def decided_by(self) -> str:
        """The term that decides, in a few words."""
        if self.chain is not None:
            return "chain"
        if self.beside:
            return "branch"
        if self.rival is None:
            return "no kernel" if REGISTRY[self.node].host_only else "cannot be cut"
        rival, chosen = self.rival.terms, self.chosen.terms
        term = max(TERMS, key=lambda name: rival[name] - chosen[name])
        return term if self.rival.total_ns > self.chosen.total_ns else _UNWEIGHED.get(self.planner, ("planner", ""))[0]

    def sentence(self) -> str:
        """The decision and its reason. Times in ms."""
        if self.chain is not None:
            return self._chain_sentence(self.chain)
        chosen, rival = self.chosen, self.rival
        label = f"{chosen.label}: {_ms(chosen.total_ns)} ms"
        if self.beside:
            return f"{label}, while another processor computes another branch"
        if rival is None:
            if REGISTRY[self.node].host_only:
                return f"{label}; no kernel of codl's computes {self.node.onnx_op or self.node.op}: ONNX Runtime does"
            return f"{label}; it cannot be cut"
        label += f"; {rival.label} would take {_ms(rival.total_ns)} ms"
        if rival.total_ns <= chosen.total_ns:
            return f"{label}, but {self._unweighed}"
        saved = chosen.compute_ns - rival.compute_ns
        shared = rival.share.ns - chosen.share.ns
        if len(chosen.chain.shares) == 1:
            change = f"save {_ms(saved)} ms of compute" if saved > 0 else f"add {_ms(-saved)} ms of compute"
            return f"{label}: it would {change} and cost {_ms(shared)} ms more of sharing ({_parts(rival.share)})"
        return f"{label}: splitting saves {_ms(-saved)} ms of compute and costs {_ms(-shared)} ms more of sharing"

    @property
    def _unweighed(self) -> str:
        """Why what is cheaper by itself was not chosen."""
        return _UNWEIGHED.get(self.planner, ("planner", f"planner {self.planner} does not weigh that"))[1]

    def _chain_sentence(self, chain: Alternative) -> str:
        first, last, count = chain.chain.operators[0], chain.chain.operators[-1], len(chain.chain.operators)
        compute, sharing = (sum(part) for part in zip(*((a.compute_ns, a.share.ns) for a in self.members), strict=True))
        told = (
            f"{_ms(chain.total_ns)} ms instead of {_ms(compute + sharing)} one by one: sharing {_ms(chain.share.ns)} "
            f"instead of {_ms(sharing)}, compute with halo {_ms(chain.compute_ns)} instead of {_ms(compute)}"
        )
        if chain.total_ns > compute + sharing:
            told += f"; but {self._unweighed}"
        return f"in a chain of {count}, {first} to {last}, {chain.label}: {told}"


def explain(graph: Graph, plan: Plan, hardware: Hardware, cost: CostModel) -> tuple[Explanation, ...]:
    """Every operator of a plan, in order.

    Args:
        cost: costs for the data types that the plan uses.

    Raises:
        UncalibratedError: a constant that a prediction needs is missing.
    """
    costing = _Costing(Problem(graph, hardware, cost))
    splits = costing.best_splits()
    placements = [costing.placements(node) for node in graph.nodes]
    cheapest = [min((*p, *s), key=lambda each: each.total_ns) for p, s in zip(placements, splits, strict=True)]
    found = []
    for chain in plan.chains:
        several = len(chain.operators) > 1 and not chain.branches
        whole = costing.alternative(chain) if several else None
        members = tuple(cheapest[graph.position[name]] for name in chain.operators) if several else ()
        for name in chain.operators:
            index = graph.position[name]
            on = chain.placement(name)
            shares = chain.shares if on is None else {on: 1.0}
            alone = costing.alternative(Chain(operators=(name,), dimension=chain.dimension, shares=shares))
            node, planner, beside = graph.nodes[index], plan.planner, bool(chain.branches)
            found.append(Explanation(node, planner, placements[index], splits[index], alone, whole, members, beside))
    return tuple(sorted(found, key=lambda each: graph.position[each.node.name]))


@dataclass(frozen=True)
class _Costing:
    """Costs of chains by themselves, term by term; the totals are `codl.plan.singles.Isolated`'s."""

    problem: Problem

    @cached_property
    def isolated(self) -> Isolated:
        return Isolated(self.problem)

    def placements(self, node: Node) -> tuple[Alternative, ...]:
        index = self.problem.graph.position[node.name]
        return tuple(self.alternative(self.problem.placed(index, p)) for p in self.problem.placements(index))

    def best_splits(self) -> list[tuple[Alternative, ...]]:
        """By operator, the best of the planner's ratios along each dimension."""
        problem = self.problem
        found: list[list[Alternative]] = [[] for _ in problem.graph.nodes]
        if len(problem.pair) < 2:
            return [tuple(each) for each in found]
        for dimension in DIMENSIONS[:2]:
            for columns, values in weighed(self.isolated, [dimension]):
                if len(columns):
                    cut = int(columns.ends.cut[columns.end[np.argmin(values)]])
                    found[columns.start].append(
                        self.alternative(problem.split(columns.start, columns.start, dimension, cut))
                    )
        return [tuple(each) for each in found]

    def alternative(self, chain: Chain) -> Alternative:
        """A chain by itself."""
        problem = self.problem
        boxes = chain_boxes(problem.graph, chain, problem.alignment, tuple(problem.hardware.processors))
        kernels: dict[str, float] = {}
        nbytes = 0.0
        for processor, own in boxes.items():
            found = [problem.cost.kernel(problem.graph.by_name[name], box, processor) for name, box in own.items()]
            kernels[processor] = sum(cost.ns for cost in found)
            nbytes += sum(cost.nbytes for cost in found)
        together = Concurrency(problem.cost, list(kernels)).together(list(kernels.values()), nbytes)
        return Alternative(chain, kernels, together, self._share(chain, boxes))

    def _share(self, chain: Chain, boxes: Boxes) -> Share:
        """Into every processor but the one where data rests, and back."""
        problem, graph, model = self.problem, self.problem.graph, self.isolated.model
        rest = problem.pair[problem.rest]
        inside = {value for name in chain.operators for value in graph.by_name[name].outputs}
        last = graph.by_name[chain.operators[-1]].output
        split = len(boxes) > 1
        total = Share()
        for processor, own in boxes.items():
            if processor == rest:
                continue
            read = external_reads(graph, own, inside)
            away = [(value, box) for value, box in read.items() if not self.isolated.everywhere(value)]
            sizes = [box.size * problem.tables.itemsize(value) for value, box in away]
            if sizes:
                total = total + _taken_over(model.fetch(rest, processor), sizes)
            if not split or not model.plain:
                made = own[chain.operators[-1]].size * problem.tables.itemsize(last)
                total = total + _taken_over(model.fetch(processor, rest), [made])
        return total


def _taken_over(fetch: Fetch, sizes: Sequence[float]) -> Share:
    """Tensors' parts of these sizes (bytes) handed from one processor to another."""
    nbytes = sum(sizes)
    return Share(
        move=len(sizes) * fetch.value.fixed + fetch.value.per_byte * nbytes,
        map=fetch.once.fixed + fetch.once.per_byte * nbytes,
        sync=fetch.sync,
        joules=fetch.once.joules + len(sizes) * fetch.value.joules + fetch.joules_per_byte * nbytes,
    )


def _parts(share: Share) -> str:
    """The parts of a sharing overhead that are not nothing, the largest first."""
    named: Iterator[tuple[float, str]] = zip((share.move, share.map, share.sync), TERMS[1:], strict=True)
    return ", ".join(f"{name} {_ms(ns)}" for ns, name in sorted(named, reverse=True) if ns > 0) or "nothing"


def _ms(ns: float) -> str:
    return f"{ns / 1e6:.3g}"
