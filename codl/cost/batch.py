"""Costs of many boxes of one operator at once, equal to `CostModel.kernel` of each: what planners ask for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from codl.cost.choice import matcher
from codl.cost.model import NS, CostModel, predictor
from codl.graph import Node
from codl.hardware import Kernel
from codl.ops import REGISTRY
from codl.ops.spec import Work
from codl.region import Range, Region, Regions

_FIELDS = tuple(field.name for field in fields(Work))
_KNOWN = frozenset(_FIELDS)

Floats = NDArray[np.float64]
Ranges = NDArray[np.int64]
"""(start, stop) of every axis of every box, (boxes, axes, 2)."""


def regions_of(ranges: Ranges) -> Regions:
    """The boxes as one `Regions`; what all of them have in common stays a number."""
    axes = []
    for axis in range(ranges.shape[1]):
        starts, stops = ranges[:, axis, 0], ranges[:, axis, 1]
        axes.append(tuple(int(v[0]) if (v == v[0]).all() else v for v in (starts, stops)))
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
        self._candidates: dict[str, tuple[_Candidate, ...]] = {}
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

    def kernels(self, node: Node, ranges: Ranges, processors: tuple[str, ...]) -> Floats:
        """(ns, bytes over the memory bus, joules) of non-empty boxes, (processors, boxes, 3).

        Raises:
            UncalibratedError: a constant is missing.
        """
        work = self.works(node, ranges)
        if work is None:
            regions = [region_at(ranges, index) for index in range(len(ranges))]
            found = [[self.cost.kernel(node, region, name) for region in regions] for name in processors]
            return np.array([[(one.ns, one.nbytes, one.joules) for one in row] for row in found])
        return np.stack([self._kernels(node, ranges, work, name) for name in processors])

    def _kernels(self, node: Node, ranges: Ranges, work: Work, processor: str) -> Floats:
        hardware = self.cost.hardware
        rows = np.full((len(ranges), 3), np.nan)
        seconds, nbytes = np.full(len(ranges), np.inf), np.zeros(len(ranges))
        rest = np.ones(len(ranges), dtype=bool)
        fastest = hardware.libraries[hardware.library].choice == "fastest"
        variants = REGISTRY[node].algorithms(self.cost.graph, node) if fastest else ()
        for candidate, tests in self._able(processor, work):
            if fastest and candidate.kernel.algorithm not in variants:
                continue
            able = rest.copy() if not fastest else np.ones(len(ranges), dtype=bool)
            for name, test in tests:
                able &= test(getattr(work, name))
            if not able.any():
                continue
            here, moved = (np.broadcast_to(v, len(ranges)) for v in candidate.predict(work))
            better = able & (here < seconds)
            seconds, nbytes = np.where(better, here, seconds), np.where(better, moved, nbytes)
            rest &= ~able
            if not fastest and not rest.any():
                break
        for index in np.flatnonzero(rest)[:1]:
            self.cost.kernel(node, region_at(ranges, int(index)), processor)  # raises: nothing is calibrated for it
        joules = seconds * hardware.processors[processor].active_power + nbytes * hardware.memory.energy
        rows[:, 0], rows[:, 1], rows[:, 2] = seconds * NS, nbytes, joules
        return rows

    def _able(self, processor: str, work: Work) -> list[tuple[_Candidate, list[tuple[str, Callable[[Any], Any]]]]]:
        """Kernels whose conditions hold as far as they are about numbers, with the tests of arrays that are left."""
        numbers = tuple(
            None if isinstance(value := getattr(work, name), np.ndarray) else value for name in _FIELDS[:-4]
        )
        key = (processor, numbers)
        if key not in self._chosen:
            self._chosen[key] = [
                (candidate, [(name, test) for name, test in candidate.tests.items() if self._many(work, name)])
                for candidate in self._of(processor)
                if all(self._many(work, name) or test(getattr(work, name)) for name, test in candidate.tests.items())
            ]
        return self._chosen[key]

    @staticmethod
    def _many(work: Work, name: str) -> bool:
        return isinstance(getattr(work, name), np.ndarray)

    def _of(self, processor: str) -> tuple[_Candidate, ...]:
        if processor not in self._candidates:
            hardware = self.cost.hardware
            kernels = hardware.kernels(processor, self.cost.data_types[processor])
            self._candidates[processor] = tuple(
                _Candidate(kernel, _tests(kernel), predictor(kernel, hardware, processor)) for kernel in kernels
            )
        return self._candidates[processor]


def _tests(kernel: Kernel) -> dict[str, Callable[[Any], Any]]:
    """The conditions of a kernel one by one, for numbers and arrays."""
    return {
        name: _for_arrays(name, matcher(kernel.model_copy(update={"when": {name: condition}}), _KNOWN))
        for name, condition in kernel.when.items()
    }


def _for_arrays(name: str, matches: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def test(value: Any) -> Any:
        if not isinstance(value, np.ndarray):
            return matches(SimpleNamespace(**{name: value}))
        unique, inverse = np.unique(value, return_inverse=True)
        return np.array([bool(matches(SimpleNamespace(**{name: one}))) for one in unique.tolist()])[inverse]

    return test


def _as_ranges(region: Region, count: int) -> Ranges:
    ranges = np.empty((count, len(region.ranges), 2), dtype=np.int64)
    for axis, (start, stop) in enumerate(region.ranges):
        ranges[:, axis, 0] = start
        ranges[:, axis, 1] = stop
    return ranges


def _at(value: Any, index: int) -> Any:
    return value[index] if isinstance(value, np.ndarray) else value
