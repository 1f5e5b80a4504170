"""The model of the phones' kernels with its parameters, and the measurements that they are fitted to.

Unit times of MACE's kernels are shared within a family of processors; a chip has one factor for compute and one for
memory.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from codl.cost.features import form, traffic
from codl.cost.fit import Posterior, Prior, maximum_a_posteriori
from codl.cost.tables import Selector, conv_work, read_works
from codl.documents import validate
from codl.hardware import Kernel, Processor
from codl.io import read_yaml
from codl.ops.spec import Work
from codl.units import parse

ROOT = Path(__file__).resolve().parent.parent
DATA = ROOT / "tools" / "data"
DATE = "2026-11-25"
NETWORKS = ("retinaface", "yolov2", "vgg16", "posenet", "fst")
ROW_SIGMA = 0.06
"""Of the logarithm of a network's latency: what the formulas miss, and another run of the authors (6 % and more)."""
READING_MS = 3.0
"""The rows were read off a figure, to about 3 ms."""
FIGURE_SIGMA = 0.15
"""Of a single operator: what it tells about the kernel's rate at other shapes (METHOD.md of the reference data)."""
UNITS = {"compute": "second/flop", "memory": "second/byte", "fixed": "second"}


@dataclass(frozen=True)
class Observation:
    """A measured latency: a sum of kernels, as amounts by parameter of one chip."""

    label: str
    soc: str
    network: str
    processor: str
    seconds: float
    sigma: float
    amounts: Mapping[str, float]
    data_type: str = ""
    offset: float = 0.0
    """Part of the latency that is not the kernels' (sharing, in a co-executed single operator)."""


class Phones:
    """tools/phones.yaml, and what follows from it."""

    def __init__(self, change: Callable[[Any], None] = lambda text: None) -> None:
        self.text: Mapping[str, Any] = read_yaml(ROOT / "tools" / "phones.yaml")
        change(self.text)
        self.socs: Mapping[str, Any] = self.text["socs"]
        self.processors = {soc: {name: self._processor(soc, name) for name in ("gpu", "cpu")} for soc in self.socs}
        self.kernels = {
            key: [(self._kernel(item), self._parameters(item)) for item in self.kernel_texts(*key)]
            for key in (("gpu", "image"), ("gpu", "buffer"), ("cpu", "buffer"))
        }
        self.select = {key: Selector([kernel for kernel, _ in kernels]) for key, kernels in self.kernels.items()}

    def kernel_texts(self, processor: str, data_type: str) -> list[dict[str, Any]]:
        """The kernels of a processor in a data type, as the file describes them."""
        texts = []
        for item in self.text["kernels"][processor]:
            common = {key: value for key, value in item.items() if key != "buffer"}
            texts.append(common | (item.get("buffer", {}) if data_type == "buffer" else {}))
        return texts

    def _processor(self, soc: str, name: str) -> Processor:
        data = {"kind": name, "active_power": "0 W", **self.socs[soc][name]}
        return validate(Processor, data, ROOT / "tools" / "phones.yaml")

    def _kernel(self, item: Mapping[str, Any]) -> Kernel:
        return validate(Kernel, {k: v for k, v in item.items() if k not in UNITS}, ROOT / "tools" / "phones.yaml")

    def _parameters(self, item: Mapping[str, Any]) -> dict[str, tuple[str, str]]:
        return {unit: (section, name) for section in UNITS for unit, name in item.get(section, {}).items()}

    def traffic(self, soc: str, processor: str, work: Work) -> float:
        """Bytes over the memory bus, in the processor's own data type."""
        key = processor, self.data_types(soc, processor)[0]
        kernel, _ = self.kernels[key][self.select[key].index(work)]
        return float(traffic(work, kernel, self.processors[soc][processor]))

    def data_types(self, soc: str, processor: str) -> tuple[str, ...]:
        """The processor's data types, its own first."""
        if processor == "cpu":
            return ("buffer",)
        own = str(self.socs[soc]["data_type"])
        return own, "buffer" if own == "image" else "image"

    def family(self, soc: str, processor: str) -> str:
        return str(self.socs[soc]["families"][processor])

    def amounts(self, soc: str, processor: str, works: Iterable[Work], data_type: str) -> dict[str, float]:
        """How much of each parameter's unit time a sequence of kernels takes, by "section.parameter"."""
        total: dict[str, float] = {}
        key = processor, data_type
        for work in works:
            kernel, parameters = self.kernels[key][self.select[key].index(work)]
            quantities = form(kernel).quantities(work, kernel, self.processors[soc][processor])
            for unit, (section, name) in parameters.items():
                parameter = f"{section}.{name}"
                total[parameter] = total.get(parameter, 0.0) + float(quantities[unit])
        return total

    def priors(self) -> dict[str, Prior]:
        """By parameter: unit times ("arm.gemm", in seconds a unit) and factors on rates ("sd865.cpu.compute")."""
        found = {}
        for family, items in self.text["priors"].items():
            for name, item in items.items():
                found[f"{family}.{name}"] = Prior(_unit_time(item), float(item["sigma"]))
        for family, item in self.text["other_data_type"].items():
            found[f"{family}.{item['type']}"] = Prior(float(item["factor"]), float(item["sigma"]))
        for soc, items in self.text["scales"].items():
            for name, item in items.items():
                found[f"{soc}.{name}"] = Prior(float(item["factor"]), float(item["sigma"]))
        return found


def _unit_time(item: Mapping[str, Any]) -> float:
    if "time" in item:
        return parse(item["time"], "second")
    return 1.0 / parse(item["rate"], "byte/second" if "B/s" in item["rate"] else "flop/second")


def unit_time(values: Mapping[str, float], phones: Phones, soc: str, processor: str, key: str, data_type: str) -> float:
    """The unit time of a parameter ("compute.gemm") on a chip: the family's, over the chip's factor.

    Launches are the family's. Convolutions in the data type that is not the chip's own take longer by a factor.
    """
    section, name = key.split(".")
    family = phones.family(soc, processor)
    time = values[f"{family}.{name}"]
    if section == "compute":
        time *= values.get(f"{family}.{data_type}", 1.0)
    return time if section == "fixed" else time / values.get(f"{soc}.{processor}.{section}", 1.0)


def predict(values: Mapping[str, float], phones: Phones, observation: Observation) -> float:
    times = (
        amount * unit_time(values, phones, observation.soc, observation.processor, key, observation.data_type)
        for key, amount in observation.amounts.items()
    )
    return float(observation.offset + sum(times))


# Observations


def rows(phones: Phones) -> list[Observation]:
    """The networks on one processor."""
    works = {name: read_works(DATA / "codl-mobisys22" / "models" / f"{name}.csv") for name in NETWORKS}
    found = []
    with (DATA / "codl-mobisys22" / "single_processor_latency_ms.csv").open() as lines:
        for row in csv.DictReader(lines):
            for processor in ("cpu", "gpu"):
                soc, network, ms = row["soc"], row["model"], float(row[f"mace_{processor}_ms"])
                sigma = float(np.hypot(ROW_SIGMA, READING_MS / ms))
                data_type = phones.data_types(soc, processor)[0]
                amounts = phones.amounts(soc, processor, works[network], data_type)
                label = f"{soc} {network} {processor}"
                found.append(Observation(label, soc, network, processor, ms / 1e3, sigma, amounts, data_type))
    return found


def figures(phones: Phones) -> list[Observation]:
    """Single operators on the Snapdragon 855: figures 2 (image), 4 and 5 of the paper."""
    text = read_yaml(DATA / "codl-mobisys22" / "microbenchmarks.yaml")
    found = []

    def add(label: str, processor: str, ms: float, work: Work, data_type: str = "image", offset: float = 0.0) -> None:
        kind = data_type if processor == "gpu" else "buffer"
        amounts = phones.amounts("sd855", processor, [work], kind)
        found.append(Observation(label, "sd855", "", processor, ms / 1e3, FIGURE_SIGMA, amounts, kind, offset))

    for item in text["image_vs_buffer_gpu"]:
        height, width, inputs, outputs = item["shape"]
        work = conv_work(height, width, inputs, outputs, 3)
        add(f"figure 2, {height}x{width}, image", "gpu", item["image_ms"], work)
        add(f"figure 2, {height}x{width}, buffer", "gpu", item["buffer_ms"], work, "buffer")
    small = conv_work(52, 52, 256, 128, 1)
    add("figure 4, 1x1, cpu", "cpu", text["small_operator"]["cpu_us"] / 1e3, small)
    add("figure 4, 1x1, gpu", "gpu", text["small_operator"]["gpu_us"] / 1e3, small)
    shared = 1.3e-3  # of 15 and 58 ms: pre-sync and, by figure 14, the transforms and maps of this operator
    for name, processor in (("flops_predictor", "cpu"), ("optimal", "gpu")):
        item = text["flops_vs_optimal_ratio"][name]
        share = item["gpu_ratio"] if processor == "gpu" else 1 - item["gpu_ratio"]
        work = conv_work(round(120 * share), 160, 64, 128, 3, stride=2)
        add(f"figure 5, {share:.1f} of the rows, {processor}", processor, item["latency_ms"], work, offset=shared)
    return found


def fit(phones: Phones, observations: Sequence[Observation], priors: Mapping[str, Prior] | None = None) -> Posterior:
    def run(values: Mapping[str, float]) -> np.ndarray:
        return np.array([predict(values, phones, item) for item in observations])

    seconds = np.array([item.seconds for item in observations])
    sigma = np.array([item.sigma for item in observations])
    return maximum_a_posteriori(run, seconds, sigma, priors or phones.priors())


def pre_sync(phones: Phones) -> float:
    """The typical pre-sync, seconds: prior of figure 14, and the two operators whose sharing was broken down."""
    text = read_yaml(DATA / "codl-mobisys22" / "microbenchmarks.yaml")
    item = phones.text["sharing"]["pre_sync"]
    slopes = text["sharing_cost_slopes"]
    ratio = text["small_operator"]["gpu_us"] / (text["small_operator"]["cpu_us"] + text["small_operator"]["gpu_us"])
    read, made = 52 * 52 * 256 * ratio / 1e6, 52 * 52 * 128 * ratio / 1e6  # the CPU's part, cut where both take as long
    rest = slopes["transform_ms_per_million"] * (read + made) + slopes["map_ms_per_million"] * read
    rest += slopes["unmap_plus_post_sync_ms"]
    draws = [text["co_execution_timeline"]["pre_sync"], text["small_operator"]["co_execution_sharing_us"] / 1e3 - rest]
    weights = np.array([item["sigma"] ** -2.0] + [phones.text["sharing"]["single_draw_sigma"] ** -2.0] * len(draws))
    centres = np.log([parse(item["time"], "second") * 1e3, *draws])
    return float(np.exp(weights @ centres / weights.sum())) / 1e3
