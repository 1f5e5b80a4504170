"""Matrix product with constant weights (`gemm`): fully connected layers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from codl.graph import Graph, Node
from codl.ops.launch import KernelProgram, KernelRequest
from codl.ops.spec import Dimension, OpSpec, Work
from codl.ops.window import FLOAT, has_bias
from codl.region import Region


class Gemm(OpSpec):
    """x (..., K) times w (K, N), plus an optional bias (N) and activation.

    The output's last axis is split as output channels: each part reads all of x and its own columns of w.
    """

    family: ClassVar[str] = "gemm"
    onnx_types: ClassVar[tuple[str, ...]] = ("Gemm", "MatMul")
    tolerance: ClassVar[float] = 1e-5

    def dimensions(self, graph: Graph, node: Node) -> Mapping[Dimension, int]:
        return {Dimension.OUTPUT_CHANNEL: len(graph.tensor(node.output).shape) - 1}

    def input_regions(self, graph: Graph, node: Node, out: Region) -> tuple[Region, ...]:
        depth = graph.tensor(node.inputs[0]).shape[-1]
        if out.empty:
            return (Region(tuple((0, 0) for _ in out.ranges)),)
        return (Region((*out.ranges[:-1], (0, depth))),)

    def work(self, graph: Graph, node: Node, out: Region) -> Work:
        depth = graph.tensor(node.inputs[0]).shape[-1]
        columns = out.shape[-1]
        rows = 0 if out.empty else out.size // columns
        return Work(
            kind="fc",
            batch=rows,
            out_h=1,
            out_w=1,
            out_channels=columns,
            in_h=1,
            in_w=1,
            in_channels=depth,
            flops=2.0 * out.size * depth,
            input_bytes=rows * depth * FLOAT,
            output_bytes=out.size * FLOAT,
            weight_bytes=0 if out.empty else columns * (depth + has_bias(node)) * FLOAT,
        )

    def algorithms(self, graph: Graph, node: Node) -> tuple[str, ...]:
        return ("gemm",)

    def program(self, request: KernelRequest) -> KernelProgram:
        raise NotImplementedError
