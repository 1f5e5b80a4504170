"""Softmax: exponentials divided by their sum over one or several neighbouring axes."""

from __future__ import annotations

from collections.abc import Mapping

from codl.graph import Graph, Node
from codl.ops.geometry import feature_map_dimensions, light_work
from codl.ops.launch import KernelProgram, KernelRequest
from codl.ops.spec import Dimension, OpSpec, Work
from codl.region import Region


class Softmax(OpSpec):
    """Normalised together: the axes `axis` to `last_axis` - 1 (all behind `axis` before opset 13). It can be cut
    along the others."""

    family = "softmax"
    onnx_types = ("Softmax",)

    def dimensions(self, graph: Graph, node: Node) -> Mapping[Dimension, int]:
        return feature_map_dimensions(graph.tensor(node.output).shape, without=normalised(node))

    def input_regions(self, graph: Graph, node: Node, out: Region) -> tuple[Region, ...]:
        shape = graph.tensor(node.inputs[0]).shape
        for axis in normalised(node):
            out = out.along(axis, 0, shape[axis])
        return (out,)

    def work(self, graph: Graph, node: Node, out: Region) -> Work:
        return light_work(graph, node, out, self.input_regions(graph, node, out), "elementwise", 14)

    def algorithms(self, graph: Graph, node: Node) -> tuple[str, ...]:
        return ("softmax",)

    def program(self, request: KernelRequest) -> KernelProgram:
        raise NotImplementedError


def normalised(node: Node) -> range:
    """The axes that are normalised together."""
    return range(int(node.attributes["axis"]), int(node.attributes["last_axis"]))  # type: ignore[arg-type]
