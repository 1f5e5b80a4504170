"""Transpose: the axes in another order."""

from __future__ import annotations

from codl.graph import Graph, Node
from codl.ops.geometry import Moving
from codl.ops.launch import KernelProgram, KernelRequest
from codl.ops.strided import Operand, at, copy, operand_view, output_operand
from codl.region import Range, Region


class Transpose(Moving):
    """Attribute `perm`: axis `k` of the output is axis `perm[k]` of the input."""

    family = "transpose"
    onnx_types = ("Transpose",)

    def input_regions(self, graph: Graph, node: Node, out: Region) -> tuple[Region, ...]:
        perm = node.integers("perm")
        ranges: list[Range] = [(0, 0)] * len(perm)
        for wanted, axis in zip(out.ranges, perm, strict=True):
            ranges[axis] = wanted
        return (Region(tuple(ranges)),)

    def program(self, request: KernelRequest) -> KernelProgram:
        perm = request.node.integers("perm")
        (read,) = self.input_regions(request.graph, request.node, request.out)
        argument, view = operand_view(request, 0)
        source = Operand(argument, at(view, read.start), tuple(view.strides[axis] for axis in perm))
        return KernelProgram(copy(request, request.out.shape, output_operand(request), source))
