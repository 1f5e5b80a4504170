"""What adapting gains on this machine: static against adaptive plans, alone and beside a real competing process.

    python bench/adaptive.py [--model yolov2] [--runs 60] [--blocks 3]

The machine's cores play the CPU and the GPU, as `codl execute` divides them. The competitor is a process of its own
that keeps the cores of the "CPU" busy; PoCL's threads are pinned to theirs (POCL_AFFINITY=1), since otherwise the
operating system would spread the load over both and no plan could evade it. Blocks of inferences with the static plan
and with the adaptive executor alternate, without load and with it; the adaptive ones include the trials of other
plans, which is what adapting costs. Printed are medians and means of the makespans, and the ratio static / adaptive
of the means.
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

from codl.adaptation import adaptive_executor, plans_under_load
from codl.calibrate import load_or_calibrate
from codl.real.devices import choose
from codl.runs import Workspace, executor_for, random_inputs


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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="yolov2")
    parser.add_argument("--planner", default="optimal")
    parser.add_argument("--runs", type=int, default=60, help="inferences of each kind in a block")
    parser.add_argument("--blocks", type=int, default=3)
    arguments = parser.parse_args()
    devices = choose()
    workspace = Workspace(load_or_calibrate())
    runs = plans_under_load(workspace, arguments.model, arguments.planner)
    for run in runs:
        print(f"plan: {run.plan.predicted_ms:.1f} ms expected on the idle machine, {len(run.plan.chains)} chains")
    inputs = random_inputs(runs[0].graph)
    times: dict[tuple[bool, str], list[float]] = {}
    with executor_for(runs[0], devices) as static, adaptive_executor(runs, devices) as adaptive:
        block(static, inputs, 3)
        for _ in range(arguments.blocks):
            for loaded in (False, True):
                with competitor(cores_of(devices.cpu.id), loaded):
                    for name, executor in (("static", static), ("adaptive", adaptive)):
                        times.setdefault((loaded, name), []).extend(block(executor, inputs, arguments.runs))
        print(f"{adaptive.switcher.switches} changes of plan in {2 * arguments.blocks * arguments.runs} inferences")
    for loaded in (False, True):
        where = "beside a competitor" if loaded else "alone"
        for name in ("static", "adaptive"):
            found = times[loaded, name]
            print(
                f"{where:20} {name:9} median {statistics.median(found):7.2f} ms, mean {statistics.fmean(found):7.2f} ms"
            )
        ratio = statistics.fmean(times[loaded, "static"]) / statistics.fmean(times[loaded, "adaptive"])
        print(f"{where:20} static / adaptive: {ratio:.2f}")


if __name__ == "__main__":
    main()
