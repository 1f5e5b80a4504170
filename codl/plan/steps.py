"""The ways to go on from an operator: every chain that begins there, split or placed, and branches side by side.

Chains have up to `LONGEST` operators. A cut is any multiple of the alignment, thinned out to `CUTS` evenly spaced ones
where there are more and the chain has more than one operator. Independent branches may run side by side, each whole on
one processor (`codl.plan.branches`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from codl.ops import Dimension
from codl.plan.boxes import NOTHING, Floats, Ids
from codl.plan.branches import Fork, Placed, forks, placed
from codl.plan.columns import Columns, joined_needs
from codl.plan.frontier import Frontier
from codl.plan.problem import Problem
from codl.plan.sweep import sweep

LONGEST = 32
CUTS = 64
SPLITS = (Dimension.HEIGHT, Dimension.OUTPUT_CHANNEL)


@dataclass(frozen=True)
class Steps:
    """Every way to go on from one operator: the chains that begin there. One column each.

    Args:
        processor: index in the pair of a placement, -1 for a split.
        dimension: index in `DIMENSIONS` of a split.
        value: kernels and bringing home, without sharing on the way in.
        own: boxes of the last operator's output that are valid for each processor afterwards, (2, columns).
        fork: index in `Ways.placed` of branches placed side by side, of which `cut` is the column; -1 for a chain.
    """

    stop: Ids
    cut: Ids
    processor: Ids
    dimension: Ids
    value: Floats
    own: Ids
    needs: dict[str, Ids]
    fork: Ids

    def at(self, chosen: Ids) -> Steps:
        """Some of the columns."""
        needs = {value: ids.take(chosen, axis=1) for value, ids in self.needs.items()}
        return Steps(
            self.stop.take(chosen), self.cut.take(chosen), self.processor.take(chosen), self.dimension.take(chosen),
            self.value.take(chosen), self.own.take(chosen, axis=1), needs, self.fork.take(chosen),
        )  # fmt: skip


def joined(parts: Sequence[Steps]) -> Steps:
    """All columns side by side."""
    needs = joined_needs([(part.needs, len(part.stop)) for part in parts])

    def column(name: str) -> Any:
        return np.concatenate([getattr(part, name) for part in parts])

    own = np.concatenate([part.own for part in parts], axis=1)
    return Steps(
        column("stop"), column("cut"), column("processor"), column("dimension"), column("value"), own, needs,
        column("fork"),
    )  # fmt: skip


def by_stop(stops: Ids) -> list[tuple[int, slice]]:
    """Where chains end, ascending, with the columns of those that end there.

    Args:
        stops: of columns in the order of where their chains end.
    """
    if not len(stops):
        return []
    starts = [0, *(np.flatnonzero(np.diff(stops)) + 1).tolist()]
    spans = zip(starts, [*starts[1:], len(stops)], strict=True)
    return [(stop, slice(*span)) for stop, span in zip(stops[starts].tolist(), spans, strict=True)]


class Ways:
    """The steps of every operator of a network, by its place in topological order, for a pair of processors."""

    def __init__(self, problem: Problem, frontier: Frontier) -> None:
        self.problem, self.frontier = problem, frontier
        self.tables = problem.tables
        graph = problem.graph
        position = graph.position
        self.reads = {v: [position[n.name] for n in users] for v, users in graph.consumers.items()}
        """The places of the operators that read a value, in order."""
        self.made = [node.output for node in graph.nodes]
        self.full = np.array([self.tables.boxes(value).full for value in self.made])
        self.is_output = np.array([value in graph.outputs for value in self.made])
        self.leaving = np.array([frontier.bound(value, len(self.reads[value])) for value in self.made])
        self.slack = self._slacks()
        """By place, the most that one frontier before it can save over another."""
        self.placed: list[Placed] = []
        """Forks whose branches may run side by side."""
        self.steps = self._all_steps()

    def _slacks(self) -> Floats:
        graph = self.problem.graph
        total = np.zeros(len(self.made) + 1)
        for value, readers in self.reads.items():
            if readers and value not in graph.weights:
                producer = graph.producer.get(value)
                made = -1 if producer is None else graph.position[producer.name]
                for at in range(made + 1, readers[-1] + 1):
                    total[at] += self.frontier.bound(value, sum(reader >= at for reader in readers))
        return total

    def _all_steps(self) -> list[Steps]:
        backwards = sweep(self.tables, SPLITS, lambda index, dimension: None, LONGEST, self._coarse)
        beside: dict[int, list[Fork]] = {}
        for fork in forks(self.problem.graph, LONGEST):
            beside.setdefault(fork.start, []).append(fork)
        found: list[Steps] = []
        for columns in backwards:
            ways = [self._placements(columns.start)]
            if len(columns):
                ways.append(self._splits(columns))
            ways += [step for fork in beside.get(columns.start, ()) for step in self._branches(fork)]
            found.append(joined(ways) if len(ways) > 1 else ways[0])
        return found[::-1]

    def _branches(self, fork: Fork) -> Iterator[Steps]:
        """The ways to compute a fork's branches on different processors that may be worth it."""
        ways = placed(self.problem, self.frontier, fork)
        if ways is None:
            return
        stops = np.full(len(ways.join), fork.join)
        full = self.tables.boxes(self.made[fork.join]).full
        own = np.where(ways.join == np.array([[0], [1]]), full, NOTHING)
        nbytes = self.problem.graph.tensors[self.made[fork.join]].nbytes
        value = ways.value + self._finish(stops, nbytes * (ways.join == np.array([[0], [1]])).astype(float))
        reading = 2 * sum(self.frontier.bound(v, 1 + len(self.reads[v])) for v in ways.needs)
        near = np.flatnonzero(value <= value.min() + reading + self.leaving[fork.join])
        alone = np.full(len(value), -1)
        steps = Steps(
            stops, np.arange(len(value)), alone, alone, value, own, ways.needs, np.full(len(value), len(self.placed))
        )
        self.placed.append(ways)
        yield steps.at(near)

    def _coarse(self, index: int, dimension: Dimension) -> np.ndarray:
        """The cuts of chains of more than one operator: `CUTS` of all, and those of the other planners."""
        count = len(self.tables.cuts(index, dimension))
        if count <= CUTS:
            return np.full(count, True)
        mask = np.full(count, False)
        mask[np.linspace(0, count - 1, CUTS).round().astype(np.int64)] = True
        mask[self.problem.grid(index, dimension)] = True
        return mask

    def _splits(self, columns: Columns) -> Steps:
        ends, stop, part_bytes = columns.ends, columns.stop, columns.part_bytes
        value = self.problem.kernels(columns.costs)
        value = value + self.frontier.bring_home(part_bytes) + self._finish(stop, part_bytes)
        near = np.flatnonzero(self._near_best(stop, columns.needs, value))
        end, needs = columns.end.take(near), {name: ids.take(near, axis=1) for name, ids in columns.needs.items()}
        own = ends.parts.take(end, axis=1)
        if self.frontier.home is not None:
            own[:] = NOTHING
            own[self.frontier.home] = self.full[ends.stop[end]]
        none = np.full(len(near), -1)
        return Steps(ends.stop[end], ends.cut[end], none, ends.dimension[end], value[near], own, needs, none)

    def _near_best(self, stop: Ids, needs: Iterable[str], value: Floats) -> np.ndarray:
        """Columns that are not worse than another cut of the same chain by more than sharing can make up for."""
        lowest = np.full(len(self.made), np.inf)
        np.minimum.at(lowest, stop, value)
        reading = 2 * sum(self.frontier.bound(v, 1 + len(self.reads[v])) for v in needs)
        return np.asarray(value <= lowest[stop] + reading + self.leaving[stop])

    def _placements(self, start: int) -> Steps:
        able = self.problem.placements(start)
        full = self.tables.boxes(self.made[start]).full
        own = np.full((2, len(able)), NOTHING, dtype=np.int64)
        values = np.zeros(len(able))
        needs = {v: np.full((2, len(able)), NOTHING, dtype=np.int64) for v in self.tables.inputs[start]}
        reads = self.tables.whole_reads(start)
        for column, p in enumerate(able):
            own[p, column] = full
            ns, _, joules = self.tables.whole(start, p)
            part_bytes = np.zeros((2, 1))
            part_bytes[p] = self.tables.boxes(self.made[start]).sizes(np.array([full]))[0] * self.tables.itemsize(
                self.made[start]
            )
            values[column] = float(self.problem.value(ns, joules)) + self._finish(np.array([start]), part_bytes)[0]
            for value, box in zip(self.tables.inputs[start], reads, strict=True):
                held = int(needs[value][p, column])
                needs[value][p, column] = box if held == NOTHING else self._hull(value, held, box)
        size = len(able)
        return Steps(
            np.full(size, start),
            np.zeros(size, dtype=np.int64),
            np.array(able),
            np.full(size, -1),
            values,
            own,
            needs,
            np.full(size, -1),
        )

    def _hull(self, value: str, left: int, right: int) -> int:
        return int(self.tables.boxes(value).hull(np.array([left]), np.array([right]))[0])

    def _finish(self, stops: Ids, part_bytes: Floats) -> Floats:
        """Bringing an output to the caller, where that is needed; exact for a graph with one output."""
        frontier, model = self.frontier, self.frontier.model
        is_output = self.is_output[stops]
        if model.host not in self.problem.pair or not is_output.any():
            return np.zeros(len(stops))
        host = self.problem.pair.index(model.host)
        missing = part_bytes[1 - host]
        if model.plain or (model.sharing == "mapped" and not model.images):
            return np.zeros(len(stops))
        if model.sharing != "copied":
            scattered = (part_bytes > 0).all(axis=0) if frontier.home is None else np.zeros(len(stops), dtype=bool)
            missing = missing * scattered
        some = (missing > 0) & is_output
        fixed = frontier.once[host] + frontier.sync[host] + frontier.each[host]
        return np.where(some, fixed + frontier.per_byte[host] * missing, 0.0)
