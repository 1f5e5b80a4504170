"""Element-wise functions of two tensors that broadcast as in numpy: Add, Sub, Mul, Div, PRelu, Pow, Max, Min."""

from __future__ import annotations

from collections.abc import Mapping

from codl.graph import Graph, Node
from codl.ops import image
from codl.ops.activation import FLOPS
from codl.ops.geometry import broadcast_region, feature_map_dimensions, light_work
from codl.ops.launch import KernelProgram, KernelRequest
from codl.ops.spec import Dimension, OpSpec, Work
from codl.ops.strided import Loop, Operand, constants, elementwise, operand_view, output_operand
from codl.region import Region


class Binary(OpSpec):
    """`a`, `b` of any rank, either may be constant; attribute `kind` add, sub, mul, div, prelu (a = x, b = slope),
    pow, max or min.

    The output has numpy's broadcast shape. An activation may be fused.
    """

    family = "binary"
    onnx_types = ("Add", "Sub", "Mul", "Div", "PRelu", "Pow", "Max", "Min")

    def dimensions(self, graph: Graph, node: Node) -> Mapping[Dimension, int]:
        return feature_map_dimensions(graph.tensor(node.output).shape)

    def input_regions(self, graph: Graph, node: Node, out: Region) -> tuple[Region, ...]:
        return tuple(broadcast_region(tensor.shape, out) for _, tensor in graph.variable_inputs(node))

    def work(self, graph: Graph, node: Node, out: Region) -> Work:
        own = 20 if node.attributes["kind"] == "pow" else 1
        flops = own + (FLOPS[node.activation.kind] if node.activation else 0)
        return light_work(graph, node, out, self.input_regions(graph, node, out), "elementwise", flops)

    def algorithms(self, graph: Graph, node: Node) -> tuple[str, ...]:
        return ("elementwise",)

    def program(self, request: KernelRequest) -> KernelProgram:
        shapes = [request.graph.tensor(value).shape for value in request.node.inputs]
        sources = [
            Operand.broadcast(*operand_view(request, position), shape, request.out)
            for position, shape in enumerate(shapes)
        ]
        loop = Loop(request.out.shape, (output_operand(request), *sources))
        launches = elementwise(loop, request.device, str(request.node.attributes["kind"]), request.node.activation)
        return KernelProgram(launches, constants(request))

    def image_algorithms(self, graph: Graph, node: Node) -> tuple[str, ...]:
        return ("elementwise",) if image.takes_elementwise(graph, node) else ()

    def image_program(self, request: KernelRequest) -> KernelProgram:
        if request.out.empty:
            return KernelProgram()
        return image.elementwise(request, str(request.node.attributes["kind"]), request.node.activation)
