"""Partition geometry: which box of each operator every processor computes, halo included."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from codl.errors import PlanError
from codl.graph import Graph
from codl.ops import REGISTRY, Dimension
from codl.region import Range, Region


def parts(extent: int, shares: Mapping[str, float], alignment: int = 1) -> dict[str, Range]:
    """Deal out 0..extent in the order of `shares`: disjoint ranges that cover it, cut at multiples of `alignment`.

    Each cut is the cumulative share rounded to the nearest multiple; a processor whose range comes out empty is left
    out, so that a share too small for the kernel's block becomes a placement.

    Args:
        extent: rows or channels to deal out.
        shares: share of each processor, summing to 1, in dealing order.
        alignment: cuts are multiples of this; the end of the last range is `extent` whatever it is.
    """
    dealt: dict[str, Range] = {}
    start, cumulative = 0, 0.0
    names = list(shares)
    for name in names:
        cumulative += shares[name]
        stop = extent if name == names[-1] else min(extent, round(cumulative * extent / alignment) * alignment)
        if stop > start:
            dealt[name] = (start, stop)
            start = stop
    return dealt


def output_parts(
    graph: Graph, operator: str, dimension: Dimension | None, shares: Mapping[str, float], alignment: int = 1
) -> dict[str, Region]:
    """The box of `operator`'s output that each processor makes.

    Raises:
        PlanError: the operator cannot be split along `dimension`.
    """
    node = graph.by_name[operator]
    whole = Region.full(graph.tensors[node.output].shape)
    if len(shares) == 1 or dimension is None:
        return {next(iter(shares)): whole}
    axes = REGISTRY[node].dimensions(graph, node)
    if dimension not in axes:
        allowed = ", ".join(d.value for d in axes) or "none, it runs whole"
        raise PlanError(f"{operator} cannot be split along {dimension.value}; allowed: {allowed}")
    axis = axes[dimension]
    dealt = parts(whole.shape[axis], shares, alignment)
    return {name: whole.along(axis, start, stop) for name, (start, stop) in dealt.items()}


@dataclass(frozen=True, slots=True)
class Piece:
    """One processor's part of a chain: what it computes of every operator, and what it reads of values made before."""

    boxes: dict[str, Region]
    reads: dict[str, Region]


def chain_pieces(graph: Graph, operators: Sequence[str], last_parts: Mapping[str, Region]) -> dict[str, Piece]:
    """The part of a chain that each processor computes so that it can make its part of the last operator.

    Walks the chain backwards: an operator must make the smallest box that holds all that later operators of the chain
    read of it. The boxes of two processors overlap by the halo; that overlap is the chain's redundant work.

    Returns:
        by processor; operators that it need not compute are left out. Boxes are those of (first) outputs.
    """
    pieces: dict[str, Piece] = {}
    last = graph.by_name[operators[-1]]
    inside = {value for name in operators for value in graph.by_name[name].outputs}
    whole_chain = len(last_parts) == 1
    for processor, part in last_parts.items():
        needed: dict[str, Region] = {last.output: part}
        own: dict[str, Region] = {}
        read: dict[str, list[str]] = {}
        for name in reversed(operators):
            node = graph.by_name[name]
            if whole_chain:
                needed[node.output] = Region.full(graph.tensors[node.output].shape)
            region = needed.get(node.output)
            if region is None or region.empty:
                continue
            own[name], read[name] = region, []
            reads = REGISTRY[node].input_regions(graph, node, region)
            for (_, tensor), box in zip(graph.variable_inputs(node), reads, strict=True):
                needed[tensor.name] = needed[tensor.name].hull(box) if tensor.name in needed else box
                if tensor.name not in inside and not box.empty:
                    read[name].append(tensor.name)
        names = [name for name in operators if name in own]
        outside = dict.fromkeys(value for name in names for value in read[name])
        pieces[processor] = Piece({name: own[name] for name in names}, {value: needed[value] for value in outside})
    return pieces


def chain_regions(
    graph: Graph, operators: Sequence[str], last_parts: Mapping[str, Region]
) -> dict[str, dict[str, Region]]:
    """The boxes of `chain_pieces`: processor -> operator -> box of its (first) output."""
    return {processor: piece.boxes for processor, piece in chain_pieces(graph, operators, last_parts).items()}


def placed_regions(graph: Graph, branches: Mapping[str, Sequence[str]]) -> dict[str, dict[str, Region]]:
    """What each processor computes of operators that run whole, side by side: as `chain_regions`.

    Args:
        branches: processor -> its operators.
    """
    return {
        processor: {name: Region.full(graph.tensors[graph.by_name[name].output].shape) for name in names}
        for processor, names in branches.items()
    }


def external_reads(graph: Graph, own: Mapping[str, Region], inside: Collection[str]) -> dict[str, Region]:
    """What a processor's part of a chain reads of values made before the chain: the hull over all its operators.

    Args:
        own: the box of each operator that the processor computes.
        inside: values made in the chain.
    """
    needs: dict[str, Region] = {}
    for name, region in own.items():
        node = graph.by_name[name]
        reads = REGISTRY[node].input_regions(graph, node, region)
        for (_, tensor), box in zip(graph.variable_inputs(node), reads, strict=True):
            if tensor.name not in inside and not box.empty:
                needs[tensor.name] = needs[tensor.name].hull(box) if tensor.name in needs else box
    return needs


def exits(graph: Graph, operators: Sequence[str]) -> tuple[str, ...]:
    """Values made in the chain that are read outside of it or are outputs of the graph, in the order made."""
    inside = set(operators)
    return tuple(
        value
        for name in operators
        for value in graph.by_name[name].outputs
        if value and (value in graph.outputs or any(user.name not in inside for user in graph.consumers[value]))
    )
