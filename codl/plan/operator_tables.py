"""Costs and reads of one operator as tables over its output's boxes (`codl.plan.boxes`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from codl.cost.batch import BatchCosts
from codl.graph import Graph, Node
from codl.ops import REGISTRY, Dimension
from codl.plan.boxes import NOTHING, UNKNOWN, Boxes, Floats, Ids


class OperatorTable:
    """What all operators that are alike share: costs by processor and box, boxes read by input and box.

    Args:
        out: the boxes of its output; `inputs`: those of each variable input.
        likely: by dimension, what cuts of it will be multiples of.
    """

    def __init__(
        self, graph: Graph, node: Node, out: Boxes, inputs: Sequence[Boxes], batch: BatchCosts,
        processors: tuple[str, ...], likely: Mapping[Dimension, int],
    ) -> None:  # fmt: skip
        self.graph = graph
        self.node = node
        self.out = out
        self.inputs = tuple(inputs)
        self.batch = batch
        self.processors = processors
        self.dimensions = REGISTRY[node].dimensions(graph, node)
        self.likely = [(axis, likely[d]) for d, axis in self.dimensions.items() if d in likely]
        out.full()
        for axis, step in self.likely:
            out.cuts(axis, step)
        self._costed = self._read = 0
        self._costs = np.zeros((len(processors), 1, 3))
        self._reads: Ids = np.full((len(self.inputs), 1), NOTHING, dtype=np.int64)

    def costs(self, ids: Ids) -> Floats:
        """(ns, bytes of memory traffic, joules) of the boxes `ids[p]` on each processor p; zero for the empty box.

        Args:
            ids: (processors, boxes).

        Returns:
            (processors, boxes, 3)
        """
        self._grow()
        if self._costed < self.out.count and (unknown := np.isnan(self._costs[0, :, 0][ids])).any():
            self.learn(np.unique(ids[unknown]))
        rows: Floats = self._costs[np.arange(len(ids))[:, None], ids]
        return rows

    def _grow(self) -> None:
        size = self._costs.shape[1]
        if size <= self.out.count:  # one column more than boxes: the last is the empty box's
            grown = np.full((len(self.processors), 2 * self.out.count + 8, 3), np.nan)
            grown[:, : size - 1] = self._costs[:, :-1]
            grown[:, -1] = 0.0
            self._costs = grown

    def learn(self, ids: Ids, costs: Floats | None = None) -> None:
        """Ask for the costs of boxes, or be told them."""
        self._grow()
        if costs is None:
            (costs,) = self.batch.kernels([(self.node, self.out.ranges[ids])], self.processors)
        self._costed += len(ids)
        self._costs[:, ids] = costs

    @property
    def known(self) -> bool:
        """Whether any costs are known, those of the whole operator among them."""
        return self._costed > 0

    def whole(self, processor: int) -> Floats:
        """(ns, bytes, joules) of the whole operator; only once costs are known."""
        row: Floats = self._costs[processor, self.out.full()]
        return row

    def likely_boxes(self) -> Ids:
        """Boxes that will be asked about: the whole, and everything before or behind a cut."""
        found = [ids for axis, step in self.likely for ids in self.out.cuts(axis, step)[1:]]
        return np.unique(np.concatenate([np.array([self.out.full()]), *found]))

    def reads(self, ids: Ids) -> Ids:
        """The box of each variable input that computing each box reads, (inputs, *ids.shape)."""
        size = self._reads.shape[1]
        if size <= self.out.count:
            grown = np.full((len(self.inputs), 2 * self.out.count + 8), UNKNOWN, dtype=np.int64)
            grown[:, : size - 1] = self._reads[:, :-1]
            grown[:, -1] = NOTHING
            self._reads = grown
        if not self.inputs:
            return self._reads[:, ids]
        if self._read < self.out.count and (unknown := self._reads[0][ids] == UNKNOWN).any():
            fresh = np.unique(ids[unknown])
            if not self._read:
                fresh = np.union1d(fresh, self.likely_boxes())
            self._read += len(fresh)
            for slot, ranges in enumerate(self.batch.reads(self.node, self.out.ranges[fresh])):
                self._reads[slot, fresh] = self.inputs[slot].ids(ranges)
        return self._reads[:, ids]
