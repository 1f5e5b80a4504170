"""Operator chains by the paper's greedy search (CoDL, MobiSys '22, algorithm 1).

Every operator first gets the dimension and ratio that suit it alone. From the first operator on, a chain then grows
operator by operator: its members share one dimension and one ratio, data is shared only at its ends, and earlier
members compute their halo twice. Of all lengths the one that gains most over its members alone is kept, and the search
goes on behind it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from codl.ops import Dimension
from codl.plan.problem import Problem
from codl.plan.singles import Decision, Isolated, best_single, split_decision
from codl.plan.tables import Run

PATIENCE = 4
"""Lengths in a row without a larger gain after which a chain stops growing."""


def chained(problem: Problem, isolated: Isolated, dimensions: Sequence[Dimension]) -> list[Decision]:
    """The decisions of algorithm 1, in order; chains are decisions whose run has more than one operator.

    A chain's ratio lies within `Problem.delta` of the ratio of every member that would be split alone. A member that
    would be placed on one processor alone joins at any ratio.
    """
    singles = [best_single(isolated, index, dimensions) for index in range(len(problem.graph))]
    if len(problem.pair) < 2:
        return singles
    walks = _Walks(problem)
    decisions: list[Decision] = []
    head = 0
    while head < len(singles):
        chain = _grow(problem, isolated, singles, walks, head, dimensions)
        decisions.append(chain or singles[head])
        head = chain.run.stop + 1 if chain and chain.run else head + 1
    return decisions


def _grow(
    problem: Problem, isolated: Isolated, singles: Sequence[Decision], walks: _Walks, head: int,
    dimensions: Sequence[Dimension],
) -> Decision | None:  # fmt: skip
    """The chain from `head` on that gains most; None where no chain gains."""
    best, best_gain = None, 0.0
    alone = singles[head].value
    tables = problem.tables
    without, last_use = 0, tables.last_use[head]
    for stop in range(head + 1, len(singles)):
        alone += singles[stop].value
        if not any(d in tables.dimensions(head) and d in tables.dimensions(stop) for d in dimensions):
            break
        if last_use > stop:  # something made inside is still needed later on: not a chain yet
            last_use = max(last_use, tables.last_use[stop])
            if last_use >= len(singles):
                break
            continue
        last_use = max(last_use, tables.last_use[stop])
        improved = False
        for dimension in dimensions:
            run = walks.run(head, stop, dimension)
            found = run and _best_ratio(problem, isolated, singles, run)
            if found and alone - found.value > best_gain:
                best, best_gain, improved = found, alone - found.value, True
        without = 0 if improved else without + 1
        if without >= PATIENCE:
            break
    return best


def _best_ratio(problem: Problem, isolated: Isolated, singles: Sequence[Decision], run: Run) -> Decision | None:
    extent = problem.graph.tensors[problem.graph.nodes[run.stop].output].shape[
        problem.tables.dimensions(run.stop)[run.dimension]
    ]
    own = [d.ratio for d in singles[run.start : run.stop + 1] if d.run is not None]
    ratios = run.cuts / extent
    # Cuts are whole blocks, so a ratio of 0.5 may stand for 0.53: half a step is allowed on top.
    reach = problem.delta + problem.ratio_step / 2
    near = np.ones(len(ratios), dtype=bool)
    if own:
        near = (ratios >= max(own) - reach) & (ratios <= min(own) + reach)
    if not near.any():
        return None
    values = np.where(near, isolated.run(run), np.inf)
    chosen = int(np.argmin(values))
    return split_decision(problem, run, chosen, float(values[chosen]))


class _Walks:
    """The chains that end at each operator, walked backwards only as far as they are asked for."""

    def __init__(self, problem: Problem) -> None:
        self._problem = problem
        self._known: dict[tuple[int, Dimension], tuple[dict[int, Run], Iterator[Run]]] = {}

    def run(self, start: int, stop: int, dimension: Dimension) -> Run | None:
        """The chain of operators start..stop at the planner's ratios; None if it is not legal."""
        key = (stop, dimension)
        if key not in self._known:
            problem = self._problem
            legal = dimension in problem.tables.dimensions(stop)
            walk = problem.tables.runs(stop, dimension, problem.grid(stop, dimension)) if legal else iter(())
            self._known[key] = ({}, walk)
        found, walk = self._known[key]
        while start not in found:
            run = next(walk, None)
            if run is None:
                return None
            found[run.start] = run
        return found[start]
