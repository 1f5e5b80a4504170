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
from codl.plan.boxes import Floats
from codl.plan.columns import Columns
from codl.plan.problem import Problem
from codl.plan.singles import Decision, Isolated, best_placement, best_single, decision, weighed

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
    isolated = Isolated(problem)
    if len(problem.pair) < 2:
        alone = [best_placement(isolated, index) for index in range(len(problem.graph))]
        return Greedy(alone, alone)
    heads = weighed(isolated, dimensions, longest)
    alone = [best_single(isolated, columns, values) for columns, values in heads]
    members = _Members(alone, problem, longest)
    chained: list[Decision] = []
    while (at := chained[-1].stop + 1 if chained else 0) < len(alone):
        chained.append(members.best_chain(*heads[at]) or alone[at])
    return Greedy(alone, chained)


class _Members:
    """What operators decided alone mean for chains of them.

    Args:
        alone: by operator.
    """

    def __init__(self, alone: Sequence[Decision], problem: Problem, longest: int) -> None:
        # Cuts are whole blocks, so a ratio of 0.5 may stand for 0.53: half a step is allowed on top.
        reach = problem.delta + problem.ratio_step / 2
        split = np.array([decision.dimension is not None for decision in alone])
        ratio = np.array([decision.ratio for decision in alone])
        size = (longest, len(alone))
        self.value, self.least, self.most = np.zeros(size), np.full(size, -np.inf), np.full(size, np.inf)
        """by length less one and first operator: the sum of the members' values, and the ratios within reach of all
        that would be split alone"""
        self.value[0] = [decision.value for decision in alone]
        self.least[0, split], self.most[0, split] = ratio[split] - reach, ratio[split] + reach
        for more in range(1, min(size)):
            heads, behind = slice(len(alone) - more), slice(1, len(alone) - more + 1)
            self.value[more, heads] = self.value[more - 1, behind] + self.value[0, heads]
            self.least[more, heads] = np.maximum(self.least[more - 1, behind], self.least[0, heads])
            self.most[more, heads] = np.minimum(self.most[more - 1, behind], self.most[0, heads])

    def best_chain(self, columns: Columns, values: Floats) -> Decision | None:
        """Of the chains of more than one operator, the one that gains most over its members alone, if any gains."""
        longer = slice(columns.alone, None)
        values, ratio = values[longer], columns.ends.ratio[columns.end[longer]]
        which = columns.stop[longer] - columns.start, columns.start
        allowed = (ratio >= self.least[which]) & (ratio <= self.most[which])
        gains = np.where(allowed, self.value[which] - values, -np.inf)
        column = int(np.argmax(gains)) if len(gains) else 0
        if not len(gains) or not gains[column] > 0:
            return None
        return decision(columns, columns.alone + column, float(values[column]))
