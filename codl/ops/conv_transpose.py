"""Transposed convolution (`conv_transpose`): each input element adds its kernel into the output."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from codl.graph import Graph, Node
from codl.ops.conv import groups
from codl.ops.launch import KernelProgram, KernelRequest
from codl.ops.spec import Dimension, OpSpec, Work
from codl.ops.window import FLOAT, Window, channels_of_groups, empty_input, has_bias
from codl.region import Region


class ConvTranspose(OpSpec):
    """2-D transposed convolution with an optional bias and activation; weights are (IC, OC/group, kh, kw)."""

    family: ClassVar[str] = "conv_transpose"
    onnx_types: ClassVar[tuple[str, ...]] = ("ConvTranspose",)
    tolerance: ClassVar[float] = 1e-5

    def dimensions(self, graph: Graph, node: Node) -> Mapping[Dimension, int]:
        return {Dimension.HEIGHT: 2, Dimension.WIDTH: 3, Dimension.OUTPUT_CHANNEL: 1}

    def input_regions(self, graph: Graph, node: Node, out: Region) -> tuple[Region, ...]:
        _, channels_in, height, width = graph.tensor(node.inputs[0]).shape
        ocg = graph.tensor(node.inputs[1]).shape[1]
        window = Window.of(node)
        batch, channels, rows, columns = out.ranges
        box = (
            batch,
            channels_of_groups(channels, ocg, channels_in // groups(node)),
            window.scattered_from(0, rows, height),
            window.scattered_from(1, columns, width),
        )
        return (empty_input(out, box),)

    def work(self, graph: Graph, node: Node, out: Region) -> Work:
        window = Window.of(node)
        (read,) = self.input_regions(graph, node, out)
        icg = graph.tensor(node.inputs[0]).shape[1] // groups(node)
        batch, channels, rows, columns = out.shape
        weights = channels * (icg * window.taps + has_bias(node))
        # each input element is multiplied with the whole kernel; over the output that is taps / stride**2 an element
        per_output = icg * window.taps / (window.stride[0] * window.stride[1])
        return Work(
            kind="conv_transpose",
            batch=batch,
            out_h=rows,
            out_w=columns,
            out_channels=channels,
            in_h=read.shape[2],
            in_w=read.shape[3],
            in_channels=icg,
            kernel_h=window.kernel[0],
            kernel_w=window.kernel[1],
            stride_h=window.stride[0],
            stride_w=window.stride[1],
            dilation_h=window.dilation[0],
            dilation_w=window.dilation[1],
            groups=read.shape[1] // icg,
            flops=2.0 * out.size * per_output,
            input_bytes=read.size * FLOAT,
            output_bytes=out.size * FLOAT,
            weight_bytes=0 if out.empty else weights * FLOAT,
        )

    def algorithms(self, graph: Graph, node: Node) -> tuple[str, ...]:
        return ("gemm",)

    def program(self, request: KernelRequest) -> KernelProgram:
        raise NotImplementedError
