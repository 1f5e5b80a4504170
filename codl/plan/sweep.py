"""Every chain of a network that may be cut in two, found and costed by one walk backwards over its operators."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from codl.ops import Dimension
from codl.plan.boxes import NOTHING, Ids
from codl.plan.columns import DIMENSIONS, Columns, Cuts, Ends
from codl.plan.operator_tables import OperatorTable
from codl.plan.tables import Tables

BLOCK = 256
"""Operators whose costs are learned at once: so many that it is cheap, so few that their geometry fits in memory."""

Chosen = Callable[[int, Dimension], Ids | None]
"""(operator, dimension) -> indices into `Tables.cuts`; None for all. The same for outputs of the same shape."""
Coarse = Callable[[int, Dimension], NDArray[np.bool_]]
"""(operator, dimension) -> which of `Tables.cuts` are also used for chains of more than one operator."""


_NONE: Ids = np.zeros(0, dtype=np.int64)


@dataclass(frozen=True, slots=True)
class _Reach:
    """The chains that begin with operator `start`, and their geometry.

    Args:
        end: as in `Columns`.
        own: the boxes of the first operator's output that each processor computes, (2, columns).
        rest: the chains of the operator behind that go on here: their columns there. They come last.
        needs: as in `Columns`.
    """

    start: int
    end: Ids
    own: Ids
    rest: Ids
    needs: Mapping[str, Ids]


def sweep(
    tables: Tables, dimensions: Sequence[Dimension], chosen: Chosen, longest: int = 1, coarse: Coarse | None = None
) -> Iterator[Columns]:
    """All legal chains of up to `longest` operators, by their first operator, from the last one to the first.

    At each operator, every chain that reaches it is extended at once: first only the geometry, so that no costs are
    learned but those of boxes that really turn up.

    Args:
        chosen: the cuts of chains that end at an operator.
        coarse: those of them for long chains; None for all.
    """
    ends = _ends(tables, dimensions, chosen, coarse, longest > 1)
    count = len(tables.operators)
    reach = _Reach(count, _NONE, _NONE, _NONE, {})
    costs = np.zeros((2, 0, 3))
    for stop in range(count, 0, -BLOCK):
        block = []
        for start in range(stop - 1, max(stop - BLOCK, 0) - 1, -1):
            reach = _extended(tables, ends, reach, start, longest)
            block.append(reach)
        tables.learn(_asked(tables, block))
        for reach in block:
            behind, costs = costs, tables.operators[reach.start].costs(reach.own)
            costs[:, len(reach.end) - len(reach.rest) :] += behind.take(reach.rest, axis=1)
            yield Columns(reach.start, ends, reach.end, costs, reach.needs)


def _asked(tables: Tables, block: Iterable[_Reach]) -> dict[OperatorTable, list[Ids]]:
    """By operator, the boxes whose costs chains and the operator as a whole are made of."""
    asked: dict[OperatorTable, list[Ids]] = {}
    for reach in block:
        if len(reach.end):
            operator = tables.operators[reach.start]
            asked.setdefault(operator, [np.array(operator.out.full)]).append(reach.own)
    return asked


def _extended(tables: Tables, ends: Ends, behind: _Reach, start: int, longest: int) -> _Reach:
    """The chains that begin with `start`: those of it alone, and those of the operator behind that may begin here.

    What a chain makes is used inside it, except for the last operator's output; every operator can be cut along the
    dimension. A column that breaks this is dropped, since no longer chain can mend it.
    """
    operator, value = tables.operators[start], tables.graph.nodes[start].output
    alone = slice(ends.first[start], ends.first[start + 1])
    end, own = np.arange(alone.start, alone.stop), ends.parts[:, alone]
    rest, legal = _going_on(tables, ends, behind, start, longest)
    needs: dict[str, Ids] = {}
    if len(rest):
        end = np.concatenate([end, behind.end.take(rest)])
        own = np.concatenate([own, behind.needs[value].take(rest, axis=1)], axis=1)
        none = np.full((2, alone.stop - alone.start), NOTHING, dtype=np.int64)
        for read, ids in behind.needs.items():
            ids = ids.take(rest, axis=1)
            if read != value and (legal or (ids != NOTHING).any()):
                needs[read] = np.concatenate([none, ids], axis=1)
    if len(end):
        for read, ids in zip(tables.inputs[start], operator.reads(own), strict=True):
            needs[read] = tables.boxes(read).hull(needs[read], ids) if read in needs else ids
    return _Reach(start, end, own, rest, needs)


def _going_on(tables: Tables, ends: Ends, behind: _Reach, start: int, longest: int) -> tuple[Ids, bool]:
    """The columns of the operator behind that go on to `start`, and whether all do that are neither too long nor too
    fine for it."""
    dimensions, value = tables.operators[start].dimensions, tables.graph.nodes[start].output
    if value not in behind.needs:
        return _NONE, False
    near = behind.end[: behind.end.searchsorted(ends.first[min(start + longest, len(tables.operators))])]
    made = behind.needs[value][:, : len(near)]
    legal = (near >= ends.first[tables.last_use[start]]) & (np.maximum(made[0], made[1]) != NOTHING)
    if len(dimensions) < len(DIMENSIONS):
        legal &= np.array([dimension in dimensions for dimension in DIMENSIONS])[ends.dimension[near]]
    longer = ends.longer[near]
    rest = np.flatnonzero(legal & longer)
    return rest, len(rest) == np.count_nonzero(longer)


@dataclass(frozen=True, slots=True)
class _Likely(Cuts):
    """The ways to cut outputs of one shape, and the boxes of it that a sweep is likely to ask about."""

    likely: Ids


def _ends(tables: Tables, dimensions: Sequence[Dimension], chosen: Chosen, coarse: Coarse | None, chains: bool) -> Ends:
    """The ways to cut operators along some dimensions; what the likely boxes read is learned."""
    known: dict[object, _Likely] = {}
    nothing = _Likely(_NONE, _NONE, np.zeros(0), np.zeros((2, 0), np.int64), np.zeros((2, 0)), np.zeros(0, bool), _NONE)
    found: list[_Likely] = []
    likely: dict[OperatorTable, Ids] = {}
    for index, operator in enumerate(tables.operators):
        tensor = tables.graph.tensors[tables.graph.nodes[index].output]
        axes = {d: operator.dimensions[d] for d in dimensions if d in operator.dimensions}
        key = (tensor.shape, tensor.dtype, tuple(axes.items()))
        if key not in known:
            known[key] = _cuts(tables, index, axes, chosen, coarse, chains) if axes else nothing
        found.append(known[key])
        likely[operator] = known[key].likely
    for operator, boxes in likely.items():
        operator.reads(boxes)
    counts = [len(cuts.cut) for cuts in found]

    joined: dict[str, Any] = {
        field.name: np.concatenate([getattr(cuts, field.name) for cuts in found], axis=-1) for field in fields(Cuts)
    }
    return Ends(**joined, stop=np.repeat(np.arange(len(found)), counts), first=[0, *np.cumsum(counts).tolist()])


def _cuts(
    tables: Tables, index: int, axes: Mapping[Dimension, int], chosen: Chosen, coarse: Coarse | None, chains: bool
) -> _Likely:
    """The ways to cut an operator along dimensions.

    Cuts of a chain's earlier operators follow from the last one's and their halo: of rows at any place, of channels
    where the last one is cut.
    """
    boxes, value = tables.operators[index].out, tables.graph.nodes[index].output
    cuts, ratios, longer, places = [], [], [], []
    likely: list[tuple[int, Ids]] = []
    for dimension, axis in axes.items():
        every, some = tables.cuts(index, dimension), chosen(index, dimension)
        cut = every if some is None else every[some]
        fine = np.full(len(every), True) if coarse is None else coarse(index, dimension)
        rows = np.arange(1, boxes.shape[axis]) if chains and dimension is Dimension.HEIGHT else cut
        places.append(sum(len(each) for _, each in likely) + rows.searchsorted(cut))
        likely.append((axis, rows))
        cuts.append(cut)
        ratios.append(cut / boxes.shape[axis])
        longer.append(fine if some is None else fine[some])
    asked = boxes.cut(likely)
    parts = asked.take(np.concatenate(places), axis=1)
    return _Likely(
        np.repeat([DIMENSIONS.index(dimension) for dimension in axes], [len(cut) for cut in cuts]),
        np.concatenate(cuts), np.concatenate(ratios), parts, boxes.sizes(parts) * tables.itemsize(value),
        np.concatenate(longer), np.append(asked, boxes.full),
    )  # fmt: skip
