"""Plans made by hand or drawn at random: any partition, on purpose without a planner."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import strategies as st

from codl.graph import Graph
from codl.ops import REGISTRY, Dimension
from codl.plan.model import Chain, Plan, ProcessorUse, Reference
from codl.plan.partition import exits


def plan_of(graph: Graph, chains: Sequence[Chain], sharing: str = "unified", image: bool = False, **fields) -> Plan:
    """A plan for processors `gpu` and `cpu`."""
    return Plan(
        model=Reference(name=graph.name, digest=graph.digest),
        hardware=Reference(name="test", digest="0" * 16),
        planner="hand",
        processors={
            "gpu": ProcessorUse(kind="gpu", data_type="image" if image else "buffer"),
            "cpu": ProcessorUse(kind="cpu"),
        },
        sharing=sharing,
        chains=tuple(chains),
        **fields,
    )


def placed(graph: Graph, processor: str, **fields) -> Plan:
    """Everything on one processor, one chain an operator."""
    return plan_of(graph, [Chain(operators=(n.name,), shares={processor: 1.0}) for n in graph.nodes], **fields)


def split(graph: Graph, dimension: Dimension, ratio: float = 0.5, **fields) -> Plan:
    """Every operator that allows it split along one dimension, no chains; the others on the CPU."""
    chains = []
    for node in graph.nodes:
        if dimension in REGISTRY[node].dimensions(graph, node):
            chains.append(Chain(operators=(node.name,), dimension=dimension, shares={"gpu": ratio, "cpu": 1 - ratio}))
        else:
            chains.append(Chain(operators=(node.name,), shares={"cpu": 1.0}))
    return plan_of(graph, chains, **fields)


@st.composite
def plans(
    draw: st.DrawFn, graph: Graph, sharings: Sequence[str] = ("unified", "mapped", "copied"), mixed: bool = False
) -> Plan:
    """Any legal plan of a graph: random chains, dimensions, ratios and placements.

    Args:
        mixed: where the GPU works on images, operators without a kernel on them, and any others, take buffers.
    """
    chains: list[Chain] = []
    names = [node.name for node in graph.nodes]
    while names:
        length = draw(st.integers(1, len(names)))
        if draw(st.booleans()):
            chains.append(Chain(operators=tuple(names[:length]), shares={draw(st.sampled_from(["gpu", "cpu"])): 1.0}))
        else:
            length, dimension = _longest_split(draw, graph, names[:length])
            ratio = draw(st.floats(0.05, 0.95))
            shares = {"gpu": ratio, "cpu": 1 - ratio} if dimension else {"cpu": 1.0}
            chains.append(Chain(operators=tuple(names[:length]), dimension=dimension, shares=shares))
        names = names[length:]
    sharing = draw(st.sampled_from(list(sharings)))
    image = draw(st.booleans())
    fields = {"data_types": draw(buffers_among_images(graph))} if image and mixed else {}
    home = "gpu" if sharing == "mapped" and draw(st.booleans()) else None
    alignment = {Dimension.OUTPUT_CHANNEL: draw(st.sampled_from([1, 4])), Dimension.HEIGHT: draw(st.integers(1, 2))}
    return plan_of(graph, chains, sharing, image, home=home, alignment=alignment, **fields)


@st.composite
def buffers_among_images(draw: st.DrawFn, graph: Graph) -> dict[str, dict[str, str]]:
    """`Plan.data_types` for a GPU that works on images."""
    able = [node.name for node in graph.nodes if REGISTRY[node].image_algorithms(graph, node)]
    chosen = draw(st.sets(st.sampled_from(able), max_size=3)) if able else set()
    return {node.name: {"gpu": "buffer"} for node in graph.nodes if node.name in chosen or node.name not in able}


def _longest_split(draw: st.DrawFn, graph: Graph, names: list[str]) -> tuple[int, Dimension | None]:
    """The longest legal split chain that begins with these operators, and its dimension."""
    dimension = draw(st.sampled_from(list(Dimension)))
    for length in range(len(names), 0, -1):
        nodes = [graph.by_name[name] for name in names[:length]]
        allowed = all(dimension in REGISTRY[node].dimensions(graph, node) for node in nodes)
        if allowed and set(exits(graph, names[:length])) <= set(nodes[-1].outputs):
            return length, dimension
    return 1, None
