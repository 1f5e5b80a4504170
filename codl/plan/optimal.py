"""The best plan under the cost model, by dynamic programming over the operators in topological order.

A partial plan covers the first operators by whole chains; what it leaves for the rest is where every tensor that is
still needed is valid: its *frontier*. Of all partial plans with the same frontier only the cheapest can be the
beginning of the best plan. A plan that costs more than another by at least what any frontier can save later on is
dropped too, which is exact as well. On a linear network the frontier is the partition of one tensor, so that the
search is exact; so it is on graphs with branches as long as fewer than `LABELS` partial plans survive at every
operator. Beyond that the cheapest are kept, and the result is compared with the plans of the simpler planners.

How a partial plan may go on, in chains of which lengths with which cuts, is `codl.plan.steps`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from codl.plan.boxes import NOTHING, Floats, Ids
from codl.plan.columns import DIMENSIONS
from codl.plan.frontier import Frontier, Reading, State
from codl.plan.model import Chain
from codl.plan.problem import Problem
from codl.plan.steps import Steps, Ways, by_stop

LABELS = 1024
KEYS = 3
PAIRS = 4

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
        self.frontier = Frontier(problem)
        self.count = len(self.graph)
        self.exact = True
        """False once a partial plan had to be dropped that might have been the beginning of the best plan."""
        ways = Ways(problem, self.frontier)
        self.reads, self.made, self.slack = ways.reads, ways.made, ways.slack
        self.steps, self.placed = ways.steps, ways.placed
        self.keys: list[Key] = [()]
        self._numbers: dict[Key, int] = {(): 0}
        self.pushes: list[list[_Labels]] = [[] for _ in range(self.count + 1)]
        self.labels: list[_Labels] = []
        self.upper = np.full(self.count + 1, np.inf)
        """By operator, the cheapest partial plan that ends before it."""

    def chains(self) -> list[Chain]:
        """The chains of the best plan found."""
        self.pushes[0].append(_Labels(np.zeros(1), np.full((2, 1), NOTHING), np.zeros(1, int), np.full((3, 1), -1)))
        self.upper[0] = 0.0
        for at in range(self.count + 1):
            labels = self._merged(at)
            self.labels.append(labels)
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
                reading = reading + self.frontier.read(name, states.get(name) or self.frontier.input_state(name), need)
        total, alike = self._reading(labels, members, steps, reading, last)
        value = steps.value + reading.value
        stays = self._stays(steps, states, last)
        if not stays.all():
            best = np.argmin(total, axis=0)[alike]
            settled = np.flatnonzero(~stays)
            sums = total[best, alike] + value
            self._settle(at, sums[settled], members[best[settled]], index[settled], steps.at(settled), states)
        if stays.any():
            stayed = np.flatnonzero(stays)
            sums = total[:, alike[stayed]] + value[stayed]
            self._remember(at, sums, labels, members, index[stayed], steps.at(stayed), states, last)

    def _reading(self, labels: _Labels, members: Ids, steps: Steps, reading: Reading, last: str) -> tuple[Floats, Ids]:
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
        return np.asarray((self.upper + self.slack)[stops])

    def _stays(self, steps: Steps, states: dict[str, State], last: str) -> np.ndarray:
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

    def _remembers(self, steps: Steps) -> np.ndarray:
        """Columns after which what a processor read stays valid for it: a home processor's partners forget it."""
        return np.asarray((steps.processor >= 0) | (self.frontier.home is None))

    def _settle(self, at: int, value: Floats, best: Ids, index: Ids, steps: Steps, states: dict[str, State]) -> None:
        """Steps after which only the column matters: `best` is the cheapest of all partial plans before it."""
        worthy = np.flatnonzero(value <= self._worth(steps.stop + 1))
        worthy = worthy[np.argsort(steps.stop[worthy], kind="stable")]
        value, own, processor = value[worthy], steps.own.take(worthy, axis=1), steps.processor[worthy]
        back = np.stack([np.full(len(worthy), at), best[worthy], index[worthy]])
        for stop, span in by_stop(steps.stop[worthy]):
            kept = {v: s for v, s in states.items() if max(self.reads[v]) > stop}
            for group, extra in self._by_extra(stop, span, processor):
                found = value[group]
                key = np.full(len(found), self._number({**kept, **extra}))
                self._push(stop + 1, _Labels(found, own[:, group], key, back[:, group]))

    def _by_extra(self, stop: int, span: slice, processor: Ids) -> list[tuple[slice | Ids, dict[str, State]]]:
        """Columns that end with an operator, by the states of its further outputs (a fallback's), which lie where it
        ran.

        Args:
            processor: of all columns, as in `Steps`.
        """
        node = self.graph.nodes[stop]
        if len(node.outputs) < 2:
            return [(span, {})]
        groups: list[tuple[slice | Ids, dict[str, State]]] = []
        for p in (0, 1):
            here = span.start + np.flatnonzero(processor[span] == p)
            extra: dict[str, State] = {}
            for value in node.outputs[1:]:
                if value and self.reads[value]:
                    whole = (self.problem.tables.boxes(value).full,)
                    extra[value] = (whole, ()) if p == 0 else ((), whole)
            if len(here):
                groups.append((here, extra))
        return groups

    def _remember(
        self, at: int, total: Floats, labels: _Labels, members: Ids, index: Ids, steps: Steps,
        states: dict[str, State], last: str,
    ) -> None:  # fmt: skip
        """Steps after which tensors remain whose state depends on the partial plan too: each pair goes on by itself."""
        worth = self._worth(steps.stop + 1)
        order = np.argsort(steps.stop, kind="stable")
        for _, span in by_stop(steps.stop[order]):
            here = order[span]
            values = total[:, here]
            flat = np.flatnonzero(values.reshape(-1) <= worth[here[0]])
            flat = flat[np.argsort(values.reshape(-1)[flat], kind="stable")]
            if len(flat) > self.most_pairs:
                self.exact = False
                flat = flat[: self.most_pairs]
            for place in flat.tolist():
                row, column = divmod(place, len(here))
                value, label, column = float(values[row, column]), int(members[row]), int(here[column])
                self._pair(at, value, labels, label, index, steps, column, states, last)

    def _pair(
        self, at: int, value: float, labels: _Labels, label: int, index: Ids, steps: Steps, column: int,
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
        for _, extra in self._by_extra(stop, slice(column, column + 1), steps.processor):
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
        self.value = float(self.labels[at].value[label])
        while at > 0:
            at, label, column = self.labels[at].back[:, label].tolist()
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


def _firsts(*keys: Ids) -> Ids:
    """The places where a combination of keys turns up first, in order."""
    order = np.lexsort(keys)  # stable: of equal ones, the first comes first
    new = np.ones(len(order), dtype=bool)
    new[1:] = np.any([key[order[1:]] != key[order[:-1]] for key in keys], axis=0)
    return np.sort(order[new])
