"""Costs of many boxes of one operator at once, equal to `CostModel.kernel` of each: what planners ask for."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
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

_FIELDS = tuple(field.name for field in fields(Work))

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


@dataclass(frozen=True)
class _Candidate:
    kernel: Kernel
    tests: Mapping[str, Callable[[Any], Any]]
    """By field of `Work`, what must hold for it: for a number, or element by element of an array."""
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
        self._chosen: dict[object, list[tuple[_Candidate, list[tuple[str, Callable[[Any], Any]]]]]] = {}

    def works(self, node: Node, ranges: Ranges) -> Work | None:
        """The work of non-empty boxes as one `Work` of arrays; None where the family cannot do that.

        One of the boxes is checked against the work that the family tells for it alone.
        """
        if not self._in_bulk:
            return None
        spec, graph, middle = REGISTRY[node], self.cost.graph, len(ranges) // 2
        try:
            work = spec.work(graph, node, regions_of(ranges))
        except (TypeError, ValueError):
            return None
        alone = spec.work(graph, node, region_at(ranges, middle))
        same = all(_at(getattr(work, name), middle) == getattr(alone, name) for name in _FIELDS)
        return work if same else None

    def reads(self, node: Node, ranges: Ranges) -> list[Ranges]:
        """What computing non-empty boxes reads of each variable input, each (boxes, axes, 2)."""
        spec, graph, middle = REGISTRY[node], self.cost.graph, len(ranges) // 2
        alone = spec.input_regions(graph, node, region_at(ranges, middle))
        try:
            many = spec.input_regions(graph, node, regions_of(ranges))
            found = [_as_ranges(region, len(ranges)) for region in many]
            if all(region_at(rows, middle) == one for rows, one in zip(found, alone, strict=True)):
                return found
        except (TypeError, ValueError):
            pass  # not plain arithmetic
        rows = [spec.input_regions(graph, node, region_at(ranges, index)) for index in range(len(ranges))]
        return [
            np.array([row[slot].ranges for row in rows], dtype=np.int64).reshape(len(ranges), -1, 2)
            for slot in range(len(alone))
        ]

    def kernels(self, asked: Sequence[tuple[Node, Ranges]], processors: tuple[str, ...]) -> list[Floats]:
        """(ns, bytes over the memory bus, joules) of non-empty boxes of several operators: each (processors, boxes, 3).

        Raises:
            UncalibratedError: a constant is missing.
        """
        works = [self.works(node, ranges) for node, ranges in asked]
        found = [np.empty((len(processors), len(ranges), 3)) for _, ranges in asked]
        together = [index for index, work in enumerate(works) if work is not None]
        for row, processor in enumerate(processors):
            for index in together:
                found[index][row] = np.inf
            if together:
                self._kernels(asked, works, together, processor, [rows[row] for rows in found])
            for index, (node, ranges) in enumerate(asked):
                if works[index] is None:
                    costs = [self.cost.kernel(node, region_at(ranges, i), processor) for i in range(len(ranges))]
                    found[index][row] = [(one.ns, one.nbytes, one.joules) for one in costs]
        return found

    def _kernels(
        self, asked: Sequence[tuple[Node, Ranges]], works: Sequence[Work | None], together: Sequence[int],
        processor: str, found: Sequence[Floats],
    ) -> None:  # fmt: skip
        """Fill in the rows of one processor: each kernel once, for the boxes of all operators that it takes."""
        hardware = self.cost.hardware
        fastest = hardware.libraries[hardware.library].choice == "fastest"
        takers: dict[int, tuple[_Candidate, list[tuple[int, Booleans]]]] = {}
        for index in together:
            work = works[index]
            assert work is not None
            node, ranges = asked[index]
            rest = np.ones(len(ranges), dtype=bool)
            data_type = self.cost.data_type(node, processor)
            variants = REGISTRY[node].variants(self.cost.graph, node, data_type) if fastest else ()
            taken = np.zeros(len(ranges), dtype=bool)
            for candidate, tests in self._able(processor, data_type, work):
                if fastest and candidate.kernel.algorithm not in variants:
                    continue
                able = rest.copy()
                for name, test in tests:
                    able &= test(getattr(work, name))
                if able.any():
                    takers.setdefault(id(candidate), (candidate, []))[1].append((index, able))
                    taken |= able
                    if not fastest:
                        rest &= ~able
                        if not rest.any():
                            break
            for missing in np.flatnonzero(~taken)[:1].tolist():
                self.cost.kernel(node, region_at(ranges, missing), processor)  # raises: not calibrated for it
        power, energy = hardware.processors[processor].active_power, hardware.memory.energy
        for candidate, users in takers.values():
            counts = [int(able.sum()) for _, able in users]
            many = _together([(works[index], able) for index, able in users], counts)
            seconds, nbytes = (np.broadcast_to(v, sum(counts)) for v in candidate.predict(many))
            rows = np.stack([seconds * NS, nbytes, seconds * power + nbytes * energy], axis=1)
            for (index, able), block in zip(users, np.split(rows, np.cumsum(counts)[:-1]), strict=True):
                here = found[index]
                better = np.flatnonzero(able)
                better_rows = block[:, 0] < here[better, 0]
                here[better[better_rows]] = block[better_rows]

    def _able(
        self, processor: str, data_type: str, work: Work
    ) -> list[tuple[_Candidate, list[tuple[str, Callable[[Any], Any]]]]]:
        """Kernels whose conditions hold as far as they are about numbers, with the tests of arrays that are left."""
        numbers = tuple(
            None if isinstance(value := getattr(work, name), np.ndarray) else value for name in _FIELDS[:-4]
        )
        key = (processor, data_type, numbers)
        if key not in self._chosen:
            self._chosen[key] = [
                (candidate, [(name, test) for name, test in candidate.tests.items() if self._many(work, name)])
                for candidate in self._of(processor, data_type)
                if all(self._many(work, name) or test(getattr(work, name)) for name, test in candidate.tests.items())
            ]
        return self._chosen[key]

    @staticmethod
    def _many(work: Work, name: str) -> bool:
        return isinstance(getattr(work, name), np.ndarray)

    def _of(self, processor: str, data_type: str) -> tuple[_Candidate, ...]:
        if (processor, data_type) not in self._candidates:
            hardware = self.cost.hardware
            kernels = hardware.kernels(processor, data_type)
            self._candidates[processor, data_type] = tuple(
                _Candidate(kernel, _tests(kernel), predictor(kernel, hardware, processor)) for kernel in kernels
            )
        return self._candidates[processor, data_type]


def _tests(kernel: Kernel) -> dict[str, Callable[[Any], Any]]:
    """The conditions of a kernel one by one, for numbers and arrays."""
    return {name: _for_arrays(condition_test(condition)) for name, condition in kernel.when.items()}


def _for_arrays(test: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def test_all(value: Any) -> Any:
        if not isinstance(value, np.ndarray):
            return test(value)
        try:
            return np.broadcast_to(test(value), value.shape)
        except ValueError:  # neither a comparison nor anything else that numpy answers element by element
            return np.array([bool(test(one)) for one in value.tolist()])

    return test_all


def _together(works: Sequence[tuple[Work | None, Booleans]], counts: Sequence[int]) -> Work:
    """Chosen boxes of several operators as one `Work` of arrays. The kind, a word, is the first operator's."""
    fields: dict[str, Any] = {}
    for name in _FIELDS:
        values = [getattr(work, name) for work, _ in works]
        if name == "kind" or (not isinstance(values[0], np.ndarray) and all(v is values[0] for v in values)):
            fields[name] = values[0]
            continue
        arrays = [
            value[able] if isinstance(value, np.ndarray) else np.full(count, value)
            for value, (_, able), count in zip(values, works, counts, strict=True)
        ]
        fields[name] = np.concatenate(arrays)
    return Work(**fields)


def _as_ranges(region: Region, count: int) -> Ranges:
    ranges = np.empty((count, len(region.ranges), 2), dtype=np.int64)
    for axis, (start, stop) in enumerate(region.ranges):
        ranges[:, axis, 0] = start
        ranges[:, axis, 1] = stop
    return ranges


def _at(value: Any, index: int) -> Any:
    return value[index] if isinstance(value, np.ndarray) else value
