"""Max and average pooling (`pool`), global pooling included (a kernel of the whole map)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from codl.graph import Graph, Node
from codl.ops.launch import KernelProgram, KernelRequest
from codl.ops.spec import Dimension, OpSpec, Work
from codl.ops.window import FLOAT, Window, empty_input
from codl.region import Region


class Pool(OpSpec):
    """2-D pooling. Every channel is pooled by itself: a box of channels reads the same channels."""

    family: ClassVar[str] = "pool"
    onnx_types: ClassVar[tuple[str, ...]] = ("MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool")
    tolerance: ClassVar[float] = 1e-5

    def dimensions(self, graph: Graph, node: Node) -> Mapping[Dimension, int]:
        return {Dimension.HEIGHT: 2, Dimension.WIDTH: 3, Dimension.OUTPUT_CHANNEL: 1}

    def input_regions(self, graph: Graph, node: Node, out: Region) -> tuple[Region, ...]:
        _, _, height, width = graph.tensor(node.inputs[0]).shape
        window = Window.of(node)
        batch, channels, rows, columns = out.ranges
        box = (batch, channels, window.reads(0, rows, height), window.reads(1, columns, width))
        return (empty_input(out, box),)

    def work(self, graph: Graph, node: Node, out: Region) -> Work:
        window = Window.of(node)
        (read,) = self.input_regions(graph, node, out)
        batch, channels, rows, columns = out.shape
        return Work(
            kind="pool",
            batch=batch,
            out_h=rows,
            out_w=columns,
            out_channels=channels,
            in_h=read.shape[2],
            in_w=read.shape[3],
            in_channels=1,
            kernel_h=window.kernel[0],
            kernel_w=window.kernel[1],
            stride_h=window.stride[0],
            stride_w=window.stride[1],
            dilation_h=window.dilation[0],
            dilation_w=window.dilation[1],
            groups=channels,
            flops=float(out.size * window.taps),
            input_bytes=read.size * FLOAT,
            output_bytes=out.size * FLOAT,
        )

    def algorithms(self, graph: Graph, node: Node) -> tuple[str, ...]:
        return ("direct",)

    def program(self, request: KernelRequest) -> KernelProgram:
        raise NotImplementedError
