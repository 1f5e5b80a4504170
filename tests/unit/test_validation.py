"""What `codl validate` computes, on one phone."""

from statistics import mean

import pytest
from typer.testing import CliRunner

from codl.cli.app import app
from codl.validation import Validation, headline, validate


@pytest.fixture(scope="module")
def found() -> Validation:
    return validate(["sd855"])


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


def test_a_folder_without_the_phones_is_refused(tmp_path) -> None:
    result = CliRunner().invoke(app, ["validate", "--hardware", str(tmp_path)])
    assert result.exit_code == 2 and "sd855.yaml" in result.output
