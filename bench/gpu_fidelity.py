"""Everything that fidelity on a real GPU is judged by, in one command.

    python bench/gpu_fidelity.py -o OUTDIR [--models yolov2 vgg16 resnet50] [--planners ...] [--runs 21] [--minutes 5.5]

Calibrates the machine, predicts and measures every model with every planner (a run of each plan in turn), and writes
to OUTDIR: `description.yaml`, `comparison.json` (the document of `codl compare --json`, with machine and date) and
`recording.json` (durations of every task of some plans, for the test that replays them). Begins no model after
`--minutes`; what was not measured is named in the document.
"""

from __future__ import annotations

import argparse
import datetime
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from codl import hardware as hw
from codl.calibrate import TooNoisyError, calibrate
from codl.compare import moved_constants, record
from codl.errors import CodlError
from codl.fidelity import Compared, compare_plans, rankings
from codl.hardware import Hardware
from codl.io import write_json
from codl.real.devices import Assignment, choose
from codl.real.environment import fingerprint
from codl.runs import Workspace

RECORDED = ("gpu", "codl", "optimal")
"""Planners whose runs are recorded task by task."""


class Ticker:
    """Says what is being done, with the time since the start."""

    def __init__(self) -> None:
        self.began = time.perf_counter()

    @property
    def seconds(self) -> float:
        return time.perf_counter() - self.began

    def total(self, steps: int) -> None:
        pass

    def step(self, what: str) -> None:
        print(f"{self.seconds:6.1f} s  {what}", file=sys.stderr, flush=True)

    note = step


class Stages:
    """Tells a ticker of the stages of a comparison."""

    def __init__(self, ticker: Ticker) -> None:
        self.ticker = ticker

    def stage(self, what: str, steps: int) -> None:
        self.ticker.step(what)

    def step(self) -> None:
        pass


def describe(devices: Assignment, ticker: Ticker) -> tuple[Hardware, str]:
    """The machine's description, and why it is not to be trusted ('' where it is)."""
    try:
        return calibrate(devices, report=ticker), ""
    except TooNoisyError as error:
        return error.description, str(error)


def measure(
    models: list[str], planners: list[str], hardware: Hardware, devices: Assignment, runs: int, deadline: float,
    ticker: Ticker,
) -> tuple[list[Compared], dict[str, str]]:  # fmt: skip
    """All plans in both worlds, and what was left out and why."""
    workspace = Workspace(hardware)
    found: list[Compared] = []
    missing: dict[str, str] = {}
    for model in models:
        if ticker.seconds > deadline:
            missing[model] = f"not begun within {deadline / 60:.1f} minutes"
            continue
        try:
            ticker.step(f"planning {model}")
            prepared = [workspace.prepare(model, planner) for planner in planners]
            found += compare_plans(prepared, devices, runs, progress=Stages(ticker))
        except CodlError as error:
            missing[model] = str(error)
            ticker.step(f"{model}: {error}")
    return found, missing


def document(found: list[Compared], missing: dict[str, str], trouble: str, devices: Assignment) -> dict[str, Any]:
    rows = [one.comparison.row() | {"max_relative_error": one.max_relative_error,
            "runs_ms": list(one.measurement.runs_ms)} for one in found]  # fmt: skip
    return {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "machine": fingerprint() | {"cpu device": devices.cpu.name, "gpu device": devices.gpu.name,
                                    "assignment": devices.why},
        "calibration_trouble": trouble,
        "models": rows,
        "rankings": [asdict(ranking) for ranking in rankings(found)],
        "moved": [asdict(moved) for moved in moved_constants([one.comparison for one in found])],
        "missing": missing,
    }  # fmt: skip


def recording(found: list[Compared], devices: Assignment) -> dict[str, Any]:
    """Of each recorded plan, the run whose latency is the median."""
    plans = [
        {"model": one.run.model, "planner": one.run.plan.planner, "noise": one.measurement.noise}
        | record(one.simulated.trace, one.measurement.trace)
        for one in found
        if one.run.plan.planner in RECORDED
    ]
    return {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "gpu": devices.gpu.name,
        "cpu": devices.cpu.name,
        "plans": plans,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--models", nargs="+", default=["yolov2", "vgg16", "resnet50"])
    parser.add_argument("--planners", nargs="+", default=["cpu", "gpu", "hybrid", "codl", "optimal"])
    parser.add_argument("--runs", type=int, default=21)
    parser.add_argument("--minutes", type=float, default=5.5)
    parser.add_argument("--cpu")
    parser.add_argument("--gpu")
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    ticker = Ticker()
    devices = choose(options.cpu, options.gpu)
    ticker.step(devices.why)
    hardware, trouble = describe(devices, ticker)
    hw.write(hardware, options.output / "description.yaml")
    found, missing = measure(
        options.models, options.planners, hardware, devices, options.runs, 60 * options.minutes, ticker
    )
    write_json(options.output / "comparison.json", document(found, missing, trouble, devices))
    write_json(options.output / "recording.json", recording(found, devices))
    for one in found:
        c = one.comparison
        print(
            f"{c.model:10s} {c.planner:8s} predicted {c.simulated_ns / 1e6:8.2f} ms, measured "
            f"{c.measured_ns / 1e6:8.2f} ms, error {c.error:+.1%} (durations {c.duration_error:+.1%}, scheduling "
            f"{c.scheduling_error:+.1%}), operators within 10 % {c.within(0.1):.0%}, noise {c.noise or 0:.1%}"
        )
    ticker.step("done")


if __name__ == "__main__":
    main()
