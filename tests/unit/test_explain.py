"""Why a plan is so: the alternatives are costed as the planner costs them, and the term named really decides."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from codl import hardware as hw
from codl.cost.terms import kernel_terms
from codl.hardware import Hardware
from codl.ops import Dimension
from codl.plan.explain import Explanation, explain
from codl.plan.problem import Problem
from codl.plan.singles import Isolated, weighed
from codl.region import Region
from codl.runs import Prepared, Workspace


def explained(
    hardware: Hardware, planner: str, model: str = "paper/yolov2"
) -> tuple[Prepared, tuple[Explanation, ...]]:
    run = Workspace(hardware).prepare("paper/yolov2", planner)
    return run, explain(run.graph, run.plan, run.hardware, run.cost)


def with_sharing(kind: str) -> Hardware:
    hardware = hw.load("sd865")
    sharing = hardware.sharing.model_copy(update={"kind": kind, "copy_": hardware.sharing.map})
    return hardware.model_copy(update={"sharing": sharing})


@pytest.mark.parametrize("kind", ["mapped", "unified", "copied"])
def test_alternatives_cost_what_the_planner_counts(kind: str) -> None:
    run, found = explained(with_sharing(kind), "hybrid")
    problem = Problem(run.graph, run.hardware, run.cost)
    isolated = Isolated(problem)
    for index, each in enumerate(found):
        placed = {problem.pair[p]: isolated.placed(index, p) for p in problem.placements(index)}
        assert {next(iter(a.chain.shares)): a.total_ns for a in each.placements} == pytest.approx(placed)
    for each, (columns, values) in zip(found, weighed(isolated, [Dimension.HEIGHT]), strict=True):
        splits = [a for a in each.splits if a.chain.dimension is Dimension.HEIGHT]
        assert bool(splits) == bool(len(columns))
        if splits:
            assert splits[0].total_ns == pytest.approx(np.min(values))


def test_the_planner_without_chains_chooses_the_cheapest() -> None:
    _, found = explained(hw.load("sd865"), "hybrid")
    assert all(each.chosen.total_ns == pytest.approx(each.best.total_ns) for each in found)


def test_free_synchronisation_is_no_reason_any_more() -> None:
    hardware = hw.load("sd865")
    _, found = explained(hardware, "hybrid")
    assert "sync" in {each.decided_by for each in found if len(each.chosen.chain.shares) == 1}
    free = {"pre_sync": 0.0, "pre_sync_bound": 0.0, "post_sync": 0.0}
    _, found = explained(hardware.model_copy(update={"sharing": hardware.sharing.model_copy(update=free)}), "hybrid")
    assert "sync" not in {each.decided_by for each in found}


def test_a_planner_that_weighs_nothing_is_named_as_the_reason() -> None:
    _, found = explained(hw.load("sd865"), "cpu")
    reasons = {each.decided_by for each in found if each.best is not each.chosen}
    assert "planner" in reasons
    assert any("planner cpu does not weigh that" in each.sentence() for each in found)


def test_chains_share_less_than_their_members() -> None:
    run, found = explained(hw.load("sd865"), "codl")
    chained = [each for each in found if each.chain is not None]
    assert {each.node.name for each in chained} == {
        name for chain in run.plan.chains if len(chain.operators) > 1 for name in chain.operators
    }
    for each in chained:
        assert each.chain is not None
        assert each.chain.total_ns < sum(member.total_ns for member in each.members)
        assert "one by one" in each.sentence()


def test_what_runs_through_onnx_runtime_says_so() -> None:
    _, found = explained(hw.load("sd865"), "codl")
    fallback = replace(found[0], node=replace(found[0].node, op="onnx", onnx_op="Einsum"), splits=(), chain=None)
    alone = replace(fallback, chosen=fallback.placements[0])
    assert alone.decided_by == "no kernel"
    assert "Einsum: ONNX Runtime does" in alone.sentence()


@pytest.mark.parametrize("hardware", ["sd865", "pixel4"])
@pytest.mark.parametrize("processor", ["cpu", "gpu"])
def test_terms_of_a_kernel_add_up_to_its_cost(hardware: str, processor: str) -> None:
    run = Workspace(hw.load(hardware)).prepare("paper/vgg16", "gpu")
    for node in run.graph.nodes:
        whole = Region.full(run.graph.tensors[node.output].shape)
        terms = kernel_terms(run.cost, node, whole, processor)
        assert sum(terms.terms.values()) == pytest.approx(terms.total_ns, rel=1e-6)
        assert terms.total_ns == run.cost.kernel(node, whole, processor).ns
        assert terms.largest in terms.terms
