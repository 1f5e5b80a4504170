"""Element-wise functions of one tensor."""

from __future__ import annotations

from collections.abc import Mapping

from codl.graph import Activation, Graph, Node
from codl.ops import image
from codl.ops.activation import FLOPS
from codl.ops.geometry import feature_map_dimensions, light_work
from codl.ops.launch import KernelProgram, KernelRequest
from codl.ops.spec import Dimension, OpSpec, Work
from codl.ops.strided import Loop, Operand, constants, elementwise, operand_view, output_operand
from codl.region import Region


class Unary(OpSpec):
    """`x` of any rank; attributes `kind` and `params` as `codl.graph.Activation` has them."""

    family = "unary"
    onnx_types = (
        "Relu", "LeakyRelu", "Clip", "Sigmoid", "Tanh", "HardSwish", "HardSigmoid", "Swish", "Gelu", "Elu", "Selu",
        "Softplus", "Mish", "Exp", "Log", "Sqrt", "Reciprocal", "Abs", "Neg", "Erf", "Floor", "Ceil", "Sin", "Cos",
    )  # fmt: skip

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
        tail = _tail(request.node)
        loop = Loop(extents, (output_operand(request), source))
        return KernelProgram(elementwise(loop, request.device, tail=tail), constants(request))

    def image_algorithms(self, graph: Graph, node: Node) -> tuple[str, ...]:
        return ("elementwise",) if image.takes_elementwise(graph, node) else ()

    def image_program(self, request: KernelRequest) -> KernelProgram:
        if request.out.empty:
            return KernelProgram()
        return image.elementwise(request, tail=_tail(request.node))


def _tail(node: Node) -> Activation:
    # lowering made them floats
    return Activation(str(node.attributes["kind"]), node.attributes["params"])  # type: ignore[arg-type]
