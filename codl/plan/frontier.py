"""What crosses from one chain to the next: where tensors are valid, and what it costs to read them there.

A *state* of a tensor says, for each processor of the pair, which disjoint boxes it can read without sharing. Costs are
in the planner's unit, the value that is minimised, and vectorised over states and over what is needed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from codl.plan.boxes import NOTHING, Boxes, Floats, Ids
from codl.plan.problem import Problem
from codl.plan.sharing import Fetch
from codl.region import Region
from codl.tasks import subtract

State = tuple[tuple[int, ...], ...]
"""By processor of the pair, the numbers of the boxes that are valid for it."""
Booleans = NDArray[np.bool_]


@dataclass
class Reading:
    """What it takes to read tensors: by processor the cost that adds up, and whether anything is taken over at all.

    Arrays broadcast against each other: (columns,) or (states, columns).
    """

    value: Floats
    fetches: list[Booleans]
    waits: list[Booleans]
    """Like `fetches`, without what had no writer to wait for."""

    def __add__(self, other: Reading) -> Reading:
        return Reading(
            self.value + other.value,
            [a | b for a, b in zip(self.fetches, other.fetches, strict=True)],
            [a | b for a, b in zip(self.waits, other.waits, strict=True)],
        )


class Frontier:
    """Costs of reading tensors of one problem, in its objective's unit, with typical synchronisation."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self.tables = problem.tables
        self.model = problem.sharing(bound=False)
        pair = problem.pair
        self.fetch: list[Fetch] = [self.model.fetch(pair[1 - p], pair[p]) for p in (0, 1)]
        self.home = pair.index(self.model.home) if self.model.home else None
        value: Any = problem.value  # scalars as well as arrays
        self.once = [float(value(f.once.fixed, f.once.joules)) for f in self.fetch]
        self.sync = [float(value(f.sync, 0.0)) for f in self.fetch]
        self.each = [float(value(f.value.fixed, f.value.joules)) for f in self.fetch]
        self.per_byte = [float(value(f.per_byte, f.joules_per_byte)) for f in self.fetch]
        self.readers = self.model.readers_of_input()

    def input_state(self, value: str) -> State:
        """Where a graph input is valid from the start."""
        whole = self.tables.boxes(value).full
        return tuple((whole,) if name in self.readers else () for name in self.problem.pair)

    def waits_for(self, value: str) -> bool:
        """Whether taking over a tensor means waiting: a graph input has no writer, unless it must be transformed."""
        if value not in self.problem.graph.inputs:
            return True
        readers = [self.problem.pair.index(name) for name in self.readers if name in self.problem.pair]
        return any(self.problem.cost.data_types[self.problem.pair[p]] == "image" for p in readers)

    def nothing(self, count: int) -> Reading:
        """Reading nothing."""
        none = np.zeros(count, dtype=bool)
        return Reading(np.zeros(count), [none, none], [none, none])

    def read(self, value: str, state: State, need: Ids) -> Reading:
        """Reading boxes `need` (2, columns) of a tensor in one state: (columns,)."""
        boxes = self.tables.boxes(value)
        missing = []
        for p in (0, 1):
            lacking = boxes.sizes(need[p])
            for own in state[p]:
                lacking = lacking - (boxes.sizes(need[p]) - boxes.missing(np.array([own]), need[p])[0])
            missing.append(lacking)
        return self._reading(value, missing)

    def read_any(self, value: str, own: Ids, need: Ids) -> Reading:
        """Reading boxes `need` (2, columns) of a tensor in each of several states `own` (2, states) of one box a
        processor: (states, columns)."""
        boxes = self.tables.boxes(value)
        return self._reading(value, [boxes.missing(own[p], need[p]) for p in (0, 1)])

    def _reading(self, value: str, missing: Sequence[Floats]) -> Reading:
        itemsize, waits = self.tables.itemsize(value), self.waits_for(value)
        some = [lacking > 0.5 for lacking in missing]
        total = np.zeros(missing[0].shape)
        for p in (0, 1):
            if self.each[p] or self.per_byte[p]:
                total = total + self.per_byte[p] * itemsize * missing[p] + self.each[p] * some[p]
        return Reading(total, some, [one & waits for one in some])

    def cost(self, reading: Reading) -> Floats:
        """The value of a chain's sharing on its way in (see `SharingModel.together`)."""
        synced = [self.sync[p] * reading.waits[p] for p in (0, 1)]
        waiting = synced[0] + synced[1] if self.model.sharing == "mapped" else np.maximum(*synced)
        total: Floats = reading.value + waiting
        for p in (0, 1):
            if self.once[p]:
                total = total + self.once[p] * reading.fetches[p]
        return total

    def bring_home(self, part_bytes: Floats) -> Floats:
        """The value of handing the other processor's part to the home processor, by column; zero without a home."""
        if self.home is None:
            return np.zeros(part_bytes.shape[1])
        p = self.home
        found: Floats = self.once[p] + self.sync[p] + self.each[p] + self.per_byte[p] * part_bytes[1 - p]
        return found

    def after_read(self, value: str, state: State, need: Sequence[int]) -> State:
        """The state of a tensor when boxes of it were taken over."""
        boxes = self.tables.boxes(value)
        return tuple(self._joined(boxes, state[p], need[p]) for p in (0, 1))

    def _joined(self, boxes: Boxes, own: tuple[int, ...], need: int) -> tuple[int, ...]:
        if need == NOTHING or need in own:
            return own
        rest = [_region(boxes, need)]
        for box in own:
            rest = [part for piece in rest for part in subtract(piece, _region(boxes, box))]
        if not rest:
            return own
        rows = np.array([piece.ranges for piece in rest], dtype=np.int64)
        return tuple(sorted((*own, *boxes.ids(rows).tolist())))

    def bound(self, value: str, readers: int) -> float:
        """An upper bound on how much more a state of a tensor can cost its `readers` later chains than another."""
        nbytes = float(prod(self.problem.graph.tensors[value].shape)) * self.tables.itemsize(value)
        fixed = sum(self.once) + sum(self.sync) + sum(self.each)
        return readers * fixed + sum(self.per_byte) * nbytes


def _region(boxes: Boxes, box: int) -> Region:
    return Region(tuple((int(start), int(stop)) for start, stop in boxes.ranges[box]))
