"""Plans for a goal: the front of latency and energy, and the best plan within a bound on latency or power.

`codl.plan.pareto` finds candidates by what planners expect; here every candidate is simulated, and what is reported,
compared with a bound or left out as dominated is the simulated latency and energy.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from codl.cost import CostModel
from codl.errors import BoundExceeded, InputError
from codl.plan.pareto import SEARCHES, Edge, Front, Point, energy_floor, front
from codl.plan.planners import PLANNERS, make_problem
from codl.plan.problem import Problem
from codl.runs import Prepared, Row, Workspace, simulated_row
from codl.sim import SimulationResult

MARGIN = 0.05
"""Expectation and simulation of a plan differ by less than this; edges so near a bound are refined too."""


@dataclass(frozen=True)
class Candidate:
    """A plan of the front, simulated."""

    point: Point
    run: Prepared
    result: SimulationResult

    @property
    def latency_ms(self) -> float:
        return self.result.latency_ns / 1e6

    @property
    def row(self) -> Row:
        return simulated_row(self.run, self.result) | {
            "expected_ms": self.point.latency_ms,
            "expected_j": self.point.energy_j,
            "supported": self.point.supported,
        }


@dataclass(frozen=True)
class Pareto:
    """Simulated candidates by ascending latency, none dominated, and the front as the planner sees it."""

    candidates: tuple[Candidate, ...]
    front: Front


@dataclass(frozen=True)
class Choice:
    """The plan chosen within a bound. `floor` is a lower bound, by the planner's reckoning, on what was minimised:
    joules within a latency bound, ms within a power cap; exact planners only."""

    candidate: Candidate
    floor: float


def pareto(workspace: Workspace, model: str, planner: str, searches: int = SEARCHES) -> Pareto:
    """The front of latency and energy.

    Raises:
        InputError, UncalibratedError: as `Workspace.prepare`.
    """
    problem = _problem(workspace, model, planner)
    found = front(problem, PLANNERS[planner], searches)
    kept: list[Candidate] = []
    for candidate in sorted(_simulated(workspace, model, planner, problem, found), key=_by_latency):
        if not kept or candidate.result.energy_j < kept[-1].result.energy_j:
            kept.append(candidate)
    return Pareto(tuple(kept), found)


def within_latency(workspace: Workspace, model: str, planner: str, bound_ms: float) -> Choice:
    """The plan of the least energy whose simulated latency stays within a bound.

    Raises:
        InputError: the bound is not positive.
        BoundExceeded: no plan found is fast enough.
    """
    if not bound_ms > 0:
        raise InputError(f"a latency bound of {bound_ms:g} ms: it must be above 0")

    def near(edge: Edge) -> bool:
        return edge[0].latency_ms <= bound_ms * (1 + MARGIN) and edge[1].latency_ms >= bound_ms * (1 - MARGIN)

    problem = _problem(workspace, model, planner)
    found = front(problem, PLANNERS[planner], focus=near)
    candidates = _simulated(workspace, model, planner, problem, found)
    able = [candidate for candidate in candidates if candidate.latency_ms <= bound_ms]
    if not able:
        fastest = min(candidates, key=_by_latency)
        raise BoundExceeded(
            f"{model} on {workspace.hardware.name}: the fastest plan of planner {planner} takes "
            f"{fastest.latency_ms:.2f} ms, longer than the bound of {bound_ms:g} ms"
        )
    best = min(able, key=lambda candidate: (candidate.result.energy_j, candidate.latency_ms))
    return Choice(best, energy_floor(found.hull, bound_ms))


def within_power(workspace: Workspace, model: str, planner: str, cap_w: float) -> Choice:
    """The fastest plan whose simulated average power stays within a cap.

    Raises:
        InputError: the cap is not positive.
        BoundExceeded: no plan found draws so little.
    """
    if not cap_w > 0:
        raise InputError(f"a power cap of {cap_w:g} W: it must be above 0")

    def near(edge: Edge) -> bool:
        return edge[0].power_w >= cap_w * (1 - MARGIN) and edge[1].power_w <= cap_w * (1 + MARGIN)

    problem = _problem(workspace, model, planner)
    found = front(problem, PLANNERS[planner], focus=near)
    candidates = _simulated(workspace, model, planner, problem, found)
    able = [candidate for candidate in candidates if candidate.result.average_power_w <= cap_w]
    if not able:
        frugal = min(candidates, key=lambda candidate: candidate.result.average_power_w)
        raise BoundExceeded(
            f"{model} on {workspace.hardware.name}: the plan of planner {planner} that draws least draws "
            f"{frugal.result.average_power_w:.2f} W, more than the cap of {cap_w:g} W; only pauses between inferences "
            "can lower the average further"
        )
    return Choice(min(able, key=_by_latency), _latency_floor(found.hull, cap_w))


def _problem(workspace: Workspace, model: str, planner: str) -> Problem:
    graph = workspace.graph(model)
    cost = CostModel(workspace.hardware, graph)
    return make_problem(graph, workspace.hardware, cost, planner, data_type=workspace.data_type)


def _simulated(
    workspace: Workspace, model: str, planner: str, problem: Problem, found: Front
) -> list[Candidate]:  # fmt: skip
    candidates = []
    for point in found.points:
        run = workspace.lowered(model, problem.graph, problem.plan(planner, point.chains))
        candidates.append(Candidate(point, run, run.simulate()))
    return candidates


def _by_latency(candidate: Candidate) -> tuple[int, float]:
    return candidate.result.latency_ns, candidate.result.energy_j


def _latency_floor(hull: Sequence[Point], cap_w: float) -> float:
    """The least latency, in ms, of a hull that draws no more than the cap: where its edge crosses E = cap * T."""
    for left, right in pairwise(hull):
        if left.power_w > cap_w >= right.power_w:
            excess = (left.energy_j - cap_w * left.latency_ms / 1e3, right.energy_j - cap_w * right.latency_ms / 1e3)
            share = excess[0] / (excess[0] - excess[1])
            return left.latency_ms + share * (right.latency_ms - left.latency_ms)
    return hull[0].latency_ms if hull[0].power_w <= cap_w else hull[-1].latency_ms
