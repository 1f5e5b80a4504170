"""Chains of operators as tables: geometry and kernel costs of a graph, so that a planner weighs all cuts at once.

Operators that are alike (same family, attributes and shapes) share one table (`codl.plan.operator_tables`), which is
most of them in a deep network.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from codl.cost import CostModel
from codl.cost.batch import BatchCosts
from codl.graph import Graph, Node
from codl.ops import Dimension
from codl.plan.boxes import NOTHING, Boxes, Floats, Ids
from codl.plan.operator_tables import OperatorTable
from codl.region import Region

DIMENSIONS = (Dimension.HEIGHT, Dimension.OUTPUT_CHANNEL, Dimension.WIDTH)
"""Dimensions by the index that tables hold."""


@dataclass(frozen=True)
class Columns:
    """Chains that begin with operator `start` and are cut in two: one column a chain, dimension and cut.

    Rows of two-row arrays are the two processors. Shorter chains come first.

    Args:
        dimension: what the chain is cut along, as an index into `DIMENSIONS`.
        stop: position of the last operator.
        cut: rows or channels of the last operator's output that the first processor computes.
        ns, nbytes, joules: of all kernels of a processor, halo included, (2, columns).
        parts: boxes of the last operator's output (numbers of `Tables.boxes` of that tensor), (2, columns).
        part_bytes: their sizes.
        needs: by tensor from before the chain, the boxes that each processor reads, (2, columns).
    """

    start: int
    dimension: Ids
    stop: Ids
    cut: Ids
    ns: Floats
    nbytes: Floats
    joules: Floats
    parts: Ids
    part_bytes: Floats
    needs: Mapping[str, Ids]

    def at(self, chosen: Ids | NDArray[np.bool_]) -> Columns:
        """Some of the columns."""
        return Columns(
            self.start, self.dimension[chosen], self.stop[chosen], self.cut[chosen], self.ns[:, chosen],
            self.nbytes[:, chosen], self.joules[:, chosen], self.parts[:, chosen], self.part_bytes[:, chosen],
            {value: ids[:, chosen] for value, ids in self.needs.items()},
        )  # fmt: skip

    def __len__(self) -> int:
        return len(self.stop)


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
        batch = BatchCosts(cost)
        # Cuts of a chain's earlier operators follow from the last one's and their halo: rows at any place, channels
        # where the last one is cut.
        likely = {Dimension.HEIGHT: 1, Dimension.OUTPUT_CHANNEL: self.alignment.get(Dimension.OUTPUT_CHANNEL, 1)}
        alike: dict[object, OperatorTable] = {}
        self._batch = batch
        self._learnt = False
        self._operators: list[OperatorTable] = []
        self._wholes: dict[tuple[OperatorTable, int], Floats] = {}
        self.inputs: list[tuple[str, ...]] = []
        for node in graph.nodes:
            variable = [tensor for _, tensor in graph.variable_inputs(node)]
            self.inputs.append(tuple(tensor.name for tensor in variable))
            key = self._likeness(node)
            if key not in alike:
                inputs = [self.boxes(tensor.name) for tensor in variable]
                alike[key] = OperatorTable(graph, node, self.boxes(node.output), inputs, batch, self.processors, likely)
            self._operators.append(alike[key])
        position = graph.position
        self.last_use = [self._last_use(index, node, position) for index, node in enumerate(graph.nodes)]

    def _learn(self) -> None:
        """Learn the costs of the likely boxes of all operators that can be cut, when the first one is asked for."""
        if self._learnt:
            return
        self._learnt = True
        able = list(dict.fromkeys(operator for operator in self._operators if operator.likely))
        ids = [operator.likely_boxes() for operator in able]
        asked = [(operator.node, operator.out.ranges[boxes]) for operator, boxes in zip(able, ids, strict=True)]
        for operator, boxes, costs in zip(able, ids, self._batch.kernels(asked, self.processors), strict=True):
            operator.learn(boxes, costs)

    def _likeness(self, node: Node) -> object:
        """Equal for operators that cost and read the same."""
        graph = self.graph
        shapes = tuple(
            (graph.tensors[v].shape, graph.tensors[v].dtype, v in graph.weights) if v else None for v in node.inputs
        )
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

    def itemsize(self, value: str) -> int:
        """Bytes of one element of a tensor."""
        return int(np.dtype(self.graph.tensors[value].dtype).itemsize)

    def extent(self, index: int, dimension: Dimension) -> int:
        """Rows or channels of an operator's output."""
        operator = self._operators[index]
        return operator.out.shape[operator.dimensions[dimension]]

    def dimensions(self, index: int) -> Mapping[Dimension, int]:
        """Dimensions along which an operator may be split, each with its axis."""
        return self._operators[index].dimensions

    def whole(self, index: int, processor: int) -> Floats:
        """(ns, bytes, joules) of a whole operator.

        Only this processor is asked: another may not be able to run it.
        """
        operator = self._operators[index]
        if operator.known:
            return operator.whole(processor)
        key = (operator, processor)
        if key not in self._wholes:
            node = self.graph.nodes[index]
            whole = Region.full(self.graph.tensors[node.output].shape)
            found = self.cost.kernel(node, whole, self.processors[processor])
            self._wholes[key] = np.array([found.ns, found.nbytes, found.joules])
        return self._wholes[key]

    def whole_reads(self, index: int) -> list[int]:
        """The boxes of each variable input that a whole operator reads."""
        operator = self._operators[index]
        return [int(row[0]) for row in operator.reads(np.array([operator.out.full()]))]

    def cuts(self, index: int, dimension: Dimension) -> Ids:
        """Every aligned cut of an operator's output."""
        operator = self._operators[index]
        return operator.out.cuts(operator.dimensions[dimension], self.alignment.get(dimension, 1))[0]

    def ending(self, stop: int, dimension: Dimension, chosen: Ids | None = None) -> Columns | None:
        """Operator `stop` alone, before anything is computed: the columns from which `extended` walks backwards.

        Args:
            chosen: indices into `cuts(stop, dimension)`; all cuts if not given.
        """
        operator = self._operators[stop]
        if dimension not in operator.dimensions:
            return None
        cuts, before, after = operator.out.cuts(operator.dimensions[dimension], self.alignment.get(dimension, 1))
        parts = np.stack([before, after])
        if chosen is not None:
            cuts, parts = cuts[chosen], parts[:, chosen]
        if not len(cuts):
            return None
        value = self.graph.nodes[stop].output
        zeros = np.zeros((2, len(cuts)))
        part_bytes = operator.out.sizes(parts) * self.itemsize(value)
        kinds = np.full(len(cuts), DIMENSIONS.index(dimension))
        stops = np.full(len(cuts), stop)
        return Columns(stop, kinds, stops, cuts, zeros, zeros, zeros, parts, part_bytes, {value: parts})

    def extended(self, columns: Columns, start: int) -> Columns | None:
        """Chains that reach back to `start` by one operator more (or compute their first one): those that are legal.

        What a chain makes is used inside it, except for the last operator's output; every operator can be cut along
        the dimension. A column that breaks this is dropped, since no longer chain can mend it.
        """
        operator = self._operators[start]
        value = self.graph.nodes[start].output
        if value not in columns.needs:
            return None
        own = columns.needs[value]
        legal = ((self.last_use[start] <= columns.stop) | (columns.stop == start)) & (own != NOTHING).any(axis=0)
        if len(operator.dimensions) < len(DIMENSIONS):
            legal &= np.array([dimension in operator.dimensions for dimension in DIMENSIONS])[columns.dimension]
        if not legal.all():
            if not legal.any():
                return None
            columns = columns.at(legal)
            columns = replace(columns, needs={v: ids for v, ids in columns.needs.items() if (ids != NOTHING).any()})
            own = columns.needs[value]
        needs = dict(columns.needs)
        del needs[value]
        for read, ids in zip(self.inputs[start], operator.reads(own), strict=True):
            if read in needs:
                boxes = self.boxes(read)
                ids = boxes.hull(needs[read], ids)
            needs[read] = ids
        self._learn()
        costs = operator.costs(own)
        return Columns(
            start, columns.dimension, columns.stop, columns.cut, columns.ns + costs[:, :, 0],
            columns.nbytes + costs[:, :, 1], columns.joules + costs[:, :, 2], columns.parts, columns.part_bytes, needs,
        )  # fmt: skip

    def sweep(
        self, dimensions: Sequence[Dimension], chosen: Callable[[int, Dimension], Ids | None], longest: int = 1,
        coarse: Sequence[Mapping[Dimension, NDArray[np.bool_]]] | None = None,
    ) -> Iterator[Columns | None]:  # fmt: skip
        """All legal chains of up to `longest` operators, by their first operator, from the last one to the first.

        One walk backwards serves all of them: at each operator, every chain that reaches it is extended at once.

        Args:
            chosen: by operator, the indices into `cuts` that chains ending there are cut at; None for all.
            coarse: by operator, which of all cuts are also used for chains of more than one operator.
        """
        active: Columns | None = None
        for start in range(len(self.graph.nodes) - 1, -1, -1):
            if active is not None:
                near = active.stop < start + longest
                if coarse is not None:
                    self._thin(active, coarse[start + 1], near)
                active = active if near.all() else active.at(near)
            fresh = [self.ending(start, dimension, chosen(start, dimension)) for dimension in dimensions]
            merged = self._merged([columns for columns in (*fresh, active) if columns is not None and len(columns)])
            active = self.extended(merged, start) if merged is not None else None
            yield active

    def _thin(self, columns: Columns, coarse: Mapping[Dimension, NDArray[np.bool_]], near: NDArray[np.bool_]) -> None:
        """Of chains of one operator, keep the coarse cuts."""
        alone = columns.stop == columns.start
        for kind, dimension in enumerate(DIMENSIONS):
            ended = np.flatnonzero(alone & (columns.dimension == kind))
            if len(ended):
                near[ended] &= coarse[dimension][columns.cut[ended] // self.alignment.get(dimension, 1) - 1]

    def _merged(self, parts: Sequence[Columns]) -> Columns | None:
        """Columns side by side; a tensor that a column does not read is read as `NOTHING`."""
        if len(parts) < 2:
            return parts[0] if parts else None
        needs = {}
        for value in {value: None for part in parts for value in part.needs}:
            rows = [
                part.needs[value] if value in part.needs else np.full((2, len(part)), NOTHING, dtype=np.int64)
                for part in parts
            ]
            needs[value] = np.concatenate(rows, axis=1)

        def joined(field: str) -> Any:
            return np.concatenate([getattr(part, field) for part in parts], axis=-1)

        return Columns(
            parts[0].start, joined("dimension"), joined("stop"), joined("cut"), joined("ns"), joined("nbytes"),
            joined("joules"), joined("parts"), joined("part_bytes"), needs,
        )  # fmt: skip
