"""Operators decided one by one: the paper's planner before chaining.

Between operators the data is taken to be with the processor that results are brought home to, so that the cost of an
operator, or of a chain, does not depend on its neighbours: a split one is shared on its way in and brought home on its
way out. Synchronisation counts at its planning bound.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from codl.ops import Dimension
from codl.plan.boxes import NOTHING, Floats
from codl.plan.columns import DIMENSIONS, Columns
from codl.plan.model import Chain
from codl.plan.problem import Problem
from codl.plan.sharing import Fetch, SharingModel
from codl.plan.sweep import sweep


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


@dataclass(frozen=True, slots=True)
class _Toll:
    """What taking over data costs, in the planner's unit: `once` with the wait, `each` tensor, and by its bytes."""

    once: float
    each: float
    per_byte: float

    @staticmethod
    def of(fetch: Fetch, problem: Problem) -> _Toll:
        return _Toll(
            float(problem.value(fetch.once.fixed + fetch.sync, fetch.once.joules)),
            float(problem.value(fetch.value.fixed, fetch.value.joules)),
            float(problem.value(fetch.per_byte, fetch.joules_per_byte)),
        )


class Isolated:
    """Costs of operators and chains by themselves."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self.model: SharingModel = problem.sharing(bound=True)
        self.other = 1 - problem.rest if len(problem.pair) > 1 else 0
        self._away = self._back = _Toll(0.0, 0.0, 0.0)
        if len(problem.pair) > 1:
            rest, other = problem.pair[problem.rest], problem.pair[self.other]
            self._away = _Toll.of(self.model.fetch(rest, other), problem)
            self._back = _Toll.of(self.model.fetch(other, rest), problem)

    def values(self, heads: Sequence[Columns]) -> list[Floats]:
        """Values of the columns of several operators that one sweep found, of a pair of processors."""
        reading = np.concatenate([self._reading(columns) for columns in heads])
        ends, end = heads[0].ends, np.concatenate([columns.end for columns in heads])
        if not self.model.plain:
            back = self._back
            reading += back.once + back.each + back.per_byte * ends.part_bytes[self.other].take(end)
        values = reading + self.problem.kernels(np.concatenate([columns.costs for columns in heads], axis=1))
        return np.split(values, np.cumsum([len(columns) for columns in heads])[:-1])

    def _reading(self, columns: Columns) -> Floats:
        """What sharing on the way in adds to the value of columns."""
        boxes, itemsize = self.problem.tables.boxes, self.problem.tables.itemsize
        value, anything = np.zeros(len(columns)), np.zeros(len(columns), dtype=bool)
        for name, ids in columns.needs.items():
            if self.everywhere(name):
                continue
            some = ids[self.other] != NOTHING
            anything |= some
            if not self.model.plain:
                nbytes = boxes(name).sizes(ids[self.other]) * itemsize(name)
                value += self._away.each * some + self._away.per_byte * nbytes
        value += self._away.once * anything
        return value

    def placed(self, index: int, processor: int) -> float:
        """Value of a whole operator on one processor."""
        problem, tensors = self.problem, self.problem.graph.tensors
        ns, _, joules = problem.tables.whole(index, processor).tolist()
        value = float(problem.value(ns, joules))
        if processor != problem.rest:
            made = problem.graph.nodes[index].output
            for values, toll in ((problem.tables.inputs[index], self._away), ((made,), self._back)):
                sizes = [tensors[name].nbytes for name in set(values) if not self.everywhere(name)]
                if sizes:
                    value += toll.once + len(sizes) * toll.each + toll.per_byte * sum(sizes)
        return value

    def everywhere(self, value: str) -> bool:
        """Whether every processor can read a tensor without waiting: a graph input on one memory."""
        return self.model.plain and value in self.problem.graph.inputs


def best_placement(isolated: Isolated, index: int) -> Decision:
    """The better processor for a whole operator; the first of the pair if they are equal."""
    value, processor = min((isolated.placed(index, p), p) for p in isolated.problem.placements(index))
    return Decision(index, index, value, processor, ratio=1.0 if processor == 0 else 0.0)


def weighed(isolated: Isolated, dimensions: Sequence[Dimension], longest: int = 1) -> list[tuple[Columns, Floats]]:
    """By operator, the chains from it on that a pair of processors may share, cut at the planner's ratios, and their
    values."""
    problem = isolated.problem
    heads = list(sweep(problem.tables, dimensions, problem.grid, longest))[::-1]
    return list(zip(heads, isolated.values(heads), strict=True))


def decision(columns: Columns, column: int, value: float) -> Decision:
    """The decision for one column."""
    ends, end = columns.ends, columns.end[column]
    stop, cut, ratio = int(ends.stop[end]), int(ends.cut[end]), float(ends.ratio[end])
    return Decision(columns.start, stop, value, None, DIMENSIONS[ends.dimension[end]], cut, ratio)


def singles(problem: Problem, dimensions: Sequence[Dimension]) -> list[Decision]:
    """For each operator the best of the ratios 0, step, ..., 1 along some dimensions; a placement if it is as good."""
    isolated = Isolated(problem)
    if len(problem.pair) < 2:
        return [best_placement(isolated, index) for index in range(len(problem.graph))]
    return [best_single(isolated, columns, values) for columns, values in weighed(isolated, dimensions)]


def best_single(isolated: Isolated, columns: Columns, values: Floats) -> Decision:
    """The best of an operator's placements and of the columns that hold it alone."""
    best = best_placement(isolated, columns.start)
    alone = values[: columns.alone]
    if len(alone):
        column = int(np.argmin(alone))
        if alone[column] < best.value:
            return decision(columns, column, float(alone[column]))
    return best
