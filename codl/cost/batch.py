"""Costs of many boxes of many operators at once, equal to `CostModel.kernel` of each: what planners ask for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from codl.cost.choice import condition_test
from codl.cost.model import NS, CostModel, predictor
from codl.graph import Node
from codl.hardware import Kernel
from codl.ops import REGISTRY
from codl.ops.spec import Work
from codl.region import Range, Region, Regions

Booleans = NDArray[np.bool_]
Floats = NDArray[np.float64]
Ranges = NDArray[np.int64]
"""(start, stop) of every axis of every box, (boxes, axes, 2)."""


def regions_of(ranges: Ranges) -> Regions:
    """The boxes as one `Regions`; what all of them have in common stays a number."""
    common = (ranges == ranges[0]).all(axis=0).tolist()
    first = ranges[0].tolist()
    axes = [
        tuple(first[axis][end] if common[axis][end] else ranges[:, axis, end] for end in (0, 1))
        for axis in range(ranges.shape[1])
    ]
    return Regions(cast(tuple[Range, ...], tuple(axes)))  # arrays in place of numbers, as `Regions` says


def region_at(ranges: Ranges, index: int) -> Region:
    """One of the boxes."""
    return Region(tuple((int(start), int(stop)) for start, stop in ranges[index]))


class Works:
    """The work of the boxes of several operators, one box after another.

    It has the attributes of `codl.ops.spec.Work`: numbers that all boxes share, or arrays of one element a box, put
    together when a formula asks for them.

    Args:
        works: of each operator, with arrays for what differs among its boxes.
        counts: boxes of each operator.
    """

    def __init__(self, works: Sequence[Work], counts: Sequence[int]) -> None:
        self.works = works
        self.counts = counts
        self.starts = [0, *accumulate(counts)]
        self._held: dict[tuple[str, object], Booleans] = {}

    def __getattr__(self, name: str) -> Any:
        values = [getattr(work, name) for work in self.works]
        found = values[0]
        if any(isinstance(value, np.ndarray) for value in values):
            found = np.empty(self.starts[-1], dtype=np.result_type(*values))
            for value, start, stop in zip(values, self.starts, self.starts[1:], strict=False):
                found[start:stop] = value
        elif any(value != found for value in values):
            found = self.spread(values)
        self.__dict__[name] = found
        return found

    def spread(self, values: Sequence[Any]) -> NDArray[Any]:
        """One value an operator, for each of its boxes."""
        return np.repeat(np.array(values), self.counts)

    def hold(self, name: str, condition: int | str | tuple[int | str, ...]) -> Booleans:
        """For each box, whether a kernel's condition on an attribute holds."""
        key = (name, condition)
        if key not in self._held:
            test, values = condition_test(condition), [getattr(work, name) for work in self.works]
            many = any(isinstance(value, np.ndarray) for value in values)
            self._held[key] = _tested(test, getattr(self, name)) if many else self.spread([test(v) for v in values])
        return self._held[key]


class _Some:
    """Some boxes of `Works`."""

    def __init__(self, works: Works, chosen: NDArray[np.int64]) -> None:
        self._works, self._chosen = works, chosen

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._works, name)
        found = self.__dict__[name] = value.take(self._chosen) if isinstance(value, np.ndarray) else value
        return found


@dataclass(frozen=True)
class _Candidate:
    kernel: Kernel
    predict: Callable[[Any], tuple[Any, Any]]


class BatchCosts:
    """Kernel costs of a `CostModel`, many boxes at a time.

    Operators whose work is not plain arithmetic, and cost models that are no `CostModel` but only look like one, are
    asked box by box.
    """

    def __init__(self, cost: CostModel) -> None:
        self.cost = cost
        self._in_bulk = isinstance(cost, CostModel)  # a stand-in with other prices is asked box by box
        self._candidates: dict[tuple[str, str], tuple[_Candidate, ...]] = {}
        self.algorithms: list[str] = []
        """Kernel variants, as they turn up."""

    def reads(self, node: Node, ranges: Ranges) -> list[Ranges]:
        """What computing non-empty boxes reads of each variable input, each (boxes, axes, 2)."""
        spec, graph = REGISTRY[node], self.cost.graph
        try:
            return [_as_ranges(box, len(ranges)) for box in spec.input_regions(graph, node, regions_of(ranges))]
        except (TypeError, ValueError):  # not plain arithmetic
            rows = [spec.input_regions(graph, node, region_at(ranges, index)) for index in range(len(ranges))]
        slots = range(len(rows[0]))
        return [np.array([row[slot].ranges for row in rows], np.int64).reshape(len(rows), -1, 2) for slot in slots]

    def kernels(self, asked: Sequence[tuple[Node, Ranges]], processors: tuple[str, ...]) -> list[Floats]:
        """(ns, bytes over the memory bus, joules, kernel) of non-empty boxes of several operators: each (processors,
        boxes, 4). The kernel is an index into `algorithms`.

        Raises:
            UncalibratedError: a constant is missing.
        """
        known = [self._works(node, ranges) for node, ranges in asked]
        together = [pair for pair, work in zip(asked, known, strict=True) if work is not None]
        bulk = iter(self._together(together, [work for work in known if work is not None], processors))
        return [
            self._one_by_one(node, ranges, processors) if work is None else next(bulk)
            for (node, ranges), work in zip(asked, known, strict=True)
        ]

    def _works(self, node: Node, ranges: Ranges) -> Work | None:
        """The work of non-empty boxes as one `Work` of arrays; None where the family cannot do that."""
        if not self._in_bulk:
            return None
        try:
            return REGISTRY[node].work(self.cost.graph, node, regions_of(ranges))
        except (TypeError, ValueError):  # not plain arithmetic
            return None

    def _one_by_one(self, node: Node, ranges: Ranges, processors: Sequence[str]) -> Floats:
        boxes = [region_at(ranges, index) for index in range(len(ranges))]
        found = np.empty((len(processors), len(boxes), 4))
        for processor, row in zip(processors, found, strict=True):
            for index, box in enumerate(boxes):
                cost = self.cost.kernel(node, box, processor)
                algorithm = self._number(self.cost.algorithm(node, box, processor))
                row[index] = cost.ns, cost.nbytes, cost.joules, algorithm
        return found

    def _number(self, algorithm: str) -> int:
        if algorithm not in self.algorithms:
            self.algorithms.append(algorithm)
        return self.algorithms.index(algorithm)

    def _together(
        self, asked: Sequence[tuple[Node, Ranges]], known: Sequence[Work], processors: Sequence[str]
    ) -> list[Floats]:
        """`kernels` of operators whose works are known."""
        if not asked:
            return []
        works = Works(known, [len(ranges) for _, ranges in asked])
        ends = works.starts[1:]
        costs = np.empty((len(processors), ends[-1], 4))
        for processor, found in zip(processors, costs, strict=True):
            found[:] = np.inf
            biases = works.spread([self.cost.bias(node, processor) for node, _ in asked])
            for candidate, chosen in self._users(asked, works, processor):
                self._evaluate(candidate, processor, works, chosen, biases, found)
            for missing in np.flatnonzero(np.isinf(found[:, 0]))[:1].tolist():
                index = int(np.searchsorted(ends, missing, side="right"))
                node, ranges = asked[index]
                self.cost.kernel(node, region_at(ranges, missing - ends[index]), processor)  # raises: not calibrated
        return np.split(costs, ends[:-1], axis=1)

    def _users(
        self, asked: Sequence[tuple[Node, Ranges]], works: Works, processor: str
    ) -> Iterator[tuple[_Candidate, NDArray[np.int64]]]:
        """Each kernel of a processor with the boxes that it computes, or of which it may be the fastest."""
        cost, nodes = self.cost, [node for node, _ in asked]
        fastest = cost.hardware.libraries[cost.hardware.library].choice == "fastest"
        data_types = [cost.data_type(node, processor) for node in nodes]
        for data_type in dict.fromkeys(data_types):
            rest = works.spread([own == data_type for own in data_types])
            variants = [REGISTRY[node].variants(cost.graph, node, data_type) for node in nodes] if fastest else []
            for candidate in self._of(processor, data_type):
                able = rest
                for name, condition in candidate.kernel.when.items():
                    able = able & works.hold(name, condition)
                if fastest:
                    able = able & works.spread([candidate.kernel.algorithm in names for names in variants])
                else:
                    rest = rest & ~able
                chosen = np.flatnonzero(able)
                if len(chosen):
                    yield candidate, chosen

    def _evaluate(
        self, candidate: _Candidate, processor: str, works: Works, chosen: NDArray[np.int64], biases: Floats,
        found: Floats,
    ) -> None:  # fmt: skip
        """Note what a kernel costs where that is less than what is known."""
        hardware = self.cost.hardware
        seconds, nbytes = candidate.predict(_Some(works, chosen))
        seconds = seconds * biases.take(chosen)
        joules = seconds * hardware.processors[processor].active_power + nbytes * hardware.memory.energy
        rows = np.empty((len(chosen), 4))
        for column, values in enumerate((seconds * NS, nbytes, joules, self._number(candidate.kernel.algorithm))):
            rows[:, column] = values
        better = rows[:, 0] < found[chosen, 0]
        found[chosen[better]] = rows[better]

    def _of(self, processor: str, data_type: str) -> tuple[_Candidate, ...]:
        if (processor, data_type) not in self._candidates:
            hardware = self.cost.hardware
            kernels = hardware.kernels(processor, data_type)
            self._candidates[processor, data_type] = tuple(
                _Candidate(kernel, predictor(kernel, hardware, processor)) for kernel in kernels
            )
        return self._candidates[processor, data_type]


def _tested(test: Callable[[Any], Any], values: NDArray[Any]) -> Booleans:
    """The answers of a condition's test to an array."""
    try:
        return np.broadcast_to(test(values), values.shape)
    except ValueError:  # neither a comparison nor anything else that numpy answers element by element
        distinct, places = np.unique(values, return_inverse=True)
        return np.array([bool(test(value)) for value in distinct.tolist()])[places]


def _as_ranges(region: Region, count: int) -> Ranges:
    ranges = np.empty((count, len(region.ranges), 2), dtype=np.int64)
    for axis, (start, stop) in enumerate(region.ranges):
        ranges[:, axis, 0] = start
        ranges[:, axis, 1] = stop
    return ranges
