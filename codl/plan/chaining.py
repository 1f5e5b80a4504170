"""Operator chains by the paper's greedy search (CoDL, MobiSys '22, algorithm 1).

Every operator first gets the dimension and ratio that suit it alone. From the first operator on, a chain then grows
operator by operator: its members share one dimension and one ratio, data is shared only at its ends, and earlier
members compute their halo twice. Of all lengths the one that gains most over its members alone is kept, and the search
goes on behind it.

The costs of all chains come from one walk backwards over the operators, so that the work grows linearly with them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from codl.ops import Dimension
from codl.plan.problem import Problem
from codl.plan.singles import Decision, Isolated, best_placement, decision
from codl.plan.tables import Columns, Floats

LONGEST = 32
"""Most operators in a chain."""


def chained(problem: Problem, dimensions: Sequence[Dimension], longest: int = LONGEST) -> list[Decision]:
    """The decisions of algorithm 1, in order; chains are decisions with more than one operator.

    A chain's ratio lies within `Problem.delta` of the ratio of every member that would be split alone. A member that
    would be placed on one processor alone joins at any ratio.
    """
    search = _Search(problem, longest)
    count = len(problem.graph)
    heads: list[Decision | None] = [None] * count
    sweeps = [_sweep(problem, dimension, longest) for dimension in dimensions] if len(problem.pair) > 1 else []
    for head in range(count - 1, -1, -1):
        heads[head] = search.step(head, [columns for columns in map(next, sweeps) if columns is not None])
    decisions: list[Decision] = []
    while not decisions or decisions[-1].stop + 1 < count:
        found = heads[decisions[-1].stop + 1 if decisions else 0]
        assert found is not None
        decisions.append(found)
    return decisions


def _sweep(problem: Problem, dimension: Dimension, longest: int) -> Iterator[Columns | None]:
    return problem.tables.sweep(dimension, lambda index: problem.grid(index, dimension), longest)


class _Search:
    """Walks from the last operator to the first; knows the best decision for each operator alone so far."""

    def __init__(self, problem: Problem, longest: int) -> None:
        count = len(problem.graph)
        self.problem = problem
        self.isolated = Isolated(problem)
        self.longest = longest
        self.alone = np.zeros(count)
        """by stop: value of the operators head..stop alone"""
        self.lowest, self.highest = np.full(count, np.inf), np.full(count, -np.inf)
        """by stop: smallest and largest ratio of the operators head..stop that would be split alone"""

    def step(self, head: int, sweeps: Sequence[Columns]) -> Decision:
        """The chain from `head` on that gains most, or `head` alone where none gains."""
        valued = [(columns, self.isolated.values(columns)) for columns in sweeps]
        single = self._single(head, valued)
        window = slice(head, head + self.longest)
        self.alone[window] += single.value
        if single.dimension is not None:
            self.lowest[window] = np.minimum(self.lowest[window], single.ratio)
            self.highest[window] = np.maximum(self.highest[window], single.ratio)
        best, best_gain = single, 0.0
        for columns, values in valued:
            gains = np.where(self._near(columns) & (columns.stop > head), self.alone[columns.stop] - values, -np.inf)
            column = int(np.argmax(gains))
            if gains[column] > best_gain:
                best, best_gain = decision(self.problem, columns, column, float(values[column])), float(gains[column])
        return best

    def _single(self, head: int, valued: Sequence[tuple[Columns, Floats]]) -> Decision:
        best = best_placement(self.isolated, head)
        for columns, values in valued:
            alone = np.where(columns.stop == head, values, np.inf)
            column = int(np.argmin(alone))
            if alone[column] < best.value:
                best = decision(self.problem, columns, column, float(values[column]))
        return best

    def _near(self, columns: Columns) -> np.ndarray:
        """Columns whose ratio is within delta of those that their members would have alone."""
        # Cuts are whole blocks, so a ratio of 0.5 may stand for 0.53: half a step is allowed on top.
        reach = self.problem.delta + self.problem.ratio_step / 2
        ratios = columns.cut / self.problem.extents[columns.dimension][columns.stop]
        return np.asarray(
            (ratios >= self.highest[columns.stop] - reach) & (ratios <= self.lowest[columns.stop] + reach)
        )
