"""Decisions that others published, as plans: the CoDL authors' files, per operator and chained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from codl.cost import CostModel
from codl.documents import Section, validate
from codl.errors import PlanError, SchemaError
from codl.graph import Graph
from codl.hardware import Hardware
from codl.io import read_json
from codl.ops import REGISTRY, Dimension
from codl.plan.model import Chain, Plan
from codl.plan.partition import exits
from codl.plan.problem import Problem

_DIMENSIONS = {"H": Dimension.HEIGHT, "OC": Dimension.OUTPUT_CHANNEL}


class Decisions(Section):
    """One set of decisions: per operator, in the order of the list; chains as lengths in order."""

    partition_dim: list[Literal["H", "OC"]]
    gpu_ratio: list[float] = Field(min_length=1)
    chain_lengths: list[int] | None = None


class PublishedPlan(Section):
    """A file of `codl plan --published`."""

    model: str
    soc: str
    operators: int
    per_operator: Decisions | None = None
    chained: Decisions | None = None


@dataclass(frozen=True, slots=True)
class Agreement:
    """Shares of operators for which two plans decide alike."""

    dimension: float
    ratio: float
    """Within 0.1."""
    chain_ends: float


def read_published(path: Path | str) -> PublishedPlan:
    """A file in the authors' format.

    Raises:
        FileError, SchemaError: missing, not JSON, or lists that do not fit each other.
    """
    found = validate(PublishedPlan, read_json(path), path)
    problems = []
    for name in ("per_operator", "chained"):
        decisions: Decisions | None = getattr(found, name)
        if decisions is None:
            continue
        counts = {"partition_dim": len(decisions.partition_dim), "gpu_ratio": len(decisions.gpu_ratio)}
        problems += [
            (f"{name}.{field}", f"has {count} entries for {found.operators} operators")
            for field, count in counts.items()
            if count != found.operators
        ]
        if decisions.chain_lengths and sum(decisions.chain_lengths) != found.operators:
            problems.append((f"{name}.chain_lengths", f"sum to {sum(decisions.chain_lengths)}, not {found.operators}"))
        problems += [(f"{name}.gpu_ratio", f"{r} is not in [0, 1]") for r in decisions.gpu_ratio if not 0 <= r <= 1]
    if found.per_operator is None and found.chained is None:
        problems.append(("", "holds neither per_operator nor chained"))
    if problems:
        raise SchemaError(path, problems)
    return found


def from_published(path: Path | str, graph: Graph, hardware: Hardware, cost: CostModel) -> Plan:
    """The plan that a published file describes: its chained decisions, or those per operator where it has no others.

    A chain takes its dimension and ratio from its first operator. Where operators of a listed chain do not feed one
    another, or a result is read outside of it, the chain is cut there, since nothing else could run.

    Raises:
        FileError, SchemaError: see `read_published`.
        PlanError: the file is for a model with another number of operators.
    """
    found = read_published(path)
    if found.operators != len(graph):
        raise PlanError(f"{path}: decides {found.operators} operators ({found.model}); {graph.name} has {len(graph)}")
    decisions = found.chained or found.per_operator
    assert decisions is not None
    problem = Problem(graph, hardware, cost)
    chains: list[Chain] = []
    start = 0
    for length in decisions.chain_lengths or [1] * found.operators:
        names = [node.name for node in graph.nodes[start : start + length]]
        runs = _runs(graph, names, _DIMENSIONS[decisions.partition_dim[start]])
        chains += [_chain(graph, run, problem, decisions, start) for run in runs]
        start += length
    return problem.plan("published", chains)


def _runs(graph: Graph, names: Sequence[str], dimension: Dimension) -> list[list[str]]:
    """The operators of a listed chain, cut into the longest runs that can be chained."""
    runs: list[list[str]] = []
    rest = list(names)
    while rest:
        length = next(n for n in range(len(rest), 0, -1) if n == 1 or _chainable(graph, rest[:n], dimension))
        runs.append(rest[:length])
        rest = rest[length:]
    return runs


def _chainable(graph: Graph, names: Sequence[str], dimension: Dimension) -> bool:
    last = graph.by_name[names[-1]]
    nodes = [graph.by_name[name] for name in names]
    return set(exits(graph, names)) <= set(last.outputs) and all(
        dimension in REGISTRY[node].dimensions(graph, node) for node in nodes
    )


def _chain(graph: Graph, run: Sequence[str], problem: Problem, decisions: Decisions, head: int) -> Chain:
    ratio = decisions.gpu_ratio[head]
    gpu, cpu = problem.gpu, problem.cpu
    if gpu is None or cpu is None:
        raise PlanError(f"{problem.hardware.name}: a published plan needs a GPU and a CPU")
    dimension = _DIMENSIONS[decisions.partition_dim[head]]
    node = graph.by_name[run[0]]
    if 0 < ratio < 1 and dimension in REGISTRY[node].dimensions(graph, node):
        return Chain(operators=tuple(run), dimension=dimension, shares={gpu: ratio, cpu: 1 - ratio})
    return Chain(operators=tuple(run), shares={gpu if ratio >= 0.5 else cpu: 1.0})


def agreement(first: Plan, second: Plan) -> Agreement:
    """How often two plans for one model decide alike: dimension (a placement has none), GPU share, ends of chains."""
    a, b = _decisions(first), _decisions(second)
    count = max(1, len(a))
    return Agreement(
        dimension=sum(a[name][0] == b[name][0] for name in a) / count,
        ratio=sum(abs(a[name][1] - b[name][1]) <= 0.1 + 1e-9 for name in a) / count,
        chain_ends=sum(a[name][2] == b[name][2] for name in a) / count,
    )


def _decisions(plan: Plan) -> Mapping[str, tuple[Any, float, bool]]:
    kinds = {name: use.kind for name, use in plan.processors.items()}
    table = {}
    for chain in plan.chains:
        for name in chain.operators:
            on = chain.placement(name)
            shares = chain.shares if on is None else {on: 1.0}
            gpu = sum(share for processor, share in shares.items() if kinds[processor] == "gpu")
            table[name] = (chain.dimension if len(shares) > 1 else None, gpu, name == chain.operators[-1])
    return table
