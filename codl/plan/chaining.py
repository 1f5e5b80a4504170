"""Operator chains by the paper's greedy search (CoDL, MobiSys '22, algorithm 1).

Every operator first gets the dimension and ratio that suit it alone. From the first operator on, a chain then grows
operator by operator: its members share one dimension and one ratio, data is shared only at its ends, and earlier
members compute their halo twice. Of all lengths the one that gains most over its members alone is kept, and the search
goes on behind it.

The costs of all chains come from one walk backwards over the operators, so that the work grows linearly with them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from codl.ops import Dimension
from codl.plan.columns import Columns
from codl.plan.problem import Problem
from codl.plan.singles import Decision, Isolated, best_single, decision

LONGEST = 32
"""Most operators in a chain."""


@dataclass(frozen=True)
class Greedy:
    """What algorithm 1 decides, in the order of the operators.

    Args:
        alone: for every operator by itself.
        chained: for chains, which are decisions with more than one operator, and operators outside of them.
    """

    alone: list[Decision]
    chained: list[Decision]


def greedy(problem: Problem, dimensions: Sequence[Dimension], longest: int = LONGEST) -> Greedy:
    """Algorithm 1 of the paper.

    A chain's ratio lies within `Problem.delta` of the ratio of every member that would be split alone. A member that
    would be placed on one processor alone joins at any ratio.
    """
    search = _Search(problem, longest)
    count = len(problem.graph)
    if len(problem.pair) > 1:
        backwards = zip(range(count - 1, -1, -1), problem.tables.sweep(dimensions, problem.grid, longest), strict=True)
        heads = [search.step(head, columns) for head, columns in backwards][::-1]
    else:
        heads = [search.step(head, None) for head in range(count)]
    decisions: list[Decision] = []
    at = 0
    while at < count:
        decisions.append(heads[at][1])
        at = decisions[-1].stop + 1
    return Greedy([alone for alone, _ in heads], decisions)


class _Search:
    """Walks from the last operator to the first; knows the best decision for each operator alone so far."""

    def __init__(self, problem: Problem, longest: int) -> None:
        self.problem = problem
        self.isolated = Isolated(problem)
        self.longest = longest
        # Cuts are whole blocks, so a ratio of 0.5 may stand for 0.53: half a step is allowed on top.
        self.reach = problem.delta + problem.ratio_step / 2
        self.alone, self.least, self.most = self.bounds = np.zeros((3, len(problem.graph)))
        """by stop, of the operators head..stop: their value alone, and the ratios within reach of all that would be
        split alone"""
        self.least[:], self.most[:] = -np.inf, np.inf

    def step(self, head: int, columns: Columns | None) -> tuple[Decision, Decision]:
        """`head` alone, and the chain from `head` on that gains most; again `head` alone where none gains."""
        values = None if columns is None else self.isolated.values(columns)
        single = best_single(self.isolated, head, columns, values)
        window = slice(head, head + self.longest)
        self.alone[window] += single.value
        if single.dimension is not None:
            self.least[window] = np.maximum(self.least[window], single.ratio - self.reach)
            self.most[window] = np.minimum(self.most[window], single.ratio + self.reach)
        if columns is None or values is None:
            return single, single
        alone, least, most = self.bounds[:, columns.stop]
        ratios = columns.cut / self.problem.extents[columns.dimension, columns.stop]
        allowed = (ratios >= least) & (ratios <= most) & (columns.stop > head)
        gains = np.where(allowed, alone - values, -np.inf)
        column = int(np.argmax(gains))
        if not gains[column] > 0:
            return single, single
        return single, decision(self.problem, columns, column, float(values[column]))
