"""Independent branches of a network on different processors at once: found, planned where they win, really run so."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codl.errors import PlanError
from codl.graph import Graph
from codl.plan.branches import forks
from codl.plan.evaluate import plan_latency
from codl.plan.explain import explain
from codl.plan.lower import lower
from codl.plan.model import Chain
from codl.plan.optimal import Search
from codl.plan.planners import make_plan
from codl.plan.problem import Problem, Weights
from codl.real.executor import Executor
from codl.real.reference import max_relative_error
from codl.sim import simulate
from codl.tasks import TaskKind
from tests.exhaustive import every_plan
from tests.fake_cost import FakeCost, hardware
from tests.graphs import Builder
from tests.machines import machine
from tests.opencl import halves
from tests.plans import placed, plan_of

PAIR = ("gpu", "cpu")


def twins(length: int = 6, size: int = 4) -> Graph:
    """Two equal rows of small convolutions between a fork and an addition."""
    b = Builder((1, 4, size, size))
    first = b.conv("x", 4)
    ends = []
    for _ in (0, 1):
        value = first
        for _ in range(length):
            value = b.conv(value, 4)
        ends.append(value)
    return b.graph(b.add(*ends))


def names(graph: Graph, positions) -> tuple[str, ...]:
    return tuple(graph.nodes[index].name for index in positions)


# -- what a fork is ----------------------------------------------------------------------------------------------------


def test_forks_of_an_inception_module() -> None:
    b = Builder()
    stem = b.conv("x", 4)  # 0
    one = b.conv(stem, 4, 1)  # 1
    two = b.conv(b.conv(stem, 4, 1), 4)  # 2, 3
    three = b.relu(stem)  # 4
    graph = b.graph(b.conv(b.concat(one, two, three), 4))  # 5, 6
    found = {(fork.start, fork.join): fork.branches for fork in forks(graph, 32)}
    # From operator 2 or 3 on, the join reads operator 1, which is no part of the fork: such forks are left out.
    assert found == {(1, 5): ((1,), (2, 3), (4,))}


def test_a_value_that_is_read_elsewhere_ends_a_fork() -> None:
    b = Builder()
    stem = b.conv("x", 4)
    left, right = b.relu(stem), b.conv(stem, 4, 1)
    joined = b.add(left, right)
    assert [fork.branches for fork in forks(b.graph(joined), 32)] == [((1,), (2,))]
    assert not list(forks(b.graph(joined, left), 32)), "an output of the network is read by the caller"
    b.add(joined, right)
    assert not list(forks(b.graph(), 32)), "one branch is read behind the join"


def test_a_shortcut_is_no_branch() -> None:
    b = Builder()
    first = b.conv("x", 8)
    assert not list(forks(b.graph(b.add(b.conv(b.conv(first, 8), 8), first)), 32))


# -- planned -----------------------------------------------------------------------------------------------------------


def every_fork(problem: Problem, at: int = 0) -> Iterator[list[Chain]]:
    """All plans in which branches run side by side somewhere, the rest in any way: by brute force over intervals and
    placements, without `codl.plan.branches`."""
    graph = problem.graph
    for start, join in combinations(range(at, len(graph)), 2):
        inner = graph.nodes[start:join]
        if len(inner) < 2:
            continue
        for on in product(PAIR, repeat=len(inner)):
            if len(set(on)) < 2 or not _apart(graph, start, join, on):
                continue
            branches = {p: tuple(n.name for n, q in zip(inner, on, strict=True) if p == q) for p in PAIR}
            shares = {p: len(mine) / len(inner) for p, mine in branches.items()}
            beside = Chain(operators=tuple(n.name for n in inner), shares=shares, branches=branches)
            for p in PAIR:
                last = Chain(operators=(graph.nodes[join].name,), shares={p: 1.0})
                for before in _until(problem, start):
                    for after in every_plan(problem, join + 1):
                        yield [*before, beside, last, *after]


def _apart(graph: Graph, start: int, join: int, on: tuple[str, ...]) -> bool:
    """Whether operators start..join-1 so placed need nothing of each other, and only `join` reads what they make."""
    where = {graph.nodes[start + k].name: p for k, p in enumerate(on)}
    last = graph.nodes[join]
    for node in graph.nodes[start:join]:
        readers = graph.consumers[node.output]
        if node.output in graph.outputs or not readers:
            return False
        if any(r.name != last.name and where.get(r.name) != where[node.name] for r in readers):
            return False
    makers = [graph.producer.get(tensor.name) for _, tensor in graph.variable_inputs(last)]
    return all(maker is not None and maker.name in where for maker in makers)


def _until(problem: Problem, stop: int) -> list[list[Chain]]:
    """All ways to cover the operators before `stop` by chains."""
    cut = {node.name for node in problem.graph.nodes[:stop]}
    found = {}
    for plan in every_plan(problem):
        head = [chain for chain in plan if set(chain.operators) <= cut]
        if sum(len(chain.operators) for chain in head) == stop:
            found[str(head)] = head
    return list(found.values())


def small_fork(data: st.DataObject) -> Graph:
    b = Builder((1, 2, 2, 4))
    first = b.conv("x", 2, 1) if data.draw(st.booleans()) else "x"
    left = b.conv(first, 2, 1)
    right = b.relu(b.conv(first, 2, 1)) if data.draw(st.booleans()) else b.relu(first)
    return b.graph(b.add(left, right))


@given(st.data())
@settings(max_examples=10, deadline=None)
def test_the_best_of_all_plans_with_branches_is_found(data: st.DataObject) -> None:
    graph = small_fork(data)
    sharing = data.draw(st.sampled_from(["unified", "mapped", "copied"]))
    home = data.draw(st.sampled_from([None, "gpu"])) if sharing == "mapped" else None
    image = sharing == "mapped" and data.draw(st.booleans())
    cost = FakeCost(
        hardware(sharing, home, image, output_channel=2, height=1), graph,
        rates={"gpu": data.draw(st.sampled_from([0.5, 1.0])), "cpu": data.draw(st.sampled_from([0.7, 1.0, 3.0]))},
        launch=data.draw(st.sampled_from([20.0, 500.0])), noise=data.draw(st.sampled_from([0.0, 0.5])),
        sync=data.draw(st.sampled_from([0.0, 50.0, 300.0])),
    )  # fmt: skip
    problem = Problem(graph, cost.hardware, cost)
    if data.draw(st.booleans()):
        problem = problem.weighted(Weights(1.0, 1e9))
    search = Search(problem, labels=100_000, keys=100_000, pairs=100_000)
    found = problem.objective(search.chains())
    others = (*every_plan(problem), *every_fork(problem))
    if sharing == "mapped":  # one processor alone shares nothing there: that is compared in the end
        others = tuple(plan for plan in others if {name for chain in plan for name in chain.shares} == set(PAIR))
    best = min(problem.objective(chains) for chains in others)
    assert search.exact
    assert found <= best * (1 + 1e-9)
    assert sharing == "mapped" or found >= best * (1 - 1e-9)


EQUAL = {"gpu": 0.25, "cpu": 1.0}
"""Rates at which both processors take the same: the fake GPU is four times slower on buffers."""


def cost_of(graph: Graph, **options: float) -> FakeCost:
    return FakeCost(hardware(), graph, rates=EQUAL, **options)


def test_equal_branches_of_operators_that_split_badly_run_side_by_side() -> None:
    """Launching costs more than computing: a split operator takes as long as a whole one, two branches at once half as
    long as one after another; one synchronisation before and one behind."""
    graph = twins(6)
    cost = cost_of(graph, launch=5000.0, sync=500.0)
    plan = make_plan(graph, cost.hardware, cost, "optimal")
    (beside,) = [chain for chain in plan.chains if chain.branches]
    assert set(beside.branches.values()) == {names(graph, range(1, 7)), names(graph, range(7, 13))}
    whole = [cost.kernel(node, placed_box(graph, node.name), "gpu").ns for node in graph.nodes]
    assert plan.predicted_ms == pytest.approx((whole[0] + 500 + sum(whole[1:7]) + 500 + whole[13]) / 1e6, rel=0.01)
    without = make_plan(graph, cost.hardware, cost, "gpu")
    assert without.predicted_ms == pytest.approx(sum(whole) / 1e6)
    assert plan.predicted_ms < 0.65 * without.predicted_ms
    assert explain(graph, plan, cost.hardware, cost)[1].decided_by == "branch"


def placed_box(graph: Graph, name: str):
    from codl.region import Region

    return Region.full(graph.tensors[graph.by_name[name].output].shape)


@pytest.mark.parametrize("options", [{"launch": 1000.0, "sync": 1e6}, {"launch": 0.0, "sync": 0.0}])
def test_branches_do_not_run_side_by_side_where_that_loses(options: dict[str, float]) -> None:
    """Either a synchronisation costs more than a branch, or operators split for free, the last one included."""
    graph = twins(3, size=8)
    rates = {"gpu": 0.25, "cpu": 2.0}  # unequal: whole branches cannot be balanced, rows can
    cost = FakeCost(hardware(), graph, rates=rates, **options)
    plan = make_plan(graph, cost.hardware, cost, "optimal")
    assert not any(chain.branches for chain in plan.chains)


def test_a_plan_with_branches_is_written_read_and_checked(tmp_path) -> None:
    from codl.plan.model import Plan

    graph = twins(2)
    cost = cost_of(graph, launch=1000.0)
    plan = make_plan(graph, cost.hardware, cost, "optimal")
    plan.write(tmp_path / "plan.json")
    again = Plan.read(tmp_path / "plan.json")
    assert again.chains == plan.chains and again.digest == plan.digest
    assert plan.digest != plan.model_copy(update={"chains": _swapped(plan.chains)}).digest
    wrong = Chain(operators=names(graph, (1, 2)), shares={"gpu": 0.5, "cpu": 0.5},
                  branches={"gpu": names(graph, (1,)), "cpu": names(graph, (2,))})  # fmt: skip
    rest = [Chain(operators=names(graph, (i,)), shares={"gpu": 1.0}) for i in (0, 3, 4, 5)]
    with pytest.raises(PlanError, match="need nothing of each other"):
        plan_of(graph, [rest[0], wrong, *rest[1:]]).check(graph)
    for branches in ({"gpu": ("a",)}, {"gpu": ("a",), "cpu": ()}, {"gpu": ("a",), "cpu": ("a",)}):
        with pytest.raises(ValueError, match="branches"):
            Chain(operators=("a", "b"), shares={"gpu": 0.5, "cpu": 0.5}, branches=branches)
    assert "branches" not in Chain(operators=("a",), shares={"gpu": 1.0}).model_dump_json()


def _swapped(chains):
    def swap(chain: Chain) -> Chain:
        gpu, cpu = chain.branches["gpu"], chain.branches["cpu"]
        return chain.model_copy(update={"branches": {"gpu": cpu, "cpu": gpu}})

    return tuple(swap(chain) if chain.branches else chain for chain in chains)


# -- simulated and executed --------------------------------------------------------------------------------------------


def beside(graph: Graph, **fields):
    """Twins with a branch on each processor."""
    count = (len(graph) - 2) // 2
    left, right = names(graph, range(1, 1 + count)), names(graph, range(1 + count, 1 + 2 * count))
    branches = Chain(operators=left + right, shares={"gpu": 0.5, "cpu": 0.5}, branches={"gpu": left, "cpu": right})
    ends = [Chain(operators=(graph.nodes[i].name,), shares={"gpu": 1.0}) for i in (0, -1)]
    return plan_of(graph, [ends[0], branches, ends[1]], **fields)


def test_processors_meet_at_fork_and_join_only_and_overlap_between() -> None:
    graph = twins(5)
    tasks = lower(graph, beside(graph))
    waits = [(task.lane, task.deps) for task in tasks.tasks if task.kind is TaskKind.SYNC]
    fork, left, right = graph.nodes[0].name, graph.nodes[5].name, graph.nodes[10].name
    assert waits[0] == ("cpu", (f"c00/{fork}/kernel@gpu",))
    assert waits[1] == ("gpu", (f"c01/{right}/kernel@cpu",))
    assert [lane for lane, _ in waits[2:]] == ["host"]
    enqueued = [t.source for t in tasks.tasks if t.kind is TaskKind.ENQUEUE and t.chain == "c01"]
    assert enqueued == ["gpu", "cpu"] * 5, "none waits until the host has enqueued all of another branch"
    cost = cost_of(graph, launch=1000.0)
    result = simulate(tasks, Timed(graph, cost), machine())
    spans = {span.task_id: span for span in result.trace.spans}
    inner = [spans[f"c01/{node.name}/kernel@{'gpu' if k < 5 else 'cpu'}"] for k, node in enumerate(graph.nodes[1:11])]
    assert inner[0].start_ns == inner[5].start_ns and inner[4].end_ns == inner[9].end_ns
    assert left in spans[f"c01/{left}/kernel@gpu"].task_id


class Timed:
    """The fake costs as the simulator asks for them; nothing but kernels takes time."""

    def __init__(self, graph: Graph, cost: FakeCost) -> None:
        self.graph, self.cost = graph, cost

    def task(self, task, handed_over=None):
        from tests.machines import Price

        if task.kind is not TaskKind.KERNEL:
            return Price(0)
        return Price(round(self.cost.kernel(self.graph.by_name[task.op], task.writes[0].region, task.lane).ns))

    def work(self, node, out):
        from codl.ops import REGISTRY

        return REGISTRY[node].work(self.graph, node, out)


@pytest.mark.parametrize("sharing, home", [("unified", None), ("mapped", None), ("mapped", "gpu"), ("copied", None)])
def test_branches_side_by_side_compute_the_same(sharing: str, home: str | None) -> None:
    graph = twins(3, size=12)
    inputs = {"x": np.random.default_rng(0).standard_normal(graph.tensors["x"].shape).astype(np.float32)}
    with Executor(graph, lower(graph, placed(graph, "cpu")), halves()) as executor:
        expected = executor.run(inputs)[0]
    with Executor(graph, lower(graph, beside(graph, sharing=sharing, home=home)), halves()) as executor:
        for _ in range(2):
            outputs, trace = executor.run(inputs, trace=True)
            assert max_relative_error(outputs, expected) < 1e-5
    assert trace is not None
    enqueues = [span.start_ns for span in trace.spans if span.kind == "enqueue" and span.chain == "c01"]
    assert len(enqueues) >= 6


def test_optimal_with_branches_never_loses_to_simpler_planners() -> None:
    graph = twins(4)
    for sync, launch in product((0.0, 100.0, 3000.0), (0.0, 1000.0)):
        cost = cost_of(graph, launch=launch, sync=sync)
        found = {
            planner: plan_latency(graph, make_plan(graph, cost.hardware, cost, planner), cost).total_ns
            for planner in ("optimal", "codl", "hybrid", "cpu", "gpu")
        }
        assert found["optimal"] == min(found.values())
