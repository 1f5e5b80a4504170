"""Planners told as stories: what they choose, what they refuse, and that they choose the same again."""

from __future__ import annotations

import json

import numpy as np
import pytest

from codl import hardware as machines
from codl.cost import CostModel
from codl.cost.batch import BatchCosts, region_at
from codl.errors import InputError, PlanError, SchemaError
from codl.graph import Graph
from codl.ops import Dimension
from codl.plan.chaining import greedy
from codl.plan.evaluate import plan_latency
from codl.plan.ideal import ideal_ms
from codl.plan.optimal import Search
from codl.plan.planners import BOTH, PLANNERS, make_plan
from codl.plan.problem import Problem, Weights
from codl.plan.published import agreement, from_published
from codl.plan.singles import singles
from tests.fake_cost import FakeCost, hardware
from tests.graphs import Builder, residual


def line(length: int = 6, height: int = 40) -> Graph:
    """Convolutions in a row."""
    b = Builder((1, 4, height, 8))
    value = "x"
    for _ in range(length):
        value = b.conv(value, 4)
    return b.graph(value)


def test_an_unknown_planner_is_refused_by_name() -> None:
    graph = residual()
    machine = hardware()
    with pytest.raises(InputError, match="unknown planner 'best'; allowed: cpu, gpu, mulayer, h, oc, hybrid"):
        make_plan(graph, machine, FakeCost(machine, graph), "best")


@pytest.mark.parametrize(
    "wrong, message",
    [
        ({"data_type": "float"}, "unknown data type 'float'"),
        ({"data_type": "image"}, "fake: gpu has no data type 'image'; it has buffer"),
        ({"objective": "money"}, "unknown objective 'money'"),
        ({"ratio_step": 0.0}, "ratio step"),
        ({"delta": 2.0}, "delta"),
    ],
)
def test_wrong_options_are_refused(wrong: dict, message: str) -> None:
    graph, machine = residual(), hardware()
    with pytest.raises(InputError, match=message):
        make_plan(graph, machine, FakeCost(machine, graph), "codl", **wrong)


def test_without_a_gpu_everything_runs_on_the_cpu() -> None:
    graph, machine = residual(), hardware(processors=("cpu",))
    for planner in set(PLANNERS) - {"gpu"}:
        plan = make_plan(graph, machine, FakeCost(machine, graph), planner)
        assert {name for chain in plan.chains for name in chain.shares} == {"cpu"}
    with pytest.raises(InputError, match="no processor of kind gpu"):
        make_plan(graph, machine, FakeCost(machine, graph), "gpu")


def test_mulayer_splits_channels_in_proportion_to_speed_and_works_on_buffers() -> None:
    graph, machine = line(), hardware("mapped", "gpu", image=True)
    cost = FakeCost(machine, graph, rates={"gpu": 1.0, "cpu": 4.0}, launch=0.0)  # 4 times slower again on buffers
    plan = make_plan(graph, machine, cost, "mulayer")
    assert plan.processors["gpu"].data_type == "buffer"
    assert {chain.dimension for chain in plan.chains} == {Dimension.OUTPUT_CHANNEL}
    assert all(chain.shares["gpu"] == 0.5 for chain in plan.chains)
    assert make_plan(graph, machine, cost, "hybrid").processors["gpu"].data_type == "image"


def test_dear_synchronisation_makes_long_chains_and_dearer_one_a_placement() -> None:
    graph = line()
    machine = hardware("mapped", "gpu")
    lengths = {}
    for bound in (10.0, 3000.0, 1e9):
        cost = FakeCost(machine, graph, sync=bound, bound_sync=bound, fixed=0.0, per_byte=0.0)
        chains = make_plan(graph, machine, cost, "codl").chains
        lengths[bound] = [len(chain.operators) for chain in chains if len(chain.shares) > 1]
    assert max(lengths[10.0]) < max(lengths[3000.0])
    assert lengths[1e9] == []


def test_a_chain_keeps_near_the_ratios_of_its_operators() -> None:
    graph = line()
    machine = hardware("mapped", "gpu")
    cost = FakeCost(machine, graph, rates={"gpu": 1.0, "cpu": 4.0}, noise=0.6, sync=3000.0, bound_sync=3000.0)
    problem = Problem(graph, machine, cost, delta=0.1)
    own = [decision.ratio for decision in singles(problem, BOTH) if decision.dimension]
    assert own
    for decision in greedy(problem, BOTH).chained:
        if decision.dimension and decision.stop > decision.start:
            members = [d.ratio for d in singles(problem, BOTH)[decision.start : decision.stop + 1] if d.dimension]
            assert all(abs(decision.ratio - ratio) <= 0.15 + 1e-9 for ratio in members)


@pytest.mark.parametrize("sharing, home", [("unified", None), ("mapped", "gpu"), ("copied", None)])
@pytest.mark.parametrize("seed", range(8))
def test_chains_gain_by_their_own_reckoning(sharing: str, home: str | None, seed: int) -> None:
    graph = residual()
    machine = hardware(sharing, home)
    problem = Problem(graph, machine, FakeCost(machine, graph, noise=0.5, seed=seed, launch=200.0))
    chains, hybrid, one = greedy(problem, BOTH).chained, singles(problem, BOTH), singles(problem, BOTH[:1])
    values = [sum(decision.value for decision in decisions) for decisions in (chains, hybrid, one)]
    assert values == sorted(values)


def test_planning_twice_gives_the_same_plan() -> None:
    graph, machine = residual(), hardware("mapped", "gpu", image=True)
    for planner in PLANNERS:
        first, second = (make_plan(graph, machine, FakeCost(machine, graph, noise=0.5), planner) for _ in range(2))
        assert first.digest == second.digest


def test_objectives_trade_latency_for_energy() -> None:
    graph, machine = line(), hardware()
    machine.power.idle = 0.01
    cost = FakeCost(machine, graph, rates={"gpu": 0.25, "cpu": 0.9}, launch=0.0)
    latencies = {
        objective: plan_latency(graph, make_plan(graph, machine, cost, "optimal", objective=objective), cost)
        for objective in ("latency", "energy", "edp")
    }
    assert latencies["latency"].total_ns < latencies["energy"].total_ns
    assert latencies["energy"].joules < latencies["latency"].joules
    products = {name: found.total_ns * found.joules for name, found in latencies.items()}
    assert products["edp"] <= min(products.values()) * (1 + 1e-9)


def test_the_search_says_when_it_dropped_something() -> None:
    b = Builder((1, 4, 30, 8))
    first = b.conv("x", 4)
    graph = b.graph(b.add(b.conv(b.conv(first, 4), 4), first))
    machine = hardware()
    problem = Problem(graph, machine, FakeCost(machine, graph, noise=0.5, sync=3000.0))
    narrow, wide = Search(problem, labels=2, keys=1, pairs=1), Search(problem, labels=10_000, keys=10_000, pairs=10_000)
    narrow.chains()
    wide.chains()
    assert wide.exact and not narrow.exact
    assert wide.value <= narrow.value


def test_weights_make_the_search_prefer_the_frugal_processor() -> None:
    graph, machine = line(3), hardware()
    cost = FakeCost(machine, graph, rates={"gpu": 0.25, "cpu": 0.9})  # buffers slow the GPU down 4 times
    chains = Search(Problem(graph, machine, cost, weights=Weights(0.0, 1.0))).chains()
    assert {name for chain in chains for name in chain.shares} == {"gpu"}


def test_ideal_is_the_harmonic_sum() -> None:
    graph, machine = line(2), hardware()
    cost = FakeCost(machine, graph, rates={"gpu": 1.0, "cpu": 3.0}, launch=0.0)
    gpu, cpu = (make_plan(graph, machine, cost, name).predicted_ms for name in ("gpu", "cpu"))
    assert ideal_ms(graph, cost) == pytest.approx(gpu * cpu / (gpu + cpu))


def decisions(tmp_path, **changes):
    """A published file for six operators."""
    chained_decisions = {
        "partition_dim": ["H", "H", "H", "OC", "H", "H"],
        "gpu_ratio": [0.5, 0.5, 0.5, 0.7, 1.0, 0.0],
        "chain_lengths": [3, 1, 1, 1],
    }
    data = {"model": "line", "soc": "sd855", "operators": 6, "chained": chained_decisions | changes}
    path = tmp_path / "plan.json"
    path.write_text(json.dumps(data))
    return path


def test_a_published_plan_is_replayed(tmp_path) -> None:
    graph, machine = line(), hardware("mapped", "gpu")
    cost = FakeCost(machine, graph)
    plan = from_published(decisions(tmp_path), graph, machine, cost)
    plan.check(graph)
    assert [len(chain.operators) for chain in plan.chains] == [3, 1, 1, 1]
    assert [chain.shares for chain in plan.chains[2:]] == [{"gpu": 1.0}, {"cpu": 1.0}]
    assert plan.chains[1].dimension is Dimension.OUTPUT_CHANNEL
    same = agreement(plan, plan)
    assert (same.dimension, same.ratio, same.chain_ends) == (1, 1, 1)
    other = agreement(plan, make_plan(graph, machine, cost, "gpu"))
    assert (other.dimension, other.ratio, other.chain_ends) == pytest.approx((2 / 6, 1 / 6, 4 / 6))


@pytest.mark.parametrize(
    "changes", [{"gpu_ratio": [0.5]}, {"chain_lengths": [3, 1]}, {"gpu_ratio": [2.0] * 6}, {"partition_dim": ["C"] * 6}]
)
def test_published_lists_that_do_not_fit_are_refused(tmp_path, changes) -> None:
    graph, machine = line(), hardware()
    with pytest.raises(SchemaError):
        from_published(decisions(tmp_path, **changes), graph, machine, FakeCost(machine, graph))


def test_a_published_plan_for_another_network_is_refused(tmp_path) -> None:
    graph, machine = line(5), hardware()
    with pytest.raises(PlanError, match="decides 6 operators"):
        from_published(decisions(tmp_path), graph, machine, FakeCost(machine, graph))


def families() -> Graph:
    """One operator of many families on one small map."""
    b = Builder((1, 8, 20, 12))
    a = b.conv("x", 16)
    d = b.conv(a, 16, 3, groups=16)
    c = b.concat(d, b.relu(a))
    p = b.pool(b.add(c, b.conv(c, 32, 1)))
    return b.graph(b.gemm(b.flatten(b.conv(p, 8, 5, stride=2)), 40))


@pytest.mark.parametrize("choice", ["first", "fastest"])
def test_costs_in_a_batch_equal_costs_one_by_one(choice: str) -> None:
    machine = machines.load("sd865")
    libraries = {name: library.model_copy(update={"choice": choice}) for name, library in machine.libraries.items()}
    machine = machine.model_copy(update={"libraries": libraries})
    graph = families()
    cost = CostModel(machine, graph)
    batch = BatchCosts(cost)
    asked = []
    for node in graph.nodes:
        shape = graph.tensors[node.output].shape
        axis = 2 if len(shape) == 4 else len(shape) - 1
        if choice == "fastest" and node.op not in ("conv", "pool"):
            continue  # the phones' libraries have no kernels of the names that our own families have
        rows = [[(0, extent) for extent in shape] for _ in range(1, shape[axis])]
        for cut, row in enumerate(rows, 1):
            row[axis] = (0, cut) if cut % 2 else (cut, shape[axis])
        asked.append((node, np.array(rows)))
    known = []
    for node, rows in asked:
        try:
            cost.kernel(node, region_at(rows, 0), "gpu"), cost.kernel(node, region_at(rows, 0), "cpu")
            known.append((node, rows))
        except InputError:
            assert choice == "fastest"
    assert len(known) >= 2
    for (node, rows), found in zip(known, batch.kernels(known, ("gpu", "cpu")), strict=True):
        for row, name in enumerate(("gpu", "cpu")):
            alone = [cost.kernel(node, region_at(rows, index), name) for index in range(len(rows))]
            expected = [(one.ns, one.nbytes, one.joules) for one in alone]
            np.testing.assert_allclose(found[row, :, :3], expected, rtol=1e-12)
            variants = [batch.algorithms[int(number)] for number in found[row, :, 3]]
            assert variants == [cost.algorithm(node, region_at(rows, index), name) for index in range(len(rows))]
