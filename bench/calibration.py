"""How far two calibrations of one machine agree: on constants, on predicted latencies, and on what planners decide.

    python bench/calibration.py [--models yolov2 posenet resnet50] [--planner codl] [--first A.yaml --second B.yaml]

Calibrates twice (or reads two descriptions), plans every model with both, and counts the operators for which both plans
decide alike: the same processors, the same dimension, and shares that differ by at most 0.1. `regret` is what following
the second description would cost if the first were the truth: latency of the second's plan over the first's, minus 1.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from pathlib import Path

from codl import hardware as hw
from codl import models
from codl.calibrate import calibrate
from codl.cost import CostModel
from codl.graph import Graph
from codl.hardware import Hardware
from codl.plan.evaluate import plan_latency
from codl.plan.model import Chain, Plan
from codl.plan.planners import make_plan
from codl.real.devices import choose
from codl.region import Region

CLOSE = 0.1
"""Shares that differ by no more are the same decision: the step of the paper's ratios."""


def decisions(plan: Plan) -> dict[str, Chain]:
    return {operator: chain for chain in plan.chains for operator in chain.operators}


def alike(one: Chain, other: Chain) -> bool:
    """Whether two plans compute an operator in the same way."""
    names = set(one.shares) | set(other.shares)
    near = all(abs(one.shares.get(name, 0.0) - other.shares.get(name, 0.0)) <= CLOSE + 1e-9 for name in names)
    return near and one.dimension == other.dimension


def agreement(graph: Graph, first: Hardware, second: Hardware, planner: str) -> tuple[float, float, float]:
    """(share of operators decided alike, weighted by their time; regret; difference of predicted latencies)."""
    cost = CostModel(first, graph)
    cpu = next(name for name, processor in first.processors.items() if processor.kind == "cpu")  # runs everything
    plans = [make_plan(graph, described, CostModel(described, graph), planner) for described in (first, second)]
    mine, theirs = (decisions(plan) for plan in plans)
    weights = {
        node.name: cost.kernel(node, Region.full(graph.tensors[node.output].shape), cpu).ns for node in graph.nodes
    }
    same = sum(weights[name] for name in mine if alike(mine[name], theirs[name]))
    latencies = [plan_latency(graph, plan, cost).total_ns for plan in plans]
    predicted = [plan.predicted_ms or 0.0 for plan in plans]
    return same / sum(weights.values()), latencies[1] / latencies[0] - 1, predicted[1] / predicted[0] - 1


def described(first: Path | None, second: Path | None) -> Iterator[Hardware]:
    for path in (first, second):
        if path:
            yield hw.read(path)
            continue
        began = time.perf_counter()
        yield calibrate(choose())
        print(f"calibrated in {time.perf_counter() - began:.0f} s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=["yolov2", "posenet", "resnet50"])
    parser.add_argument("--planner", default="codl")
    parser.add_argument("--first", type=Path)
    parser.add_argument("--second", type=Path)
    options = parser.parse_args()
    one, other = described(options.first, options.second)
    for name in options.models:
        same, regret, apart = agreement(models.load(name), one, other, options.planner)
        print(f"{name:12s} decided alike {same:.0%} (by time), regret {regret:+.1%}, predicted latency {apart:+.1%}")


if __name__ == "__main__":
    main()
