"""Independent branches of a network, and what it costs to compute them on different processors at once.

A *fork* is a stretch of operators that ends in one that joins them: nothing that is made inside is read behind it, but
for the result of the join. Without the join it falls into branches that have nothing to do with each other. Each branch
runs whole on one processor, all at once, and the processors meet at the join only: one synchronisation on the way in
and one on the way out, however many operators a branch has.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np

from codl.graph import Graph
from codl.plan.boxes import NOTHING, Floats, Ids
from codl.plan.frontier import Frontier
from codl.plan.model import Chain
from codl.plan.problem import Problem

MOST_BRANCHES = 5
"""That are placed one by one; of more, the shortest stay together. Placing them all costs 2 ** branches."""

Branches = tuple[tuple[int, ...], ...]
"""Positions of the operators of each branch."""


@dataclass(frozen=True, slots=True)
class Fork:
    """Branches from operator `start` on that `join` joins."""

    start: int
    join: int
    branches: Branches


def forks(graph: Graph, longest: int) -> Iterator[Fork]:
    """Every fork of at most so many operators.

    A fork may begin anywhere in its branches: their first operators are then none of it.
    """
    position, count = graph.position, len(graph)
    readers = [[position[user.name] for user in graph.consumers[node.output]] for node in graph.nodes]
    for join in range(2, count):
        node = graph.nodes[join]
        if len(node.outputs) > 1:
            continue
        sources = [graph.producer.get(tensor.name) for _, tensor in graph.variable_inputs(node)]
        made = [position[source.name] for source in sources if source is not None]
        if len(made) < len(sources) or len(set(made)) < 2:
            continue
        branches: list[set[int]] = []
        for start in range(join - 1, max(-1, join - longest), -1):
            inner = graph.nodes[start]
            if len(inner.outputs) > 1 or inner.output in graph.outputs or not readers[start]:
                break
            if readers[start][-1] > join:
                break
            follows = [branch for branch in branches if branch & set(readers[start])]
            branches = [branch for branch in branches if branch not in follows]
            branches.append({start}.union(*follows))
            if len(branches) > 1 and min(made) >= start:
                yield Fork(start, join, tuple(sorted(tuple(sorted(branch)) for branch in branches)))


@dataclass(frozen=True, slots=True)
class Placed:
    """Ways to compute a fork, one column each: its branches placed, then its join on one processor.

    Args:
        chosen: (branches, columns), the processor of each branch, an index in the pair.
        join: the processor of the join.
        value: kernels and all sharing after the way in.
        needs: by tensor from before the fork, the boxes that each processor reads, (2, columns).
    """

    fork: Fork
    chosen: Ids
    join: Ids
    value: Floats
    needs: dict[str, Ids]

    def chains(self, problem: Problem, column: int) -> list[Chain]:
        """The chains of one column: the branches side by side, and the join."""
        names = [node.name for node in problem.graph.nodes]
        of = {
            index: int(processor)
            for branch, processor in zip(self.fork.branches, self.chosen[:, column].tolist(), strict=True)
            for index in branch
        }
        branches = {
            name: tuple(names[index] for index in sorted(of) if of[index] == p) for p, name in enumerate(problem.pair)
        }
        shares = {name: len(mine) / len(of) for name, mine in branches.items()}
        beside = Chain(operators=tuple(names[index] for index in sorted(of)), shares=shares, branches=branches)
        return [beside, problem.placed(self.fork.join, int(self.join[column]))]


def placed(problem: Problem, frontier: Frontier, fork: Fork) -> Placed | None:
    """Every way to place a fork's branches on both processors; None if there is none."""
    tables = problem.tables
    branches = _bundled(problem, fork.branches)
    fork = Fork(fork.start, fork.join, branches)
    able = [_able(problem, branch) for branch in branches]
    ways = [way for way in product(*able) if len(set(way)) == 2]
    if not ways or not problem.placements(fork.join):
        return None
    chosen = np.array(ways).T
    costs = np.array(
        [[sum(tables.whole(index, p) for index in branch) if p in ok else np.zeros(3) for p in (0, 1)]
         for branch, ok in zip(branches, able, strict=True)]
    )  # fmt: skip
    sums = np.stack([np.where(chosen[:, :, None] == p, costs[:, p, None, :], 0.0).sum(axis=0) for p in (0, 1)])
    ns = problem.concurrency.pair(sums[0, :, 0], sums[1, :, 0], sums[:, :, 1].sum(axis=0))
    value = problem.value(ns, sums[:, :, 2].sum(axis=0)) + _home(problem, frontier, fork, chosen)
    needs = _needs(problem, fork, chosen)
    columns = [
        (p, value + _joining(problem, frontier, fork, chosen, p) + _join(problem, fork.join, p))
        for p in problem.placements(fork.join)
    ]
    return Placed(
        fork,
        np.concatenate([chosen] * len(columns), axis=1),
        np.concatenate([np.full(len(ways), p) for p, _ in columns]),
        np.concatenate([each for _, each in columns]),
        {name: np.concatenate([ids] * len(columns), axis=1) for name, ids in needs.items()},
    )


def _bundled(problem: Problem, branches: Branches) -> Branches:
    """At most `MOST_BRANCHES`: the quickest ones together."""
    found = list(branches)
    while len(found) > MOST_BRANCHES:
        found.sort(key=lambda branch: sum(_fastest(problem, index) for index in branch))
        found = [tuple(sorted((*found[0], *found[1]))), *found[2:]]
    return tuple(sorted(found))


def _fastest(problem: Problem, index: int) -> float:
    return min(float(problem.tables.whole(index, p)[0]) for p in problem.placements(index))


def _able(problem: Problem, branch: Sequence[int]) -> tuple[int, ...]:
    """The processors that can run all of a branch."""
    return tuple(p for p in (0, 1) if all(p in problem.placements(index) for index in branch))


def _needs(problem: Problem, fork: Fork, chosen: Ids) -> dict[str, Ids]:
    """What each processor reads of tensors from before the fork."""
    tables, graph = problem.tables, problem.graph
    needs: dict[str, Ids] = {}
    for branch, on in zip(fork.branches, chosen, strict=True):
        for index in branch:
            for value, box in zip(tables.inputs[index], tables.whole_reads(index), strict=True):
                maker = graph.producer.get(value)
                if maker is not None and graph.position[maker.name] >= fork.start:
                    continue
                held = needs.setdefault(value, np.full((2, chosen.shape[1]), NOTHING, dtype=np.int64))
                for p in (0, 1):
                    mine = np.where(on == p, box, NOTHING)
                    held[p] = tables.boxes(value).hull(held[p], mine)
    return needs


def _ends(problem: Problem, fork: Fork) -> Iterator[tuple[int, str]]:
    """(branch, value) of everything that branches leave to the join."""
    nodes = problem.graph.nodes
    join = nodes[fork.join]
    for number, branch in enumerate(fork.branches):
        for index in branch:
            if any(user.name == join.name for user in problem.graph.consumers[nodes[index].output]):
                yield number, nodes[index].output


def _home(problem: Problem, frontier: Frontier, fork: Fork, chosen: Ids) -> Floats:
    """The value of handing all results to the home processor, if there is one."""
    if frontier.home is None:
        return np.zeros(chosen.shape[1])
    ends = [(number, value, problem.graph.tensors[value].nbytes) for number, value in _ends(problem, fork)]
    return _taken(frontier, frontier.home, [(chosen[number] != frontier.home, nbytes) for number, _, nbytes in ends])


def _joining(problem: Problem, frontier: Frontier, fork: Fork, chosen: Ids, p: int) -> Floats:
    """The value of the join's reading what branches left, on processor p."""
    tables = problem.tables
    boxes: dict[str, int] = {}
    for value, box in zip(tables.inputs[fork.join], tables.whole_reads(fork.join), strict=True):
        held = boxes.get(value, NOTHING)
        boxes[value] = int(tables.boxes(value).hull(np.array([held]), np.array([box]))[0])
    taken = []
    for number, value in _ends(problem, fork):
        nbytes = float(tables.boxes(value).sizes(np.array([boxes[value]]))[0]) * tables.itemsize(value)
        away = chosen[number] != p if frontier.home is None else np.full(chosen.shape[1], frontier.home != p)
        taken.append((away & (nbytes > 0), nbytes))
    return _taken(frontier, p, taken)


def _taken(frontier: Frontier, p: int, taken: Sequence[tuple[np.ndarray, float]]) -> Floats:
    """The value of processor p's taking over several tensors at once, in the columns where it must."""
    fixed = frontier.once[p] + frontier.sync[p]
    total: Floats = fixed * np.any([away for away, _ in taken], axis=0)
    for away, nbytes in taken:
        total = total + (frontier.each[p] + frontier.per_byte[p] * nbytes) * away
    return total


def _join(problem: Problem, index: int, p: int) -> float:
    ns, _, joules = problem.tables.whole(index, p)
    return float(problem.value(ns, joules))
