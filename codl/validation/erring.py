"""The headline with a planner that errs as the authors' did.

Our `codl` planner decides by the costs that its plans are then simulated with; the authors' planner decided by latency
predictors, and their plans are what was measured. Here it decides by costs that err as much as those predictors
(`codl.cost.erring`); lowering and the whole simulation are as for the headline, with the costs that do not err. Nothing
of it is fitted to a co-executed latency: the size of the errors is published, their form and the number of redraws were
set before the first look.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from statistics import mean

from codl.scenario import load as load_scenario
from codl.validation.simulated import KIRIN, MODELS, Runs


@dataclass(frozen=True, slots=True)
class ErringFigure:
    """One published co-executed latency beside those simulated of plans by predictions that err, in ms."""

    phone: str
    model: str
    published_ms: float
    exact_ms: float
    """Of the plan by exact costs: the headline's."""
    redraws_ms: tuple[float, ...]
    """Of the plan by each set of errors."""

    @property
    def simulated_ms(self) -> float:
        """The mean over redraws."""
        return mean(self.redraws_ms)

    @property
    def error(self) -> float:
        """(simulated - published) / published."""
        return self.simulated_ms / self.published_ms - 1

    @property
    def exact_error(self) -> float:
        """The headline's."""
        return self.exact_ms / self.published_ms - 1


@dataclass(frozen=True, slots=True)
class ErringGroup:
    """Mean errors of some rows, with the planner that errs and with the exact one."""

    group: str
    rows: int
    mean_absolute_error: float
    mean_error: float
    exact_mean_absolute_error: float
    exact_mean_error: float


def erring_figures(phones: Iterable[str], runs: Runs, redraws: int) -> list[ErringFigure]:
    """Every published co-executed latency of these phones, with so many sets of errors: a planner had one, which nobody
    knows."""
    found = []
    for phone in phones:
        scenario = load_scenario(phone)
        for model in MODELS:
            published = scenario.published_ms(f"paper/{model}", "codl")
            if published is not None:
                exact = runs.row(phone, model, "codl")["latency_ms"]
                latencies = tuple(runs.misplanned_ms(phone, model, redraw) for redraw in range(redraws))
                found.append(ErringFigure(phone, model, published, exact, latencies))
    return found


def erring_groups(figures: Sequence[ErringFigure]) -> list[ErringGroup]:
    """Of all rows, and of those on Snapdragons."""
    wanted: dict[str, Callable[[ErringFigure], bool]] = {
        "headline rows": lambda f: True,
        "Snapdragon rows": lambda f: f.phone != KIRIN,
    }
    rows = {name: [figure for figure in figures if test(figure)] for name, test in wanted.items()}
    return [_group(name, some) for name, some in rows.items() if some]


def _group(name: str, figures: Sequence[ErringFigure]) -> ErringGroup:
    erring, exact = [f.error for f in figures], [f.exact_error for f in figures]
    return ErringGroup(name, len(figures), mean(map(abs, erring)), mean(erring), mean(map(abs, exact)), mean(exact))
