"""Chains of operators as tables: geometry and kernel costs of a graph, so that a planner weighs all cuts at once.

Operators that are alike (same family, attributes and shapes) share one table (`codl.plan.operator_tables`), which is
most of them in a deep network.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from codl.cost import CostModel, KernelCost
from codl.cost.batch import BatchCosts
from codl.graph import Graph, Node
from codl.ops import Dimension
from codl.plan.boxes import Boxes, Floats, Ids
from codl.plan.operator_tables import OperatorTable
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
        self.operators: list[OperatorTable] = []
        self.inputs: list[tuple[str, ...]] = []
        for node in graph.nodes:
            self.inputs.append(tuple(tensor.name for _, tensor in graph.variable_inputs(node)))
            key = graph.alike[node.name]
            if key not in alike:
                inputs = [self.boxes(value) for value in self.inputs[-1]]
                out = self.boxes(node.output)
                alike[key] = OperatorTable(graph, node, out, inputs, self._batch, self.processors)
            self.operators.append(alike[key])
        position = graph.position
        self.last_use = [self._last_use(index, node, position) for index, node in enumerate(graph.nodes)]

    def learn(self, boxes: Mapping[OperatorTable, Sequence[Ids]]) -> None:
        """Learn what boxes of operators' outputs cost, of all operators at once."""
        asked: list[tuple[OperatorTable, Ids]] = []
        for operator, ids in boxes.items():
            if len(unknown := operator.unknown(ids)):
                asked.append((operator, unknown))
        questions = [(operator.node, operator.out.ranges[unknown]) for operator, unknown in asked]
        answers = self._batch.kernels(questions, self.processors)
        for (operator, unknown), costs in zip(asked, answers, strict=True):
            operator.learn(unknown, costs)

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
        operator = self.operators[index]
        return operator.out.shape[operator.dimensions[dimension]]

    def dimensions(self, index: int) -> Mapping[Dimension, int]:
        """Dimensions along which an operator may be split, each with its axis."""
        return self.operators[index].dimensions

    def whole(self, index: int, processor: int) -> Floats:
        """(ns, bytes, joules) of a whole operator.

        Only this processor is asked: another may not be able to run it.
        """
        operator = self.operators[index]
        key = (operator, processor)
        if key not in self._wholes:
            known, whole = operator.known(processor, operator.out.full), Region.full(operator.out.shape)
            found = known[0] if known else self.cost.kernel(operator.node, whole, self.processors[processor])
            self._wholes[key] = np.array([found.ns, found.nbytes, found.joules])
        return self._wholes[key]

    def kernel(self, name: str, out: Region, processor: str) -> tuple[KernelCost, str]:
        """The cost of computing a region of an operator's output, and the kernel variant to do it with: from the
        operator's table, or from the cost model for what is not in it.

        Raises:
            UncalibratedError: see `CostModel.kernel`.
        """
        operator = self.operators[self.graph.position[name]]
        known = None
        if processor in self.processors:
            known = operator.known(self.processors.index(processor), operator.out.number(out))
        if known is None:
            node = self.graph.by_name[name]
            known = self.cost.kernel(node, out, processor), self.cost.algorithm(node, out, processor)
        return known

    def whole_reads(self, index: int) -> list[int]:
        """The boxes of each variable input that a whole operator reads."""
        operator = self.operators[index]
        return [int(row[0]) for row in operator.reads(np.array([operator.out.full]))]

    def cuts(self, index: int, dimension: Dimension) -> Ids:
        """Every aligned cut of an operator's output."""
        step = self.alignment.get(dimension, 1)
        return np.arange(step, self.extent(index, dimension), step)
