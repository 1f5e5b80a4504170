"""Runs that other machines measured, replayed through today's simulator: its rules must still be those of the executor.

The recordings are made by `bench/gpu_fidelity.py` (see docs/fidelity.md); nothing here needs their devices.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from codl.compare import replayed_ns
from codl.io import read_json
from tests.fidelity.judging import BOUNDS

FOLDER = Path(__file__).parents[1] / "data" / "recordings"


MISSED = {
    "h100-16-cores vgg16 optimal": "+3.4 % of 1.39 ms (2026-11-25), not explained; the median of 21 runs is +2.3 %",
}
"""Recordings whose scheduling error is above the bound: how far, and why."""


def recorded() -> Iterator[Any]:
    for path in sorted(FOLDER.glob("*.json")):
        for plan in read_json(path)["plans"]:
            yield pytest.param(plan, id=f"{path.stem} {plan['model']} {plan['planner']}")


PLANS = list(recorded())


def _marked(plan: Any) -> Any:
    marks = [pytest.mark.xfail(reason=MISSED[plan.id])] if plan.id in MISSED else []
    return pytest.param(*plan.values, id=plan.id, marks=marks)


def test_there_are_recordings() -> None:
    assert PLANS


@pytest.mark.parametrize("plan", PLANS)
def test_predicted_durations_give_the_predicted_makespan(plan: dict[str, Any]) -> None:
    """The rules have not changed since: a prediction of then is the prediction of now."""
    assert replayed_ns(plan, measured=False) == plan["simulated_ns"]


@pytest.mark.parametrize("plan", [_marked(plan) for plan in PLANS])
def test_measured_durations_give_the_measured_makespan(plan: dict[str, Any]) -> None:
    error = replayed_ns(plan, measured=True) / plan["measured_ns"] - 1
    assert abs(error) <= BOUNDS.full["scheduling_error"].limit, f"scheduling error {error:+.1%}"
