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


def recorded() -> Iterator[Any]:
    for path in sorted(FOLDER.glob("*.json")):
        for plan in read_json(path)["plans"]:
            yield pytest.param(plan, id=f"{path.stem} {plan['model']} {plan['planner']}")


PLANS = list(recorded())


def test_there_are_recordings() -> None:
    assert PLANS


@pytest.mark.parametrize("plan", PLANS)
def test_predicted_durations_give_the_predicted_makespan(plan: dict[str, Any]) -> None:
    """The rules have not changed since: a prediction of then is the prediction of now."""
    assert replayed_ns(plan, measured=False) == plan["simulated_ns"]


@pytest.mark.parametrize("plan", PLANS)
def test_measured_durations_give_the_measured_makespan(plan: dict[str, Any]) -> None:
    error = replayed_ns(plan, measured=True) / plan["measured_ns"] - 1
    assert abs(error) <= BOUNDS.full["scheduling_error"].limit, f"scheduling error {error:+.1%}"
