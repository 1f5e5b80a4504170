"""Geometry and kernel costs of a graph as tables over boxes, so that a planner weighs all cuts of an operator at once.

A planner asks the same few questions about thousands of boxes: what does this box cost here, what does it read? Here
every box of a tensor gets a small number, each question is answered once per box and operator, and the answers are
arrays that numpy indexes. Operators that are alike (same family, attributes and shapes) share one table, which is most
of them in a deep network.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from codl.cost import CostModel
from codl.graph import Graph, Node
from codl.ops import REGISTRY, Dimension
from codl.region import Region

Ids = NDArray[np.int64]
Floats = NDArray[np.float64]
NOTHING = -1
"""The number of the empty box, of every tensor."""


class Boxes:
    """The boxes of tensors of one shape, numbered as they turn up."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.shape = shape
        self.regions: list[Region] = []
        self._ids: dict[Region, int] = {}
        self._ranges: Ids = np.zeros((0, len(shape), 2), dtype=np.int64)
        self._cuts: dict[tuple[int, int], tuple[Ids, Ids, Ids]] = {}

    def id(self, region: Region) -> int:
        """The number of a box; `NOTHING` for an empty one."""
        found = self._ids.get(region)
        if found is None:
            if region.empty:
                return NOTHING
            found = self._ids[region] = len(self.regions)
            self.regions.append(region)
        return found

    @property
    def ranges(self) -> Ids:
        """(start, stop) of every axis of every box, (boxes, axes, 2)."""
        if len(self._ranges) < len(self.regions):
            fresh = [region.ranges for region in self.regions[len(self._ranges) :]]
            block = np.array(fresh, dtype=np.int64).reshape(len(fresh), len(self.shape), 2)
            self._ranges = np.concatenate([self._ranges, block])
        return self._ranges

    def cuts(self, axis: int, alignment: int) -> tuple[Ids, Ids, Ids]:
        """Every way to cut an axis in two at a multiple of `alignment`: (cuts, boxes before, boxes from the cut on)."""
        key = (axis, alignment)
        if key not in self._cuts:
            whole, extent = Region.full(self.shape), self.shape[axis]
            cuts = np.arange(alignment, extent, alignment, dtype=np.int64)
            before = [self.id(whole.along(axis, 0, int(cut))) for cut in cuts]
            after = [self.id(whole.along(axis, int(cut), extent)) for cut in cuts]
            self._cuts[key] = (cuts, np.array(before, dtype=np.int64), np.array(after, dtype=np.int64))
        return self._cuts[key]

    def hull(self, left: Ids, right: Ids) -> Ids:
        """Element by element, the smallest box that holds both."""
        if left is right or np.array_equal(left, right):
            return left
        merged = np.where(left == NOTHING, right, left)
        for index in np.flatnonzero((left != NOTHING) & (right != NOTHING) & (left != right)):
            merged[index] = self.id(self.regions[left[index]].hull(self.regions[right[index]]))
        return merged

    def sizes(self, ids: Ids) -> Floats:
        """Elements of each box."""
        ranges = self.ranges[ids]
        return np.where(ids == NOTHING, 0.0, np.prod(ranges[..., 1] - ranges[..., 0], axis=-1, dtype=np.float64))

    def missing(self, own: Ids, need: Ids) -> Floats:
        """Elements of each needed box that each owned box lacks: (owned, needed)."""
        if not self.regions:
            return np.zeros((len(own), len(need)))
        have, want = self.ranges[own], self.ranges[need]
        common = np.ones((len(own), len(need)))
        for axis, extent in enumerate(self.shape):
            if bool(np.all((have[:, axis, 0] == 0) & (have[:, axis, 1] == extent))):
                common *= (want[:, axis, 1] - want[:, axis, 0])[None, :]
                continue
            start = np.maximum(have[:, axis, 0][:, None], want[:, axis, 0][None, :])
            stop = np.minimum(have[:, axis, 1][:, None], want[:, axis, 1][None, :])
            common *= np.maximum(stop - start, 0)
        common[own == NOTHING] = 0
        return np.where(need == NOTHING, 0.0, self.sizes(need)[None, :] - common)


class _Operator:
    """What all operators that are alike share: costs by processor and box, boxes read by input and box."""

    def __init__(self, graph: Graph, node: Node, out: Boxes, inputs: Sequence[Boxes], processors: int) -> None:
        self.graph = graph
        self.node = node
        self.out = out
        self.inputs = tuple(inputs)
        self.costs = [np.full((0, 3), np.nan) for _ in range(processors)]
        self.reads: Ids = np.zeros((len(self.inputs), 0), dtype=np.int64)
        self.dimensions = REGISTRY[node].dimensions(graph, node)

    def costs_of(self, cost: CostModel, processor: int, name: str, ids: Ids) -> Floats:
        """(ns, bytes of memory traffic, joules) of each box, (boxes, 3); zero for the empty box."""
        table = self.costs[processor]
        if len(table) <= len(self.out.regions):  # one row more than boxes: the last is the empty box's
            grown = np.full((2 * len(self.out.regions) + 8, 3), np.nan)
            grown[: max(len(table) - 1, 0)] = table[:-1]
            grown[-1] = 0.0
            table = self.costs[processor] = grown
        rows = table[ids]
        unknown = np.isnan(rows[:, 0])
        if unknown.any():
            for index in np.unique(ids[unknown]):
                found = cost.kernel(self.node, self.out.regions[index], name)
                table[index] = (found.ns, found.nbytes, found.joules)
            rows = table[ids]
        return rows

    def reads_of(self, ids: Ids) -> list[Ids]:
        """The boxes of each variable input that computing these boxes reads."""
        unknown = -2
        if self.reads.shape[1] <= len(self.out.regions):
            grown = np.full((len(self.inputs), 2 * len(self.out.regions) + 8), unknown, dtype=np.int64)
            grown[:, : max(self.reads.shape[1] - 1, 0)] = self.reads[:, :-1]
            grown[:, -1] = NOTHING
            self.reads = grown
        if not self.inputs:
            return []
        rows = self.reads[:, ids]
        if (rows[0] == unknown).any():
            spec = REGISTRY[self.node]
            for index in np.unique(ids[rows[0] == unknown]):
                boxes = spec.input_regions(self.graph, self.node, self.out.regions[index])
                self.reads[:, index] = [table.id(box) for table, box in zip(self.inputs, boxes, strict=True)]
            rows = self.reads[:, ids]
        return list(rows)


@dataclass(frozen=True)
class Run:
    """Operators `start`..`stop` (positions, both included) as one chain, cut in two in several ways.

    Rows of the arrays are the two processors, columns the cuts.

    Args:
        cuts: rows or channels of the last operator's output that the first processor computes.
        ns, nbytes, joules: of all kernels of a processor, halo included, (2, cuts).
        parts: boxes of the last output, (2, cuts).
        needs: by tensor from before the chain, the boxes that each processor reads, (2, cuts).
    """

    start: int
    stop: int
    dimension: Dimension
    cuts: Ids
    ns: Floats
    nbytes: Floats
    joules: Floats
    parts: Ids
    needs: Mapping[str, Ids]

    def at(self, chosen: Ids | slice) -> Run:
        """The same chain with some of its cuts."""
        return Run(
            self.start, self.stop, self.dimension, self.cuts[chosen], self.ns[:, chosen], self.nbytes[:, chosen],
            self.joules[:, chosen], self.parts[:, chosen], {value: ids[:, chosen] for value, ids in self.needs.items()},
        )  # fmt: skip


class Tables:
    """Tables of one graph for two processors (or one).

    Args:
        processors: names, in dealing order.
        alignment: by dimension, what cuts are multiples of.
    """

    def __init__(
        self, graph: Graph, cost: CostModel, processors: Sequence[str], alignment: Mapping[Dimension, int]
    ) -> None:
        self.graph = graph
        self.cost = cost
        self.processors = tuple(processors)
        self.alignment = dict(alignment)
        self._boxes: dict[tuple[int, ...], Boxes] = {}
        alike: dict[object, _Operator] = {}
        self._operators: list[_Operator] = []
        self.inputs: list[tuple[str, ...]] = []
        for node in graph.nodes:
            variable = [tensor for _, tensor in graph.variable_inputs(node)]
            self.inputs.append(tuple(tensor.name for tensor in variable))
            key = self._likeness(node)
            if key not in alike:
                inputs = [self.boxes(tensor.name) for tensor in variable]
                alike[key] = _Operator(graph, node, self.boxes(node.output), inputs, len(self.processors))
            self._operators.append(alike[key])
        position = graph.position
        self.last_use = [self._last_use(index, node, position) for index, node in enumerate(graph.nodes)]

    def _likeness(self, node: Node) -> object:
        """Equal for operators that cost and read the same."""
        graph = self.graph
        shapes = tuple((graph.tensors[v].shape, graph.tensors[v].dtype, v in graph.weights) if v else None for v in node.inputs)
        same = tuple(node.inputs.index(value) for value in node.inputs)
        outputs = tuple(graph.tensors[value].shape for value in node.outputs if value)
        return (node.op, tuple(sorted(node.attributes.items())), node.activation, shapes, same, outputs)

    def _last_use(self, index: int, node: Node, position: Mapping[str, int]) -> int:
        """Position of the last operator that reads a node's outputs; past the end for an output of the graph."""
        if any(value in self.graph.outputs for value in node.outputs):
            return len(self.graph.nodes)
        users = [position[user.name] for value in node.outputs if value for user in self.graph.consumers[value]]
        return max(users, default=index)

    def boxes(self, value: str) -> Boxes:
        """The boxes of tensors of the shape that this one has."""
        shape = self.graph.tensors[value].shape
        if shape not in self._boxes:
            self._boxes[shape] = Boxes(shape)
        return self._boxes[shape]

    def dimensions(self, index: int) -> Mapping[Dimension, int]:
        """Dimensions along which an operator may be split, each with its axis."""
        return self._operators[index].dimensions

    def whole(self, index: int, processor: int) -> Floats:
        """(ns, bytes, joules) of a whole operator."""
        operator = self._operators[index]
        ids = np.array([operator.out.id(Region.full(operator.out.shape))])
        row: Floats = operator.costs_of(self.cost, processor, self.processors[processor], ids)[0]
        return row

    def cuts(self, index: int, dimension: Dimension) -> Ids:
        """Every aligned cut of an operator's output."""
        operator = self._operators[index]
        return operator.out.cuts(operator.dimensions[dimension], self.alignment.get(dimension, 1))[0]

    def runs(self, stop: int, dimension: Dimension, chosen: Ids | slice | None = None) -> Iterator[Run]:
        """Every legal chain that ends with operator `stop`, the shortest first, cut in every aligned way.

        What a chain makes is used inside it, except for the last operator's output; every operator can be cut along
        the dimension.

        Args:
            chosen: indices into `cuts(stop, dimension)`; all cuts if not given.
        """
        operator = self._operators[stop]
        if dimension not in operator.dimensions:
            return
        cuts, before, after = operator.out.cuts(operator.dimensions[dimension], self.alignment.get(dimension, 1))
        if chosen is not None:
            cuts, before, after = cuts[chosen], before[chosen], after[chosen]
        if not len(cuts):
            return
        parts = np.stack([before, after])
        needs: dict[str, Ids] = {self.graph.nodes[stop].output: parts}
        total = np.zeros((2, len(cuts), 3))
        for start in range(stop, -1, -1):
            if start < stop and (self.last_use[start] > stop or dimension not in self.dimensions(start)):
                return
            own = needs.pop(self.graph.nodes[start].output, None)
            if own is None:
                return  # nothing of the chain reads it
            operator = self._operators[start]
            total = total + np.stack(
                [operator.costs_of(self.cost, p, name, own[p]) for p, name in enumerate(self.processors)]
            )
            reads = [operator.reads_of(row) for row in own]
            for slot, value in enumerate(self.inputs[start]):
                ids = np.stack([row[slot] for row in reads])
                if value in needs:
                    boxes = self.boxes(value)
                    ids = np.stack([boxes.hull(a, b) for a, b in zip(needs[value], ids, strict=True)])
                needs[value] = ids
            yield Run(start, stop, dimension, cuts, total[:, :, 0], total[:, :, 1], total[:, :, 2], parts, dict(needs))
