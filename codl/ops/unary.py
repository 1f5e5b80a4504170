"""Element-wise functions of one tensor: Relu, LeakyRelu, Clip, Sigmoid, Tanh, HardSwish, HardSigmoid."""

from __future__ import annotations

from collections.abc import Mapping

from codl.graph import Activation, Graph, Node
from codl.ops.geometry import feature_map_dimensions, light_work
from codl.ops.launch import KernelProgram, KernelRequest
from codl.ops.spec import Dimension, OpSpec, Work
from codl.ops.strided import Loop, Operand, constants, elementwise, operand_view, output_operand
from codl.region import Region

FLOPS: Mapping[str, float] = {
    "relu": 1, "leaky_relu": 2, "clip": 2, "sigmoid": 12, "tanh": 12, "hard_swish": 5, "hard_sigmoid": 4,
}  # fmt: skip
"""Floating-point operations per element; an exponential counts as ten."""


class Unary(OpSpec):
    """`x` of any rank; attributes `kind` and `params` as `codl.graph.Activation` has them."""

    family = "unary"
    onnx_types = ("Relu", "LeakyRelu", "Clip", "Sigmoid", "Tanh", "HardSwish", "HardSigmoid")

    def dimensions(self, graph: Graph, node: Node) -> Mapping[Dimension, int]:
        return feature_map_dimensions(graph.tensor(node.output).shape)

    def input_regions(self, graph: Graph, node: Node, out: Region) -> tuple[Region, ...]:
        return (out,)

    def work(self, graph: Graph, node: Node, out: Region) -> Work:
        return light_work(graph, node, out, (out,), "elementwise", FLOPS[str(node.attributes["kind"])])

    def algorithms(self, graph: Graph, node: Node) -> tuple[str, ...]:
        return ("elementwise",)

    def program(self, request: KernelRequest) -> KernelProgram:
        extents = request.out.shape
        source = Operand.of(*operand_view(request, 0), request.out)
        tail = Activation(str(request.node.attributes["kind"]), request.node.attributes["params"])  # type: ignore[arg-type]
        loop = Loop(extents, (output_operand(request), source))
        return KernelProgram(elementwise(loop, request.device, tail=tail), constants(request))
