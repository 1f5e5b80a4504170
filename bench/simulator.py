"""How fast the simulator is: one simulation of a large network, and streams of growing length.

    python bench/simulator.py [--hardware sd865] [--requests 1000]

Every figure is the best of several runs; the work done is asserted, so that a faster figure cannot come from doing
less. Bounds to hold on one core: 87 operators in 20 ms, 1,000 inferences of YOLOv2 in 5 s, linear in their number.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from functools import partial

from codl import hardware
from codl.cost import CostModel
from codl.runs import Prepared, Workspace
from codl.sim import SimulationResult, simulate


def best(measure: Callable[[], SimulationResult], repeats: int) -> tuple[float, SimulationResult]:
    """The shortest wall-clock time in seconds, and the result."""
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        result = measure()
        times.append(time.perf_counter() - began)
    return min(times), result


def fresh(run: Prepared) -> CostModel:
    """A cost model that has not seen any operator yet."""
    return CostModel(run.hardware, run.graph, {name: use.data_type for name, use in run.plan.processors.items()})


def _simulated(run: Prepared, cost: Callable[[], CostModel]) -> SimulationResult:
    return simulate(run.tasks, cost(), run.hardware)


def single(run: Prepared, repeats: int) -> None:
    tasks = len(run.tasks.tasks)
    for label, cost in (("first", lambda: fresh(run)), ("again", lambda: run.cost)):
        seconds, result = best(partial(_simulated, run, cost), repeats)
        assert result.executed == len(result.trace.spans) == tasks
        print(
            f"{run.model:18} {label}: {len(run.graph)} operators, {tasks} tasks: {seconds * 1e3:6.2f} ms "
            f"({seconds / tasks * 1e6:.1f} us a task)"
        )


def stream(run: Prepared, requests: int, repeats: int) -> None:
    one = simulate(run.tasks, run.cost, run.hardware)
    for count in (requests // 10, requests // 2, requests):
        seconds, result = best(partial(simulate, run.tasks, run.cost, run.hardware, requests=count), repeats)
        assert result.executed == count * len(run.tasks.tasks)
        assert result.latencies_ns == (one.latency_ns,) * count
        each = seconds / result.executed * 1e6
        print(f"{run.model:18} {count:5} inferences: {seconds:6.3f} s ({each:.1f} us a task)")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hardware", default="sd865")
    parser.add_argument("--requests", type=int, default=1000)
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    workspace = Workspace(hardware.load(arguments.hardware))
    single(workspace.prepare("paper/retinaface", "codl"), arguments.repeats)
    stream(workspace.prepare("paper/yolov2", "codl"), arguments.requests, min(arguments.repeats, 2))


if __name__ == "__main__":
    main()
