"""Every planner's plan is legal, the optimal one is the best there is, and evaluation agrees with lowering."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codl.graph import Graph
from codl.ops import Dimension
from codl.plan.evaluate import Concurrency, plan_latency
from codl.plan.lower import lower
from codl.plan.optimal import Search
from codl.plan.planners import PLANNERS, make_plan
from codl.plan.problem import Problem
from codl.tasks import TaskKind
from tests.exhaustive import every_plan
from tests.fake_cost import FakeCost, hardware
from tests.graphs import Builder, networks
from tests.plans import plans


@st.composite
def machines(draw: st.DrawFn):
    """Any kind of sharing, with and without a home processor and images."""
    sharing = draw(st.sampled_from(["unified", "mapped", "copied"]))
    home = draw(st.sampled_from([None, "gpu"])) if sharing == "mapped" else None
    image = draw(st.booleans())
    return hardware(
        sharing, home, image, output_channel=draw(st.sampled_from([1, 2])), height=draw(st.sampled_from([1, 2]))
    )


@st.composite
def costs(draw: st.DrawFn, graph: Graph) -> FakeCost:
    """Random rates, noise and sharing costs, some of them zero."""
    return FakeCost(
        draw(machines()),
        graph,
        rates={"gpu": draw(st.sampled_from([0.3, 1.0, 2.0])), "cpu": draw(st.sampled_from([0.5, 1.0, 3.0]))},
        launch=draw(st.sampled_from([0.0, 20.0, 200.0])),
        noise=draw(st.sampled_from([0.0, 0.5])),
        seed=draw(st.integers(0, 1000)),
        sync=draw(st.sampled_from([0.0, 30.0, 300.0])),
        bound_sync=draw(st.sampled_from([0.0, 60.0, 600.0])),
        fixed=draw(st.sampled_from([0.0, 5.0, 50.0])),
        per_byte=draw(st.sampled_from([0.0, 0.05, 0.5])),
    )


@st.composite
def small(draw: st.DrawFn) -> Graph:
    """Two to four operators on tiny maps: linear, or a diamond."""
    b = Builder((1, 2, draw(st.integers(3, 5)), 3))
    first = b.conv("x", draw(st.integers(1, 3)), draw(st.sampled_from([1, 3])))
    shape = draw(st.sampled_from(["line", "line", "pool", "residual", "concat"]))
    if shape == "line":
        second = b.conv(first, 2, draw(st.sampled_from([1, 3])))
        return b.graph(b.relu(second))
    if shape == "pool":
        return b.graph(b.conv(b.pool(first), 3, 1))
    second = b.conv(first, b.tensors[first].shape[1], 3)
    if shape == "residual":
        return b.graph(b.add(second, first))
    return b.graph(b.concat(first, second))


@given(st.data())
@settings(max_examples=40, deadline=None)
def test_every_planner_makes_a_legal_plan(data: st.DataObject) -> None:
    graph = data.draw(networks())
    cost = data.draw(costs(graph))
    for planner in PLANNERS:
        plan = make_plan(graph, cost.hardware, cost, planner)
        assert plan.planner == planner
        lower(graph, plan)  # checks plan and tasks
        same = cost.with_data_types({name: use.data_type for name, use in plan.processors.items()})
        assert plan.predicted_ms == pytest.approx(plan_latency(graph, plan, same).total_ns / 1e6)


@given(st.data())
@settings(max_examples=25, deadline=None)
def test_optimal_is_the_best_of_all_plans(data: st.DataObject) -> None:
    graph = data.draw(small())
    cost = data.draw(costs(graph))
    problem = Problem(graph, cost.hardware, cost)
    search = Search(problem, labels=100_000, keys=100_000, pairs=100_000)
    found = plan_latency(graph, problem.plan("optimal", search.chains()), cost).total_ns
    # One processor alone on mapped memory shares nothing; that is not searched for but compared in the end.
    alone = cost.hardware.sharing.kind != "mapped"
    any_plan = make_plan(graph, cost.hardware, cost, "gpu")
    best = min(
        plan_latency(graph, any_plan.model_copy(update={"chains": tuple(chains)}), cost).total_ns
        for chains in every_plan(problem)
        if alone or {name for chain in chains for name in chain.shares} == {"gpu", "cpu"}
    )
    assert search.exact
    assert found <= best * (1 + 1e-9)
    assert make_plan(graph, cost.hardware, cost, "optimal").predicted_ms <= best / 1e6 * (1 + 1e-9)


@given(st.data())
@settings(max_examples=40, deadline=None)
def test_the_search_knows_what_its_plan_costs(data: st.DataObject) -> None:
    graph = data.draw(small())
    cost = data.draw(costs(graph))
    problem = Problem(graph, cost.hardware, cost)
    search = Search(problem)
    plan = problem.plan("optimal", search.chains())
    both = {name for chain in plan.chains for name in chain.shares} == {"gpu", "cpu"}
    if both:
        assert plan_latency(graph, plan, cost).total_ns == pytest.approx(search.value)


@given(st.data())
@settings(max_examples=30, deadline=None)
def test_optimal_never_loses(data: st.DataObject) -> None:
    graph = data.draw(networks())
    cost = data.draw(costs(graph))
    best = make_plan(graph, cost.hardware, cost, "optimal").predicted_ms
    for planner in PLANNERS:
        if planner != "mulayer":  # it may use another data type
            assert best <= make_plan(graph, cost.hardware, cost, planner).predicted_ms * (1 + 1e-9)


def test_where_the_search_gives_up_no_simpler_plan_is_better() -> None:
    """Three tensors are wanted in the end, in more states than the search keeps; output channels alone win here."""
    build = Builder((1, 1, 5, 6))
    convolved = build.conv("x", 7, 1)
    graph = build.graph(build.add(convolved, convolved), build.conv("x", 1, 1), build.relu(convolved))
    machine = hardware("copied", None, output_channel=1, height=1)
    cost = FakeCost(
        machine, graph, rates={"gpu": 0.3, "cpu": 0.5}, launch=0.0, sync=30.0, bound_sync=0.0, fixed=50.0, per_byte=0.0
    )
    search = Search(Problem(graph, machine, cost))
    search.chains()
    assert not search.exact
    found = {p: make_plan(graph, machine, cost, p).predicted_ms for p in PLANNERS if p != "mulayer"}
    assert found["oc"] < min(found["codl"], found["hybrid"]), "or else this example shows nothing"
    assert found["optimal"] == min(found.values())


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_latency_sums_what_lowering_makes(data: st.DataObject) -> None:
    """Per chain: all transforms, maps and copies, and as much kernel time as the tasks of the lowered plan have."""
    graph = data.draw(networks())
    cost = data.draw(costs(graph))
    plan = data.draw(plans(graph, [cost.hardware.sharing.kind]))
    cost.data_types = {name: use.data_type for name, use in plan.processors.items()}
    latency = plan_latency(graph, plan, cost)
    tasks = lower(graph, plan).tasks
    kernels = sum(
        cost.kernel(graph.by_name[t.op], t.writes[0].region, t.lane).ns for t in tasks if t.kind is TaskKind.KERNEL
    )
    assert sum(sum(c.kernels.values()) for c in latency.chains) == pytest.approx(kernels)
    moved = sum(
        cost.transform_ns(t.lane, t.nbytes)
        if t.kind is TaskKind.TRANSFORM
        else cost.copy_ns(t.source, t.lane, t.nbytes)
        for t in tasks
        if t.kind in (TaskKind.TRANSFORM, TaskKind.COPY)
    )
    assert sum(c.share.move for c in latency.chains) + latency.finish.move == pytest.approx(moved)


@given(st.data())
@settings(max_examples=30, deadline=None)
def test_dimensions_are_respected(data: st.DataObject) -> None:
    graph = data.draw(networks())
    cost = data.draw(costs(graph))
    allowed = {"h": {Dimension.HEIGHT}, "oc": {Dimension.OUTPUT_CHANNEL}, "mulayer": {Dimension.OUTPUT_CHANNEL}}
    for planner in ("h", "oc", "hybrid", "mulayer"):
        plan = make_plan(graph, cost.hardware, cost, planner)
        assert all(len(chain.operators) == 1 for chain in plan.chains)
        if planner in allowed:
            assert {c.dimension for c in plan.chains if len(c.shares) > 1} <= allowed[planner]


@given(st.floats(1, 1e6), st.floats(1, 1e6), st.floats(1, 2), st.floats(1, 2))
def test_working_together_takes_as_long_as_the_slower_and_less_than_in_turn(
    a: float, b: float, ca: float, cb: float
) -> None:
    machine = hardware()
    machine.processors["gpu"].contention, machine.processors["cpu"].contention = ca, cb
    together = Concurrency(_cost(machine), ("gpu", "cpu")).pair(a, b, 0.0)
    assert max(a, b) * (1 - 1e-9) <= together <= max(a * ca, b * cb) * (1 + 1e-9)


def _cost(machine) -> FakeCost:
    b = Builder()
    return FakeCost(machine, b.graph(b.relu("x")))
