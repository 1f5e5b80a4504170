"""Chains of operators as tables: geometry and kernel costs of a graph, so that a planner weighs all cuts at once.

Operators that are alike (same family, attributes and shapes) share one table (`codl.plan.operator_tables`), which is
most of them in a deep network.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from codl.cost import CostModel, KernelCost
from codl.cost.batch import BatchCosts
from codl.graph import Graph, Node
from codl.ops import Dimension
from codl.plan.boxes import NOTHING, Boxes, Floats, Ids
from codl.plan.columns import DIMENSIONS, Columns, joined
from codl.plan.operator_tables import Ends, OperatorTable
from codl.region import Region


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
        self._boxes: dict[str, Boxes] = {}
        self._boxes_of: dict[tuple[int, ...], Boxes] = {}
        self._itemsizes: dict[str, int] = {}
        self._batch = BatchCosts(cost)
        self._wholes: dict[tuple[OperatorTable, int], Floats] = {}
        alike: dict[int, OperatorTable] = {}
        self._operators: list[OperatorTable] = []
        self.inputs: list[tuple[str, ...]] = []
        for node in graph.nodes:
            self.inputs.append(tuple(tensor.name for _, tensor in graph.variable_inputs(node)))
            key = graph.alike[node.name]
            if key not in alike:
                inputs = [self.boxes(value) for value in self.inputs[-1]]
                out = self.boxes(node.output)
                alike[key] = OperatorTable(graph, node, out, inputs, self._batch, self.processors)
            self._operators.append(alike[key])
        position = graph.position
        self.last_use = [self._last_use(index, node, position) for index, node in enumerate(graph.nodes)]

    def _learn(self, likely: Mapping[OperatorTable, Ids]) -> None:
        """Learn reads and costs of the boxes that a sweep will ask about, of all operators at once."""
        asked: list[tuple[OperatorTable, Ids]] = []
        for operator, boxes in likely.items():
            operator.reads(boxes)
            if len(unknown := operator.unknown(boxes)):
                asked.append((operator, unknown))
        questions = [(operator.node, operator.out.ranges[boxes]) for operator, boxes in asked]
        answers = self._batch.kernels(questions, self.processors)
        for (operator, boxes), costs in zip(asked, answers, strict=True):
            operator.learn(boxes, costs)

    def _last_use(self, index: int, node: Node, position: Mapping[str, int]) -> int:
        """Position of the last operator that reads a node's outputs; past the end for an output of the graph."""
        if any(value in self.graph.outputs for value in node.outputs):
            return len(self.graph.nodes)
        users = [position[user.name] for value in node.outputs if value for user in self.graph.consumers[value]]
        return max(users, default=index)

    def boxes(self, value: str) -> Boxes:
        """The boxes of tensors of the shape that this one has."""
        if value not in self._boxes:
            shape = self.graph.tensors[value].shape
            if shape not in self._boxes_of:
                self._boxes_of[shape] = Boxes(shape)
            self._boxes[value] = self._boxes_of[shape]
        return self._boxes[value]

    def itemsize(self, value: str) -> int:
        """Bytes of one element of a tensor."""
        if value not in self._itemsizes:
            self._itemsizes[value] = int(np.dtype(self.graph.tensors[value].dtype).itemsize)
        return self._itemsizes[value]

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
        key = (self._operators[index], processor)
        if key not in self._wholes:
            node = self.graph.nodes[index]
            whole = Region.full(self.graph.tensors[node.output].shape)
            found = self.kernel(node.name, whole, self.processors[processor])[0]
            self._wholes[key] = np.array([found.ns, found.nbytes, found.joules])
        return self._wholes[key]

    def kernel(self, name: str, out: Region, processor: str) -> tuple[KernelCost, str]:
        """The cost of computing a region of an operator's output, and the kernel variant to do it with: from the
        operator's table, or from the cost model for what is not in it.

        Raises:
            UncalibratedError: see `CostModel.kernel`.
        """
        operator = self._operators[self.graph.position[name]]
        known = operator.known(self.processors.index(processor), out) if processor in self.processors else None
        if known is None:
            node = self.graph.by_name[name]
            known = self.cost.kernel(node, out, processor), self.cost.algorithm(node, out, processor)
        return known

    def whole_reads(self, index: int) -> list[int]:
        """The boxes of each variable input that a whole operator reads."""
        operator = self._operators[index]
        return [int(row[0]) for row in operator.reads(np.array([operator.out.full]))]

    def cuts(self, index: int, dimension: Dimension) -> Ids:
        """Every aligned cut of an operator's output."""
        step = self.alignment.get(dimension, 1)
        return np.arange(step, self.extent(index, dimension), step)

    def _ends(
        self, index: int, axes: Mapping[Dimension, int], chosen: Callable[[int, Dimension], Ids | None], chains: bool
    ) -> Ends:
        """The ways to cut an operator along some dimensions that a sweep asks for.

        Cuts of a chain's earlier operators follow from the last one's and their halo: of rows at any place, of channels
        where the last one is cut.
        """
        boxes, value = self._operators[index].out, self.graph.nodes[index].output
        cuts = {}
        for dimension in axes:
            every, some = self.cuts(index, dimension), chosen(index, dimension)
            cuts[dimension] = every if some is None else every[some]
        likely = dict(cuts)
        if chains and Dimension.HEIGHT in axes:
            likely[Dimension.HEIGHT] = np.arange(1, boxes.shape[axes[Dimension.HEIGHT]])
        asked = boxes.cut([(axes[dimension], places) for dimension, places in likely.items()])
        parts = boxes.cut([(axes[dimension], places) for dimension, places in cuts.items()])
        return Ends(
            np.repeat([DIMENSIONS.index(dimension) for dimension in cuts], [len(places) for places in cuts.values()]),
            np.concatenate(list(cuts.values())),
            parts,
            boxes.sizes(parts) * self.itemsize(value),
            np.append(asked, boxes.full),
        )

    def _all_ends(
        self, dimensions: Sequence[Dimension], chosen: Callable[[int, Dimension], Ids | None], chains: bool
    ) -> list[Ends | None]:
        """By operator, its `_ends`; None if it cannot be cut along any of the dimensions."""
        known: dict[object, Ends] = {}
        found: list[Ends | None] = []
        for index, operator in enumerate(self._operators):
            tensor = self.graph.tensors[self.graph.nodes[index].output]
            able = {
                dimension: operator.dimensions[dimension]
                for dimension in dimensions
                if dimension in operator.dimensions
            }
            key = (tensor.shape, tensor.dtype, tuple(able.items()))
            if able and key not in known:
                known[key] = self._ends(index, able, chosen, chains)
            found.append(known[key] if able else None)
        return found

    def _ending(self, stop: int, ends: Ends) -> Columns:
        """Operator `stop` alone, before anything is computed: the columns from which `_extended` walks backwards."""
        what = np.stack([ends.dimension, np.full(len(ends.cut), stop), ends.cut])
        costs = np.zeros((2, len(ends.cut), 3))
        return Columns(stop, what, costs, ends.parts, ends.part_bytes, {self.graph.nodes[stop].output: ends.parts})

    def _extended(self, columns: Columns, start: int) -> Columns | None:
        """Chains that reach back to `start` by one operator more (or compute their first one): those that are legal.

        What a chain makes is used inside it, except for the last operator's output; every operator can be cut along
        the dimension. A column that breaks this is dropped, since no longer chain can mend it.
        """
        operator = self._operators[start]
        value = self.graph.nodes[start].output
        if value not in columns.needs:
            return None
        own = columns.needs[value]
        legal = ((columns.stop >= self.last_use[start]) | (columns.stop == start)) & (own != NOTHING).any(axis=0)
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
            needs[read] = self.boxes(read).hull(needs[read], ids) if read in needs else ids
        costs = columns.costs + operator.costs(own)
        return Columns(start, columns.what, costs, columns.parts, columns.part_bytes, needs)

    def sweep(
        self, dimensions: Sequence[Dimension], chosen: Callable[[int, Dimension], Ids | None], longest: int = 1,
        coarse: Callable[[int, Dimension], NDArray[np.bool_]] | None = None,
    ) -> Iterator[Columns | None]:  # fmt: skip
        """All legal chains of up to `longest` operators, by their first operator, from the last one to the first.

        One walk backwards serves all of them: at each operator, every chain that reaches it is extended at once.

        Args:
            chosen: by operator, the indices into `cuts` that chains ending there are cut at; None for all. The same for
                outputs of the same shape.
            coarse: by operator, which of all cuts are also used for chains of more than one operator.
        """
        ends = self._all_ends(dimensions, chosen, longest > 1)
        self._learn({operator: found.likely for operator, found in zip(self._operators, ends, strict=True) if found})
        active: Columns | None = None
        for start in range(len(self.graph.nodes) - 1, -1, -1):
            if active is not None:
                near = active.stop < start + longest
                if coarse is not None:
                    self._thin(active, coarse, near)
                active = active if near.all() else active.at(near)
            found = ends[start]
            fresh = self._ending(start, found) if found else None
            merged = joined([columns for columns in (fresh, active) if columns is not None and len(columns)])
            active = self._extended(merged, start) if merged is not None else None
            yield active

    def _thin(
        self, columns: Columns, coarse: Callable[[int, Dimension], NDArray[np.bool_]], near: NDArray[np.bool_]
    ) -> None:
        """Of chains of one operator, keep the coarse cuts."""
        alone = columns.stop == columns.start
        for kind in np.unique(columns.dimension[alone]).tolist():
            ended = np.flatnonzero(alone & (columns.dimension == kind))
            dimension = DIMENSIONS[kind]
            kept = coarse(columns.start, dimension)
            near[ended] &= kept[columns.cut[ended] // self.alignment.get(dimension, 1) - 1]
