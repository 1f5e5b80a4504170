"""What the fit of the phones is judged by: errors of what was left out of it, of fits without single terms, and of
co-execution predicted by fits that lack something.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from phone_files import write_all
from phone_model import (
    NETWORKS,
    Observation,
    Phones,
    figures,
    fit,
    pre_sync,
    predict,
    rows,
)

from codl.cost.fit import Posterior, Prior
from codl.validation import Figure, headline


def left_out(
    phones: Phones, observations: Sequence[Observation], key: Callable[[Observation], str]
) -> dict[str, dict[str, float]]:
    """Mean absolute error of the rows of each group, by processor, when that group is left out of the fit."""
    found: dict[str, dict[str, float]] = {}
    for group in dict.fromkeys(key(item) for item in observations if item.network):
        kept = [item for item in observations if not (item.network and key(item) == group)]
        values = fit(phones, kept).values
        rest = [item for item in observations if item.network and key(item) == group]
        found[group] = {
            name: float(np.mean([abs(predict(values, phones, i) / i.seconds - 1) for i in rest if i.processor == name]))
            for name in ("cpu", "gpu")
        }
    return found


def show(title: str, errors: Mapping[str, Mapping[str, float]]) -> str:
    print(f"\n{title}: mean absolute error of its rows when it is left out of the fit")
    for group, by in errors.items():
        print(f"  {group:12} CPU {by['cpu']:6.1%}  GPU {by['gpu']:6.1%}")
    mean = float(np.mean([value for by in errors.values() for value in by.values()]))
    print(f"  {'mean':12} {mean:.1%}")
    return f"{mean:.1%}"


def report(phones: Phones, observations: Sequence[Observation], posterior: Posterior) -> None:
    priors = phones.priors()
    print("parameter                     value    prior   posterior sigma   shift in prior sigmas")
    for name, value in posterior.values.items():
        prior = priors[name]
        scale = 1e-9 / value if value < 1e-6 else value * 1e6 if value < 1e-3 else value
        before = 1e-9 / prior.centre if value < 1e-6 else prior.centre * 1e6 if value < 1e-3 else prior.centre
        shift = np.log(value / prior.centre) / prior.sigma
        print(f"  {name:24} {scale:8.3f} {before:8.3f} {posterior.spread[name]:10.3f} {shift:18.2f}")
    print("  (Gflop/s or GB/s; launches in us; factors)\n\nobservation                     measured  fitted ms   error")
    for item, seconds in zip(observations, posterior.predicted, strict=True):
        print(f"  {item.label:32} {item.seconds * 1e3:8.2f} {seconds * 1e3:8.2f} {seconds / item.seconds - 1:+7.1%}")
    networks = [abs(p / i.seconds - 1) for i, p in zip(observations, posterior.predicted, strict=True) if i.network]
    print(f"\nrows of networks: mean absolute error {np.mean(networks):.1%}; pre-sync {pre_sync(phones) * 1e3:.3f} ms")


def _kernels_with(
    section: str, unit: str, processor: str, without: Callable[[dict[str, Any]], object]
) -> Callable[[Any], None]:
    def change(text: Any) -> None:
        for item in text["kernels"][processor]:
            if unit in item.get(section, {}):
                without(item)

    return change


def _drop(section: str, *units: str) -> Callable[[dict[str, Any]], None]:
    def without(item: dict[str, Any]) -> None:
        item[section] = {unit: name for unit, name in item[section].items() if unit not in units}

    return without


def _packed_once(item: dict[str, Any]) -> None:
    if item["form"] != "stream":
        _drop("memory", "weights")(item)


def _even(item: dict[str, Any]) -> None:
    for fields in (item, item.get("buffer", {})):
        fields.update(blocks={"out_channels": 4}, parallel=[], groups="")


TERMS: Mapping[str, Callable[[Any], None]] = {
    "everything": lambda text: None,
    "CPU: no threads (work shared evenly)": _kernels_with(
        "compute", "multiply", "cpu", lambda item: item.update(parallel=[])
    ),
    "CPU: Winograd's transforms and weights free": _kernels_with(
        "memory", "transform", "cpu", _drop("memory", "transform", "weights")
    ),
    "CPU: weights packed once, for ever": _kernels_with("memory", "weights", "cpu", _packed_once),
    "CPU: no packing of 1x1": _kernels_with("memory", "pack", "cpu", _drop("memory", "pack")),
    "GPU: no blocks of width, no waves": _kernels_with("compute", "multiply", "gpu", _even),
    "GPU: single waves, no work-groups": _kernels_with(
        "compute", "multiply", "gpu", lambda item: item.pop("groups", "")
    ),
    "GPU: weights of convolutions free": _kernels_with(
        "compute", "multiply", "gpu", lambda item: item.pop("memory", None)
    ),
}
"""What the formulas would be without each term."""


def terms() -> None:
    """Print the errors of fits without each term, for docs/calibration.md."""
    print(f"{'without':48} rows of CPU   GPU   a network left out: CPU   GPU   figures")
    for name, change in TERMS.items():
        phones = Phones(change)
        observations = rows(phones) + figures(phones)
        errors = np.abs(fit(phones, observations).errors(np.array([item.seconds for item in observations])))
        by = {
            key: float(
                np.mean(
                    [
                        e
                        for e, i in zip(errors, observations, strict=True)
                        if bool(i.network) == wanted and i.processor in of
                    ]
                )
            )
            for key, wanted, of in (
                ("cpu", True, ("cpu",)),
                ("gpu", True, ("gpu",)),
                ("figures", False, ("cpu", "gpu")),
            )
        }
        out = left_out(phones, observations, lambda item: item.network)
        cross = {p: float(np.mean([group[p] for group in out.values()])) for p in ("cpu", "gpu")}
        print(
            f"{name:48} {by['cpu']:11.1%} {by['gpu']:5.1%} "
            f"{cross['cpu']:24.1%} {cross['gpu']:5.1%} {by['figures']:9.1%}"
        )


def redrawn(priors: Mapping[str, Prior], seed: int) -> dict[str, Prior]:
    """Priors whose centres are drawn from themselves: what other, as reasonable, guesses would have been."""
    draw = np.random.default_rng(seed).standard_normal(len(priors))
    pairs = zip(priors.items(), draw, strict=True)
    return {name: Prior(p.centre * float(np.exp(p.sigma * z)), p.sigma) for (name, p), z in pairs}


def cross_validate(phones: Phones) -> None:
    """Print how far co-execution is predicted off by files fitted without a chip's rows, without a network's rows, or
    from other priors."""
    observations = rows(phones) + figures(phones)
    every = [(soc, network) for soc in phones.socs for network in NETWORKS]
    print("mean absolute (signed) error of co-execution: 20 rows, 15 Snapdragon rows; every row predicted by a fit")
    cells: list[Figure] = []
    for left in phones.socs:
        kept = [item for item in observations if item.soc != left or not item.network]
        cells += _headline(phones, kept, phones.priors(), [cell for cell in every if cell[0] == left])
    _print_headline("without its chip's rows", cells)
    cells = []
    for left in NETWORKS:
        kept = [item for item in observations if item.network != left]
        cells += _headline(phones, kept, phones.priors(), [cell for cell in every if cell[1] == left])
    _print_headline("without its network's rows", cells)
    for seed in range(REDRAWS):
        redraw = redrawn(phones.priors(), seed)
        _print_headline(f"with priors redrawn, seed {seed}", _headline(phones, observations, redraw, every))


REDRAWS = 6


def _headline(
    phones: Phones, kept: Sequence[Observation], priors: Mapping[str, Prior], cells: Sequence[tuple[str, str]]
) -> list[Figure]:
    posterior = fit(phones, kept, priors)
    with TemporaryDirectory() as folder:
        write_all(phones, Path(folder), kept, posterior, "made for cross-validation")
        return headline(Path(folder), cells)


def _print_headline(name: str, found: Sequence[Figure]) -> None:
    parts = [[f.error for f in found], [f.error for f in found if f.phone != "kirin990"]]
    text = ", ".join(f"{np.mean(np.abs(errors)):.1%} ({np.mean(errors):+.1%})" for errors in parts)
    print(f"  {name:32} {text}")
