"""Operators decided one by one: the paper's planner before chaining.

Between operators the data is taken to be with the processor that results are brought home to, so that the cost of an
operator, or of a chain, does not depend on its neighbours: a split one is shared on its way in and brought home on its
way out. Synchronisation counts at its planning bound.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from codl.ops import Dimension
from codl.plan.boxes import NOTHING, Floats, Ids
from codl.plan.model import Chain
from codl.plan.problem import Problem
from codl.plan.sharing import SharingModel
from codl.plan.tables import DIMENSIONS, Columns


@dataclass(frozen=True)
class Decision:
    """How the operators `start`..`stop` (positions) are computed, and what that is expected to cost.

    Either `processor` (an index in `Problem.pair`) is set, or `dimension` and `cut`.
    """

    start: int
    stop: int
    value: float
    processor: int | None = None
    dimension: Dimension | None = None
    cut: int = 0
    ratio: float = 0.0
    """Share of the first processor."""

    def chain(self, problem: Problem) -> Chain:
        """The decision as a chain of a plan."""
        if self.dimension is not None:
            return problem.split(self.start, self.stop, self.dimension, self.cut)
        assert self.processor is not None
        return problem.placed(self.start, self.processor)


class Isolated:
    """Costs of operators and chains by themselves."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self.model: SharingModel = problem.sharing(bound=True)
        self.other = 1 - problem.rest if len(problem.pair) > 1 else 0

    def values(self, columns: Columns) -> Floats:
        """Value of each column."""
        problem = self.problem
        ns, joules = self._fetch({v: ids[self.other] for v, ids in columns.needs.items()}, self.other, len(columns))
        if not self.model.plain:
            fetch = self.model.fetch(problem.pair[self.other], problem.pair[problem.rest])
            nbytes = columns.part_bytes[self.other]
            ns += fetch.sync + fetch.once.fixed + fetch.value.fixed + fetch.per_byte * nbytes
            joules += fetch.once.joules + fetch.value.joules + fetch.joules_per_byte * nbytes
        found: Floats = problem.value(ns + problem.compute_ns(columns), joules + columns.joules.sum(axis=0))
        return found

    def placed(self, index: int, processor: int) -> float:
        """Value of a whole operator on one processor."""
        problem, tensors = self.problem, self.problem.graph.tensors
        ns, _, joules = problem.tables.whole(index, processor).tolist()
        if processor != problem.rest:
            made = problem.graph.nodes[index].output
            for values, into in ((problem.tables.inputs[index], processor), ((made,), problem.rest)):
                fetch = self.model.fetch(problem.pair[1 - into], problem.pair[into])
                sizes = [tensors[value].nbytes for value in set(values) if not self.everywhere(value)]
                if sizes:
                    ns += fetch.once.fixed + fetch.sync + len(sizes) * fetch.value.fixed + fetch.per_byte * sum(sizes)
                    joules += fetch.once.joules + len(sizes) * fetch.value.joules + fetch.joules_per_byte * sum(sizes)
        return float(problem.value(ns, joules))

    def everywhere(self, value: str) -> bool:
        """Whether every processor can read a tensor without waiting: a graph input on one memory."""
        return self.model.plain and value in self.problem.graph.inputs

    def _fetch(self, needs: Mapping[str, Ids], into: int, size: int) -> tuple[Floats, Floats]:
        """(ns, joules) for a processor to take over boxes that the other one of the pair holds."""
        problem = self.problem
        ns, joules = np.zeros(size), np.zeros(size)
        if len(problem.pair) < 2:
            return ns, joules
        fetch = self.model.fetch(problem.pair[1 - into], problem.pair[into])
        anything = np.zeros(size, dtype=bool)
        for value, ids in needs.items():
            if self.everywhere(value):
                continue
            some = ids != NOTHING
            anything |= some
            if self.model.plain:
                continue
            nbytes = problem.tables.boxes(value).sizes(ids) * problem.tables.itemsize(value)
            ns += fetch.value.fixed * some + fetch.per_byte * nbytes
            joules += fetch.value.joules * some + fetch.joules_per_byte * nbytes
        ns += (fetch.once.fixed + fetch.sync) * anything
        joules += fetch.once.joules * anything
        return ns, joules


def best_placement(isolated: Isolated, index: int) -> Decision:
    """The better processor for a whole operator; the first of the pair if they are equal."""
    value, processor = min((isolated.placed(index, p), p) for p in isolated.problem.placements(index))
    return Decision(index, index, value, processor, ratio=1.0 if processor == 0 else 0.0)


def decision(problem: Problem, columns: Columns, column: int, value: float) -> Decision:
    """The decision for one column."""
    stop, cut, dimension = int(columns.stop[column]), int(columns.cut[column]), DIMENSIONS[columns.dimension[column]]
    return Decision(columns.start, stop, value, None, dimension, cut, cut / problem.tables.extent(stop, dimension))


def singles(problem: Problem, dimensions: Sequence[Dimension]) -> list[Decision]:
    """For each operator the best of the ratios 0, step, ..., 1 along some dimensions; a placement if it is as good."""
    isolated = Isolated(problem)
    count = len(problem.graph)
    if len(problem.pair) < 2:
        return [best_placement(isolated, index) for index in range(count)]
    backwards = zip(range(count - 1, -1, -1), problem.tables.sweep(dimensions, problem.grid), strict=True)
    return [best_single(isolated, index, columns) for index, columns in backwards][::-1]


def best_single(isolated: Isolated, index: int, columns: Columns | None, values: Floats | None = None) -> Decision:
    """The best of an operator's placements and of the columns that hold it alone.

    Args:
        values: of the columns, where they are known.
    """
    best = best_placement(isolated, index)
    if columns is None:
        return best
    if values is None:
        values = isolated.values(columns)
    alone = np.where(columns.stop == index, values, np.inf)
    column = int(np.argmin(alone))
    if alone[column] < best.value:
        return decision(isolated.problem, columns, column, float(values[column]))
    return best
