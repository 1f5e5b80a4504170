"""The best plan under the cost model, by dynamic programming over the operators in topological order.

A partial plan covers the first operators by whole chains; what it leaves for the rest is where every tensor that is
still needed is valid: its *frontier*. Of all partial plans with the same frontier only the cheapest can be the
beginning of the best plan. A plan that costs more than another by at least what any frontier can save later on is
dropped too, which is exact as well. On a linear network the frontier is the partition of one tensor, so that the
search is exact; so it is on graphs with branches as long as fewer than `LABELS` partial plans survive at every
operator. Beyond that the cheapest are kept, and the result is compared with the plans of the simpler planners.

Independent branches may run side by side, each whole on one processor (`codl.plan.branches`).

Chains have up to `LONGEST` operators. A cut is any multiple of the alignment, thinned out to `CUTS` evenly spaced ones
where there are more and the chain has more than one operator.

Longer than other modules: one search, whose steps all work on the same arrays of partial plans.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from codl.ops import Dimension
from codl.plan.boxes import NOTHING, Floats, Ids
from codl.plan.branches import Fork, Placed, forks, placed
from codl.plan.columns import DIMENSIONS, Columns
from codl.plan.frontier import Frontier, Reading, State
from codl.plan.model import Chain
from codl.plan.problem import Problem

LONGEST = 32
LABELS = 1024
KEYS = 3
PAIRS = 4
CUTS = 64
SPLITS = (Dimension.HEIGHT, Dimension.OUTPUT_CHANNEL)

Key = tuple[tuple[str, State], ...]
"""States of the tensors that are still needed, other than the last one made, by name."""


def optimal_chains(problem: Problem, others: Callable[[], Iterable[Sequence[Chain]]]) -> list[Chain]:
    """The chains of the best plan that the search finds.

    Args:
        others: plans of simpler planners, asked for where the search had to drop partial plans: one of them is returned
            if it is better.
    """
    plans = [
        [problem.placed(i, _able(problem, i, p)) for i in range(len(problem.graph))] for p in range(len(problem.pair))
    ]
    if len(problem.pair) == 2:
        search = Search(problem)
        plans.insert(0, search.chains())
        if not search.exact:
            plans.extend(list(chains) for chains in others())
    return min(plans, key=problem.objective)  # of equal ones the search's own, which comes first


def _able(problem: Problem, index: int, wanted: int) -> int:
    """A processor that can run an operator, the wanted one if it can."""
    able = problem.placements(index)
    return wanted if wanted in able else able[0]


@dataclass(frozen=True)
class _Steps:
    """Every way to go on from one operator: the chains that begin there. One column each.

    Args:
        processor: index in the pair of a placement, -1 for a split.
        dimension: index in `DIMENSIONS` of a split.
        value: kernels and bringing home, without sharing on the way in.
        own: boxes of the last operator's output that are valid for each processor afterwards, (2, columns).
        fork: index in `Search.placed` of branches placed side by side, of which `cut` is the column; -1 for a chain.
    """

    stop: Ids
    cut: Ids
    processor: Ids
    dimension: Ids
    value: Floats
    own: Ids
    needs: dict[str, Ids]
    fork: Ids

    def at(self, chosen: np.ndarray) -> _Steps:
        needs = {value: ids[:, chosen] for value, ids in self.needs.items()}
        return _Steps(
            self.stop[chosen], self.cut[chosen], self.processor[chosen], self.dimension[chosen], self.value[chosen],
            self.own[:, chosen], needs, self.fork[chosen],
        )  # fmt: skip


@dataclass
class _Labels:
    """Partial plans that end before one operator."""

    value: Floats
    own: Ids
    """(2, labels): boxes of the last output that are valid for each processor"""
    key: Ids
    """number of the frontier without the last output"""
    back: Ids
    """(3, labels): operator, label and column of the step that led here"""


class Search:
    """The dynamic program for a pair of processors.

    Args:
        labels: partial plans kept before an operator.
        keys: frontiers kept there that differ in more than the last output.
        pairs: partial plans kept of one step that leaves a tensor in a state of its own for later readers.
    """

    def __init__(self, problem: Problem, labels: int = LABELS, keys: int = KEYS, pairs: int = PAIRS) -> None:
        self.most_labels, self.most_keys, self.most_pairs = labels, keys, pairs
        self.problem = problem
        self.graph = problem.graph
        self.tables = problem.tables
        self.frontier = Frontier(problem)
        self.count = len(self.graph)
        self.exact = True
        """False once a partial plan had to be dropped that might have been the beginning of the best plan."""
        position = self.graph.position
        self.reads = {v: [position[n.name] for n in users] for v, users in self.graph.consumers.items()}
        self.made = [node.output for node in self.graph.nodes]
        self.full = np.array([self.tables.boxes(value).full for value in self.made])
        self.is_output = np.array([value in self.graph.outputs for value in self.made])
        self.leaving = np.array([self.frontier.bound(value, len(self.reads[value])) for value in self.made])
        self.placed: list[Placed] = []
        """Forks whose branches may run side by side."""
        self.steps = self._all_steps()
        self.slack = self._slacks()
        self.keys: list[Key] = [()]
        self._numbers: dict[Key, int] = {(): 0}
        self.pushes: list[list[_Labels]] = [[] for _ in range(self.count + 1)]
        self.labels: list[_Labels | None] = [None] * (self.count + 1)
        self.upper = np.full(self.count + 1, np.inf)
        """By operator, the cheapest partial plan that ends before it."""

    # The ways to go on

    def _all_steps(self) -> list[_Steps]:
        sweep = self.tables.sweep(SPLITS, lambda index, dimension: None, LONGEST, self._coarse)
        beside: dict[int, list[Fork]] = {}
        for fork in forks(self.graph, LONGEST):
            beside.setdefault(fork.start, []).append(fork)
        found: list[_Steps] = []
        for start, columns in zip(range(self.count - 1, -1, -1), sweep, strict=True):
            ways = [self._placements(start)] if columns is None else [self._placements(start), self._splits(columns)]
            ways += [step for fork in beside.get(start, ()) for step in self._branches(fork)]
            found.append(_joined(ways) if len(ways) > 1 else ways[0])
        return found[::-1]

    def _branches(self, fork: Fork) -> Iterator[_Steps]:
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
        steps = _Steps(
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

    def _splits(self, columns: Columns) -> _Steps:
        value = self.problem.value(self.problem.compute_ns(columns), columns.joules)
        value = value + self.frontier.bring_home(columns.part_bytes) + self._finish(columns.stop, columns.part_bytes)
        near = self._near_best(columns, value)
        columns, value = columns.at(near), value[near]
        own = columns.parts.copy()
        if self.frontier.home is not None:
            own[:] = NOTHING
            own[self.frontier.home] = self.full[columns.stop]
        processor = np.full(len(columns), -1)
        chain = np.full(len(columns), -1)
        return _Steps(columns.stop, columns.cut, processor, columns.dimension, value, own, dict(columns.needs), chain)

    def _near_best(self, columns: Columns, value: Floats) -> np.ndarray:
        """Columns that are not worse than another cut of the same chain by more than sharing can make up for."""
        lowest = np.full(self.count, np.inf)
        np.minimum.at(lowest, columns.stop, value)
        reading = 2 * sum(self.frontier.bound(v, 1 + len(self.reads[v])) for v in columns.needs)
        return np.asarray(value <= lowest[columns.stop] + reading + self.leaving[columns.stop])

    def _placements(self, start: int) -> _Steps:
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
        return _Steps(
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

    def _slacks(self) -> Floats:
        """By operator, the most that one frontier before it can save over another."""
        total = np.zeros(self.count + 1)
        for value, readers in self.reads.items():
            if readers and value not in self.graph.weights:
                producer = self.graph.producer.get(value)
                made = -1 if producer is None else self.graph.position[producer.name]
                for at in range(made + 1, readers[-1] + 1):
                    total[at] += self.frontier.bound(value, sum(reader >= at for reader in readers))
        return total

    # The dynamic program

    def chains(self) -> list[Chain]:
        """The chains of the best plan found."""
        self.pushes[0].append(_Labels(np.zeros(1), np.full((2, 1), NOTHING), np.zeros(1, int), np.full((3, 1), -1)))
        self.upper[0] = 0.0
        for at in range(self.count + 1):
            labels = self._merged(at)
            self.labels[at] = labels
            if at < self.count:
                for key in np.unique(labels.key).tolist():
                    self._advance(at, labels, np.flatnonzero(labels.key == key), key)
        return self._trace()

    def _merged(self, at: int) -> _Labels:
        """The partial plans before an operator: of equal frontiers the cheapest, without those that cannot win."""
        pushes = self.pushes[at]
        value = np.concatenate([push.value for push in pushes])
        own = np.concatenate([push.own for push in pushes], axis=1)
        key = np.concatenate([push.key for push in pushes])
        back = np.concatenate([push.back for push in pushes], axis=1)
        order = np.argsort(value, kind="stable")
        order = order[value[order] <= value[order[0]] + self.slack[at]]
        firsts = _firsts(own[0][order], own[1][order], key[order])
        if len(firsts) > self.most_labels:
            self.exact = False
            firsts = firsts[: self.most_labels]
        kept = order[firsts]
        best_keys = list(dict.fromkeys(key[kept].tolist()))
        if len(best_keys) > self.most_keys:
            self.exact = False
            kept = kept[np.isin(key[kept], best_keys[: self.most_keys])]
        self.pushes[at] = []
        return _Labels(value[kept], own[:, kept], key[kept], back[:, kept])

    def _advance(self, at: int, labels: _Labels, members: Ids, key: int) -> None:
        """Append every chain that begins with operator `at` to partial plans with one frontier (but for the last
        output)."""
        states = dict(self.keys[key])
        last = self.made[at - 1] if at else ""
        steps = self.steps[at]
        index = np.flatnonzero(labels.value[members].min() + steps.value <= self._worth(steps.stop + 1))
        if not len(index):
            return
        steps = steps.at(index)
        reading = self.frontier.nothing(len(index))
        for name, need in steps.needs.items():
            if name != last:
                reading = reading + self.frontier.read(name, self._state(states, name), need)
        total, alike = self._reading(labels, members, steps, reading, last)
        value = steps.value + reading.value
        stays = self._stays(steps, states, last)
        if not stays.all():
            best = np.argmin(total, axis=0)[alike]
            settled = ~stays
            sums = total[best, alike] + value
            self._settle(at, sums[settled], members[best[settled]], index[settled], steps.at(settled), states)
        if stays.any():
            sums = total[:, alike[stays]] + value[stays]
            self._remember(at, sums, labels, members, index[stays], steps.at(stays), states, last)

    def _reading(self, labels: _Labels, members: Ids, steps: _Steps, reading: Reading, last: str) -> tuple[Floats, Ids]:
        """Value of each partial plan with the sharing on the way into a chain, for all that differ: (members, kinds of
        columns), and the kind of each column. Without what `reading.value` holds."""
        need = steps.needs.get(last, np.full((2, len(steps.stop)), NOTHING, dtype=np.int64))
        flags = np.stack([*reading.fetches, *reading.waits]).astype(np.int64)
        kinds, first, alike = np.unique(
            need[0] + 1 + (need[1] + 1) * (1 << 28) + (flags * [[1], [2], [4], [8]]).sum(axis=0) * (1 << 56),
            return_index=True, return_inverse=True,
        )  # fmt: skip
        before = Reading(np.zeros(len(kinds)), [f[first] for f in reading.fetches], [f[first] for f in reading.waits])
        if last in steps.needs:
            before = before + self.frontier.read_any(last, labels.own[:, members], need[:, first])
        shared = np.atleast_2d(self.frontier.cost(before))
        return labels.value[members][:, None] + shared, alike.reshape(-1)

    def _worth(self, stops: Ids) -> Floats:
        """Above this value a partial plan that ends before an operator cannot be the beginning of the best plan."""
        found: Floats = (self.upper + self.slack)[stops]
        return found

    def _state(self, states: dict[str, State], value: str) -> State:
        return states[value] if value in states else self.frontier.input_state(value)

    def _stays(self, steps: _Steps, states: dict[str, State], last: str) -> np.ndarray:
        """Columns after which a tensor that is still needed may be in a state that depends on more than the column."""
        stays = np.zeros(len(steps.stop), dtype=bool)
        for value in {last, *steps.needs} - {""}:
            needed = max(self.reads[value], default=-1) > steps.stop
            if value == last or value in states or value in self.graph.inputs:
                touched = np.ones(len(needed), dtype=bool)
                if value != last:
                    touched = (steps.needs[value] != NOTHING).any(axis=0) & self._remembers(steps)
                if self.frontier.model.plain and value in self.graph.inputs:
                    continue
                stays |= needed & touched
        return stays

    def _remembers(self, steps: _Steps) -> np.ndarray:
        """Columns after which what a processor read stays valid for it: a home processor's partners forget it."""
        return np.asarray((steps.processor >= 0) | (self.frontier.home is None))

    def _settle(self, at: int, value: Floats, best: Ids, index: Ids, steps: _Steps, states: dict[str, State]) -> None:
        """Steps after which only the column matters: `best` is the cheapest of all partial plans before it."""
        worthy = np.flatnonzero(value <= self._worth(steps.stop + 1))
        for chosen in _by_stop(steps, worthy):
            stop = int(steps.stop[chosen[0]])
            kept = {v: s for v, s in states.items() if max(self.reads[v]) > stop}
            for group, extra in self._by_extra(steps, chosen):
                number = self._number({**kept, **extra})
                size = len(group)
                back = np.stack([np.full(size, at), best[group], index[group]])
                self._push(stop + 1, _Labels(value[group], steps.own[:, group], np.full(size, number), back))

    def _by_extra(self, steps: _Steps, chosen: Ids) -> list[tuple[Ids, dict[str, State]]]:
        """Columns by the states of an operator's further outputs (a fallback's), which lie where it ran."""
        node = self.graph.nodes[int(steps.stop[chosen[0]])]
        if len(node.outputs) < 2:
            return [(chosen, {})]
        groups = []
        for p in (0, 1):
            here = chosen[steps.processor[chosen] == p]
            extra: dict[str, State] = {}
            for value in node.outputs[1:]:
                if value and self.reads[value]:
                    whole = (self.tables.boxes(value).full,)
                    extra[value] = (whole, ()) if p == 0 else ((), whole)
            if len(here):
                groups.append((here, extra))
        return groups

    def _remember(
        self, at: int, total: Floats, labels: _Labels, members: Ids, index: Ids, steps: _Steps,
        states: dict[str, State], last: str,
    ) -> None:  # fmt: skip
        """Steps after which tensors remain whose state depends on the partial plan too: each pair goes on by itself."""
        worth = self._worth(steps.stop + 1)
        for here in _by_stop(steps, np.arange(len(steps.stop))):
            values = total[:, here]
            flat = np.flatnonzero(values.reshape(-1) <= worth[here[0]])
            flat = flat[np.argsort(values.reshape(-1)[flat], kind="stable")]
            if len(flat) > self.most_pairs:
                self.exact = False
                flat = flat[: self.most_pairs]
            for place in flat.tolist():
                row, column = divmod(place, len(here))
                self._pair(
                    at,
                    float(values[row, column]),
                    labels,
                    int(members[row]),
                    index,
                    steps,
                    int(here[column]),
                    states,
                    last,
                )

    def _pair(
        self, at: int, value: float, labels: _Labels, label: int, index: Ids, steps: _Steps, column: int,
        states: dict[str, State], last: str,
    ) -> None:  # fmt: skip
        stop = int(steps.stop[column])
        before = dict(states)
        if last:
            before[last] = tuple((int(b),) if b != NOTHING else () for b in labels.own[:, label])
        after: dict[str, State] = {}
        for name in {*before, *(v for v in steps.needs if v in self.graph.inputs)}:
            if max(self.reads[name], default=-1) <= stop:
                continue
            state = before.get(name) or self.frontier.input_state(name)
            if name in steps.needs and self._remembers(steps)[column]:
                state = self.frontier.after_read(name, state, steps.needs[name][:, column].tolist())
            if name in before or state != self.frontier.input_state(name):
                after[name] = state
        for _, extra in self._by_extra(steps, np.array([column])):
            number = self._number({**after, **extra})
            own = steps.own[:, column : column + 1]
            back = np.array([[at], [label], [index[column]]])
            self._push(stop + 1, _Labels(np.array([value]), own, np.array([number]), back))

    def _push(self, at: int, labels: _Labels) -> None:
        self.pushes[at].append(labels)
        self.upper[at] = min(self.upper[at], float(labels.value.min()))

    def _number(self, states: dict[str, State]) -> int:
        key = tuple(sorted(states.items()))
        if key not in self._numbers:
            self._numbers[key] = len(self.keys)
            self.keys.append(key)
        return self._numbers[key]

    def _trace(self) -> list[Chain]:
        """Back from the cheapest complete plan to its first chain."""
        chains: list[Chain] = []
        at, label = self.count, 0  # labels are sorted by value
        self.value = float(self._of(at).value[label])
        while at > 0:
            at, label, column = self._of(at).back[:, label].tolist()
            steps = self.steps[at]
            if steps.fork[column] >= 0:
                ways = self.placed[int(steps.fork[column])]
                chains.extend(reversed(ways.chains(self.problem, int(steps.cut[column]))))
            elif steps.processor[column] >= 0:
                chains.append(self.problem.placed(at, int(steps.processor[column])))
            else:
                dimension = DIMENSIONS[int(steps.dimension[column])]
                chains.append(self.problem.split(at, int(steps.stop[column]), dimension, int(steps.cut[column])))
        return chains[::-1]

    def _of(self, at: int) -> _Labels:
        labels = self.labels[at]
        assert labels is not None
        return labels


def _by_stop(steps: _Steps, chosen: Ids) -> list[Ids]:
    """Some columns, apart by where their chains end, the first first."""
    chosen = chosen[np.argsort(steps.stop[chosen], kind="stable")]
    found: list[Ids] = np.split(chosen, np.flatnonzero(np.diff(steps.stop[chosen])) + 1)
    return found if len(chosen) else []


def _firsts(*keys: Ids) -> Ids:
    """The places where a combination of keys turns up first, in order."""
    order = np.lexsort(keys)  # stable: of equal ones, the first comes first
    new = np.ones(len(order), dtype=bool)
    new[1:] = np.any([key[order[1:]] != key[order[:-1]] for key in keys], axis=0)
    return np.sort(order[new])


def _joined(parts: Sequence[_Steps]) -> _Steps:
    """All columns side by side; a tensor that a column does not read is read as `NOTHING`."""
    needs = {}
    for value in dict.fromkeys(v for part in parts for v in part.needs):
        rows = [part.needs.get(value, np.full((2, len(part.stop)), NOTHING, dtype=np.int64)) for part in parts]
        needs[value] = np.concatenate(rows, axis=1)

    def column(name: str) -> Any:
        return np.concatenate([getattr(part, name) for part in parts])

    own = np.concatenate([part.own for part in parts], axis=1)
    return _Steps(
        column("stop"), column("cut"), column("processor"), column("dimension"), column("value"), own, needs,
        column("fork"),
    )  # fmt: skip
