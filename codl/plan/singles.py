"""Operators decided one by one: the paper's planner before chaining, and muLayer's.

Between operators the data is taken to be with the processor that results are brought home to, so that an operator's
cost does not depend on its neighbours: a split one is shared on its way in and brought home on its way out.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from codl.ops import Dimension
from codl.plan.model import Chain
from codl.plan.problem import Problem
from codl.plan.sharing import SharingModel
from codl.plan.tables import NOTHING, Floats, Ids, Run
from codl.region import Region


@dataclass(frozen=True)
class Decision:
    """How one operator, or one chain, is computed, and what that is expected to cost.

    Either `processor` (an index in `Problem.pair`) is set, or `run` and `chosen`, one of its cuts.
    """

    index: int
    value: float
    processor: int | None = None
    run: Run | None = None
    chosen: int = 0
    ratio: float = 0.0
    """Share of the first processor."""

    def chain(self, problem: Problem) -> Chain:
        """The decision as a chain of a plan."""
        if self.run is not None:
            return problem.split(self.run, self.chosen)
        assert self.processor is not None
        return problem.placed(self.index, self.processor)


class Isolated:
    """Costs of operators and chains by themselves, with sharing as planned (synchronisation at its bound)."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self.model: SharingModel = problem.sharing(bound=True)
        self.other = 1 - problem.rest if len(problem.pair) > 1 else 0

    def run(self, run: Run) -> Floats:
        """Value of a chain at each of its cuts."""
        problem = self.problem
        value = problem.graph.nodes[run.stop].output
        ns, joules = self._fetch({v: ids[self.other] for v, ids in run.needs.items()}, into=self.other)
        if self.model.sharing != "unified":
            back_ns, back_joules = self._fetch({value: run.parts[self.other]}, into=problem.rest)
            ns, joules = ns + back_ns, joules + back_joules
        return problem.value(ns + problem.compute_ns(run), joules + run.joules.sum(axis=0))

    def placed(self, index: int, processor: int) -> float:
        """Value of a whole operator on one processor."""
        problem = self.problem
        ns, _, joules = problem.tables.whole(index, processor)
        if processor != problem.rest:
            whole = self._wholes(problem.tables.inputs[index])
            in_ns, in_joules = self._fetch(whole, into=processor)
            out_ns, out_joules = self._fetch(self._wholes([problem.graph.nodes[index].output]), into=problem.rest)
            ns, joules = ns + in_ns[0] + out_ns[0], joules + in_joules[0] + out_joules[0]
        return float(problem.value(ns, joules))

    def _wholes(self, values: Iterable[str]) -> dict[str, Ids]:
        boxes = {value: self.problem.tables.boxes(value) for value in values}
        return {value: np.array([table.id(Region.full(table.shape))]) for value, table in boxes.items()}

    def _fetch(self, needs: dict[str, Ids], into: int) -> tuple[Floats, Floats]:
        """(ns, joules) for a processor to take over boxes that the other one of the pair holds."""
        problem = self.problem
        size = len(next(iter(needs.values()))) if needs else 1
        if len(problem.pair) < 2:
            return np.zeros(size), np.zeros(size)
        fetch = self.model.fetch(problem.pair[1 - into], problem.pair[into])
        ns, joules = np.zeros(size), np.zeros(size)
        anything = np.zeros(size, dtype=bool)
        for value, ids in needs.items():
            if self.model.sharing == "unified" and value in problem.graph.inputs:
                continue
            itemsize = np.dtype(problem.graph.tensors[value].dtype).itemsize
            nbytes = problem.tables.boxes(value).sizes(ids) * itemsize
            some = ids != NOTHING
            anything |= some
            ns += np.where(some, fetch.value.fixed + fetch.per_byte * nbytes, 0.0)
            joules += np.where(some, fetch.value.joules + fetch.joules_per_byte * nbytes, 0.0)
        ns += np.where(anything, fetch.once.fixed + fetch.sync, 0.0)
        joules += np.where(anything, fetch.once.joules, 0.0)
        return ns, joules


def best_placement(isolated: Isolated, index: int) -> Decision:
    """The better processor for a whole operator; the first of the pair if they are equal."""
    problem = isolated.problem
    values = [(isolated.placed(index, p), p) for p in problem.placements(index)]
    value, processor = min(values)
    return Decision(index, value, processor, ratio=1.0 if processor == 0 else 0.0)


def best_single(isolated: Isolated, index: int, dimensions: Sequence[Dimension]) -> Decision:
    """The best of ratios 0, step, ..., 1 along some dimensions for one operator; a placement if they are equal."""
    problem = isolated.problem
    best = best_placement(isolated, index)
    if len(problem.pair) < 2:
        return best
    for dimension in dimensions:
        if dimension not in problem.tables.dimensions(index):
            continue
        run = next(problem.tables.runs(index, dimension, problem.grid(index, dimension)), None)
        if run is None:
            continue
        values = isolated.run(run)
        chosen = int(np.argmin(values))
        if values[chosen] < best.value:
            best = split_decision(problem, run, chosen, float(values[chosen]))
    return best


def split_decision(problem: Problem, run: Run, chosen: int, value: float) -> Decision:
    """The decision to cut a run at one of its cuts."""
    axis = problem.tables.dimensions(run.stop)[run.dimension]
    extent = problem.graph.tensors[problem.graph.nodes[run.stop].output].shape[axis]
    return Decision(run.start, value, run=run, chosen=chosen, ratio=int(run.cuts[chosen]) / extent)
