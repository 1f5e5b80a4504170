"""Every published figure that the project knows, simulated: what `codl validate` prints.

The hardware files were fitted to single-processor latencies and single operators only (docs/calibration.md); latencies
of co-execution, `mulayer` and `codl` below, are predictions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import mean

from codl import hardware as hw
from codl.plan.published import agreement, read_published
from codl.runs import Workspace
from codl.scenario import load as load_scenario

PHONES = ("sd855", "sd865", "sd888", "kirin990")
PLANS = Path(__file__).resolve().parent / "plans"
"""The authors' own tuned plans, from the published artifact of CoDL (MobiSys '22, doi 10.1145/3498361.3538932)."""


@dataclass(frozen=True, slots=True)
class Figure:
    """One published latency beside the simulated one, in ms. `planner` is `published plan` where the authors' own
    decisions were replayed."""

    phone: str
    model: str
    planner: str
    published_ms: float
    simulated_ms: float
    summed_ms: float

    @property
    def error(self) -> float:
        """(simulated - published) / published, of the simulated makespan."""
        return (self.simulated_ms - self.published_ms) / self.published_ms


@dataclass(frozen=True, slots=True)
class Choice:
    """How far our planner decides as the authors' published plan does: shares of operators."""

    phone: str
    model: str
    dimension: float
    ratio: float
    chain_ends: float


@dataclass(frozen=True, slots=True)
class Validation:
    figures: tuple[Figure, ...]
    choices: tuple[Choice, ...]

    def groups(self) -> list[tuple[str, int, float, float]]:
        """(group, rows, mean absolute error, mean signed error) of each kind of figure."""
        wanted: dict[str, Callable[[Figure], bool]] = {
            "CPU alone (fitted)": lambda f: f.planner == "cpu",
            "GPU alone (fitted)": lambda f: f.planner == "gpu",
            "codl, 20 headline rows (predicted)": lambda f: f.planner == "codl",
            "codl, 15 Snapdragon rows (predicted)": lambda f: f.planner == "codl" and f.phone != "kirin990",
            "published plans replayed (predicted)": lambda f: f.planner == "published plan",
        }
        rows = {name: [f.error for f in self.figures if test(f)] for name, test in wanted.items()}
        return [(name, len(e), mean(map(abs, e)), mean(e)) for name, e in rows.items() if e]


def validate(phones: Iterable[str] = PHONES) -> Validation:
    """Simulate every published latency of these phones, and replay the authors' plans where they are known."""
    figures: list[Figure] = []
    choices: list[Choice] = []
    for phone in phones:
        workspace = Workspace(hw.load(phone))
        figures += _scenario(phone, workspace)
        for figure, choice in _replays(phone, workspace):
            figures.append(figure)
            choices.append(choice)
    return Validation(tuple(figures), tuple(choices))


def _scenario(phone: str, workspace: Workspace) -> Iterator[Figure]:
    scenario = load_scenario(phone)
    for model in scenario.models:
        for planner in scenario.planners:
            published = scenario.published_ms(model, planner)
            if published is not None:
                result = workspace.prepare(model, planner).simulate()
                yield Figure(phone, model, planner, published, result.latency_ns / 1e6, result.summed_ns / 1e6)


def _replays(phone: str, workspace: Workspace) -> Iterator[tuple[Figure, Choice]]:
    scenario = load_scenario(phone)
    for path in sorted(PLANS.glob(f"{phone}_*.json")):
        model = f"paper/{read_published(path).model}"
        published = scenario.published_ms(model, "codl")
        if published is None:
            continue
        run = workspace.follow(model, path)
        result = run.simulate()
        alike = agreement(run.plan, workspace.prepare(model, "codl").plan)
        figure = Figure(phone, model, "published plan", published, result.latency_ns / 1e6, result.summed_ns / 1e6)
        yield figure, Choice(phone, model, alike.dimension, alike.ratio, alike.chain_ends)
