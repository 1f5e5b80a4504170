"""Max and average pooling (`pool`), global pooling included (a kernel of the whole map)."""

from __future__ import annotations

from typing import ClassVar

from codl.graph import Graph, Node
from codl.ops import image
from codl.ops.depthwise import rows_per_item
from codl.ops.launch import Input, KernelProgram, KernelRequest, Launch, Output
from codl.ops.spec import Work
from codl.ops.tile import Strided, one_each, simd
from codl.ops.window import Window, ceil_div, empty_input
from codl.ops.windowed import Windowed, origin, window_work
from codl.region import Region


class Pool(Windowed):
    """2-D pooling. Every channel is pooled by itself: a box of channels reads the same channels."""

    family: ClassVar[str] = "pool"
    onnx_types: ClassVar[tuple[str, ...]] = ("MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool")
    tolerance: ClassVar[float] = 1e-5

    def input_regions(self, graph: Graph, node: Node, out: Region) -> tuple[Region, ...]:
        _, _, height, width = graph.tensor(node.inputs[0]).shape
        window = Window.of(node)
        batch, channels, rows, columns = out.ranges
        box = (batch, channels, window.reads(0, rows, height), window.reads(1, columns, width))
        return (empty_input(out, box),)

    def work(self, graph: Graph, node: Node, out: Region) -> Work:
        (read,) = self.input_regions(graph, node, out)
        window = Window.of(node)
        channels = graph.tensor(node.inputs[0]).shape[1]
        return window_work(
            "pool", window, read, out, in_channels=1, operations=1.0 * window.taps, all_channels=channels
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
        arguments = (
            Input(0), Output(), read.offset, read.n, read.y, read.x, height, width,
            write.offset, write.n, write.y, write.x, h, w, c,
            *window.kernel, *window.stride, *origin(window, out), *window.dilation, *window.pads,
        )  # fmt: skip
        average = node.attributes["mode"] == "average"
        counted = int(average and bool(node.attributes["count_include_pad"]))
        defines = (("AVERAGE", int(average)), ("COUNT_PADDING", counted))
        if not device.cpu:
            sizes = one_each(out.size)
            return KernelProgram((Launch("cl/pool_gpu.cl", "pool_gpu", defines, (*arguments, out.size), *sizes),))
        at_once = rows_per_item(h, w * c * window.taps, device.compute_units, n)
        # a single row of a large window (global pooling) is shared out by channels
        share = c if at_once > 1 else rows_per_item(c // 64, 64 * w * window.taps) * 64
        size = (ceil_div(h, at_once), ceil_div(c, share), n)
        vectors = (("SIMD", simd(device)), *defines)
        return KernelProgram((Launch("cl/pool.cl", "pool", vectors, (*arguments, at_once, share), size),))

    def image_algorithms(self, graph: Graph, node: Node) -> tuple[str, ...]:
        return ("direct",) if image.takes_pool(graph, node) else ()

    def image_program(self, request: KernelRequest) -> KernelProgram:
        return KernelProgram() if request.out.empty else image.pool(request)
