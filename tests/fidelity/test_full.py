"""The zoo on this machine, by its kept description: everything that the project claims of its predictions.

    [FIDELITY_JSON=results.json] [FIDELITY_PLANS=20] pytest -m fidelity_full [-k yolov2]

Takes about a minute and a half a model and needs a quiet machine, so it is not part of the ordinary test run. Each
model's four planners and further diverse plans (FIDELITY_PLANS in all, 0 for none) are measured in one interleaved run.
"""

from __future__ import annotations

import math
import os
import statistics
from collections.abc import Sequence
from dataclasses import asdict

import pytest

from codl import models
from codl.calibrate import Silent, load_or_calibrate
from codl.fidelity import Compared, compare_plans, diverse, rankings
from codl.hardware import Hardware
from codl.real.devices import choose
from codl.runs import Workspace
from tests.fidelity.conftest import Results
from tests.fidelity.judging import judge, judge_error

pytestmark = pytest.mark.fidelity_full

ZOO = tuple(name for name in models.names() if not models.is_list(name))
PLANNERS = ("cpu", "gpu", "hybrid", "codl")
PLANS = int(os.environ.get("FIDELITY_PLANS", "20"))
RUNS = 11


class _Told(Silent):
    """Says what calibration has to say, as that the machine was too noisy to be described."""

    def note(self, what: str) -> None:
        print(f"\n{what}")


@pytest.fixture(scope="module")
def hardware() -> Hardware:
    return load_or_calibrate(report=_Told())


@pytest.fixture(scope="module")
def measured() -> dict[str, Sequence[Compared]]:
    """What was measured so far, by model."""
    return {}


@pytest.fixture(params=ZOO, scope="module")
def model(
    request: pytest.FixtureRequest, hardware: Hardware, measured: dict[str, Sequence[Compared]], results: Results
) -> str:
    """A model of the zoo, measured."""
    name = request.param
    workspace = Workspace(hardware)
    plans = [workspace.prepare(name, planner) for planner in PLANNERS]
    plans += [plan for plan in diverse(workspace, name, PLANS) if plan.plan.planner not in PLANNERS] if PLANS else []
    found = compare_plans(plans, choose(), RUNS)
    measured[name] = found
    results.keep(
        name, [one.comparison.row() | {"runs_ms": list(one.measurement.runs_ms), "pace": one.pace} for one in found]
    )
    results.keep("rankings", [asdict(ranking) for each in measured.values() for ranking in rankings(each)])
    return str(name)


def _planners(found: Sequence[Compared]) -> list[Compared]:
    return [one for one in found if one.run.plan.planner in PLANNERS]


@pytest.mark.parametrize("planner", PLANNERS)
@pytest.mark.parametrize("kind", ["scheduling_error", "makespan_error", "operators_within_10_percent"])
def test_a_plan(model: str, measured: dict[str, Sequence[Compared]], planner: str, kind: str) -> None:
    one = next(one for one in measured[model] if one.run.plan.planner == planner)
    comparison, noise = one.comparison, one.noise
    if kind == "operators_within_10_percent":
        judge("full", kind, f"{model} {planner}", comparison.within(0.10), noise, at_least=True)
    elif kind == "scheduling_error":  # each run is replayed by itself: a disturbed one obeys the same rules
        judge("full", kind, f"{model} {planner}", abs(comparison.scheduling_error), noise=0.0)
    else:
        judge_error("full", kind, f"{model} {planner}", comparison.error, one.uncertainty)


def test_the_order_of_plans(model: str, measured: dict[str, Sequence[Compared]]) -> None:
    """By medians of runs that took turns, so that the machine's pace does not matter; a regret compares two of them."""
    (ranking,) = rankings(measured[model])
    uncertain = statistics.median(one.measurement.uncertainty for one in measured[model])
    what = f"{model}, {ranking.plans} plans"
    judge("full", "rank_correlation", what, ranking.rank_correlation or 0.0, uncertain, True)
    judge_error("full", "regret_worst", what, ranking.regret, uncertain * math.sqrt(2))


def test_the_medians_over_the_zoo(measured: dict[str, Sequence[Compared]]) -> None:
    if not measured:
        pytest.skip("no model was measured")
    plans = [one for found in measured.values() for one in _planners(found)]
    error = statistics.median(abs(one.comparison.error) for one in plans)
    uncertain = statistics.median(one.uncertainty for one in plans)
    regrets = [ranking.regret for found in measured.values() for ranking in rankings(found)]
    what = f"{len(measured)} models"
    judge_error("full", "makespan_error_median", what, error, uncertain)
    apart = statistics.median(one.measurement.uncertainty for one in plans)
    judge_error("full", "regret_median", what, statistics.median(regrets), apart * math.sqrt(2))
