"""What adapting gains on this machine: static against adaptive plans, alone and beside a real competing process.

    python bench/adaptive.py [--model yolov2] [--runs 40] [--blocks 3]

The machine's cores play the CPU and the GPU, as `codl execute` divides them. The competitor is a process of its own
that keeps the cores of the "CPU" busy; PoCL's threads are pinned to theirs (POCL_AFFINITY=1), since otherwise the
operating system would spread the load over both and no plan could evade it. Blocks of inferences with the static plan,
with plans that change between inferences and with plans that change inside them too alternate, without load and with
it; the adaptive ones include the trials of other plans, which is what adapting costs. Printed are the means of the
makespans over all blocks and the least and the largest block, the same of the ratio static / adaptive, and what the
simulator expects, where a busy core means half of it.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import statistics
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

os.environ.setdefault("POCL_AFFINITY", "1")  # read when OpenCL is opened

from codl.adaptation import LOADED, made_for, plans_under_load, segmented
from codl.calibrate import load_or_calibrate
from codl.real.adaptive import AdaptiveExecutor
from codl.real.devices import choose
from codl.runs import Workspace, executor_for, random_inputs
from codl.workload import Workload
from codl.workloads import workload_rows


def busy(cores: frozenset[int]) -> None:
    """Keep some cores busy until killed: arithmetic out of the cache, as another program's would be."""
    os.sched_setaffinity(0, cores)
    value = 1
    while True:
        value = value * 1103515245 % 2147483648


@contextmanager
def competitor(cores: frozenset[int], wanted: bool) -> Iterator[None]:
    """One process a core, for as long as the context lasts."""
    processes = [
        multiprocessing.get_context("spawn").Process(target=busy, args=(frozenset([core]),), daemon=True)
        for core in (cores if wanted else ())
    ]
    for process in processes:
        process.start()
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.join()


def cores_of(device: str) -> frozenset[int]:
    """The cores of a part of PoCL's device (`pocl:0.2-3`), which pinned worker threads run on."""
    _, _, part = device.partition(".")
    first, _, last = part.partition("-")
    return frozenset(range(int(first), int(last or first) + 1))


def block(executor: Any, inputs: Mapping[str, Any], runs: int) -> list[float]:
    return [executor.infer(inputs).makespan_ns / 1e6 for _ in range(runs)]


def simulated(workspace: Workspace, model: str, planner: str, loaded: bool, adapt: str | None, requests: int) -> float:
    """Mean latency in ms that the simulator expects with half of the "CPU" taken, or with nothing taken."""
    stream = {"requests": requests, "adapt": adapt}
    # The load comes after a moment: plans are made for the states that a workload reaches, here always both.
    background = [{"processor": "cpu", "share": LOADED, "start": 1e-9 if loaded else 1e6}]
    workload = Workload.model_validate({"streams": [stream], "background": background})
    return float(workload_rows(workspace, workload, model, planner)[0][0]["latency_ms"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="yolov2")
    parser.add_argument("--planner", default="optimal")
    parser.add_argument("--runs", type=int, default=40, help="inferences of each kind in a block")
    parser.add_argument("--blocks", type=int, default=3)
    arguments = parser.parse_args()
    devices = choose()
    workspace = Workspace(load_or_calibrate())
    runs, states = plans_under_load(workspace, arguments.model, arguments.planner)
    for number, text in made_for(states, len(runs)).items():
        run = runs[int(number)]
        print(f"plan {number}: for {text}; {run.plan.predicted_ms:.1f} ms expected on the idle machine")
    inputs = random_inputs(runs[0].graph)
    parts = segmented(runs)
    found: dict[tuple[bool, str], list[float]] = {}
    with (
        executor_for(runs[0], devices) as static,
        AdaptiveExecutor(runs[0].graph, [(run.tasks,) for run in runs], devices) as between,
        AdaptiveExecutor(runs[0].graph, parts, devices) as inside,
    ):
        executors = {"static": static, "between inferences": between}
        if len(parts[0]) > 1:
            executors[f"in {len(parts[0])} segments"] = inside
        block(static, inputs, 3)
        for _ in range(arguments.blocks):
            for loaded in (False, True):
                with competitor(cores_of(devices.cpu.id), loaded):
                    for name, executor in executors.items():
                        mean = statistics.fmean(block(executor, inputs, arguments.runs))
                        found.setdefault((loaded, name), []).append(mean)
        for name, adaptive in (("between inferences", between), ("inside", inside)):
            shares = ", ".join(f"plan {k} {adaptive.history.share(k):.0%}" for k in range(len(runs)))
            print(f"{name}: {adaptive.history.switches} changes of plan; segments: {shares}")
    for loaded in (False, True):
        for name in executors:
            means = found[loaded, name]
            ratios = [s / a for s, a in zip(found[loaded, "static"], means, strict=True)]
            print(
                f"{'beside a competitor' if loaded else 'alone':20} {name:20} mean {statistics.fmean(means):7.2f} ms "
                f"({min(means):.2f} to {max(means):.2f}), static / this {statistics.fmean(ratios):.3f} "
                f"({min(ratios):.3f} to {max(ratios):.3f})"
            )
        expected = {
            adapt: simulated(workspace, arguments.model, arguments.planner, loaded, adapt, arguments.runs)
            for adapt in (None, "latency", "state")
        }
        told = ", ".join(f"{adapt or 'static'} {ms:.2f} ms" for adapt, ms in expected.items())
        print(f"{'':20} simulated: {told}")


if __name__ == "__main__":
    main()
