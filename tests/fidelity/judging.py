"""Bounds and verdicts: within a bound, outside, or inconclusive because the machine was too noisy to tell."""

from __future__ import annotations

import datetime
import operator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pytest
from pydantic import BaseModel, ConfigDict, Field

from codl.documents import validate
from codl.io import read_yaml

Section = Literal["quick", "full"]


class Bound(BaseModel):
    """One bound, with what it rests on."""

    model_config = ConfigDict(extra="forbid")
    limit: float = Field(gt=0)
    date: datetime.date
    machine: str = Field(min_length=3)
    why: str = Field(min_length=10)


class Bounds(BaseModel):
    model_config = ConfigDict(extra="forbid")
    quick: dict[str, Bound]
    full: dict[str, Bound]


BOUNDS = validate(Bounds, read_yaml(Path(__file__).with_name("bounds.yaml")), "bounds.yaml")


@dataclass(frozen=True)
class Verdict:
    """`outcome` is `within`, `OUTSIDE` or `INCONCLUSIVE`."""

    outcome: str
    what: str
    value: float
    limit: float
    noise: float

    def __str__(self) -> str:
        return f"{self.outcome:12s} {self.what}: {self.value:.3g} (bound {self.limit:g}), noise {self.noise:.1%}"


verdicts: list[Verdict] = []
"""All of this session, in order; the terminal summary shows them, passed or not."""


def judge_error(section: Section, bound: str, what: str, error: float, uncertainty: float) -> None:
    """Hold the size of an error against a bound. Skips, visibly, where the bound lies inside the error's interval, so
    that neither verdict is certain; fails where all of the interval is outside."""
    bounds: dict[str, Bound] = getattr(BOUNDS, section)
    limit, value = bounds[bound].limit, abs(error)
    certain = value + uncertainty <= limit or value - uncertainty > limit
    outcome = ("within" if value <= limit else "OUTSIDE") if certain else "INCONCLUSIVE"
    verdict = Verdict(outcome, f"{what}, {bound}", value, limit, uncertainty)
    _deliver(verdict, f"uncertain by {uncertainty:.1%}")


def judge(section: Section, bound: str, what: str, value: float, noise: float, at_least: bool = False) -> None:
    """Hold a value against a bound. Skips, visibly, where the noise is above the section's limit; fails outside.

    Args:
        at_least: the bound is a lower one.
    """
    bounds: dict[str, Bound] = getattr(BOUNDS, section)
    limit, quiet = bounds[bound].limit, bounds["noise"].limit
    inside = (operator.ge if at_least else operator.le)(value, limit)
    outcome = "INCONCLUSIVE" if not noise <= quiet else "within" if inside else "OUTSIDE"
    verdict = Verdict(outcome, f"{what}, {bound}", value, limit, noise)
    _deliver(verdict, f"noise {noise:.1%}, above {quiet:.0%}")


def _deliver(verdict: Verdict, doubt: str) -> None:
    """Note a verdict for the summary, and let the test end as it says."""
    verdicts.append(verdict)
    if verdict.outcome == "INCONCLUSIVE":
        pytest.skip(f"inconclusive: {doubt}; {verdict}")
    assert verdict.outcome == "within", str(verdict)
