"""Max and average pooling (`pool`), global pooling included (a kernel of the whole map)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from codl.graph import Graph, Node
from codl.ops import image
from codl.ops.depthwise import rows_per_item
from codl.ops.launch import Input, KernelProgram, KernelRequest, Launch, Output
from codl.ops.spec import Dimension, OpSpec, Work
from codl.ops.tile import Strided, one_each, simd
from codl.ops.window import FLOAT, Window, ceil_div, empty_input
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
            flops=1.0 * out.size * window.taps,
            input_bytes=read.size * FLOAT,
            output_bytes=out.size * FLOAT,
        )

    def algorithms(self, graph: Graph, node: Node) -> tuple[str, ...]:
        return ("direct",)

    def program(self, request: KernelRequest) -> KernelProgram:
        graph, node, out, device = request.graph, request.node, request.out, request.device
        if out.empty:
            return KernelProgram()
        _, _, height, width = graph.tensor(node.inputs[0]).shape
        window = Window.of(node)
        batch, channels, rows, columns = out.ranges
        read = Strided.of(request.inputs[0], (batch[0], channels[0], 0, 0))
        write = Strided.of(request.output, (batch[0], channels[0], rows[0], columns[0]))
        n, c, h, w = out.shape
        origin = (rows[0] * window.stride[0] - window.pads[0], columns[0] * window.stride[1] - window.pads[1])
        arguments = (
            Input(0), Output(), read.offset, read.n, read.y, read.x, height, width,
            write.offset, write.n, write.y, write.x, h, w, c,
            *window.kernel, *window.stride, *origin, *window.dilation, *window.pads,
        )  # fmt: skip
        average = node.attributes["mode"] == "average"
        counted = int(average and bool(node.attributes["count_include_pad"]))
        defines = (("AVERAGE", int(average)), ("COUNT_PADDING", counted))
        if not device.cpu:
            sizes = one_each(out.size)
            return KernelProgram((Launch("cl/pool_gpu.cl", "pool_gpu", defines, (*arguments, out.size), *sizes),))
        at_once = rows_per_item(n * h, w * c * window.taps)
        # a single row of a large window (global pooling) is shared out by channels
        share = c if at_once > 1 else rows_per_item(c // 64, 64 * w * window.taps) * 64
        size = (ceil_div(h, at_once), ceil_div(c, share), n)
        vectors = (("SIMD", simd(device)), *defines)
        return KernelProgram((Launch("cl/pool.cl", "pool", vectors, (*arguments, at_once, share), size),))

    def image_algorithms(self, graph: Graph, node: Node) -> tuple[str, ...]:
        return ("direct",) if image.takes_pool(graph, node) else ()

    def image_program(self, request: KernelRequest) -> KernelProgram:
        return KernelProgram() if request.out.empty else image.pool(request)
