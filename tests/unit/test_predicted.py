"""Planners that decide by predictors know what those were trained on; what their plans cost is known exactly."""

from __future__ import annotations

import pytest

from codl import hardware as machines
from codl import models
from codl.cost import CostModel
from codl.cost.erring import ErringCosts
from codl.plan.planners import PLANNERS, PREDICTING, make_plan
from codl.region import Region

KIRIN = machines.load("kirin990")
FST = models.load("paper/fst")
LARGE = FST.nodes[0]  # 9x9


def costs(node, cost: CostModel) -> float:
    return cost.kernel(node, Region.full(FST.tensors[node.output].shape), "gpu").ns


def test_a_kernel_beyond_the_training_is_taken_for_the_largest_one_known() -> None:
    true = CostModel(KIRIN, FST)
    seen = true.as_predicted()
    assert KIRIN.libraries["mace"].predicted_up_to == 7
    assert costs(LARGE, seen) < 0.4 * costs(LARGE, true), "Mali's 9x9 is far slower a tap than its 7x7"
    whole = Region.full(FST.tensors[LARGE.output].shape)
    assert seen.library_kernel(LARGE, whole, "gpu").name == "conv7x7"
    assert seen.library_kernel(LARGE, whole, "cpu").name == "direct7x7"
    for node in FST.nodes[1:-1]:
        assert costs(node, seen) == costs(node, true), node.name


def test_what_is_known_of_errors_survives() -> None:
    erring = ErringCosts.drawn(KIRIN, FST, "any")
    true = CostModel(KIRIN, FST)
    assert costs(LARGE, erring.as_predicted()) / costs(LARGE, true.as_predicted()) == pytest.approx(
        costs(LARGE, erring) / costs(LARGE, true)
    )


def test_hardware_without_a_limit_is_known_exactly() -> None:
    pixel = machines.load("pixel4")
    assert machines.as_predicted(pixel) is pixel
    cost = CostModel(pixel, FST)
    assert cost.as_predicted() is cost


def test_only_planners_that_predict_are_misled() -> None:
    library = KIRIN.libraries["mace"]
    known = KIRIN.model_copy(update={"libraries": {"mace": library.model_copy(update={"predicted_up_to": 0})}})
    for planner in PLANNERS:
        misled, exact = (make_plan(FST, machine, CostModel(machine, FST), planner) for machine in (KIRIN, known))
        if planner in PREDICTING:
            assert misled.predicted_ms > exact.predicted_ms, "a plan's price is what it really costs"
        else:
            assert misled.chains == exact.chains, planner
