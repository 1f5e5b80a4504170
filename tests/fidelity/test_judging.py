"""The verdicts themselves: certain ones only, and none that is lost."""

from __future__ import annotations

import pytest

from tests.fidelity import judging


@pytest.fixture(autouse=True)
def apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """These verdicts are about nothing, and do not belong into the summary."""
    monkeypatch.setattr(judging, "verdicts", [])


@pytest.mark.parametrize(
    ("error", "uncertainty", "outcome"),
    [(0.06, 0.03, "within"), (-0.06, 0.05, "INCONCLUSIVE"), (-0.14, 0.05, "INCONCLUSIVE"), (-0.16, 0.05, "OUTSIDE")],
)
def test_an_error_is_judged_where_all_of_its_interval_says_the_same(
    error: float, uncertainty: float, outcome: str
) -> None:
    raised = {"within": None, "OUTSIDE": AssertionError, "INCONCLUSIVE": pytest.skip.Exception}[outcome]
    try:
        judging.judge_error("full", "makespan_error", "m", error, uncertainty)
    except (AssertionError, pytest.skip.Exception) as said:
        assert raised is not None and isinstance(said, raised)
    else:
        assert raised is None
    (verdict,) = judging.verdicts
    assert (verdict.outcome, verdict.value, verdict.limit) == (outcome, abs(error), 0.10)


@pytest.mark.parametrize(
    ("value", "noise", "outcome"), [(0.9, 0.04, "within"), (0.7, 0.04, "OUTSIDE"), (0.9, 0.06, "INCONCLUSIVE")]
)
def test_a_share_is_judged_on_a_quiet_machine(value: float, noise: float, outcome: str) -> None:
    try:
        judging.judge("full", "rank_correlation", "m", value, noise, at_least=True)
    except (AssertionError, pytest.skip.Exception):
        assert outcome != "within"
    (verdict,) = judging.verdicts
    assert verdict.outcome == outcome
