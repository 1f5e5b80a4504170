"""The best plan under the cost model, by dynamic programming over the operators in topological order.

A partial plan covers the first operators by whole chains; what it leaves for the rest is where every tensor that is
still needed is valid: its *frontier*. Of all partial plans with the same frontier only the cheapest can be the
beginning of the best plan. A plan that costs more than another by at least what any frontier can save later on is
dropped too, which is exact as well. On a linear network the frontier is the partition of one tensor, so that the
search is exact; so it is on graphs with branches as long as fewer than `LABELS` partial plans survive at every
operator. Beyond that the cheapest are kept, and the result is compared with the plans of the simpler planners.

Chains have up to `LONGEST` operators. A cut is any multiple of the alignment, thinned out to `CUTS` evenly spaced ones
where there are more and the chain has more than one operator.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from codl.ops import Dimension
from codl.plan.evaluate import plan_latency
from codl.plan.frontier import Frontier, State
from codl.plan.model import Chain
from codl.plan.problem import Problem
from codl.plan.tables import NOTHING, Columns, Floats, Ids

LONGEST = 32
LABELS = 192
PAIRS = 48
CUTS = 64
DIMENSIONS = (Dimension.HEIGHT, Dimension.OUTPUT_CHANNEL)

Key = tuple[tuple[str, State], ...]
"""States of the tensors that are still needed, other than the last one made, by name."""


def optimal_chains(problem: Problem, others: Iterable[Sequence[Chain]]) -> list[Chain]:
    """The chains of the best plan that the search finds, or of a better one among `others`."""
    plans = [list(chains) for chains in others]
    if len(problem.pair) == 2:
        plans.append(Search(problem).chains())
    values = [problem.objective(plan_latency(problem.graph, problem.plan("optimal", c), problem.cost)) for c in plans]
    # Of equal ones the search's own, which comes last.
    return plans[min(range(len(plans)), key=lambda i: (values[i], -i))]


@dataclass(frozen=True)
class _Steps:
    """Every way to go on from one operator: the chains that begin there. One column each.

    Args:
        processor: index in the pair of a placement, -1 for a split.
        dimension: index in `DIMENSIONS` of a split.
        value: kernels and bringing home, without sharing on the way in.
        own: boxes of the last operator's output that are valid for each processor afterwards, (2, columns).
    """

    stop: Ids
    cut: Ids
    processor: Ids
    dimension: Ids
    value: Floats
    own: Ids
    needs: dict[str, Ids]

    def at(self, chosen: np.ndarray) -> _Steps:
        needs = {value: ids[:, chosen] for value, ids in self.needs.items()}
        return _Steps(
            self.stop[chosen], self.cut[chosen], self.processor[chosen], self.dimension[chosen], self.value[chosen],
            self.own[:, chosen], needs,
        )  # fmt: skip


@dataclass
class _Labels:
    """Partial plans that end before one operator."""

    value: Floats
    own: Ids
    """(2, labels): boxes of the last output that are valid for each processor"""
    key: list[int]
    """number of the frontier without the last output"""
    back: list[tuple[int, int, int]]
    """(operator, label, column) of the step that led here"""


class Search:
    """The dynamic program for a pair of processors.

    Args:
        labels: partial plans kept before an operator.
        pairs: partial plans kept of one step that leaves a tensor in a state of its own for later readers.
    """

    def __init__(self, problem: Problem, labels: int = LABELS, pairs: int = PAIRS) -> None:
        self.most_labels, self.most_pairs = labels, pairs
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
        self.steps = self._all_steps()
        self.slack = [self._slack(at) for at in range(self.count + 1)]
        self.keys: list[Key] = [()]
        self._numbers: dict[Key, int] = {(): 0}
        self.pushes: list[list[_Labels]] = [[] for _ in range(self.count + 1)]
        self.labels: list[_Labels | None] = [None] * (self.count + 1)
        self.upper = np.full(self.count + 1, np.inf)
        """By operator, the cheapest partial plan that ends before it."""

    # The ways to go on

    def _all_steps(self) -> list[_Steps]:
        sweeps = [self._sweep(dimension) for dimension in DIMENSIONS]
        found: list[_Steps] = []
        for start in range(self.count - 1, -1, -1):
            parts = [self._placements(start)]
            for number, columns in enumerate(map(next, sweeps)):
                if columns is not None:
                    parts.append(self._splits(number, columns))
            found.append(_joined(parts))
        return found[::-1]

    def _sweep(self, dimension: Dimension):  # type: ignore[no-untyped-def]
        def chosen(index: int) -> Ids:
            if dimension not in self.tables.dimensions(index):
                return np.zeros(0, dtype=np.int64)
            count = len(self.tables.cuts(index, dimension))
            if count <= CUTS:
                return np.arange(count)
            return np.unique(np.linspace(0, count - 1, CUTS).round().astype(np.int64))

        return self.tables.sweep(dimension, chosen, LONGEST)

    def _splits(self, number: int, columns: Columns) -> _Steps:
        value = self.problem.value(self.problem.compute_ns(columns), columns.joules.sum(axis=0))
        value = value + self.frontier.bring_home(columns.part_bytes) + self._finish(columns.stop, columns.part_bytes)
        near = self._near_best(columns, value)
        columns, value = columns.at(near), value[near]
        own = columns.parts.copy()
        if self.frontier.home is not None:
            own[self.frontier.home] = [self.tables.boxes(self.made[stop]).full() for stop in columns.stop.tolist()]
        size = len(columns)
        return _Steps(
            columns.stop, columns.cut, np.full(size, -1), np.full(size, number), value, own, dict(columns.needs)
        )

    def _near_best(self, columns: Columns, value: Floats) -> np.ndarray:
        """Columns that are not worse than another cut of the same chain by more than sharing can make up for."""
        lowest = np.full(self.count, np.inf)
        np.minimum.at(lowest, columns.stop, value)
        reading = 2 * sum(self.frontier.bound(v, 1 + len(self.reads[v])) for v in columns.needs)
        leaving = np.zeros(self.count)
        for stop in set(columns.stop.tolist()):
            leaving[stop] = self.frontier.bound(self.made[stop], len(self.reads[self.made[stop]]))
        return np.asarray(value <= lowest[columns.stop] + reading + leaving[columns.stop])

    def _placements(self, start: int) -> _Steps:
        able = self.problem.placements(start)
        full = self.tables.boxes(self.made[start]).full()
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
            np.full(size, start), np.zeros(size, dtype=np.int64), np.array(able), np.full(size, -1), values, own, needs
        )

    def _hull(self, value: str, left: int, right: int) -> int:
        return int(self.tables.boxes(value).hull(np.array([left]), np.array([right]))[0])

    def _finish(self, stops: Ids, part_bytes: Floats) -> Floats:
        """Bringing an output to the caller, where that is needed; exact for a graph with one output."""
        frontier, model = self.frontier, self.frontier.model
        images = "image" in model.data_types.values()
        is_output = np.array([self.made[stop] in self.graph.outputs for stop in stops.tolist()])
        if model.host not in self.problem.pair or not is_output.any():
            return np.zeros(len(stops))
        host = self.problem.pair.index(model.host)
        missing = part_bytes[1 - host]
        if model.sharing == "unified" or (model.sharing == "mapped" and not images):
            return np.zeros(len(stops))
        if model.sharing == "mapped":
            scattered = (part_bytes > 0).all(axis=0) if frontier.home is None else np.zeros(len(stops), dtype=bool)
            missing = missing * scattered
        some = (missing > 0) & is_output
        fixed = frontier.once[host] + frontier.sync[host] + frontier.each[host]
        return np.where(some, fixed + frontier.per_byte[host] * missing, 0.0)

    def _slack(self, at: int) -> float:
        """The most that one frontier before operator `at` can save over another."""
        total = 0.0
        for value, readers in self.reads.items():
            later = sum(reader >= at for reader in readers)
            producer = self.graph.producer.get(value)
            made = -1 if producer is None else self.graph.position[producer.name]
            if later and made < at and value not in self.graph.weights:
                total += self.frontier.bound(value, later)
        return total

    # The dynamic program

    def chains(self) -> list[Chain]:
        """The chains of the best plan found."""
        self.pushes[0].append(_Labels(np.zeros(1), np.full((2, 1), NOTHING), [0], [(-1, -1, -1)]))
        self.upper[0] = 0.0
        for at in range(self.count + 1):
            labels = self._merged(at)
            self.labels[at] = labels
            if at < self.count:
                for key in sorted(set(labels.key)):
                    members = np.array([i for i, k in enumerate(labels.key) if k == key])
                    self._advance(at, labels, members, key)
        return self._trace()

    def _merged(self, at: int) -> _Labels:
        """The partial plans before an operator: of equal frontiers the cheapest, without those that cannot win."""
        pushes = self.pushes[at]
        value = np.concatenate([push.value for push in pushes])
        own = np.concatenate([push.own for push in pushes], axis=1)
        key = np.array([k for push in pushes for k in push.key])
        back = [b for push in pushes for b in push.back]
        order = np.argsort(value, kind="stable")
        order = order[value[order] <= value[order[0]] + self.slack[at]]
        rows = np.stack([own[0][order], own[1][order], key[order]], axis=1)
        firsts = np.sort(np.unique(rows, axis=0, return_index=True)[1])
        if len(firsts) > self.most_labels:
            self.exact = False
            firsts = firsts[: self.most_labels]
        kept = order[firsts]
        self.pushes[at] = []
        return _Labels(value[kept], own[:, kept], key[kept].tolist(), [back[i] for i in kept.tolist()])

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
        for value, need in steps.needs.items():
            if value != last:
                reading = reading + self.frontier.read(value, self._state(states, value), need)
        if last in steps.needs:
            reading = reading + self.frontier.read_any(last, labels.own[:, members], steps.needs[last])
        total = labels.value[members][:, None] + steps.value[None, :] + np.atleast_2d(self.frontier.cost(reading))
        stays = self._stays(steps, states, last)
        if not stays.all():
            self._settle(at, total[:, ~stays], members, index[~stays], steps.at(~stays), states)
        if stays.any():
            self._remember(at, total[:, stays], labels, members, index[stays], steps.at(stays), states, last)

    def _worth(self, stops: Ids) -> Floats:
        """Above this value a partial plan that ends before an operator cannot be the beginning of the best plan."""
        slack = np.array(self.slack)
        found: Floats = (self.upper + slack)[stops]
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
                    touched = (steps.needs[value] != NOTHING).any(axis=0)
                if self.frontier.model.sharing == "unified" and value in self.graph.inputs:
                    continue
                stays |= needed & touched
        return stays

    def _settle(
        self, at: int, total: Floats, members: Ids, index: Ids, steps: _Steps, states: dict[str, State]
    ) -> None:
        """Steps after which only the column matters: of all partial plans before it the cheapest."""
        best = np.argmin(total, axis=0)
        value = total[best, np.arange(total.shape[1])]
        for stop in sorted(set(steps.stop.tolist())):
            chosen = np.flatnonzero((steps.stop == stop) & (value <= self._worth(np.array([stop + 1]))[0]))
            if not len(chosen):
                continue
            kept = {v: s for v, s in states.items() if max(self.reads[v]) > stop}
            for column_group, extra in self._by_extra(steps, chosen):
                number = self._number({**kept, **extra})
                back = [(at, int(members[best[c]]), int(index[c])) for c in column_group.tolist()]
                size = len(column_group)
                self._push(stop + 1, _Labels(value[column_group], steps.own[:, column_group], [number] * size, back))

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
                    whole = (self.tables.boxes(value).full(),)
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
        for stop in sorted(set(steps.stop.tolist())):
            here = np.flatnonzero(steps.stop == stop)
            values = total[:, here]
            flat = np.flatnonzero(values.reshape(-1) <= worth[here[0]])
            flat = flat[np.argsort(values.reshape(-1)[flat], kind="stable")]
            if len(flat) > self.most_pairs:
                self.exact = False
                flat = flat[: self.most_pairs]
            for place in flat.tolist():
                row, column = divmod(place, len(here))
                self._pair(at, float(values[row, column]), labels, int(members[row]), index, steps, int(here[column]), states, last)

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
            if name in steps.needs:
                state = self.frontier.after_read(name, state, steps.needs[name][:, column].tolist())
            if name in before or state != self.frontier.input_state(name):
                after[name] = state
        for _, extra in self._by_extra(steps, np.array([column])):
            number = self._number({**after, **extra})
            own = steps.own[:, column : column + 1]
            back = [(at, label, int(index[column]))]
            self._push(stop + 1, _Labels(np.array([value]), own, [number], back))

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
            at, label, column = self._of(at).back[label]
            steps = self.steps[at]
            if steps.processor[column] >= 0:
                chains.append(self.problem.placed(at, int(steps.processor[column])))
            else:
                dimension = DIMENSIONS[int(steps.dimension[column])]
                chains.append(self.problem.split(at, int(steps.stop[column]), dimension, int(steps.cut[column])))
        return chains[::-1]

    def _of(self, at: int) -> _Labels:
        labels = self.labels[at]
        assert labels is not None
        return labels


def _joined(parts: Sequence[_Steps]) -> _Steps:
    """All columns side by side; a tensor that a column does not read is read as `NOTHING`."""
    needs = {}
    for value in dict.fromkeys(v for part in parts for v in part.needs):
        rows = [part.needs.get(value, np.full((2, len(part.stop)), NOTHING, dtype=np.int64)) for part in parts]
        needs[value] = np.concatenate(rows, axis=1)
    return _Steps(
        *(np.concatenate([getattr(p, f) for p in parts]) for f in ("stop", "cut", "processor", "dimension", "value")),
        np.concatenate([part.own for part in parts], axis=1), needs,
    )  # fmt: skip
