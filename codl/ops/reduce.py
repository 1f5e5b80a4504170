"""ReduceMean, ReduceSum, ReduceMax, ReduceMin: the elements along some axes made one."""

from __future__ import annotations

from collections.abc import Mapping

from codl.graph import Graph, Node
from codl.ops.geometry import feature_map_dimensions, light_work
from codl.ops.launch import DeviceTraits, KernelProgram, KernelRequest, Launch
from codl.ops.reduction import Reduction, grid, reduction
from codl.ops.spec import Dimension, OpSpec, Work
from codl.ops.strided import Operand, operand_view, output_operand, simd_lanes
from codl.region import Range, Region

KINDS = {"mean": 0, "sum": 0, "max": 1, "min": 2}
"""`REDUCE` in `cl/reduce.cl`, by kind; a mean is a scaled sum."""


class Reduce(OpSpec):
    """Attributes `kind` (of `KINDS`), `axes` (all >= 0) and `keepdims`. With `keepdims` a feature map can be cut along
    the other axes."""

    family = "reduce"
    onnx_types = ("ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin")

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
        (read,) = self.input_regions(request.graph, request.node, request.out)
        if request.out.empty:
            return KernelProgram()
        axes = reduced(request.node)
        source = Operand.of(*operand_view(request, 0), read)
        target = _with_axes(output_operand(request), request.node, len(read.ranges))
        steps = reduction(read.shape, sorted(axes), (target, source), 2, request.device)
        launch = _launch(steps, str(request.node.attributes["kind"]), request.device)
        return KernelProgram((*steps.before, launch, *steps.after), scratch=steps.scratch)


def _with_axes(target: Operand, node: Node, rank: int) -> Operand:
    """The output as an operand of a loop over the input's axes: stride 0 on those reduced."""
    axes = reduced(node)
    own = iter(target.strides)
    strides = []
    for axis in range(rank):
        stride = next(own) if axis not in axes or node.attributes["keepdims"] else 0
        strides.append(0 if axis in axes else stride)
    return Operand(target.argument, target.offset, tuple(strides))


def _launch(steps: Reduction, kind: str, device: DeviceTraits) -> Launch:
    out, a = steps.kept.operands
    inner = steps.kept.extents[-1]
    chunk = min(inner, 4 * simd_lanes(device))
    defines, global_size, local_size = grid(steps, chunk, device)
    return Launch(
        source="cl/reduce.cl",
        entry="reduce",
        defines=(*defines, ("REDUCE", KINDS[kind])),
        arguments=(
            out.argument, a.argument, out.offset, a.offset, *reversed(steps.reduced.extents),
            *reversed(steps.kept.extents), *reversed(steps.reduced.operands[1].strides), *reversed(out.strides),
            *reversed(a.strides), chunk, 1.0 / steps.reduced.size if kind == "mean" else 1.0,
        ),
        global_size=global_size,
        local_size=local_size,
    )  # fmt: skip


def reduced(node: Node) -> frozenset[int]:
    """The axes that disappear, or keep one element."""
    return frozenset(node.integers("axes"))
