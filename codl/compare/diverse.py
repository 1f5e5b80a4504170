"""Plans that differ in everything a planner decides: what to ask whether predictions order plans as measurements do."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from codl.ops import Dimension
from codl.plan.model import Chain, Plan
from codl.plan.planners import PLANNERS
from codl.plan.problem import Problem

_FIRST = ("codl", "hybrid", "optimal", "gpu", "cpu", "mulayer", "h", "oc")
"""The planners, those that people use first."""
_RATIOS = (0.5, 0.3, 0.7, 0.4, 0.6, 0.15, 0.85)
_Split = Callable[[int], tuple[Dimension, float] | None]
"""Operator -> where and at which ratio to cut it; None: not at all."""


def diverse_plans(problem: Problem, count: int, seed: int = 0) -> list[Plan]:
    """`count` different plans (fewer if there are not so many): every planner's, then every operator cut at one ratio
    along one dimension, then random ones, each operator cut, or placed, as chance has it."""
    found: dict[str, Plan] = {}
    for label, chains in _proposals(problem, seed, 4 * count):
        plan = problem.plan(label, chains)
        key = plan.model_copy(update={"planner": "", "planning_ms": None}).digest
        found.setdefault(key, plan)
        if len(found) == count:
            break
    return list(found.values())


def _proposals(problem: Problem, seed: int, most: int) -> Iterator[tuple[str, Sequence[Chain]]]:
    for name in _FIRST:
        yield name, PLANNERS[name](problem)
    if len(problem.pair) < 2:
        return
    for ratio in _RATIOS:
        for dimension in (Dimension.HEIGHT, Dimension.OUTPUT_CHANNEL):
            yield f"{dimension.value} {ratio:g}", _cut(problem, _everywhere(dimension, ratio))
    random = np.random.default_rng(seed)
    for number in range(most):
        spread = random.choice([0.05, 0.15, 0.3])
        yield f"random {number}", _cut(problem, _by_chance(random, float(spread)))


def _everywhere(dimension: Dimension, ratio: float) -> _Split:
    return lambda _: (dimension, ratio)


def _by_chance(random: np.random.Generator, spread: float) -> _Split:
    alone = float(random.choice([0.0, 0.2, 0.5]))

    def split(_: int) -> tuple[Dimension, float] | None:
        dimension = (Dimension.HEIGHT, Dimension.OUTPUT_CHANNEL)[int(random.integers(2))]
        ratio = float(np.clip(random.normal(0.5, spread), 0.05, 0.95))
        return None if random.random() < alone else (dimension, ratio)

    return split


def _cut(problem: Problem, split: _Split) -> list[Chain]:
    """Every operator by itself, cut as asked where it can be, else on the processor that it may run on."""
    chains = []
    for index in range(len(problem.graph)):
        asked = split(index)
        cut = problem.nearest(index, *asked) if asked and len(problem.placements(index)) > 1 else 0
        if asked and cut:
            chains.append(problem.split(index, index, asked[0], cut))
        else:
            able = problem.placements(index)
            chains.append(problem.placed(index, able[index % len(able)]))
    return chains
