"""The paper's qualitative claims, checked on simulated latencies."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import mean

from codl.ops import Dimension
from codl.plan.model import Plan
from codl.validation.simulated import MODELS, Runs

ABOUT_HALF = 0.55


@dataclass(frozen=True, slots=True)
class Claim:
    """One claim: how many of the cases it holds for, and what the cases come to."""

    claim: str
    held: int
    cases: int
    detail: str

    @property
    def holds(self) -> bool:
        """In every case."""
        return self.held == self.cases


def claims(runs: Runs, phones: Sequence[str]) -> list[Claim]:
    """All of them, over these phones and the five networks."""
    cells = [(phone, model) for phone in phones for model in MODELS]
    return [
        _each("co-execution beats either processor", cells, lambda p, m: _over_one(runs, p, m), "of the better one"),
        _each("the wrong data type loses", cells, lambda p, m: _wrong_type(runs, p, m), "of the wrong type's latency"),
        _each("hybrid beats one dimension", cells, lambda p, m: _over_dimension(runs, p, m), "of the better one"),
        _sharing("chains cut sharing by half", runs, phones),
        _order("height early, output channels late", runs, cells),
    ]


def _each(claim: str, cells: Sequence[tuple[str, str]], ratio: Callable[[str, str], float], of: str) -> Claim:
    """A claim that a latency is below another (at most equal counts: nothing better need exist)."""
    ratios = [ratio(phone, model) for phone, model in cells]
    return Claim(claim, sum(r <= 1 + 1e-9 for r in ratios), len(ratios), f"{mean(ratios):.0%} {of} in the mean")


def _over_one(runs: Runs, phone: str, model: str) -> float:
    single = min(_ms(runs, phone, model, planner) for planner in ("cpu", "gpu"))
    return _ms(runs, phone, model, "codl") / single


def _wrong_type(runs: Runs, phone: str, model: str) -> float:
    wrong: float = runs.row(phone, model, "codl", runs.other_data_type(phone))["latency_ms"]
    return _ms(runs, phone, model, "codl") / wrong


def _over_dimension(runs: Runs, phone: str, model: str) -> float:
    return _ms(runs, phone, model, "hybrid") / min(_ms(runs, phone, model, planner) for planner in ("h", "oc"))


def _ms(runs: Runs, phone: str, model: str, planner: str) -> float:
    return float(runs.row(phone, model, planner)["latency_ms"])


def _sharing(claim: str, runs: Runs, phones: Sequence[str]) -> Claim:
    """Sharing of all networks on a phone, with chains over without."""
    ratios = []
    for phone in phones:
        chained, single = (
            sum(runs.row(phone, model, planner)["sharing_ms"] for model in MODELS) for planner in ("codl", "hybrid")
        )
        ratios.append(chained / single)
    text = ", ".join(f"{phone} {ratio:.0%}" for phone, ratio in zip(phones, ratios, strict=True))
    return Claim(claim, sum(ratio <= ABOUT_HALF for ratio in ratios), len(ratios), f"of the sharing without: {text}")


def _order(claim: str, runs: Runs, cells: Sequence[tuple[str, str]]) -> Claim:
    """Where operators split along either dimension lie in their network, in networks that use both."""
    places = [_places(runs.prepared(phone, model, "hybrid").plan) for phone, model in cells]
    both = [(h, oc) for h, oc in places if h and oc]
    held = sum(mean(h) < mean(oc) for h, oc in both)
    if not both:
        return Claim(claim, 0, 0, "no network is split along both")
    early, late = (mean(mean(pair[i]) for pair in both) for i in (0, 1))
    return Claim(claim, held, len(both), f"height at {early:.0%}, output channels at {late:.0%} of the network")


def _places(plan: Plan) -> tuple[list[float], list[float]]:
    """Relative positions of the operators split along height and along output channels."""
    operators = [(name, chain) for chain in plan.chains for name in chain.operators]
    found: dict[Dimension, list[float]] = {Dimension.HEIGHT: [], Dimension.OUTPUT_CHANNEL: []}
    for place, (_, chain) in enumerate(operators):
        if len(chain.shares) > 1 and chain.dimension in found:
            found[chain.dimension].append(place / max(1, len(operators) - 1))
    return found[Dimension.HEIGHT], found[Dimension.OUTPUT_CHANNEL]
