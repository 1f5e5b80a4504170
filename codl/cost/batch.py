"""Costs of many boxes of one operator at once, equal to `CostModel.kernel` of each: what planners ask for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from codl.cost.choice import matcher
from codl.cost.model import NS, CostModel, predictor
from codl.graph import Node
from codl.hardware import Kernel
from codl.ops import REGISTRY
from codl.ops.spec import Work
from codl.region import Region, Regions

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
    return Regions(tuple(axes))


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
        self._candidates: dict[str, tuple[_Candidate, ...]] = {}

    def works(self, node: Node, ranges: Ranges) -> Work | None:
        """The work of non-empty boxes as one `Work` of arrays; None where the family cannot do that.

        The first, middle and last box are checked against the work of one box.
        """
        spec, graph = REGISTRY[node], self.cost.graph
        try:
            work = spec.work(graph, node, regions_of(ranges))
        except (TypeError, ValueError):
            return None
        for index in {0, len(ranges) // 2, len(ranges) - 1}:
            alone = spec.work(graph, node, region_at(ranges, index))
            if any(_at(getattr(work, name), index) != getattr(alone, name) for name in _FIELDS):
                return None
        return work

    def kernels(self, node: Node, ranges: Ranges, processors: tuple[str, ...]) -> Floats:
        """(ns, bytes over the memory bus, joules) of non-empty boxes, (processors, boxes, 3).

        Raises:
            UncalibratedError: a constant is missing.
        """
        work = self.works(node, ranges) if isinstance(self.cost, CostModel) else None
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
        for candidate in self._of(processor):
            if fastest and candidate.kernel.algorithm not in variants:
                continue
            able = self._matches(candidate, work, len(ranges)) & (rest | fastest)
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

    def _matches(self, candidate: _Candidate, work: Work, count: int) -> NDArray[np.bool_]:
        """Whether the kernel takes each of the boxes."""
        able = np.ones(count, dtype=bool)
        many = []
        for name, test in candidate.tests.items():
            value = getattr(work, name)
            if isinstance(value, np.ndarray):
                many.append((test, value))
            elif not test(value):
                return np.zeros(count, dtype=bool)
        for test, value in many:
            able &= test(value)
        return able

    def _of(self, processor: str) -> tuple[_Candidate, ...]:
        if processor not in self._candidates:
            hardware = self.cost.hardware
            kernels = hardware.kernels(processor, self.cost.data_types[processor])  # type: ignore[arg-type]
            self._candidates[processor] = tuple(
                _Candidate(kernel, _tests(kernel), predictor(kernel, hardware, processor))
                for kernel in kernels
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


def _at(value: Any, index: int) -> Any:
    return value[index] if isinstance(value, np.ndarray) else value
