"""Every plan of a small network, one by one: what the optimal planner is checked against."""

from __future__ import annotations

from collections.abc import Iterator

from codl.graph import Graph
from codl.ops import REGISTRY, Dimension
from codl.plan.model import Chain
from codl.plan.partition import exits
from codl.plan.problem import Problem


def every_plan(problem: Problem, at: int = 0) -> Iterator[list[Chain]]:
    """All sequences of chains that cover the operators from position `at` on, in their order."""
    graph = problem.graph
    if at == len(graph):
        yield []
        return
    for length in range(1, len(graph) - at + 1):
        for chain in _chains(problem, graph, at, length):
            for rest in every_plan(problem, at + length):
                yield [chain, *rest]


def _chains(problem: Problem, graph: Graph, at: int, length: int) -> Iterator[Chain]:
    nodes = graph.nodes[at : at + length]
    names = [node.name for node in nodes]
    if length == 1:
        for name in problem.pair:
            yield Chain(operators=(names[0],), shares={name: 1.0})
    if not set(exits(graph, names)) <= set(nodes[-1].outputs):
        return
    if any(not graph.consumers[node.output] for node in nodes[:-1]):
        return
    for dimension in (Dimension.HEIGHT, Dimension.OUTPUT_CHANNEL):
        axes = [REGISTRY[node].dimensions(graph, node).get(dimension) for node in nodes]
        if any(axis is None for axis in axes):
            continue
        extent = graph.tensors[nodes[-1].output].shape[axes[-1]]
        step = problem.alignment.get(dimension, 1)
        for cut in range(step, extent, step):
            ratio = cut / extent
            yield Chain(
                operators=tuple(names), dimension=dimension, shares={problem.pair[0]: ratio, problem.pair[1]: 1 - ratio}
            )
