"""Every published figure that the project knows, simulated: what `codl validate` prints.

The hardware files were fitted to single-processor latencies and single operators only (docs/calibration.md); latencies
of co-execution, `mulayer` and `codl` below, are predictions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean

from codl.plan.published import agreement
from codl.scenario import load as load_scenario
from codl.validation.claims import Claim, claims
from codl.validation.erring import ErringFigure, erring_figures, erring_groups
from codl.validation.simulated import KIRIN, MODELS, PHONES, PLANS, Runs

__all__ = [
    "PHONES", "PLANS", "Choice", "Claim", "ErringFigure", "Figure", "Null", "Validation", "erring_groups", "headline",
    "validate",
]  # fmt: skip

REPLAY = "published plan"


@dataclass(frozen=True, slots=True)
class Figure:
    """One published latency beside the simulated one, in ms. `planner` is `published plan` where the authors' own
    decisions were replayed."""

    phone: str
    model: str
    planner: str
    published_ms: float
    simulated_ms: float
    """The simulated makespan."""
    summed_ms: float
    """The same run summed over chains, as the paper defines a latency."""

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
    """Within 0.1."""
    chain_ends: float


@dataclass(frozen=True, slots=True)
class Null:
    """Mean absolute errors of co-execution on one phone: of the simulator, and of what needs no model at all."""

    phone: str
    simulated: float
    harmonic: float
    """c * g / (c + g) of the two published single-processor latencies of a whole network."""
    better: float
    """The lower of the two."""


@dataclass(frozen=True, slots=True)
class Validation:
    figures: tuple[Figure, ...]
    choices: tuple[Choice, ...]
    nulls: tuple[Null, ...] = ()
    claims: tuple[Claim, ...] = ()
    erring: tuple[ErringFigure, ...] = ()
    """The headline again, with a planner that errs; empty where nobody asked for it."""

    def groups(self) -> list[tuple[str, int, float, float]]:
        """(group, rows, mean absolute error, mean signed error) of each kind of figure."""
        wanted: dict[str, Callable[[Figure], bool]] = {
            "CPU alone (fitted)": lambda f: f.planner == "cpu",
            "GPU alone (fitted)": lambda f: f.planner == "gpu",
            "codl, 20 headline rows (predicted)": lambda f: f.planner == "codl",
            "codl, 15 Snapdragon rows (predicted)": lambda f: f.planner == "codl" and f.phone != KIRIN,
            "published plans replayed (predicted)": lambda f: f.planner == REPLAY,
        }
        rows = {name: [f.error for f in self.figures if test(f)] for name, test in wanted.items()}
        return [(name, len(e), mean(map(abs, e)), mean(e)) for name, e in rows.items() if e]


def validate(phones: Iterable[str] = PHONES, folder: Path | None = None, redraws: int = 0) -> Validation:
    """Simulate every published latency of these phones, replay the authors' plans where they are known, check the
    paper's claims, and predict the headline also with a planner that errs, if asked for.

    Args:
        folder: with other hardware files of the phones, such as `tools/fit_phones.py --output` writes.
        redraws: sets of errors of that planner; 0 leaves it out.

    Raises:
        FileError, SchemaError: a hardware file is missing or wrong.
    """
    phones, runs = tuple(phones), Runs(folder)
    figures: list[Figure] = []
    choices: list[Choice] = []
    for phone in phones:
        figures += _rows(phone, runs)
        for figure, choice in _replays(phone, runs):
            figures.append(figure)
            choices.append(choice)
    nulls = tuple(_null(phone, figures) for phone in phones)
    erring = tuple(erring_figures(phones, runs, redraws)) if redraws else ()
    return Validation(tuple(figures), tuple(choices), nulls, tuple(claims(runs, phones)), erring)


def headline(folder: Path | None, cells: Iterable[tuple[str, str]]) -> list[Figure]:
    """The co-executed latencies of some (phone, network) only: for cross-validation."""
    runs = Runs(folder)
    return [figure for phone, model in cells for figure in _planned(phone, model, ("codl",), runs)]


def _rows(phone: str, runs: Runs) -> Iterator[Figure]:
    for model in MODELS:
        yield from _planned(phone, model, ("cpu", "gpu", "mulayer", "codl"), runs)


def _planned(phone: str, model: str, planners: Sequence[str], runs: Runs) -> Iterator[Figure]:
    """What was published of these planners."""
    scenario = load_scenario(phone)
    for planner in planners:
        published = scenario.published_ms(f"paper/{model}", planner)
        if published is not None:
            row = runs.row(phone, model, planner)
            yield Figure(phone, model, planner, published, row["latency_ms"], row["summed_ms"])


def _replays(phone: str, runs: Runs) -> Iterator[tuple[Figure, Choice]]:
    scenario = load_scenario(phone)
    for model in MODELS:
        published = scenario.published_ms(f"paper/{model}", "codl")
        if published is None or not runs.has_plan(phone, model):
            continue
        run = runs.replay(phone, model)
        result = run.simulate()
        alike = agreement(run.plan, runs.prepared(phone, model, "codl").plan)
        figure = Figure(phone, model, REPLAY, published, result.latency_ns / 1e6, result.summed_ns / 1e6)
        yield figure, Choice(phone, model, alike.dimension, alike.ratio, alike.chain_ends)


def _null(phone: str, figures: Sequence[Figure]) -> Null:
    published = {(f.model, f.planner): f.published_ms for f in figures if f.phone == phone}
    errors: dict[str, list[float]] = {"simulated": [], "harmonic": [], "better": []}
    for figure in figures:
        if figure.phone != phone or figure.planner != "codl":
            continue
        cpu, gpu = (published[figure.model, planner] for planner in ("cpu", "gpu"))
        errors["simulated"].append(abs(figure.error))
        errors["harmonic"].append(abs(cpu * gpu / (cpu + gpu) / figure.published_ms - 1))
        errors["better"].append(abs(min(cpu, gpu) / figure.published_ms - 1))
    return Null(phone, **{name: mean(values) for name, values in errors.items()})
