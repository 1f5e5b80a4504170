"""ReduceMean: the average over some axes."""

from __future__ import annotations

from collections.abc import Mapping

from codl.graph import Graph, Node
from codl.ops.geometry import feature_map_dimensions, light_work
from codl.ops.launch import KernelProgram, KernelRequest
from codl.ops.spec import Dimension, OpSpec, Work
from codl.region import Range, Region


class ReduceMean(OpSpec):
    """Attributes `axes` (all >= 0) and `keepdims`. With `keepdims` a feature map can be cut along the other axes."""

    family = "reduce_mean"
    onnx_types = ("ReduceMean",)

    def dimensions(self, graph: Graph, node: Node) -> Mapping[Dimension, int]:
        if not node.attributes["keepdims"]:
            return {}
        return feature_map_dimensions(graph.tensor(node.output).shape, without=reduced(node))

    def input_regions(self, graph: Graph, node: Node, out: Region) -> tuple[Region, ...]:
        shape = graph.tensor(node.inputs[0]).shape
        axes = reduced(node)
        wanted = iter(out.ranges)
        ranges: list[Range] = []
        for axis, extent in enumerate(shape):
            if axis not in axes:
                ranges.append(next(wanted))
                continue
            if node.attributes["keepdims"]:
                next(wanted)
            ranges.append((0, extent))
        return (Region(tuple(ranges)),)

    def work(self, graph: Graph, node: Node, out: Region) -> Work:
        inputs = self.input_regions(graph, node, out)
        return light_work(graph, node, out, inputs, "elementwise", inputs[0].size / max(out.size, 1))

    def algorithms(self, graph: Graph, node: Node) -> tuple[str, ...]:
        return ("reduce",)

    def program(self, request: KernelRequest) -> KernelProgram:
        raise NotImplementedError


def reduced(node: Node) -> frozenset[int]:
    """The axes averaged over."""
    return frozenset(node.attributes["axes"])  # type: ignore[arg-type]
