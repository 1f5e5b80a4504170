"""The front of latency and energy, against every plan there is on networks small enough to try them all."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codl import hardware as machines
from codl.errors import BoundExceeded, InputError
from codl.goals import Candidate, pareto, within_latency, within_power
from codl.plan.model import Chain
from codl.plan.optimal import Search
from codl.plan.pareto import energy_floor, front
from codl.plan.planners import PLANNERS
from codl.plan.problem import Problem
from codl.runs import Workspace
from tests.exhaustive import every_plan
from tests.fake_cost import FakeCost, hardware
from tests.graphs import Builder

YOLO = "paper/yolov2"


def small(sharing: str, home: str | None, seed: int, shape: str) -> Problem:
    b = Builder((1, 2, 4, 3))
    first = b.conv("x", 3)
    graph = b.graph(b.relu(b.conv(first, 2))) if shape == "line" else b.graph(b.add(b.conv(first, 3), first))
    machine = hardware(sharing, home)
    machine.power.idle = 0.2
    cost = FakeCost(machine, graph, rates={"gpu": 0.3, "cpu": 0.9}, noise=0.7, seed=seed, sync=20.0)
    return Problem(graph, machine, cost)


def exact(problem: Problem) -> list[Chain]:
    """The optimal planner with a search that never drops a partial plan, as it does on long networks with branches."""
    alone = [[problem.placed(i, p) for i in range(len(problem.graph))] for p in (0, 1)]
    search = Search(problem, labels=100_000, keys=100_000, pairs=100_000)
    return min([search.chains(), *alone], key=problem.objective)


@settings(deadline=None, max_examples=8)
@given(
    st.sampled_from([("unified", None), ("copied", None), ("mapped", "gpu")]), st.integers(0, 1000),
    st.sampled_from(["line", "residual"]),
)  # fmt: skip
def test_the_hull_is_that_of_all_plans(kind: tuple[str, str | None], seed: int, shape: str) -> None:
    problem = small(*kind, seed, shape)
    found = front(problem, exact, searches=500)
    assert found.complete
    everything = [problem.latency(chains) for chains in every_plan(problem)]
    known = {(round(p.latency_ms * 1e6, 3), round(p.energy_j * 1e12, 3)) for p in found.points}
    every = {(round(c.total_ns, 3), round(c.joules * 1e12, 3)) for c in everything}
    assert known <= every  # each point is a real plan with the figures that it has
    # Nothing lies below the hull: it is exact.
    for cost in everything:
        assert cost.total_ns / 1e6 >= found.hull[0].latency_ms * (1 - 1e-9)
        assert cost.joules >= energy_floor(found.hull, cost.total_ns / 1e6) * (1 - 1e-9)
    # Within any bound, the best of all plans is no better than the floor, and the found one no better than the best.
    for point in found.points:
        best = min(cost.joules for cost in everything if cost.total_ns / 1e6 <= point.latency_ms * (1 + 1e-9))
        assert energy_floor(found.hull, point.latency_ms) * (1 - 1e-9) <= best <= point.energy_j * (1 + 1e-9)


@settings(deadline=None, max_examples=15)
@given(st.integers(0, 1000), st.sampled_from(sorted(set(PLANNERS) - {"cpu", "gpu"})))
def test_a_front_is_a_front_with_any_planner(seed: int, planner: str) -> None:
    found = front(small("unified", None, seed, "residual"), PLANNERS[planner])
    for left, right in pairwise(found.points):
        assert left.latency_ms < right.latency_ms and left.energy_j > right.energy_j
    assert found.searches <= 40 + 4
    slopes = [(b.energy_j - a.energy_j) / (b.latency_ms - a.latency_ms) for a, b in pairwise(found.hull)]
    assert slopes == sorted(slopes)


def test_exchanging_stretches_finds_plans_that_no_weighted_sum_finds() -> None:
    found = [front(small("unified", None, seed, "line"), PLANNERS["optimal"]) for seed in range(8)]
    assert any(not point.supported for one in found for point in one.points)


@pytest.fixture(scope="module")
def phone() -> Workspace:
    return Workspace(machines.load("sd865"))


@pytest.fixture(scope="module")
def candidates(phone: Workspace) -> Sequence[Candidate]:
    """The front of YOLOv2 on it."""
    return pareto(phone, YOLO, "codl").candidates


def test_a_phones_front_spans_from_the_fastest_to_the_most_frugal_plan(
    phone: Workspace, candidates: Sequence[Candidate]
) -> None:
    rows = [candidate.row for candidate in candidates]
    assert len(rows) > 3
    for left, right in pairwise(rows):
        assert left["latency_ms"] <= right["latency_ms"] and left["energy_j"] > right["energy_j"]
    assert rows[0]["expected_ms"] == pytest.approx(phone.prepare(YOLO, "codl").plan.predicted_ms, rel=0.05)


def test_the_plan_within_a_bound_is_frugal_or_fast(phone: Workspace, candidates: Sequence[Candidate]) -> None:
    middle = candidates[len(candidates) // 2]
    bound = middle.latency_ms * 1.0001
    choice = within_latency(phone, YOLO, "codl", bound).candidate
    assert choice.latency_ms <= bound
    assert choice.result.energy_j <= middle.result.energy_j * 1.001
    cap = middle.result.average_power_w * 1.0001
    choice = within_power(phone, YOLO, "codl", cap).candidate
    assert choice.result.average_power_w <= cap
    assert choice.latency_ms <= middle.latency_ms * 1.001


def test_bounds_that_nothing_meets_say_what_is_possible(phone: Workspace) -> None:
    with pytest.raises(BoundExceeded, match=r"the fastest plan of planner codl takes \d+\.\d\d ms"):
        within_latency(phone, YOLO, "codl", 5.0)
    with pytest.raises(BoundExceeded, match="only pauses between inferences"):
        within_power(phone, YOLO, "codl", 0.5)
    with pytest.raises(InputError, match="above 0"):
        within_latency(phone, YOLO, "codl", 0.0)


COMMAND = ("plan", YOLO, "--hardware", "sd865", "--planner", "codl")


def test_the_front_as_table_json_and_picture(codl, tmp_path: Path) -> None:
    assert "vertex" in codl(*COMMAND, "--pareto").out
    pytest.importorskip("matplotlib")  # comes with the extra report
    outcome = codl(*COMMAND, "--pareto", "--json", "-o", tmp_path / "front.svg")
    assert outcome.json["hull_complete"] is True
    assert {"latency_ms", "energy_j", "average_power_w", "supported"} <= set(outcome.json["points"][0])
    assert "<svg" in (tmp_path / "front.svg").read_text()


def test_a_bound_gives_a_plan_that_simulates_within_it(codl, tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    outcome = codl(*COMMAND, "--latency-bound", "150 ms", "-o", path)
    assert outcome.code == 0 and "simulated:" in outcome.err
    frugal = codl("simulate", "--plan", path, "--json").json["runs"][0]
    fast = codl("simulate", "--model", YOLO, "--hardware", "sd865", "--json").json["runs"][0]
    assert frugal["latency_ms"] <= 150 and frugal["energy_j"] < fast["energy_j"]
    outcome = codl(*COMMAND, "--power-cap", "5 W", "-o", path)
    assert codl("simulate", "--plan", path, "--json").json["runs"][0]["average_power_w"] <= 5


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (("--latency-bound", "1 ms"), 1, "longer than the bound of 1 ms"),
        (("--latency-bound", "1 J"), 2, "--latency-bound: '1 J' has the wrong unit"),
        (("--power-cap", "3"), 2, "--power-cap: '3' has no unit"),
        (("--power-cap", "3 W", "--latency-bound", "1 s"), 2, "exclude each other"),
        (("--power-cap", "3 W", "--objective", "energy"), 2, "--power-cap does not go with --objective energy"),
    ],
)
def test_bounds_that_make_no_sense(codl, options: tuple[str, ...], code: int, message: str) -> None:
    outcome = codl(*COMMAND, *options)
    assert outcome.code == code
    assert message in outcome.err
