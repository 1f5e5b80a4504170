"""Costs and reads of one operator as tables over its output's boxes (`codl.plan.boxes`)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from math import isnan

import numpy as np

from codl.cost import KernelCost
from codl.cost.batch import BatchCosts
from codl.graph import Graph, Node
from codl.ops import REGISTRY, Dimension
from codl.plan.boxes import NOTHING, UNKNOWN, Boxes, Floats, Ids


class OperatorTable:
    """What all operators that are alike share: costs by processor and box, boxes read by input and box.

    Args:
        out: the boxes of its output; `inputs`: those of each variable input.
    """

    def __init__(
        self, graph: Graph, node: Node, out: Boxes, inputs: Sequence[Boxes], batch: BatchCosts,
        processors: tuple[str, ...],
    ) -> None:  # fmt: skip
        self.node = node
        self.out = out
        self.inputs = tuple(inputs)
        self.batch = batch
        self.processors = processors
        self.dimensions: Mapping[Dimension, int] = REGISTRY[node].dimensions(graph, node)
        self._read = 0
        self._costs = np.zeros((len(processors), 1, 4))
        self._reads: Ids = np.full((len(self.inputs), 1), NOTHING, dtype=np.int64)

    def costs(self, ids: Ids) -> Floats:
        """(ns, bytes of memory traffic, joules) of the boxes `ids[p]` on each processor p; zero for the empty box.

        Args:
            ids: (processors, boxes), all of which were learned.

        Returns:
            (processors, boxes, 3)
        """
        found = np.stack([costs.take(boxes, axis=0) for costs, boxes in zip(self._costs, ids, strict=True)])
        return found[:, :, :3]

    def unknown(self, asked: Iterable[Ids]) -> Ids:
        """Those boxes whose costs were not learned yet."""
        size = self._costs.shape[1]
        if size <= self.out.count:  # one column more than boxes: the last is the empty box's
            grown = np.full((len(self.processors), self.out.count + 1, 4), np.nan)
            grown[:, : size - 1] = self._costs[:, :-1]
            grown[:, NOTHING] = 0.0
            self._costs = grown
        boxes = self.out.distinct(asked)
        found: Ids = boxes[np.isnan(self._costs[0, boxes, 0])]
        return found

    def learn(self, ids: Ids, costs: Floats) -> None:
        """Be told the costs of boxes, as `BatchCosts.kernels` tells them."""
        self._costs[:, ids] = costs

    def known(self, processor: int, box: int) -> tuple[KernelCost, str] | None:
        """The cost of a box and the kernel variant to compute it with, if the table holds them."""
        if not 0 <= box < self._costs.shape[1] - 1:
            return None
        ns, nbytes, joules, algorithm = self._costs[processor, box].tolist()
        return None if isnan(ns) else (KernelCost(ns, nbytes, joules), self.batch.algorithms[int(algorithm)])

    def reads(self, ids: Ids) -> Ids:
        """The box of each variable input that computing each box reads, (inputs, *ids.shape)."""
        size = self._reads.shape[1]
        if size <= self.out.count:
            grown = np.full((len(self.inputs), 2 * self.out.count + 8), UNKNOWN, dtype=np.int64)
            grown[:, : size - 1] = self._reads[:, :-1]
            grown[:, -1] = NOTHING
            self._reads = grown
        found = self._reads.take(ids, axis=1)
        if self.inputs and self._read < self.out.count and (unknown := found[0] == UNKNOWN).any():
            fresh = self.out.distinct([ids[unknown]])
            self._read += len(fresh)
            for slot, ranges in enumerate(self.batch.reads(self.node, self.out.ranges[fresh])):
                self._reads[slot, fresh] = self.inputs[slot].ids(ranges)
            found = self._reads.take(ids, axis=1)
        return found
