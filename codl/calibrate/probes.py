"""Which pieces of the probe network are timed: operators whole and in part, by every kernel that can run them."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass

from codl.calibrate.network import is_large, is_producer
from codl.graph import Graph, Node, Tensor
from codl.ops import REGISTRY, Dimension
from codl.ops.image import Layout
from codl.region import Region

_IMAGE_FLOPS = 200e6
_IMAGE_EVERY = {"conv": 2, "pool": 2, "binary": 5, "unary": 5, "concat": 2}
"""Of the operators of a family, one in so many is timed on images."""


@dataclass(frozen=True, slots=True)
class Probe:
    """A piece of work to time: one region of one operator, by one kernel variant."""

    node: Node
    region: Region
    algorithm: str
    data_type: str = "buffer"

    def __hash__(self) -> int:  # a node is not hashable, its name in the probe network is
        return hash((self.node.name, self.region, self.algorithm, self.data_type))


def probes(
    graph: Graph, host: bool, float16: bool = False, large: Collection[str] = (), cpu: bool = True
) -> Iterator[Probe]:
    """What to time of each operator: all of it by every kernel variant, and parts by height and by output channel.

    Which part depends on the operator's place in the list, so that shares and offsets vary.

    Args:
        host: for the CPU, which also runs the fallback.
        float16: variants that store weights as float16, too.
        large: of what is there for wide processors, the families that are timed, too.
        cpu: of a CPU device, which has variants of its own.
    """
    for index, node in enumerate(node for node in graph.nodes if not is_producer(node)):
        spec = REGISTRY[node]
        if (spec.host_only and not host) or (is_large(node) and node.op not in large):
            continue
        whole = Region.full(graph.tensors[node.output].shape)
        dimensions = spec.dimensions(graph, node)
        parts = [whole]
        for position, (dimension, step) in enumerate(((Dimension.HEIGHT, 2), (Dimension.OUTPUT_CHANNEL, 32))):
            if dimension in dimensions and (node.op in ("conv", "gemm") or (index + position) % 3 == 0):
                if whole.shape[dimensions[dimension]] < 2 * step:
                    continue
                share = (0.3, 0.65, 0.45)[(index + position) % 3]
                parts.append(_part(whole, dimensions[dimension], share, step, index % 2 == 1))
        for algorithm in spec.variants(graph, node, "buffer") if float16 else spec.algorithms(graph, node):
            if algorithm in spec.for_cpus and not cpu:
                continue
            for part in dict.fromkeys(parts):
                yield Probe(node, part, algorithm)


def image_probes(graph: Graph, limits: tuple[int, int]) -> Iterator[Probe]:
    """What to time on images: a few operators of each family that has kernels on them, and parts of some. Not the
    largest: kernels on images are slow on a device that has no texture units.

    Args:
        limits: width and height, in texels, of the largest image.
    """
    count: dict[str, int] = {}
    for node in graph.nodes:
        spec = REGISTRY[node]
        whole = Region.full(graph.tensors[node.output].shape)
        if is_producer(node) or is_large(node) or spec.work(graph, node, whole).flops > _IMAGE_FLOPS:
            continue
        if not all(_fits(tensor, limits) for tensor in _feature_maps(graph, node)):
            continue
        for algorithm in spec.image_algorithms(graph, node):
            family = f"{node.op}/{algorithm}"
            count[family] = index = count.get(family, -1) + 1
            if index % _IMAGE_EVERY.get(node.op, 1):
                continue
            yield Probe(node, whole, algorithm, "image")
            if node.op == "conv" and whole.shape[2] >= 8 and index // _IMAGE_EVERY["conv"] % 3 == 0:
                yield Probe(node, _part(whole, 2, 0.45, 2, index % 2 == 1), algorithm, "image")


def _feature_maps(graph: Graph, node: Node) -> Iterator[Tensor]:
    """What an operator reads that is not constant, and what it makes."""
    yield from (tensor for _, tensor in graph.variable_inputs(node))
    yield graph.tensors[node.output]


def _fits(tensor: Tensor, limits: tuple[int, int]) -> bool:
    """Whether a tensor fits an image."""
    layout = Layout.of(Region.full(tensor.shape))
    return layout.width <= limits[0] and layout.height <= limits[1]


def _part(whole: Region, axis: int, share: float, step: int, from_end: bool) -> Region:
    """A share of the box along an axis, in whole steps, from either end."""
    extent = whole.shape[axis]
    size = max(1, round(share * extent / step)) * step
    return whole.along(axis, extent - size, extent) if from_end else whole.along(axis, 0, size)
