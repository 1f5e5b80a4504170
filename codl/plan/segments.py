"""Where one plan of a model may hand over to another inside an inference, and the segments between such points.

A point is a set of operators that every plan has done when some chain of its ends. What is made before it and read
after it crosses it; points that few values cross are cheap to hand over at.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import pairwise

from codl.errors import PlanError
from codl.graph import Graph
from codl.plan.lower import Segment, lower
from codl.plan.model import Plan
from codl.tasks import TaskGraph

MOST_CROSSING = 3
"""Values that may cross a point."""


@dataclass(frozen=True, slots=True)
class Point:
    """A place between operators at which every plan ends a chain.

    Args:
        done: names of the operators before it.
        ends: by plan, how many of its chains lie before it.
        crossing: values made before it and read after it, in the order made.
        nbytes: of these values.
    """

    done: frozenset[str]
    ends: tuple[int, ...]
    crossing: tuple[str, ...]
    nbytes: int


def points(graph: Graph, plans: Sequence[Plan], most: int = MOST_CROSSING) -> list[Point]:
    """All points that at most so many values cross, from the first to the last.

    Raises:
        PlanError: the plans keep values in different places, so that one cannot go on where another stopped.
    """
    places = {(plan.sharing, plan.home, str(plan.processors), plan.hardware.digest) for plan in plans}
    if len(places) > 1:
        raise PlanError("plans to change between must be for one hardware, with the same data types")
    after = [_after(plan) for plan in plans]
    common = [done for done in after[0] if all(done in other for other in after[1:]) and len(done) < len(graph)]
    found = []
    for done in common:
        crossing = _crossing(graph, done)
        if len(crossing) <= most:
            nbytes = sum(graph.tensors[value].nbytes for value in crossing)
            found.append(Point(done, tuple(ends[done] for ends in after), crossing, nbytes))
    return found


def _after(plan: Plan) -> dict[frozenset[str], int]:
    """What is done after each chain of a plan, with the number of chains."""
    done: set[str] = set()
    found = {}
    for number, chain in enumerate(plan.chains, start=1):
        done |= set(chain.operators)
        found[frozenset(done)] = number
    return found


def _crossing(graph: Graph, done: Collection[str]) -> tuple[str, ...]:
    return tuple(
        value
        for node in graph.nodes
        if node.name in done
        for value in node.outputs
        if value and any(reader.name not in done for reader in graph.consumers[value])
    )


def lowered(graph: Graph, plans: Sequence[Plan], chosen: Sequence[Point]) -> tuple[tuple[TaskGraph, ...], ...]:
    """The task graphs of every plan, one for each segment between the chosen points; any plan's segment may follow any
    other's (`codl.tasks.joined`). Without points, each plan's as a whole.

    Raises:
        PlanError: a plan is not legal for this graph.
    """
    if not chosen:
        return tuple((lower(graph, plan),) for plan in plans)
    return tuple(
        tuple(lower(graph, plan, segment) for segment in _segments(graph, plan, index, chosen))
        for index, plan in enumerate(plans)
    )


def _segments(graph: Graph, plan: Plan, index: int, chosen: Sequence[Point]) -> list[Segment]:
    bounds = [0, *(point.ends[index] for point in chosen), len(plan.chains)]
    found = []
    for number, (first, end) in enumerate(pairwise(bounds)):
        mine = {name for chain in plan.chains[first:end] for name in chain.operators}
        nodes = [node for node in graph.nodes if node.name in mine]
        made = {value for node in nodes for value in node.outputs}
        read = dict.fromkeys(t.name for node in nodes for _, t in graph.variable_inputs(node) if t.name not in made)
        last = number == len(chosen)
        if last:  # what the caller gets back as it is
            read |= dict.fromkeys(value for value in graph.outputs if value in graph.inputs)
        found.append(Segment(f"s{number}", first, end, tuple(read), _crossing(graph, mine), last))
    return found
