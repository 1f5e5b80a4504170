"""Costs that err on purpose: how far, alike wherever a planner asks, and what plans lose by them."""

from __future__ import annotations

from math import log
from statistics import NormalDist

import numpy as np
import pytest

from codl import hardware as machines
from codl import models
from codl.cost import CostModel
from codl.cost.erring import MARGIN, SHARE_WITHIN, ErringCosts, spread
from codl.graph import Graph
from codl.plan.chaining import greedy
from codl.plan.layouts import with_layouts
from codl.plan.planners import BOTH, make_plan, make_problem
from codl.region import Region
from codl.runs import Workspace
from tests.graphs import Builder

SD865 = machines.load("sd865")


@pytest.fixture(scope="module")
def posenet() -> Graph:
    return models.load("paper/posenet")


def line() -> Graph:
    """Four convolutions in a row, large enough for two processors, few enough for an exact search."""
    b = Builder((1, 64, 60, 60))
    value = "x"
    for channels in (64, 128, 192, 64):
        value = b.conv(value, channels)
    return b.graph(value)


def test_the_spread_is_that_of_the_published_share() -> None:
    assert spread() == pytest.approx(0.0678, abs=1e-4)
    assert 2 * NormalDist(0, spread()).cdf(log(1 + MARGIN)) - 1 == pytest.approx(SHARE_WITHIN)
    assert spread(share=0.95) < spread() < spread(margin=0.2)


def test_errors_are_of_median_one_and_as_often_small_as_the_authors(posenet: Graph) -> None:
    drawn = [ErringCosts.drawn(SD865, posenet, f"draw {number}").errors for number in range(400)]
    factors = np.concatenate([errors[name] for errors in drawn for name in errors])
    assert len(factors) > 5000
    assert np.median(factors) == pytest.approx(1, abs=0.005)
    assert np.mean(np.abs(np.log(factors)) <= log(1 + MARGIN)) == pytest.approx(SHARE_WITHIN, abs=0.015)


def test_a_key_stands_for_its_errors(posenet: Graph) -> None:
    one, same, other = (ErringCosts.drawn(SD865, posenet, key).errors for key in ("a 1", "a 1", "a 2"))
    for name in SD865.processors:
        np.testing.assert_array_equal(one[name], same[name])
        assert not np.isclose(one[name], other[name]).any()
    assert not np.isclose(one["cpu"], one["gpu"]).any()


def test_kernel_times_alone_are_off_and_by_the_operators_factor(posenet: Graph) -> None:
    exact, erring = CostModel(SD865, posenet), ErringCosts.drawn(SD865, posenet, "key")
    for node in posenet.nodes:
        whole = Region.full(posenet.tensors[node.output].shape)
        for name in SD865.processors:
            factor = erring.errors[name][posenet.alike[node.name]]
            for box in (whole, whole.along(2, 0, 2)):
                told, true = erring.kernel(node, box, name), exact.kernel(node, box, name)
                assert told.ns == pytest.approx(factor * true.ns) and told.nbytes == true.nbytes
            assert erring.algorithm(node, whole, name) == exact.algorithm(node, whole, name)
    assert erring.transform_ns("gpu", 1e6) == exact.transform_ns("gpu", 1e6)
    assert erring.sync_ns("gpu", "cpu", bound=True) == exact.sync_ns("gpu", "cpu", bound=True)


def test_without_errors_nothing_is_off(posenet: Graph) -> None:
    exact, told = CostModel(SD865, posenet), ErringCosts.drawn(SD865, posenet, "key", sigma=0.0)
    first, second = (make_plan(posenet, SD865, cost, "codl") for cost in (exact, told))
    assert first.digest == second.digest and first.predicted_ms == second.predicted_ms


@pytest.mark.parametrize("data_type", ["auto", "buffer"])
def test_a_planner_is_told_the_same_in_bulk_and_one_by_one(posenet: Graph, data_type: str) -> None:
    erring = ErringCosts.drawn(SD865, posenet, "key")
    problem = make_problem(posenet, SD865, erring, "codl", data_type=data_type)
    alone = with_layouts(ErringCosts.drawn(SD865, posenet, "key"), data_type)
    checked = 0
    for decision in greedy(problem, BOTH).chained:
        for processor, piece in problem.parts(decision.chain(problem)).pieces.items():
            for name, box in piece.boxes.items():
                cost, algorithm = problem.tables.kernel(name, box, processor)
                node = posenet.by_name[name]
                assert cost == alone.kernel(node, box, processor)
                assert algorithm == alone.algorithm(node, box, processor)
                checked += 1
    assert checked >= len(posenet)


def test_other_layouts_have_the_same_errors(posenet: Graph) -> None:
    erring = ErringCosts.drawn(SD865, posenet, "key")
    buffers = with_layouts(erring, "buffer")
    assert buffers is not erring and buffers.data_types["gpu"] == "buffer"
    exact = with_layouts(CostModel(SD865, posenet), "buffer")
    node = posenet.nodes[0]
    whole = Region.full(posenet.tensors[node.output].shape)
    factor = erring.errors["gpu"][posenet.alike[node.name]]
    assert buffers.kernel(node, whole, "gpu").ns == pytest.approx(factor * exact.kernel(node, whole, "gpu").ns)


def test_the_best_plan_by_wrong_costs_is_never_better_than_the_best() -> None:
    graph = line()
    judge = make_problem(graph, SD865, CostModel(SD865, graph), "optimal")
    best = judge.latency(make_plan(graph, SD865, judge.cost, "optimal").chains).total_ns
    losses = []
    for number in range(12):
        believed = ErringCosts.drawn(SD865, graph, f"draw {number}", sigma=0.3)
        chosen = make_plan(graph, SD865, believed, "optimal").chains
        losses.append(judge.latency(chosen).total_ns / best - 1)
    assert min(losses) >= -1e-9
    assert max(losses) > 1e-3, "errors of 30 % should mislead it at least once"


def test_a_run_is_judged_by_the_costs_that_do_not_err() -> None:
    workspace = Workspace(SD865)
    graph = workspace.graph("paper/posenet")
    run = workspace.prepare("paper/posenet", "codl", ErringCosts.drawn(SD865, graph, "key"))
    assert type(run.cost) is CostModel
    task = next(task for task in run.tasks.tasks if task.op == graph.nodes[0].name and task.kind.value == "kernel")
    assert run.cost.task(task) == CostModel(SD865, graph, run.cost.data_types).task(task)
