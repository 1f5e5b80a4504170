"""What the paper's figures 15 to 22 show, simulated: values only, drawn by `codl.report.figures`.

The reference material that the project may use fixes the subject and the values of figures 15 and 16 (latencies on one
processor and, by the authors' table, co-executed) and of 21a (power on one processor). Of the others it gives the
claims, not the values: their panels show the experiment that each claim is about, simulated.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import mean
from typing import Any

from codl.io import read_yaml
from codl.ops import Dimension
from codl.plan.model import Plan
from codl.runs import IDEAL
from codl.scenario import Scenario
from codl.scenario import load as load_scenario
from codl.validation.simulated import KIRIN, MODELS, SNAPDRAGONS, Runs

DRAWN = 60
"""Operators of RetinaFace that the paper draws."""
_POWER = Path(__file__).resolve().parent / "power.yaml"

Values = list[float | None]


@dataclass(frozen=True)
class Panel:
    """Groups of bars. `series` and `published` hold one value a group, None where there is none."""

    title: str
    unit: str
    groups: Sequence[str]
    series: Mapping[str, Values]
    published: Mapping[str, Values] = field(default_factory=dict)
    """By the name of a series, what others measured."""
    marked: Sequence[str] = ()
    """By group, the series that it belongs to, where a panel has one value a group."""


@dataclass(frozen=True)
class Picture:
    """One of the paper's figures. `notes` say what differs from the published one, and why."""

    number: int
    title: str
    panels: Sequence[Panel]
    notes: Sequence[str]


def pictures() -> list[Picture]:
    """All of them. Takes a few seconds."""
    runs = Runs()
    return [
        _latencies(runs, 15, SNAPDRAGONS), _latencies(runs, 16, (KIRIN,)), _data_types(runs), _dimensions(runs),
        _chains(runs), _decisions(runs), _power(runs), _ideal(runs),
    ]  # fmt: skip


def _latencies(runs: Runs, number: int, phones: Sequence[str]) -> Picture:
    panels, errors = [], []
    for phone in phones:
        scenario = load_scenario(phone)
        planners = ("cpu", "gpu", "mulayer", "codl", IDEAL)
        published = {planner: _published(scenario, planner) for planner in ("cpu", "gpu", "codl")}
        series = {planner: runs.values(phone, planner) for planner in planners}
        panels.append(Panel(f"{phone}, {_data_type(runs, phone)}", "latency, ms", MODELS, series, published))
        errors += _errors(series["codl"], published["codl"])
    return Picture(
        number,
        "Latency by planner" + (", Kirin 990" if KIRIN in phones else ", Snapdragon"),
        panels,
        [
            f"codl is a prediction: {_summary(errors)}. CPU and GPU alone are what the descriptions were fitted to.",
            "Published values of muLayer and the ideal are not at hand; both are simulated as the paper defines them.",
            "Why co-execution is predicted too fast is discussed in calibration.md.",
        ],
    )


def _data_types(runs: Runs) -> Picture:
    phone = "sd855"
    series = {
        "gpu, buffer": runs.values(phone, "gpu", data_type="buffer"),
        "codl, buffer": runs.values(phone, "codl", data_type="buffer"),
        "gpu, image": runs.values(phone, "gpu"),
        "codl, image": runs.values(phone, "codl"),
    }
    loss = mean(_ratios(series["codl, buffer"], series["codl, image"]))
    return Picture(
        17,
        "Each processor in its own data type",
        [Panel(f"{phone}", "latency, ms", MODELS, series)],
        [f"The same decisions with buffer kernels on the GPU take {loss:.2f} times as long in the mean.",
         "No published values are at hand; buffer kernels are scaled by figure 2's ratio."],
    )  # fmt: skip


def _dimensions(runs: Runs) -> Picture:
    phone = "sd855"
    series = {planner: runs.values(phone, planner) for planner in ("h", "oc", "hybrid")}
    better = [min(h, oc) for h, oc in zip(_known(series["h"]), _known(series["oc"]), strict=True)]
    gain = mean(1 - ratio for ratio in _ratios(series["hybrid"], better))
    return Picture(
        18,
        "Partition dimension: height, output channel, the better of the two for each operator",
        [Panel(f"{phone}, no chains", "latency, ms", MODELS, series)],
        [f"Hybrid takes {gain:.1%} less than the better single dimension in the mean.", "No published values at hand."],
    )


def _chains(runs: Runs) -> Picture:
    phone = "sd855"
    panels = [
        Panel(title, unit, MODELS, {label: runs.values(phone, planner, key) for label, planner in
                                    (("no chains", "hybrid"), ("chains", "codl"))})
        for title, unit, key in (
            ("data sharing", "sharing, ms", "sharing_ms"),
            ("computing, halo included", "compute, ms", "compute_ms"),
            ("latency", "latency, ms", "latency_ms"),
        )
    ]  # fmt: skip
    saved = mean(1 - ratio for ratio in _ratios(panels[0].series["chains"], panels[0].series["no chains"]))
    return Picture(
        19,
        "Operator chains",
        panels,
        [f"Chains cut the sharing by {saved:.0%} in the mean. No published values at hand."],
    )


def _decisions(runs: Runs) -> Picture:
    phone, model = "sd855", "retinaface"
    prepared = runs.prepared(phone, model, "codl")
    authors = runs.replay(phone, model)
    panels = [_shares("planner codl", prepared.plan), _shares("the authors' plan", authors.plan)]
    early, late = (_height_share(prepared.plan, half) for half in (0, 1))
    return Picture(
        20,
        f"Share and dimension of each operator, {model} on {phone}, its first {DRAWN} operators",
        panels,
        [f"Of the operators split in the first half {early:.0%} are split along height, in the second {late:.0%}.",
         "The authors' plan is their artifact's; how often both agree is printed by `codl validate`."],
    )  # fmt: skip


def _shares(title: str, plan: Plan) -> Panel:
    """The GPU's share by operator; operators on one processor have a share of 0 or 1."""
    names = [name for chain in plan.chains for name in chain.operators][:DRAWN]
    chains = [plan.chains[plan.chain_of[name]] for name in names]
    gpu = next(name for name, use in plan.processors.items() if use.kind == "gpu")
    shares: Values = [chain.shares.get(gpu, 0.0) for chain in chains]
    marked = [chain.dimension.value if chain.dimension and len(chain.shares) > 1 else "whole" for chain in chains]
    return Panel(title, "share of the GPU", names, {"share": shares}, marked=marked)


def _height_share(plan: Plan, half: int) -> float:
    """Of the operators split in one half of the network, the share split along height."""
    names = [name for chain in plan.chains for name in chain.operators]
    middle = len(names) // 2
    chains = [plan.chains[plan.chain_of[name]] for name in (names[middle:] if half else names[:middle])]
    split = [chain.dimension for chain in chains if chain.dimension and len(chain.shares) > 1]
    return mean(dimension is Dimension.HEIGHT for dimension in split) if split else 0.0


def _power(runs: Runs) -> Picture:
    phone = "sd855"
    published: dict[str, Any] = read_yaml(_POWER)["power_w"]
    marks: dict[str, Values] = {p: [published[p][model] for model in MODELS] for p in ("cpu", "gpu")}
    power = {planner: runs.values(phone, planner, "average_power_w") for planner in ("cpu", "gpu", "codl")}
    energy = {p: runs.values(phone, p, "energy_j") for p in ("cpu", "gpu", "mulayer", "codl")}
    saved = mean(1 - ratio for ratio in _ratios(energy["codl"], energy["mulayer"]))
    errors = [e for p in ("cpu", "gpu") for e in _errors(power[p], marks[p])]
    return Picture(
        21,
        "Power and energy",
        [
            Panel(f"(a) average power, {phone}", "W", MODELS, power, marks),
            Panel(f"(b) energy of one inference, {phone}", "J", MODELS, energy),
        ],
        [
            f"Power on one processor, which the description was fitted to: {_summary(errors)}.",
            f"codl takes {saved:.0%} less energy than muLayer in the mean; no published energies are at hand.",
        ],
    )


def _ideal(runs: Runs) -> Picture:
    panels = []
    for phone in (*SNAPDRAGONS, KIRIN):
        scenario = load_scenario(phone)
        single = [min(pair) for pair in _pairs(runs.values(phone, "cpu"), runs.values(phone, "gpu"))]
        series: dict[str, Values] = {
            planner: list(_ratios(single, runs.values(phone, planner))) for planner in ("mulayer", "codl", IDEAL)
        }
        measured = [min(pair) for pair in _pairs(_published(scenario, "cpu"), _published(scenario, "gpu"))]
        marks: dict[str, Values] = {"codl": list(_ratios(measured, _published(scenario, "codl")))}
        panels.append(Panel(phone, "speed-up over the better processor", MODELS, series, marks))
    reached = mean(r for p in panels for r in _ratios(p.series["codl"], p.series[IDEAL]))
    return Picture(
        22,
        "Speed-up over the better processor, beside the ideal",
        panels,
        [f"codl reaches {reached:.0%} of the ideal speed-up in the mean. Marks: published codl over the better of "
         "the published single-processor latencies."],
    )  # fmt: skip


def _published(scenario: Scenario, planner: str) -> Values:
    return [scenario.published_ms(f"paper/{model}", planner) for model in MODELS]


def _data_type(runs: Runs, phone: str) -> str:
    return str(runs.row(phone, MODELS[0], "gpu")["data_type"])


def _known(values: Iterable[float | None]) -> list[float]:
    return [value for value in values if value is not None]


def _pairs(first: Values, second: Values) -> list[tuple[float, float]]:
    return [(a, b) for a, b in zip(first, second, strict=True) if a is not None and b is not None]


def _ratios(first: Sequence[float | None], second: Sequence[float | None]) -> list[float]:
    return [a / b for a, b in _pairs(list(first), list(second))]


def _errors(simulated: Values, published: Values) -> list[float]:
    return [(a - b) / b for a, b in _pairs(simulated, published)]


def _summary(errors: Sequence[float]) -> str:
    absolute = mean(map(abs, errors))
    return f"mean absolute error {absolute:.1%}, mean error {mean(errors):+.1%} over {len(errors)} values"
