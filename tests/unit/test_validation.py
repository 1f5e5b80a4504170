"""What `codl validate` computes, on one phone."""

import json
from statistics import mean

import pytest
from typer.testing import CliRunner

from codl.cli.app import app
from codl.validation import Validation, erring_groups, headline, validate
from codl.validation.simulated import Runs

REDRAWS = 2


@pytest.fixture(scope="module")
def found() -> Validation:
    return validate(["sd855"], redraws=REDRAWS)


def test_every_published_latency_stands_beside_a_simulated_one(found: Validation) -> None:
    kinds = {
        planner: [f for f in found.figures if f.planner == planner] for planner in {f.planner for f in found.figures}
    }
    assert {planner: len(figures) for planner, figures in kinds.items()} == {
        "cpu": 5, "gpu": 5, "codl": 5, "published plan": 5
    }  # fmt: skip
    for name, rows, absolute, signed in found.groups():
        assert rows == 5 and abs(signed) <= absolute, name
    alone = [abs(f.error) for f in found.figures if f.planner in ("cpu", "gpu")]
    assert mean(alone) < 0.05, "the phones were fitted to these"
    assert all(f.summed_ms == pytest.approx(f.simulated_ms, rel=0.03) for f in found.figures)


def test_the_null_models_need_no_simulator(found: Validation) -> None:
    (null,) = found.nulls
    ms = {(f.model, f.planner): f.published_ms for f in found.figures if f.planner != "published plan"}
    harmonic = [
        abs(ms[m, "cpu"] * ms[m, "gpu"] / (ms[m, "cpu"] + ms[m, "gpu"]) / ms[m, "codl"] - 1)
        for m, planner in ms
        if planner == "codl"
    ]
    assert null.harmonic == pytest.approx(mean(harmonic))
    assert null.simulated < null.harmonic < null.better


def test_claims_say_in_how_many_cases_they_hold(found: Validation) -> None:
    by_name = {claim.claim: claim for claim in found.claims}
    assert by_name["co-execution beats either processor"].holds
    assert by_name["the wrong data type loses"].holds
    assert all(0 <= claim.held <= claim.cases for claim in found.claims)


def test_choices_are_shares(found: Validation) -> None:
    assert len(found.choices) == 5
    assert all(0 < c.dimension <= 1 and 0 < c.ratio <= 1 and 0 < c.chain_ends <= 1 for c in found.choices)


def test_the_headline_alone_is_the_same(found: Validation) -> None:
    (figure,) = headline(None, [("sd855", "vgg16")])
    assert figure in found.figures


def test_a_planner_that_errs_predicts_the_same_rows(found: Validation) -> None:
    headline_rows = [f for f in found.figures if f.planner == "codl"]
    assert [(f.phone, f.model, f.published_ms, f.exact_ms, f.exact_error) for f in found.erring] == [
        (f.phone, f.model, f.published_ms, f.simulated_ms, pytest.approx(f.error)) for f in headline_rows
    ]
    for figure in found.erring:
        assert len(set(figure.redraws_ms)) == REDRAWS, "every redraw has errors of its own"
        assert figure.simulated_ms == pytest.approx(mean(figure.redraws_ms))
        assert figure.error == pytest.approx(figure.simulated_ms / figure.published_ms - 1)
        assert figure.simulated_ms == pytest.approx(figure.exact_ms, rel=0.15), "plans are little worse, if at all"


def test_redraws_are_the_same_every_time(found: Validation) -> None:
    vgg16 = next(f for f in found.erring if f.model == "vgg16")
    assert Runs().misplanned_ms("sd855", "vgg16", REDRAWS - 1) == vgg16.redraws_ms[-1]


def test_rows_of_erring_planners_are_summed_up_beside_exact_ones(found: Validation) -> None:
    every, snapdragons = erring_groups(found.erring)
    (exact,) = (group[1:] for group in found.groups() if group[0].startswith("codl, 20"))
    assert (every.rows, every.exact_mean_absolute_error, every.exact_mean_error) == pytest.approx(exact)
    assert every.mean_absolute_error == pytest.approx(mean(abs(f.error) for f in found.erring))
    assert every.mean_error == pytest.approx(mean(f.error for f in found.erring))
    assert (every.group, snapdragons.group) == ("headline rows", "Snapdragon rows") and snapdragons.rows == 5
    assert erring_groups([]) == []


def test_the_command_adds_the_erring_planner_and_keeps_what_it_said(
    found: Validation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("codl.cli.validating.run_validation", lambda folder, redraws: found)
    document = json.loads(CliRunner().invoke(app, ["validate", "--json"], catch_exceptions=False).stdout)
    assert set(document) == {"figures", "groups", "null_models", "claims", "choices", "erring_planner"}
    assert {row["planner"] for row in document["figures"]} == {"cpu", "gpu", "codl", "published plan"}
    erring = document["erring_planner"]
    assert set(erring) == {"share_within", "margin", "sigma", "redraws", "figures", "groups"}
    assert (erring["share_within"], erring["margin"], erring["redraws"]) == (0.84, 0.10, REDRAWS)
    assert [set(row) for row in erring["figures"]] == 5 * [
        {
            "phone", "model", "published_ms", "simulated_ms", "lowest_ms", "highest_ms", "error", "exact_ms",
            "exact_error",
        }
    ]  # fmt: skip
    assert [set(group) for group in erring["groups"]] == 2 * [
        {
            "group", "rows", "mean_absolute_error", "mean_error", "exact_mean_absolute_error", "exact_mean_error",
        }
    ]  # fmt: skip
    shown = CliRunner().invoke(app, ["validate"], catch_exceptions=False).stdout
    assert "predictors that err as the authors'" in " ".join(shown.split())


def test_a_folder_without_the_phones_is_refused(tmp_path) -> None:
    result = CliRunner().invoke(app, ["validate", "--hardware", str(tmp_path)])
    assert result.exit_code == 2 and "sd855.yaml" in result.output
