"""Instance, layer and group normalisation: zero mean and unit variance over some axes, then a scale and a shift."""

from __future__ import annotations

from collections.abc import Mapping

from codl.graph import Graph, Node
from codl.ops.geometry import feature_map_dimensions, light_work, whole_along
from codl.ops.launch import DeviceTraits, KernelProgram, KernelRequest, Launch
from codl.ops.reduction import Reduction, grid, reduction
from codl.ops.spec import Dimension, OpSpec, Work
from codl.ops.strided import GRAIN, Operand, constants, operand_view, output_operand, simd_lanes
from codl.region import Region


class Normalize(OpSpec):
    """`x`, a constant scale and a constant shift that broadcast to it as in numpy; attributes `axes` (normalised
    together, all >= 0) and `epsilon`. It can be cut along the other axes."""

    family = "normalize"
    onnx_types = ("InstanceNormalization", "LayerNormalization", "GroupNormalization")
    tolerance = 2e-5

    def dimensions(self, graph: Graph, node: Node) -> Mapping[Dimension, int]:
        return feature_map_dimensions(graph.tensor(node.output).shape, without=normalised(node))

    def input_regions(self, graph: Graph, node: Node, out: Region) -> tuple[Region, ...]:
        return (whole_along(out, normalised(node), graph.tensor(node.inputs[0]).shape),)

    def work(self, graph: Graph, node: Node, out: Region) -> Work:
        return light_work(graph, node, out, self.input_regions(graph, node, out), "elementwise", 7)

    def algorithms(self, graph: Graph, node: Node) -> tuple[str, ...]:
        return ("normalize",)

    def program(self, request: KernelRequest) -> KernelProgram:
        graph, node = request.graph, request.node
        (read,) = self.input_regions(graph, node, request.out)
        if request.out.empty:
            return KernelProgram()
        affine = [
            Operand.broadcast(*operand_view(request, place), graph.tensor(node.inputs[place]).shape, read)
            for place in (1, 2)
        ]
        operands = (output_operand(request), Operand.of(*operand_view(request, 0), read), *affine)
        steps = reduction(read.shape, normalised(node), operands, 1, request.device)
        launch = _launch(steps, node.number("epsilon"), request.device)
        return KernelProgram((*steps.before, launch, *steps.after), constants(request), steps.scratch)


def _launch(steps: Reduction, epsilon: float, device: DeviceTraits) -> Launch:
    lanes = simd_lanes(device)
    chunk = max(GRAIN // (8 * steps.reduced.size) // lanes, 1) * lanes
    defines, global_size, local_size = grid(steps, chunk, device)
    pairs = zip(steps.reduced.operands, steps.kept.operands, strict=True)
    return Launch(
        source="cl/normalize.cl",
        entry="normalized",
        defines=defines,
        arguments=(
            *(operand.argument for operand in steps.kept.operands),
            *(operand.offset for operand in steps.kept.operands),
            *steps.reduced.extents,
            *reversed(steps.kept.extents),
            *(stride for along, kept in pairs for stride in (*along.strides, *reversed(kept.strides))),
            chunk,
            epsilon,
        ),
        global_size=global_size,
        local_size=local_size,
    )


def normalised(node: Node) -> tuple[int, ...]:
    """The axes that share a mean and a variance."""
    return node.integers("axes")
