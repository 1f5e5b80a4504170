"""Operator chains by the paper's greedy search (CoDL, MobiSys '22, algorithm 1).

Every operator first gets the dimension and ratio that suit it alone. From the first operator on, a chain then grows
operator by operator: its members share one dimension and one ratio, data is shared only at its ends, and earlier
members compute their halo twice. Of all lengths the one that gains most over its members alone is kept, and the search
goes on behind it.

The costs of all chains come from one walk backwards over the operators, so that the work grows linearly with them.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from codl.ops import Dimension
from codl.plan.problem import Problem
from codl.plan.singles import Decision, Isolated, best_single, decision
from codl.plan.tables import Columns

LONGEST = 32
"""Most operators in a chain."""


def chained(problem: Problem, dimensions: Sequence[Dimension], longest: int = LONGEST) -> list[Decision]:
    """The decisions of algorithm 1, in order; chains are decisions with more than one operator.

    A chain's ratio lies within `Problem.delta` of the ratio of every member that would be split alone. A member that
    would be placed on one processor alone joins at any ratio.
    """
    search = _Search(problem, longest)
    count = len(problem.graph)
    heads: list[Decision] = []
    if len(problem.pair) > 1:
        backwards = zip(range(count - 1, -1, -1), problem.tables.sweep(dimensions, problem.grid, longest), strict=True)
        heads = [search.step(head, columns) for head, columns in backwards][::-1]
    else:
        heads = [search.step(head, None) for head in range(count)]
    decisions: list[Decision] = []
    at = 0
    while at < count:
        decisions.append(heads[at])
        at = heads[at].stop + 1
    return decisions


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

    def step(self, head: int, columns: Columns | None) -> Decision:
        """The chain from `head` on that gains most, or `head` alone where none gains."""
        values = None if columns is None else self.isolated.values(columns)
        single = best_single(self.isolated, head, columns, values)
        window = slice(head, head + self.longest)
        self.alone[window] += single.value
        if single.dimension is not None:
            self.lowest[window] = np.minimum(self.lowest[window], single.ratio)
            self.highest[window] = np.maximum(self.highest[window], single.ratio)
        if columns is None or values is None:
            return single
        allowed = self._near(columns) & (columns.stop > head)
        gains = np.where(allowed, self.alone[columns.stop] - values, -np.inf)
        column = int(np.argmax(gains))
        return decision(self.problem, columns, column, float(values[column])) if gains[column] > 0 else single

    def _near(self, columns: Columns) -> np.ndarray:
        """Columns whose ratio is within delta of those that their members would have alone."""
        # Cuts are whole blocks, so a ratio of 0.5 may stand for 0.53: half a step is allowed on top.
        reach = self.problem.delta + self.problem.ratio_step / 2
        ratios = columns.cut / self.problem.extents[columns.dimension, columns.stop]
        return np.asarray(
            (ratios >= self.highest[columns.stop] - reach) & (ratios <= self.lowest[columns.stop] + reach)
        )
