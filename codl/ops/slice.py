"""Slice: every `step`-th element of a range, on each axis."""

from __future__ import annotations

from codl.graph import Graph, Node
from codl.ops.geometry import Moving
from codl.ops.launch import KernelProgram, KernelRequest
from codl.ops.strided import Operand, at, copy, operand_view, output_operand
from codl.region import Range, Region


class Slice(Moving):
    """Attributes `starts` (>= 0) and `steps` (> 0), one for each axis; extents are those of the output."""

    family = "slice"
    onnx_types = ("Slice",)

    def input_regions(self, graph: Graph, node: Node, out: Region) -> tuple[Region, ...]:
        starts = node.integers("starts")
        steps = node.integers("steps")
        ranges: list[Range] = []
        for (low, high), start, step in zip(out.ranges, starts, steps, strict=True):
            begin = start + low * step
            ranges.append((begin, begin + (high - 1 - low) * step + 1 if high > low else begin))
        return (Region(tuple(ranges)),)

    def program(self, request: KernelRequest) -> KernelProgram:
        steps = request.node.integers("steps")
        (read,) = self.input_regions(request.graph, request.node, request.out)
        argument, view = operand_view(request, 0)
        strides = tuple(stride * step for stride, step in zip(view.strides, steps, strict=True))
        source = Operand(argument, at(view, read.start), strides)
        return KernelProgram(copy(request, request.out.shape, output_operand(request), source))
