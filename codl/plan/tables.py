"""Geometry and kernel costs of a graph as tables over boxes, so that a planner weighs all cuts of an operator at once.

A planner asks the same few questions about thousands of boxes: what does this box cost here, what does it read? Here
every box of a tensor gets a small number, each question is answered once per box and operator, and the answers are
arrays that numpy indexes. Operators that are alike (same family, attributes and shapes) share one table, which is most
of them in a deep network.
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
from codl.ops import REGISTRY, Dimension
from codl.region import Region

Ids = NDArray[np.int64]
Floats = NDArray[np.float64]
NOTHING = -1
"""The number of the empty box, of every tensor."""
_UNKNOWN = -2
DIMENSIONS = (Dimension.HEIGHT, Dimension.OUTPUT_CHANNEL, Dimension.WIDTH)
"""Dimensions by the index that tables hold."""


class Boxes:
    """The boxes of tensors of one shape, numbered as they turn up."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.shape = shape
        self.count = 0
        self.whole: Ids = np.array([(0, extent) for extent in shape], dtype=np.int64).reshape(len(shape), 2)
        self._ids: dict[bytes, int] = {}
        self._full: int | None = None
        self._ranges: Ids = np.zeros((8, len(shape), 2), dtype=np.int64)
        self._sizes = np.zeros(9)
        """elements of each box; the last is the empty box's"""
        self._cuts: dict[tuple[int, int], tuple[Ids, Ids, Ids]] = {}

    @property
    def ranges(self) -> Ids:
        """(start, stop) of every axis of every box, (boxes, axes, 2)."""
        return self._ranges[: self.count]

    def ids(self, ranges: Ids) -> Ids:
        """The numbers of boxes given as (boxes, axes, 2); `NOTHING` for empty ones."""
        if not self.shape or not len(ranges):
            return np.zeros(len(ranges), dtype=np.int64)
        rows = np.ascontiguousarray(ranges, dtype=np.int64)
        keys: list[Any] = rows.reshape(len(rows), -1).view(np.dtype((np.void, 16 * len(self.shape)))).ravel().tolist()
        known = self._ids
        found = [known.get(key, _UNKNOWN) for key in keys]
        ids = np.array(found, dtype=np.int64)
        fresh = np.flatnonzero(ids == _UNKNOWN)
        if len(fresh):
            self._add([keys[index] for index in fresh], rows[fresh])
            ids[fresh] = [known[keys[index]] for index in fresh]
        return ids

    def _add(self, keys: Sequence[bytes], rows: Ids) -> None:
        """Number boxes that turned up; some may be the same."""
        empty = (rows[:, :, 1] <= rows[:, :, 0]).any(axis=1)
        if empty.any():
            self._ids.update((keys[index], NOTHING) for index in np.flatnonzero(empty).tolist())
            rows, keys = rows[~empty], [keys[index] for index in np.flatnonzero(~empty).tolist()]
        firsts = {key: index for index, key in enumerate(keys)}
        if len(firsts) < len(keys):
            rows = rows[list(firsts.values())]
        while self.count + len(rows) > len(self._ranges):
            self._ranges = np.concatenate([self._ranges, np.zeros_like(self._ranges)])
            self._sizes = np.concatenate([self._sizes, np.zeros(len(self._sizes) - 1)])
        new = slice(self.count, self.count + len(rows))
        self._ranges[new] = rows
        self._sizes[new] = np.prod(rows[:, :, 1] - rows[:, :, 0], axis=1, dtype=np.float64)
        self._ids.update(zip(firsts, range(self.count, self.count + len(rows)), strict=True))
        self.count += len(rows)

    def full(self) -> int:
        """The number of the whole tensor."""
        if self._full is None:
            self._full = int(self.ids(self.whole[None])[0])
        return self._full

    def cuts(self, axis: int, alignment: int) -> tuple[Ids, Ids, Ids]:
        """Every way to cut an axis in two at a multiple of `alignment`: (cuts, boxes before, boxes from the cut on)."""
        key = (axis, alignment)
        if key not in self._cuts:
            cuts = np.arange(alignment, self.shape[axis], alignment, dtype=np.int64)
            rows = np.repeat(self.whole[None], 2 * len(cuts), axis=0)
            rows[: len(cuts), axis, 1] = cuts
            rows[len(cuts) :, axis, 0] = cuts
            ids = self.ids(rows)
            self._cuts[key] = (cuts, ids[: len(cuts)], ids[len(cuts) :])
        return self._cuts[key]

    def hull(self, left: Ids, right: Ids) -> Ids:
        """Element by element, the smallest box that holds both."""
        if left is right or np.array_equal(left, right):
            return left
        merged = np.where(left == NOTHING, right, left)
        both = (left != NOTHING) & (right != NOTHING) & (left != right)
        if both.any():
            a, b = self.ranges[left[both]], self.ranges[right[both]]
            rows = np.stack([np.minimum(a[..., 0], b[..., 0]), np.maximum(a[..., 1], b[..., 1])], axis=-1)
            merged[both] = self.ids(rows)
        return merged

    def sizes(self, ids: Ids) -> Floats:
        """Elements of each box."""
        return self._sizes[ids]

    def missing(self, own: Ids, need: Ids) -> Floats:
        """Elements of each needed box that each owned box lacks: (owned, needed)."""
        distinct = np.unique(own)
        if 4 * len(distinct) < len(own):  # often most states hold the whole tensor
            found: Floats = self.missing(distinct, need)[np.searchsorted(distinct, own)]
            return found
        if len(own) == 1 and own[0] == self._full:
            return np.zeros((1, len(need)))
        have, want = self._ranges[own], self._ranges[need]
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
            grown = np.full((len(self.inputs), 2 * self.out.count + 8), _UNKNOWN, dtype=np.int64)
            grown[:, : size - 1] = self._reads[:, :-1]
            grown[:, -1] = NOTHING
            self._reads = grown
        if not self.inputs:
            return self._reads[:, ids]
        if self._read < self.out.count and (unknown := self._reads[0][ids] == _UNKNOWN).any():
            fresh = np.unique(ids[unknown])
            if not self._read:
                fresh = np.union1d(fresh, self.likely_boxes())
            self._read += len(fresh)
            for slot, ranges in enumerate(self.batch.reads(self.node, self.out.ranges[fresh])):
                self._reads[slot, fresh] = self.inputs[slot].ids(ranges)
        return self._reads[:, ids]


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
        alike: dict[object, _Operator] = {}
        self._batch = batch
        self._learnt = False
        self._operators: list[_Operator] = []
        self._wholes: dict[tuple[_Operator, int], Floats] = {}
        self.inputs: list[tuple[str, ...]] = []
        for node in graph.nodes:
            variable = [tensor for _, tensor in graph.variable_inputs(node)]
            self.inputs.append(tuple(tensor.name for tensor in variable))
            key = self._likeness(node)
            if key not in alike:
                inputs = [self.boxes(tensor.name) for tensor in variable]
                alike[key] = _Operator(graph, node, self.boxes(node.output), inputs, batch, self.processors, likely)
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
