"""Latency predictors of operators, all trained on the same probes and asked for the same networks.

    python bench/predictors.py [--models yolov2 posenet resnet50] [--save M.json | --load M.json] [--json R.json]

Training data are the probes of a calibration; test data are the kernels, whole and in parts, of networks that this
machine then really runs (plans `cpu`, `gpu`, `hybrid`), whose shapes the probes avoid. Needs scikit-learn (the
`bench` extra) for the random forest.

- flops: latency = a x FLOPs + b for each kind of operator, as muLayer assumes (Kim et al., EuroSys '19)
- roofline: max(FLOPs / peak, bytes / bandwidth), peaks the best that any probe reached (Williams et al., 2009)
- forest: one random forest a kernel over shapes, FLOPs and bytes, as nn-Meter (Zhang et al., MobiSys '21)
- paper: CoDL's form, blocks of output channels and whole Winograd tiles, one unit time for each quantity
- codl: ours (`codl.calibrate.fit`)

Also times `codl.cost.batch`, which planners ask: operator splits predicted a second.
"""

from __future__ import annotations

import argparse
import json
import pickle
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from codl.calibrate import collect, fingerprint
from codl.calibrate.description import describe
from codl.calibrate.fit import fit_library
from codl.calibrate.fit import predict as predict_units
from codl.calibrate.geometry import block_channels
from codl.calibrate.results import Results
from codl.cost import CostModel
from codl.cost.batch import BatchCosts
from codl.cost.choice import matcher
from codl.cost.fit import fit_units
from codl.fidelity import compare_plans
from codl.hardware import Hardware, Kernel, Processor
from codl.io import write_json
from codl.ops import REGISTRY
from codl.ops.launch import DeviceTraits
from codl.ops.spec import Work
from codl.plan.problem import Problem
from codl.real.devices import choose
from codl.region import Region
from codl.runs import Workspace
from codl.tasks import TaskKind

PLANNERS = ("cpu", "gpu", "hybrid")
BOUNDS = (0.05, 0.10, 0.15)
MATTERS_S = 20e-6
"""Kernels shorter than this are mostly launch latency; they are left out of the scores, for every predictor."""
SHAPE = ("batch", "out_h", "out_w", "out_channels", "in_h", "in_w", "in_channels", "kernel_h", "kernel_w", "stride_h",
         "groups", "flops", "input_bytes", "output_bytes", "weight_bytes")  # fmt: skip


@dataclass(frozen=True)
class Row:
    """One measured kernel."""

    work: Work
    algorithm: str
    operator: str
    seconds: float

    @property
    def kernel(self) -> tuple[str, str]:
        return self.work.kind, self.algorithm

    @property
    def features(self) -> list[float]:
        return [float(getattr(self.work, name)) for name in SHAPE]


Predict = Callable[[Sequence[Row]], np.ndarray]
Trained = tuple[Predict, int]
"""A trained predictor and its size in bytes."""


@dataclass(frozen=True)
class Side:
    """One processor's data."""

    silicon: Processor
    traits: DeviceTraits
    train: list[Row]
    test: list[Row]


# -- predictors --------------------------------------------------------------------------------------------------------


def by_kernel(rows: Sequence[Row], train: Callable[[list[Row]], Callable[[list[Row]], np.ndarray]]) -> Predict:
    """One model a kernel; a kernel that was never seen is answered with NaN, which counts as wrong."""
    groups: dict[tuple[str, str], list[Row]] = defaultdict(list)
    for row in rows:
        groups[row.kernel].append(row)
    models = {key: train(group) for key, group in groups.items()}

    def predict(asked: Sequence[Row]) -> np.ndarray:
        found = np.full(len(asked), np.nan)
        for key, model in models.items():
            mine = [index for index, row in enumerate(asked) if row.kernel == key]
            if mine:
                found[mine] = model([asked[index] for index in mine])
        return found

    return predict


def flops(side: Side) -> Trained:
    def train(rows: list[Row]) -> Callable[[list[Row]], np.ndarray]:
        seconds = np.array([row.seconds for row in rows])
        matrix = np.array([[row.work.flops or row.work.bytes, 1.0] for row in rows]) / seconds[:, None]
        line = np.linalg.lstsq(matrix, np.ones(len(rows)), rcond=None)[0]
        return lambda asked: np.array([[row.work.flops or row.work.bytes, 1.0] for row in asked]) @ line

    return by_kernel(side.train, train), 2 * 8 * len({row.kernel for row in side.train})


def roofline(side: Side) -> Trained:
    peak = max(row.work.flops / row.seconds for row in side.train if row.algorithm in ("direct", "gemm"))
    bandwidth = max(row.work.bytes / row.seconds for row in side.train)
    return lambda asked: np.array([max(r.work.flops / peak, r.work.bytes / bandwidth) for r in asked]), 16


def forest(side: Side) -> Trained:
    from sklearn.ensemble import RandomForestRegressor

    sizes: list[int] = []

    def train(rows: list[Row]) -> Callable[[list[Row]], np.ndarray]:
        model = RandomForestRegressor(n_estimators=100, random_state=0)
        model.fit([row.features for row in rows], np.log([row.seconds for row in rows]))
        sizes.append(len(pickle.dumps(model)))
        return lambda asked: np.exp(model.predict([row.features for row in asked]))

    return by_kernel(side.train, train), sum(sizes)


def paper(side: Side) -> Trained:
    blocks = {"out_channels": block_channels(side.traits)}
    count = 0

    def train(rows: list[Row]) -> Callable[[list[Row]], np.ndarray]:
        nonlocal count
        algorithm = rows[0].algorithm
        tile = int(algorithm.removeprefix("winograd")) if algorithm.startswith("winograd") else 0
        form = "winograd" if tile else "gemm" if algorithm == "gemm" else "direct"
        bare = Kernel(name="paper", algorithm=algorithm, form=form, blocks=blocks, parallel=(), tile=tile)
        kernel = fit_units(bare, side.silicon, [row.work for row in rows], [row.seconds for row in rows])
        count += len(kernel.compute) + len(kernel.memory) + len(kernel.fixed)
        return lambda asked: predict_units(kernel, side.silicon, [row.work for row in asked])

    predict = by_kernel(side.train, train)
    return predict, 8 * count


def codl(side: Side) -> Trained:
    fitted = fit_library(side.train, side.silicon, side.traits)  # type: ignore[arg-type]  # rows look like timings
    kernels = [(one.kernel, matcher(one.kernel)) for one in fitted]
    size = sum(8 * (len(k.compute) + len(k.memory) + len(k.fixed)) for k, _ in kernels)

    def predict(asked: Sequence[Row]) -> np.ndarray:
        found = np.full(len(asked), np.nan)
        for kernel, matches in kernels:
            mine = [i for i, row in enumerate(asked) if row.algorithm == kernel.algorithm and matches(row.work)]
            if mine:
                found[mine] = predict_units(kernel, side.silicon, [asked[i].work for i in mine])
        return found

    return predict, size


PREDICTORS: dict[str, Callable[[Side], Trained]] = {
    "flops": flops, "roofline": roofline, "forest": forest, "paper": paper, "codl": codl,
}  # fmt: skip


def key(bound: float) -> str:
    """The name of a share in documents: within_10_percent."""
    return f"within_{100 * bound:.0f}_percent"


def score(train: Callable[[Side], Trained], side: Side) -> dict[str, float]:
    """Accuracy on the networks, size, and times of training and of predicting one operator."""
    began = time.perf_counter()
    predict, size = train(side)
    training = time.perf_counter() - began
    asked = [row for row in side.test if row.seconds >= MATTERS_S]
    began = time.perf_counter()
    predicted = predict(asked)
    took = time.perf_counter() - began
    measured = np.array([row.seconds for row in asked])
    errors = np.where(np.isnan(predicted), np.inf, (predicted - measured) / measured)
    known = errors[np.isfinite(errors)]
    shares = {
        f"within_{bound:.0%}".replace("%", "_percent"): float(np.mean(np.abs(errors) <= bound)) for bound in BOUNDS
    }
    return shares | {
        "rmspe": float(np.sqrt(np.mean(known**2))),
        "kernels": len(asked),
        "size_bytes": size,
        "training_s": training,
        "prediction_us": took / len(asked) * 1e6,
    }


# -- measurements ------------------------------------------------------------------------------------------------------


def measure(models: list[str], runs: int) -> tuple[Results, Hardware, dict[str, list[Row]]]:
    """Probes and the description fitted to them; by lane, the kernels of networks (each piece of work once)."""
    devices = choose()
    results = collect(devices)
    hardware = describe(results, "host", fingerprint(devices), "")
    workspace = Workspace(hardware)
    found: dict[str, dict[Any, list[Row]]] = {lane: defaultdict(list) for lane in results.lanes}
    for model in models:
        for one in compare_plans([workspace.prepare(model, p) for p in PLANNERS], devices, runs, check=False):
            tasks, graph = one.run.tasks.by_id, one.run.graph
            for error in one.comparison.tasks:
                task = tasks[error.task_id]
                if task.kind is not TaskKind.KERNEL or task.writes[0].region.empty:
                    continue
                node = graph.by_name[task.op]
                work = REGISTRY[node].work(graph, node, task.writes[0].region)
                # what both processors lose beside each other is no property of a kernel, for any predictor
                beside = any(len(chain.shares) > 1 for chain in one.run.plan.chains)
                seconds = error.measured_ns * 1e-9 / (hardware.processors[task.lane].contention if beside else 1.0)
                row = Row(work, task.algorithm, f"{model} {task.op}", seconds)
                found[task.lane][work, task.algorithm].append(row)
    kept = {
        lane: [
            min(rows, key=lambda r: abs(r.seconds - float(np.median([x.seconds for x in rows]))))
            for rows in each.values()
        ]
        for lane, each in found.items()
    }
    return results, hardware, kept


def splits_a_second(model: str, hardware: Hardware) -> float:
    """Parts of a network's operators that `BatchCosts` predicts in a second, both processors counted once."""
    graph = Workspace(hardware).graph(model)
    cost = CostModel(hardware, graph)
    problem = Problem(graph, hardware, cost)
    asked = []
    for index, node in enumerate(graph.nodes):
        if len(problem.placements(index)) < 2:
            continue
        whole = Region.full(graph.tensors[node.output].shape)
        for axis in REGISTRY[node].dimensions(graph, node).values():
            extent = whole.shape[axis]
            parts = [whole.along(axis, 0, stop).ranges for stop in range(1, extent)]
            if parts:
                asked.append((node, np.array(parts, dtype=np.int64)))
    batch = BatchCosts(cost)
    batch.kernels(asked, problem.pair)
    began, rounds = time.thread_time(), 5  # of this thread: how fast one core is, whatever the others do
    for _ in range(rounds):
        batch.kernels(asked, problem.pair)
    return rounds * sum(len(parts) for _, parts in asked) / (time.thread_time() - began)


# -- files and tables --------------------------------------------------------------------------------------------------


def save(path: Path, sides: dict[str, Side]) -> None:
    def rows(each: list[Row]) -> list[dict[str, Any]]:
        return [asdict(row) for row in each]

    write_json(path, {
        name: {"silicon": side.silicon.model_dump(mode="json", by_alias=True, exclude_defaults=True),
               "traits": asdict(side.traits), "train": rows(side.train), "test": rows(side.test)}
        for name, side in sides.items()
    })  # fmt: skip


def load(path: Path) -> dict[str, Side]:
    def rows(each: list[dict[str, Any]]) -> list[Row]:
        return [Row(Work(**row["work"]), row["algorithm"], row["operator"], row["seconds"]) for row in each]

    return {
        name: Side(Processor.model_validate(side["silicon"]), DeviceTraits(**side["traits"]), rows(side["train"]),
                   rows(side["test"]))
        for name, side in json.loads(path.read_text()).items()
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=["yolov2", "posenet", "resnet50"])
    parser.add_argument("--runs", type=int, default=9)
    parser.add_argument("--save", type=Path)
    parser.add_argument("--load", type=Path)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    document: dict[str, Any] = {}
    if options.load:
        sides = load(options.load)
    else:
        results, hardware, rows = measure(options.models, options.runs)
        sides = {
            lane: Side(hardware.processors[lane], results.traits[lane],
                       [Row(t.work, t.algorithm, t.operator, t.seconds) for t in results.timings(lane)], rows[lane])
            for lane in results.lanes
        }  # fmt: skip
        document["splits_a_second"] = splits_a_second(options.models[0], hardware)
        print(f"codl.cost.batch: {document['splits_a_second']:,.0f} splits a second")
    if options.save:
        save(options.save, sides)
    for lane, side in sides.items():
        print(f"\n{lane}: {len(side.train)} probes, {len(side.test)} kernels of networks")
        print("| predictor | within 5 % | 10 % | 15 % | RMSPE | size | training | an operator |")
        print("| --- | --- | --- | --- | --- | --- | --- | --- |")
        for name, train in PREDICTORS.items():
            found = document.setdefault(lane, {})[name] = score(train, side)
            shares = " | ".join(f"{found[key(bound)]:.0%}" for bound in BOUNDS)
            print(f"| {name} | {shares} | {found['rmspe']:.0%} | {found['size_bytes'] / 1024:.1f} KiB | "
                  f"{found['training_s']:.2f} s | {found['prediction_us']:.0f} us |")  # fmt: skip
    if options.json:
        write_json(options.json, document)


if __name__ == "__main__":
    main()
