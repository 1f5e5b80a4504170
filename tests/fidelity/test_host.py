"""This machine, described by a quick calibration: plans for two small networks, predicted and really executed.

What holds on any machine is asserted on any machine: both worlds know the same tasks, every plan computes the same. How
far predictions are off is asserted against bounds.yaml where the machine is quiet enough to tell; otherwise the result
is inconclusive, and both the skip and the summary at the end of the run say what the noise was. Nothing is repeated
until it fits.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence

import numpy as np
import pytest

from codl.compare.diverse import diverse_plans
from codl.cost import CostModel
from codl.fidelity import Compared, compare_plans, rankings
from codl.graph import Graph
from codl.hardware import Hardware
from codl.plan.lower import lower
from codl.plan.planners import make_plan
from codl.plan.problem import Problem
from codl.real.devices import choose
from codl.real.reference import max_relative_error
from codl.runs import Prepared
from tests.fidelity.judging import judge
from tests.graphs import Builder

pytestmark = pytest.mark.fidelity

PLANNERS = ("cpu", "gpu", "hybrid", "codl")
NETWORKS = ("light", "dense")
PLANS, RUNS = 12, 9


def _light() -> Graph:
    """Some milliseconds of work in the shapes that networks have: convolutions, a shortcut, pools, a classifier."""
    b = Builder((1, 3, 96, 96))
    x = b.conv("x", 32, stride=2)
    x = b.conv(x, 64)
    x = b.pool(b.conv(x, 64))
    y = b.conv(b.conv(x, 32, kernel=1), 64)
    x = b.add(x, y)
    x = b.pool(b.conv(x, 128))
    x = b.conv(b.conv(x, 128, groups=128), 256, kernel=1)
    return b.graph(b.gemm(b.flatten(b.pool(x)), 100))


def _dense() -> Graph:
    """Fewer and larger convolutions, some ten milliseconds: what splitting is for."""
    b = Builder((1, 3, 112, 112), seed=1)
    x = b.conv(b.conv("x", 48), 64)
    x = b.conv(b.pool(x), 128)
    x = b.conv(b.conv(x, 64, kernel=1), 128)
    x = b.conv(b.pool(x), 256)
    return b.graph(b.conv(x, 256, kernel=1))


GRAPHS = {"light": _light, "dense": _dense}


@pytest.fixture(scope="module")
def cases(calibration: tuple[Hardware, float]) -> Mapping[str, Sequence[Compared]]:
    """By network, the planners' plans and then diverse ones, each simulated and executed `RUNS` times."""
    hardware, _ = calibration
    found = {}
    for name in NETWORKS:
        graph = GRAPHS[name]()
        problem = Problem(graph, hardware, CostModel(hardware, graph))
        plans = [make_plan(graph, hardware, problem.cost, planner) for planner in PLANNERS]
        plans += [plan for plan in diverse_plans(problem, PLANS) if plan.planner not in PLANNERS]
        prepared = [Prepared(name, graph, hardware, problem.cost, plan, lower(graph, plan)) for plan in plans]
        found[name] = compare_plans(prepared, choose(), RUNS, check=False)
    return found


def case(cases: Mapping[str, Sequence[Compared]], name: str, planner: str) -> Compared:
    return next(one for one in cases[name] if one.run.plan.planner == planner)


def noise_of(calibration: tuple[Hardware, float], found: Sequence[Compared]) -> float:
    """Of the calibration and of the runs: one disturbed plan, and the machine was not quiet."""
    return max(calibration[1], *(one.noise for one in found))


def test_a_quick_calibration_describes_this_machine(calibration: tuple[Hardware, float]) -> None:
    hardware, _ = calibration
    assert list(hardware.processors) == ["gpu", "cpu"]
    assert hardware.fingerprint
    assert all(processor.bandwidth > 1e8 for processor in hardware.processors.values())
    assert hardware.sharing.pre_sync >= 0 and hardware.sharing.post_sync >= 0  # a wait within the launch latency is 0
    measured = [entry for entry in hardware.calibration if entry.source == "measured"]
    assert any(entry.shapes for entry in measured) and any("noise" in entry.residual for entry in measured)


@pytest.mark.parametrize("planner", PLANNERS)
@pytest.mark.parametrize("name", NETWORKS)
def test_both_worlds_know_the_same_tasks(cases: Mapping[str, Sequence[Compared]], name: str, planner: str) -> None:
    one = case(cases, name, planner)
    simulated, measured = one.simulated.trace, one.measurement.trace
    assert set(simulated.by_id) == set(measured.by_id)
    for span in simulated.spans:
        twin = measured.by_id[span.task_id]
        assert (span.lane, span.kind, span.op, span.chain) == (twin.lane, twin.kind, twin.op, twin.chain)
    simulated.validate()
    measured.validate()
    assert len(one.comparison.tasks) == len(simulated.spans)


@pytest.mark.parametrize("name", NETWORKS)
def test_every_plan_computes_the_same(cases: Mapping[str, Sequence[Compared]], name: str) -> None:
    first = cases[name][0].measurement.outputs
    (result,) = first.values()
    assert np.std(result) > 1e-3  # the network's output depends on its input
    assert len(cases[name]) >= PLANS
    for one in cases[name]:
        assert max_relative_error(one.measurement.outputs, first) < 1e-3, one.run.plan.planner


@pytest.mark.parametrize("planner", PLANNERS)
@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("kind", ["scheduling_error", "makespan_error"])
def test_a_prediction_is_near_what_is_measured(
    calibration: tuple[Hardware, float], cases: Mapping[str, Sequence[Compared]], name: str, planner: str, kind: str
) -> None:
    comparison = case(cases, name, planner).comparison
    if kind == "scheduling_error":  # each run is replayed by itself: a disturbed one obeys the same rules
        judge("quick", kind, f"{name} {planner}", abs(comparison.scheduling_error), noise=0.0)
    else:
        judge("quick", kind, f"{name} {planner}", abs(comparison.error), noise_of(calibration, cases[name]))


@pytest.mark.parametrize("kind", ["regret_median", "rank_correlation"])
def test_predictions_order_plans_as_measurements_do(
    calibration: tuple[Hardware, float], cases: Mapping[str, Sequence[Compared]], kind: str
) -> None:
    ranked = rankings([one for name in NETWORKS for one in cases[name]])
    noise = max(noise_of(calibration, cases[name]) for name in NETWORKS)
    if kind == "regret_median":
        judge("quick", kind, "both networks", statistics.median(ranking.regret for ranking in ranked), noise)
    else:
        lowest = min(ranking.rank_correlation or 0.0 for ranking in ranked)
        judge("quick", kind, "both networks", lowest, noise, at_least=True)
