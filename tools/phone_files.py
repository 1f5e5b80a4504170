"""The phones' hardware files: fitted unit times, sharing, power, and where every constant comes from."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from phone_model import (
    DATA,
    DATE,
    UNITS,
    Observation,
    Phones,
    pre_sync,
    predict,
    unit_time,
)

from codl.cost.fit import Posterior
from codl.cost.tables import read_works
from codl.documents import validate
from codl.hardware import Hardware, write
from codl.io import read_yaml
from codl.units import parse, render


def cluster_power(phones: Phones, soc: str) -> float:
    """Watts of the big cores at their highest clock, CoreMark (freqbench)."""
    item = phones.socs[soc]["freqbench"]
    highest: dict[str, float] = {}
    with (DATA / "freqbench" / item["file"]).open() as lines:
        for row in csv.DictReader(lines):
            highest[row["CPU"]] = float(row["Power (mW)"]) / 1e3  # rows are in the order of frequency
    return float(sum(count * highest[core] for core, count in item["cores"].items()))


def active_power(phones: Phones, values: Mapping[str, float]) -> dict[str, dict[str, float]]:
    """Watts by chip and processor, above idle and without memory traffic.

    Snapdragon 855: the paper's power of the whole phone, less idle, less the traffic that the model computes. Other
    chips: the CPU in proportion to freqbench's cores; the GPU as on the 855, for want of a measurement.
    """
    text = read_yaml(DATA / "codl-mobisys22" / "microbenchmarks.yaml")["single_processor_power_w"]
    idle, per_byte = parse(phones.text["power"]["idle"], "watt"), parse(phones.text["power"]["memory"], "joule/byte")
    base = {}
    for processor in ("cpu", "gpu"):
        watts = []
        for network, whole in text[f"mace_{processor}"].items():
            works = read_works(DATA / "codl-mobisys22" / "models" / f"{network}.csv")
            moved = sum(phones.traffic("sd855", processor, work) for work in works)
            own = phones.data_types("sd855", processor)[0]
            amounts = phones.amounts("sd855", processor, works, own)
            item = Observation(network, "sd855", network, processor, 0.0, 0.0, amounts, own)
            watts.append(whole - idle - per_byte * moved / predict(values, phones, item))
        base[processor] = float(np.mean(watts))
    reference = cluster_power(phones, "sd855")
    return {
        soc: {"cpu": base["cpu"] * cluster_power(phones, soc) / reference, "gpu": base["gpu"]} for soc in phones.socs
    }


def hardware(
    phones: Phones, soc: str, posterior: Posterior, observations: Sequence[Observation], crossed: str
) -> Hardware:
    """The description of one chip, with provenance."""
    text, values = phones.socs[soc], posterior.values
    watts = active_power(phones, values)[soc]
    slopes = read_yaml(DATA / "codl-mobisys22" / "microbenchmarks.yaml")["sharing_cost_slopes"]
    processors: dict[str, Any] = {}
    for name in ("gpu", "cpu"):
        processors[name] = {
            "kind": name,
            **text[name],
            "data_types": phones.data_types(soc, name),
            "active_power": render(round(watts[name], 2), "watt"),
            "enqueue": "15 us" if name == "gpu" else "2 us",
            "contention": phones.text["sharing"]["contention"],
        }
    kernels = {
        name: {kind: _kernels(phones, soc, name, kind, posterior) for kind in phones.data_types(soc, name)}
        for name in ("gpu", "cpu")
    }
    data = {
        "name": soc,
        "description": text["description"],
        "processors": processors,
        "memory": {"bandwidth": text["memory"], "energy": phones.text["power"]["memory"]},
        "sharing": {
            "kind": "mapped",
            "home": "gpu",
            "transform": {"per_byte": f"{_significant(slopes['transform_ms_per_million'] * 1e3 / 4)} ps/byte"},
            "map": {"per_byte": f"{_significant(slopes['map_ms_per_million'] * 1e3 / 4)} ps/byte"},
            "unmap": {"fixed": "3 us"},
            "pre_sync": f"{_significant(pre_sync(phones) * 1e6)} us",
            "pre_sync_bound": "1 ms",
            "post_sync": "50 us",
        },
        "power": {"idle": phones.text["power"]["idle"]},
        "library": "mace",
        "libraries": {"mace": {"predicted_up_to": 7, "kernels": kernels}},
        "alignment": {"output_channel": 4},
        "calibration": _calibration(soc, posterior, observations, crossed),
    }
    return validate(Hardware, data, f"{soc} as fitted")


def _significant(value: float) -> str:
    return f"{value:.4g}"


def _time(seconds: float, unit: str) -> str:
    """A unit time with four digits: "5.742 ps/flop"."""
    scale, prefix = next((s, p) for s, p in ((1e-3, "ms"), (1e-6, "us"), (1e-9, "ns"), (1e-12, "ps")) if seconds >= s)
    return f"{_significant(seconds / scale)} {prefix}{unit.removeprefix('second')}"


def _kernels(phones: Phones, soc: str, processor: str, data_type: str, posterior: Posterior) -> list[dict[str, Any]]:
    found = []
    for item in phones.kernel_texts(processor, data_type):
        entry = dict(item)
        spread = {}
        for section, unit in UNITS.items():
            for name, parameter in item.get(section, {}).items():
                time = unit_time(posterior.values, phones, soc, processor, f"{section}.{parameter}", data_type)
                entry.setdefault(section, {})
                entry[section] = {**entry[section], name: _time(time, unit)}
                spread[name] = round(posterior.spread[f"{phones.family(soc, processor)}.{parameter}"], 3)
        found.append({**entry, "spread": spread})
    return found


def _calibration(
    soc: str, posterior: Posterior, observations: Sequence[Observation], crossed: str
) -> list[dict[str, Any]]:
    errors = posterior.errors(np.array([item.seconds for item in observations]))
    own = {
        item.label: error for item, error in zip(observations, errors, strict=True) if item.soc == soc and item.network
    }

    def residual(processor: str) -> str:
        parts = [f"{label.split()[1]} {error:+.1%}" for label, error in own.items() if label.endswith(processor)]
        return ", ".join(parts)

    paper = "CoDL (MobiSys '22), figures read off by tools/data/codl-mobisys22"
    how = "tools/fit_phones.py: maximum a posteriori, log-normal priors of tools/phones.yaml"
    return [
        {
            "constants": [f"libraries.mace.{name}.*"],
            "source": f"{paper}: {name.upper()} alone, figures 2, 4, 5",
            "method": how,
            "date": DATE,
            "residual": f"{residual(name)}; {crossed}",
        }
        for name in ("gpu", "cpu")
    ] + [
        {
            "constants": ["sharing.pre_sync"],
            "source": f"{paper}: figures 3, 4, 14",
            "method": "weighted mean of logarithms: the typical range and two operators",
            "date": DATE,
            "residual": "single operators differ from it by a factor of 1.4",
        },
        {
            "constants": ["sharing.*"],
            "source": f"{paper}: figures 3 and 14, sizes taken as float32 elements",
            "method": "slopes and times as published",
            "date": DATE,
            "residual": "transforms and maps of figure 3 within 0.08 ms",
        },
        {
            "constants": ["processors.*.active_power"],
            "source": f"{paper}: figure 21a (Snapdragon 855); freqbench for other CPUs",
            "method": "whole phone less idle and memory; other CPUs by their cores' CoreMark power, GPUs as Adreno 640",
            "date": DATE,
            "residual": "Snapdragon 855 networks within 0.5 W",
        },
        {
            "constants": ["processors.*.contention"],
            "source": "METHOD.md of the reference data: 1.00 to 1.05",
            "method": "middle of the range, not fitted",
            "date": DATE,
            "residual": "0.025",
        },
        {
            "constants": ["power.idle", "memory.energy"],
            "source": "METHOD.md of the reference data (1.0 to 1.5 W); literature on LPDDR4X, LPDDR5",
            "method": "middle of the range",
            "date": DATE,
            "residual": "0.25 W; 30 %",
        },
        {
            "constants": ["libraries.mace.predicted_up_to"],
            "source": "METHOD.md of the reference data: the authors' predictors were trained on kernels up to 7x7",
            "method": "as stated; planners take a larger kernel for a 7x7 with more taps",
            "date": "2026-11-28",
        },
        {
            "constants": ["processors.*.enqueue"],
            "source": "assumed: OpenCL enqueue through a mobile driver",
            "method": "order of magnitude; hidden behind kernels",
            "date": DATE,
        },
        {
            "constants": ["processors.gpu.concurrent_waves"],
            "source": "TFLite's 3x3 kernels on Adreno 640 (mobile-ml-benchmark): latencies step every 1,024 work-items",
            "method": "16 waves of 64 on 2 units, taken over to other chips; Mali: from its registers",
            "date": DATE,
        },
        {
            "constants": ["processors.*", "memory.bandwidth"],
            "source": "data sheets; CoDL's artifact for waves, groups, caches; ArchProbe for Adreno 640's bandwidth",
            "method": "as stated",
            "date": DATE,
        },
    ]


def write_all(
    phones: Phones, folder: Path, observations: Sequence[Observation], posterior: Posterior, note: str
) -> list[str]:
    """Write the four files; returns the names of those that changed."""
    changed = []
    for soc in phones.socs:
        path = folder / f"{soc}.yaml"
        earlier = path.read_text(encoding="utf-8") if path.exists() else ""
        write(hardware(phones, soc, posterior, observations, note), path)
        if path.read_text(encoding="utf-8") != earlier:
            changed.append(path.name)
    return changed
