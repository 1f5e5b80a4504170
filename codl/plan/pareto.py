"""The front of latency and energy: plans of which none is better in both, and the best within a bound on one of them.

Latency and energy of a plan are sums over its chains, so that a planner that minimises a weighted sum a T + b E finds
a vertex of the front's convex hull. Starting from the fastest and the most frugal plan, the sum whose weights are
normal to the line between two neighbours either finds a vertex below that line or proves that there is none (Aneja and
Nair, Bicriteria transportation problem, Management Science 25, 1979). With a planner that is exact this gives every
vertex of the hull, and each edge is a lower bound on all plans. Plans inside the hull's corners, which no weighted sum
finds, are looked for by exchanging what two neighbours do between their common chain ends: not all of them are found,
and the edge says how much better any other could be.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from math import isclose

from codl.plan.evaluate import NS_PER_S
from codl.plan.model import Chain
from codl.plan.problem import Problem, Weights

Chains = tuple[Chain, ...]
SEARCHES = 40
"""Runs of the planner that a front may take."""
_EQUAL = 1e-9
"""Relative difference below which two sums are the same one, computed in another order."""


@dataclass(frozen=True, eq=False)
class Point:
    """A plan and what it is expected to take.

    `supported`: a vertex of the convex hull; the others lie above one of its edges.
    """

    chains: Chains
    latency_ms: float
    energy_j: float
    supported: bool = False

    @property
    def power_w(self) -> float:
        """Average over the inference."""
        return self.energy_j / self.latency_ms * 1e3 if self.latency_ms else 0.0


@dataclass(frozen=True)
class Front:
    """Points by ascending latency (and descending energy).

    `complete`: every edge between neighbouring supported points was proven to have nothing below it.
    """

    points: tuple[Point, ...]
    complete: bool
    searches: int

    @property
    def hull(self) -> tuple[Point, ...]:
        return tuple(point for point in self.points if point.supported)


Edge = tuple[Point, Point]
Planner = Callable[[Problem], Sequence[Chain]]


def front(
    problem: Problem, planner: Planner, searches: int = SEARCHES, focus: Callable[[Edge], bool] | None = None
) -> Front:  # fmt: skip
    """The front of a planning problem.

    Args:
        planner: minimises the problem's weighted sum.
        searches: runs of the planner at most; the widest gaps are refined first.
        focus: which edges are worth refining; all if it is not given.
    """
    explorer = _Explorer(problem, planner)
    fastest, frugal = explorer.best(1.0, 0.0), explorer.best(0.0, 1.0)
    # Of plans that are equally fast the most frugal one counts, and the other way round: a tilt decides.
    fastest = min(fastest, explorer.best(*_tilted(fastest, frugal)), key=lambda p: (p.latency_ms, p.energy_j))
    frugal = min(frugal, explorer.best(*_tilted(frugal, fastest)), key=lambda p: (p.energy_j, p.latency_ms))
    hull, proven = [fastest, frugal], set[Edge]()
    if fastest.latency_ms >= frugal.latency_ms or frugal.energy_j >= fastest.energy_j:
        only = min(fastest, frugal, key=lambda p: (p.latency_ms, p.energy_j))
        return Front((replace(only, supported=True),), True, explorer.runs)
    while explorer.runs < searches:
        edges = [edge for edge in pairwise(hull) if edge not in proven and (focus is None or focus(edge))]
        if not edges:
            break
        edge = max(edges, key=_area)
        found = explorer.below(edge)
        if found is None:
            proven.add(edge)
        else:
            hull = _convex([*hull, found])
    complete = all(edge in proven for edge in pairwise(hull))
    between = [
        point
        for edge in pairwise(hull)
        for point in explorer.exchanged(edge)
        if not (_same(point, edge[0]) or _same(point, edge[1]))
    ]
    points = [replace(point, supported=point in hull) for point in _undominated([*hull, *between])]
    return Front(tuple(points), complete, explorer.runs)


def energy_floor(hull: Sequence[Point], latency_ms: float) -> float:
    """What any plan of this latency takes at least, in joules: the hull's edge there."""
    for left, right in pairwise(hull):
        if left.latency_ms <= latency_ms <= right.latency_ms:
            share = (latency_ms - left.latency_ms) / (right.latency_ms - left.latency_ms)
            return left.energy_j + share * (right.energy_j - left.energy_j)
    return hull[-1].energy_j if latency_ms >= hull[-1].latency_ms else hull[0].energy_j


class _Explorer:
    """Runs the planner on weighted sums, and evaluates plans."""

    def __init__(self, problem: Problem, planner: Planner) -> None:
        self.problem, self.planner = problem, planner
        self.runs = 0
        self._idle = problem.hardware.power.idle / NS_PER_S
        self._known: dict[object, Point] = {}

    def best(self, latency: float, energy: float) -> Point:
        """The plan that minimises latency * ms + energy * joules."""
        self.runs += 1
        weights = Weights(latency / 1e6 + energy * self._idle, energy)
        return self.point(tuple(self.planner(self.problem.weighted(weights))))

    def point(self, chains: Chains) -> Point:
        key = tuple(
            (chain.operators[-1], chain.dimension, tuple(chain.shares.items()), tuple(chain.branches.items()))
            for chain in chains
        )
        found = self._known.get(key)
        if found is None:
            cost = self.problem.latency(chains)
            found = self._known[key] = Point(chains, cost.total_ns / 1e6, cost.joules)
        return found

    def below(self, edge: Edge) -> Point | None:
        """The point farthest below the line through an edge's ends; None if there is none."""
        latency, energy = _normal(edge)
        found = self.best(latency, energy)
        line = latency * edge[0].latency_ms + energy * edge[0].energy_j
        value = latency * found.latency_ms + energy * found.energy_j
        return found if value < line * (1 - _EQUAL) else None

    def exchanged(self, edge: Edge) -> Iterator[Point]:
        """Plans that follow one end of an edge up to somewhere and the other one from there on, or for one stretch."""
        stretches = _stretches(edge[0].chains, edge[1].chains)
        differ = [k for k, (one, other) in enumerate(stretches) if one != other]
        chosen = {frozenset(differ[:k]) for k in range(1, len(differ))}
        chosen |= {frozenset(differ) - some for some in chosen} | {frozenset([k]) for k in differ}
        chosen |= {frozenset(differ) - {k} for k in differ}
        for others in sorted(chosen - {frozenset(), frozenset(differ)}, key=sorted):
            parts = [pair[k in others] for k, pair in enumerate(stretches)]
            yield self.point(tuple(chain for part in parts for chain in part))


def _same(one: Point, other: Point) -> bool:
    """Whether two plans take the same, but for the order in which their parts were summed up."""
    return isclose(one.latency_ms, other.latency_ms, rel_tol=_EQUAL) and isclose(
        one.energy_j, other.energy_j, rel_tol=_EQUAL
    )


def _tilted(point: Point, other: Point) -> tuple[float, float]:
    """Weights that minimise what `point` is best in, and the other figure only by the way."""
    tilt = 1e-6
    if point.latency_ms <= other.latency_ms:
        return 1.0, tilt * point.latency_ms / max(point.energy_j, 1e-30)
    return tilt * point.energy_j / max(point.latency_ms, 1e-30), 1.0


def _normal(edge: Edge) -> tuple[float, float]:
    left, right = edge
    return left.energy_j - right.energy_j, right.latency_ms - left.latency_ms


def _area(edge: Edge) -> float:
    drop, run = _normal(edge)
    return drop * run


def _convex(points: Sequence[Point]) -> list[Point]:
    """The lower left hull, by ascending latency (Andrew's monotone chain)."""
    hull: list[Point] = []
    for point in sorted(points, key=lambda p: (p.latency_ms, p.energy_j)):
        if hull and point.energy_j >= hull[-1].energy_j:
            continue
        while len(hull) > 1 and _above(hull[-1], (hull[-2], point)):
            hull.pop()
        hull.append(point)
    return hull


def _above(point: Point, edge: Edge) -> bool:
    latency, energy = _normal(edge)
    line = latency * edge[0].latency_ms + energy * edge[0].energy_j
    return latency * point.latency_ms + energy * point.energy_j >= line


def _undominated(points: Sequence[Point]) -> tuple[Point, ...]:
    kept: list[Point] = []
    for point in sorted(points, key=lambda p: (p.latency_ms, p.energy_j)):  # stable: of equals, vertices come first
        if not kept or point.energy_j < kept[-1].energy_j:
            kept.append(point)
    return tuple(kept)


def _stretches(one: Chains, other: Chains) -> list[tuple[Chains, Chains]]:
    """Two plans cut wherever a chain ends in both."""
    ends = _ends(one) & _ends(other)
    return list(zip(_cut(one, ends), _cut(other, ends), strict=True))


def _ends(chains: Chains) -> set[str]:
    return {chain.operators[-1] for chain in chains}


def _cut(chains: Chains, ends: set[str]) -> Iterator[Chains]:
    part: list[Chain] = []
    for chain in chains:
        part.append(chain)
        if chain.operators[-1] in ends:
            yield tuple(part)
            part = []
