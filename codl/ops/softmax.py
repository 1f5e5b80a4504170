"""Softmax: exponentials divided by their sum over one or several neighbouring axes."""

from __future__ import annotations

from collections.abc import Mapping

from codl.errors import PlanError
from codl.graph import Graph, Node
from codl.ops.geometry import feature_map_dimensions, light_work, whole_along
from codl.ops.launch import DeviceTraits, KernelProgram, KernelRequest, Launch
from codl.ops.reduction import Reduction, grid, reduction
from codl.ops.spec import Dimension, OpSpec, Work
from codl.ops.strided import GRAIN, Operand, operand_view, output_operand, simd_lanes
from codl.region import Region


class Softmax(OpSpec):
    """Normalised together: the axes `axis` to `last_axis` - 1 (all behind `axis` before opset 13). It can be cut
    along the others."""

    family = "softmax"
    onnx_types = ("Softmax",)

    def dimensions(self, graph: Graph, node: Node) -> Mapping[Dimension, int]:
        return feature_map_dimensions(graph.tensor(node.output).shape, without=normalised(node))

    def input_regions(self, graph: Graph, node: Node, out: Region) -> tuple[Region, ...]:
        return (whole_along(out, normalised(node), graph.tensor(node.inputs[0]).shape),)

    def work(self, graph: Graph, node: Node, out: Region) -> Work:
        return light_work(graph, node, out, self.input_regions(graph, node, out), "elementwise", 14)

    def algorithms(self, graph: Graph, node: Node) -> tuple[str, ...]:
        return ("softmax",)

    def program(self, request: KernelRequest) -> KernelProgram:
        (read,) = self.input_regions(request.graph, request.node, request.out)
        if request.out.empty:
            return KernelProgram()
        if read != request.out:
            raise PlanError(f"{request.node.name}: softmax cannot be cut along an axis that it normalises")
        axes = tuple(normalised(request.node))
        source = Operand.of(*operand_view(request, 0), read)
        steps = reduction(read.shape, axes, (output_operand(request), source), 1, request.device)
        return KernelProgram((*steps.before, _launch(steps, request.device), *steps.after), scratch=steps.scratch)


def _launch(steps: Reduction, device: DeviceTraits) -> Launch:
    lanes = simd_lanes(device)
    chunk = max(GRAIN // (8 * steps.reduced.size) // lanes, 1) * lanes
    defines, global_size, local_size = grid(steps, chunk, device)
    out, a = steps.kept.operands
    out_along, a_along = steps.reduced.operands
    return Launch(
        source="cl/softmax.cl",
        entry="softmax",
        defines=defines,
        arguments=(
            out.argument, a.argument, out.offset, a.offset, *steps.reduced.extents, *reversed(steps.kept.extents),
            *out_along.strides, *reversed(out.strides), *a_along.strides, *reversed(a.strides), chunk,
        ),
        global_size=global_size,
        local_size=local_size,
    )  # fmt: skip


def normalised(node: Node) -> range:
    """The axes that are normalised together."""
    return range(node.integer("axis"), node.integer("last_axis"))
