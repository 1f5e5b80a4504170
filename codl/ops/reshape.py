"""Reshape, and whatever else keeps the elements and their logical order: Flatten, Squeeze, Unsqueeze, Identity."""

from __future__ import annotations

from codl.graph import Graph, Node
from codl.ops.geometry import light_work
from codl.ops.launch import KernelProgram, KernelRequest
from codl.ops.spec import OpSpec, Work
from codl.region import Region


class Reshape(OpSpec):
    """`x` of any rank to the output tensor's shape. Never split: a box of the output is no box of the input."""

    family = "reshape"
    onnx_types = ("Reshape", "Flatten", "Squeeze", "Unsqueeze", "Identity", "Dropout")

    def work(self, graph: Graph, node: Node, out: Region) -> Work:
        return light_work(graph, node, out, self.input_regions(graph, node, out), "move", 0)

    def algorithms(self, graph: Graph, node: Node) -> tuple[str, ...]:
        return ("move",)

    def program(self, request: KernelRequest) -> KernelProgram:
        raise NotImplementedError
