"""codl beside ONNX Runtime, OpenVINO, MNN and ncnn: float32, the same cores, one interleaved run a network.

    python bench/peers.py [--networks vgg16 ...] [--seconds 20] [--json peers.json] [--update docs/performance.md]

Every figure is the wall time of one call, from the caller's array to arrays that the caller may read, so that changes
of layout count. The contestants take turns, each in a process of its own that is stopped while the others run
(`bench/turns.py`); in each turn one call is not counted (it pays for the other's caches and sleeping threads), and the
median of the next ones, a tenth of a second of them, is. Ratios are medians of ratios of one round's turns. Engines
that are not installed, or cannot read a network, are named with the reason. `codl` is the whole CPU device of OpenCL,
`codl on two` the plan of `--planner` over its two halves, `codl native` the whole native device. The first run on a
machine calibrates it for each (minutes).
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from statistics import geometric_mean, median
from typing import Any

import numpy as np
import onnx

sys.path.insert(0, str(Path(__file__).parent))  # run as a script, or by its path from anywhere

from engines import PEERS, version
from networks import NETWORKS
from turns import Contestant, Run, Unavailable

from codl.io import atomic_path, write_json

WHOLE, TWO, NATIVE = "codl", "codl on two", "codl native"
OWN = (WHOLE, TWO, NATIVE)
AGREES = 1e-3
"""Largest difference from ONNX Runtime's outputs, relative to the largest magnitude of each."""
TARGETS: Mapping[str, float] = {"vgg16": 0.75, "yolov2": 0.75, "posenet": 0.75}
WORST, MEAN = 1.15, 0.9
MARKERS = ("<!-- table of bench/peers.py -->", "<!-- end of table -->")
_MOST_ROUNDS, _LEAST_ROUNDS = 60, 5


# -- one network -------------------------------------------------------------------------------------------------------


def contestants(
    path: Path, data: np.ndarray, threads: int, planner: str, stack: ExitStack
) -> tuple[dict[str, Contestant], dict[str, str]]:
    """What runs, by label; and why the others do not."""
    wanted: dict[str, tuple[Any, ...]] = {label: (load, path, data, threads) for label, (load, _) in PEERS.items()}
    wanted |= {label: (load, path, data, planner) for label, load in zip(OWN, (_whole, _two, _native), strict=True)}
    found: dict[str, Contestant] = {}
    missing: dict[str, str] = {}
    for label, (load, *arguments) in wanted.items():
        try:
            found[label] = stack.enter_context(Contestant(load, *arguments))
        except Unavailable as error:
            missing[label] = str(error)
    return found, missing


def _whole(path: Path, data: np.ndarray, planner: str) -> Run:
    from codl.real.devices import find

    device = next(info.id for info in find() if info.kind == "cpu")
    return _session(path, data, "gpu", (device, device))


def _two(path: Path, data: np.ndarray, planner: str) -> Run:
    return _session(path, data, planner, None)


def _native(path: Path, data: np.ndarray, planner: str) -> Run:
    return _session(path, data, "gpu", ("native:0", "native:0"))


def _session(path: Path, data: np.ndarray, planner: str, devices: tuple[str, str] | None) -> Run:
    import codl

    session = codl.load(path, planner=planner, devices=devices)
    feed = {session.input_names[0]: data}
    return lambda: session.run(feed)


def interleaved(runs: Mapping[str, Contestant], seconds: float) -> dict[str, list[float]]:
    """Wall times in ms by label, one a round; at least `_LEAST_ROUNDS` rounds, however long they take."""
    times: dict[str, list[float]] = {label: [] for label in runs}
    began = time.perf_counter()
    for index in range(_MOST_ROUNDS):
        for label, run in runs.items():
            times[label].append(run.turn())
        if index + 1 >= _LEAST_ROUNDS and time.perf_counter() - began > seconds:
            break
    return times


def errors(runs: Mapping[str, Contestant]) -> dict[str, float]:
    """Of each contestant's outputs against the first one's."""
    first, *_ = runs.values()
    found = {}
    for label, run in runs.items():
        pairs = [(have.reshape(want.shape), want) for have, want in zip(run.outputs, first.outputs, strict=True)]
        found[label] = max(float(np.abs(have - want).max() / np.abs(want).max()) for have, want in pairs)
    return found


def measure(name: str, threads: int, seconds: float, planner: str) -> dict[str, Any]:
    """The row of one network."""
    with tempfile.TemporaryDirectory(prefix="codl-peers-") as folder, ExitStack() as stack:
        path = Path(folder) / f"{name}.onnx"
        model = NETWORKS[name]()
        shape = [axis.dim_value for axis in model.graph.input[0].type.tensor_type.shape.dim]
        onnx.save(model, path)
        data = np.random.default_rng(0).standard_normal(shape, dtype=np.float32)
        runs, missing = contestants(path, data, threads, planner, stack)
        if WHOLE in missing or TWO in missing:
            return {"network": name, "failed": missing.get(WHOLE) or missing[TWO]}
        deviation = errors(runs)
        times = interleaved(runs, seconds)
    peers = [label for label in runs if label in PEERS]
    best = min(peers, key=lambda label: median(times[label]), default=None)
    agreeing = [label for label in peers if deviation[label] <= AGREES]
    exact = min(agreeing, key=lambda label: median(times[label]), default=None)
    row: dict[str, Any] = {
        "network": name, "best_peer": best, "best_agreeing_peer": exact, "rounds": len(times[WHOLE]),
        "missing": missing,
    }  # fmt: skip
    row["contestants"] = {
        label: {
            "median_ms": median(values),
            "noise": float(np.subtract(*np.percentile(values, [75, 25]))) / 2 / median(values),
            "max_relative_error": deviation[label],
            "ratio": median(a / b for a, b in zip(values, times[best], strict=True)) if best else None,
            "agreeing_ratio": median(a / b for a, b in zip(values, times[exact], strict=True)) if exact else None,
        }
        for label, values in times.items()
    }
    return row


# -- all networks ------------------------------------------------------------------------------------------------------


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Markdown: medians in ms (± half the interquartile range); codl's ratio to the fastest peer, and to the fastest of
    those whose outputs agree with ONNX Runtime's; codl's largest error."""
    labels = [*PEERS, *OWN]
    lines = [
        "| network | " + " | ".join(labels) + " | ratio | to those that agree | error |",
        "|" + " --- |" * (len(labels) + 4),
    ]
    for row in rows:
        if "failed" in row:
            lines.append(f"| {row['network']} | failed: {row['failed']} |" + " |" * (len(labels) + 2))
            continue
        cells = []
        for label in labels:
            own = row["contestants"].get(label)
            if own is None:
                cells.append(row["missing"][label].split(":")[0])
                continue
            wrong = "" if own["max_relative_error"] <= AGREES else f" (error {own['max_relative_error']:.1g})"
            text = f"{own['median_ms']:.1f} ±{own['noise']:.0%}{wrong}"
            cells.append(f"**{text}**" if label == row["best_peer"] else text)
        whole = row["contestants"][WHOLE]
        ratios = ["-" if whole[key] is None else f"{best_ratio(row, key):.2f}" for key in ("ratio", "agreeing_ratio")]
        cells += [*ratios, f"{whole['max_relative_error']:.0e}"]
        lines.append(f"| {row['network']} | {' | '.join(cells)} |")
    return "\n".join(lines)


def best_ratio(row: Mapping[str, Any], key: str = "ratio") -> float:
    """Of codl's fastest way to the fastest peer, or with `agreeing_ratio` to the fastest that agrees."""
    return min(float(row["contestants"][label][key]) for label in OWN if label in row["contestants"])


def verdict(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Each target with what was reached."""
    ratios = {row["network"]: best_ratio(row) for row in rows if row.get("best_peer")}
    lines = []
    for name, bound in TARGETS.items():
        if name in ratios:
            lines.append(f"{name}: {ratios[name]:.2f} (target {bound}): {_met(ratios[name] <= bound)}")
    if ratios:
        mean, (worst, name) = geometric_mean(ratios.values()), max((ratio, name) for name, ratio in ratios.items())
        lines.append(f"geometric mean of {len(ratios)} networks: {mean:.2f} (target {MEAN}): {_met(mean <= MEAN)}")
        lines.append(f"worst: {name} {worst:.2f} (target {WORST}): {_met(worst <= WORST)}")
    wrong = [
        row["network"] for row in rows if "failed" not in row
        and any(own["max_relative_error"] > AGREES for label, own in row["contestants"].items() if label in OWN)
    ]  # fmt: skip
    lines.append(f"outputs of codl that differ by more than {AGREES:g}: {', '.join(wrong) or 'none'}")
    return lines


def _met(holds: bool) -> str:
    return "met" if holds else "missed"


def environment(threads: int) -> dict[str, Any]:
    from codl.real.environment import fingerprint

    return {
        "date": datetime.now().astimezone().date().isoformat(),
        "threads": threads,
        "load_before": os.getloadavg()[0],
        **fingerprint(),
        "python": platform.python_version(),
        **{package: version(package) or "not installed" for _, package in PEERS.values()},
    }


def report(rows: Sequence[Mapping[str, Any]], facts: Mapping[str, Any]) -> str:
    """What goes into the documentation."""
    versions = ", ".join(f"{label} {facts[package]}" for label, (_, package) in PEERS.items())
    head = f"{facts['date']}, {facts['cpu']}, {facts['threads']} threads, Python {facts['python']}; {versions}."
    missing = [
        f"- {row['network']}: {label} {why}" for row in rows for label, why in row.get("missing", {}).items()
    ]  # fmt: skip
    return "\n".join([head, "", table(rows), "", *(f"- {line}" for line in verdict(rows)), *missing])


def update(path: Path, text: str) -> None:
    """Replace what lies between the markers of a document."""
    document = path.read_text(encoding="utf-8")
    before, found, rest = document.partition(MARKERS[0])
    _, closed, after = rest.partition(MARKERS[1])
    if not found or not closed:
        sys.exit(f"{path} has no lines {MARKERS[0]!r} and {MARKERS[1]!r}")
    with atomic_path(path) as temporary:
        temporary.write_text(f"{before}{MARKERS[0]}\n{text}\n{MARKERS[1]}{after}", encoding="utf-8")


def kept(path: Path, facts: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The rows, by network, that an interrupted run of the same day on the same machine left."""
    if not path.exists():
        return {}
    known = json.loads(path.read_text(encoding="utf-8"))
    before, now = ({**each, "load_before": None} for each in (known["environment"], facts))
    if before != now:
        return {}
    return {row["network"]: row for row in known["rows"] if "failed" not in row}


def main() -> None:
    from codl.real.opencl import usable_cores

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS), metavar="NAME")
    parser.add_argument("--seconds", type=float, default=20.0, help="of measuring, a network")
    parser.add_argument("--threads", type=int, default=usable_cores())
    parser.add_argument("--planner", default="optimal", help="of the plan over two halves")
    parser.add_argument("--json", type=Path, help="write what is measured, network by network; go on from it")
    parser.add_argument("--update", type=Path, metavar="DOCUMENT", help="replace the table in this document")
    arguments = parser.parse_args()
    facts = environment(arguments.threads)
    rows = kept(arguments.json, facts) if arguments.json else {}
    for name in arguments.networks:
        if name not in rows:
            print(f"{name} ...", file=sys.stderr, flush=True)
            rows[name] = measure(name, arguments.threads, arguments.seconds, arguments.planner)
            if arguments.json:
                write_json(arguments.json, {"environment": facts, "rows": list(rows.values())})
    text = report([rows[name] for name in arguments.networks], facts)
    print(text)
    if arguments.update:
        update(arguments.update, text)


if __name__ == "__main__":
    main()
