"""Which model variant to ship to a fleet of devices: latency percentiles over all of them, from a sweep's table."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from codl.sweep.spec import Fleet
from codl.sweep.table import ERROR, Row

PERCENTILES = (50, 95, 99)


@dataclass(frozen=True)
class Variant:
    """One model with one planner on the whole fleet.

    Attributes:
        percentiles_ms: latency that so many percent of the inferences do not exceed.
        bound_ms: the same at the fleet's own percentile, which decides.
        within: share of the inferences that keep the latency bound; None without one.
        covered: share of the fleet for which there are results; the figures are of that part.
        energy_j: mean over the fleet; None where a hardware has no power figures.
    """

    model: str
    planner: str
    percentiles_ms: Mapping[int, float]
    bound_ms: float
    within: float | None
    covered: float
    energy_j: float | None


def study(rows: Sequence[Row], fleet: Fleet) -> list[Variant]:
    """Every model and planner of a sweep over the fleet, in the order of the table.

    Each row is one observation of `latency_ms`. Runs of one hardware (its overrides, workloads and repetitions) share
    that hardware's part of the fleet evenly.
    """
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        if row["hardware"] in fleet.shares:
            groups.setdefault((row["model"], row["planner"]), []).append(row)
    return [_variant(model, planner, group, fleet) for (model, planner), group in groups.items()]


def _variant(model: str, planner: str, rows: Sequence[Row], fleet: Fleet) -> Variant:
    planned = Counter(row["hardware"] for row in rows)
    good = [row for row in rows if row[ERROR] is None]
    latency = np.array([row["latency_ms"] for row in good], dtype=float)
    weight = np.array([fleet.shares[row["hardware"]] / planned[row["hardware"]] for row in good], dtype=float)
    energies = [row["energy_j"] for row in good]
    bound = fleet.latency_bound
    covered = float(weight.sum())
    return Variant(
        model,
        planner,
        {q: percentile(latency, weight, q) for q in PERCENTILES},
        percentile(latency, weight, fleet.percentile),
        float(weight[latency <= bound * 1e3].sum() / covered) if bound is not None and good else None,
        covered,
        float(np.average(energies, weights=weight)) if good and None not in energies else None,
    )


def percentile(values: np.ndarray, weights: np.ndarray, q: float) -> float:
    """The smallest value that at least q percent of the weight does not exceed; NaN of nothing."""
    if not values.size:
        return float("nan")
    order = np.argsort(values, kind="stable")
    reached = np.cumsum(weights[order])
    index = int(np.searchsorted(reached, reached[-1] * q / 100 * (1 - 1e-12)))
    return float(values[order][min(index, values.size - 1)])


def to_ship(variants: Sequence[Variant], fleet: Fleet, models: Sequence[str]) -> Variant | None:
    """The model that comes first in the fleet's preference (the order of `models` without one) of those that run on
    the whole fleet and keep the latency bound at its percentile, with its fastest planner; None if no model does."""
    able = [
        variant
        for variant in variants
        if variant.covered > 1 - 1e-6
        and (fleet.latency_bound is None or variant.bound_ms <= fleet.latency_bound * 1e3)
        and variant.planner != "ideal"  # a bound, not a plan
    ]
    order = [*fleet.preference, *(model for model in models if model not in fleet.preference)]
    return min(able, key=lambda variant: (order.index(variant.model), variant.bound_ms), default=None)
