"""How fast planning is: the 87 operators of RetinaFace, and networks of growing length.

    python bench/planner.py [--hardware sd865] [--planners codl optimal]

Figures are the best and the median of several runs, each with a graph and a cost model that have seen nothing yet;
model and hardware are loaded before. Bounds to hold on one core: 87 operators by `codl` in 50 ms, by `optimal` in
500 ms, and time that grows linearly with the number of operators. The growing networks repeat a block of different
operators, with channels that differ from block to block, so that no two operators share their costs.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from statistics import median

from codl import hardware, models
from codl.cost import CostModel
from codl.graph import Attribute, Graph, Node, Tensor
from codl.hardware import Hardware
from codl.plan.model import Plan
from codl.plan.planners import make_plan

BLOCK = ((3, 1), (1, 1), (3, 1), (1, 1), (5, 1))
"""Kernel and stride of the convolutions of one block."""


def network(blocks: int) -> Graph:
    """Convolutions in a row, `len(BLOCK)` a block, on maps of 52 x 52."""
    size, channels = 52, 32
    tensors = {"x": Tensor("x", (1, channels, size, size))}
    nodes: list[Node] = []
    value = "x"
    for index in range(blocks * len(BLOCK)):
        kernel, stride = BLOCK[index % len(BLOCK)]
        wide, name = 32 + 4 * (index % 61), f"conv{index}"
        tensors[f"w{index}"] = Tensor(f"w{index}", (wide, channels, kernel, kernel))
        tensors[name] = Tensor(name, (1, wide, size, size))
        attributes: dict[str, Attribute] = {
            "kernel": (kernel, kernel), "stride": (stride, stride), "pads": (kernel // 2,) * 4, "dilation": (1, 1),
            "group": 1,
        }  # fmt: skip
        nodes.append(Node(name, "conv", (value, f"w{index}"), (name,), attributes))
        value, channels = name, wide
    return Graph(f"{len(nodes)} convolutions", tuple(nodes), tensors, {}, ("x",), (value,), executable=False)


def timed(graph: Graph, machine: Hardware, planner: str, repeats: int) -> tuple[list[float], Plan]:
    """Wall-clock times in seconds, and the plan."""
    times = []
    for _ in range(repeats):
        fresh = replace(graph)
        assert fresh.digest and machine.digest  # worked out once, not part of planning
        began = time.perf_counter()
        plan = make_plan(fresh, machine, CostModel(machine, fresh), planner)
        times.append(time.perf_counter() - began)
    plan.check(graph)
    assert sum(len(chain.operators) for chain in plan.chains) == len(graph)
    return times, plan


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hardware", default="sd865")
    parser.add_argument("--planners", nargs="+", default=["codl", "optimal"])
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    machine = hardware.load(arguments.hardware)
    graphs = [models.load("paper/retinaface"), *(network(blocks) for blocks in (5, 10, 20, 40))]
    for planner in arguments.planners:
        for graph in graphs:
            times, plan = timed(graph, machine, planner, arguments.repeats)
            print(
                f"{planner:8} {graph.name:18} {len(graph):4} operators: {min(times) * 1e3:7.1f} ms, median "
                f"{median(times) * 1e3:7.1f} ms ({min(times) / len(graph) * 1e6:5.0f} us an operator), "
                f"{len(plan.chains)} chains, {plan.predicted_ms:.1f} ms predicted"
            )


if __name__ == "__main__":
    main()
