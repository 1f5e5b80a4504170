"""A plan survives its file: same digest, same tasks."""

from __future__ import annotations

from pathlib import Path

from codl.ops import Dimension
from codl.plan.lower import lower
from codl.plan.model import Plan
from tests.graphs import residual
from tests.plans import split


def test_a_plan_read_back_lowers_to_the_same_tasks(tmp_path: Path) -> None:
    graph = residual()
    plan = split(graph, Dimension.HEIGHT, 0.7)
    plan.write(tmp_path / "plan.json")
    again = Plan.read(tmp_path / "plan.json")
    assert again.digest == plan.digest
    assert lower(graph, again).digest == lower(graph, plan).digest


def test_the_order_of_processors_is_part_of_the_plan() -> None:
    plan = split(residual(), Dimension.HEIGHT, 0.7)
    turned = plan.model_copy(update={"processors": dict(reversed(plan.processors.items()))})
    assert turned.digest != plan.digest
