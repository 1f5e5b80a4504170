"""Convolution (`conv`): NCHW logical shapes, groups, dilation, stride, uneven padding."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from codl.graph import Graph, Node
from codl.ops.launch import KernelProgram, KernelRequest
from codl.ops.spec import Dimension, OpSpec, Work
from codl.ops.window import Window, channels_of_groups, empty_input
from codl.region import Region

FLOAT = 4
"""Bytes of a float32."""


class Conv(OpSpec):
    """2-D convolution with an optional bias and activation.

    Any output box needs one input box: rows and columns with their halo, and the channels of the groups it touches.
    """

    family: ClassVar[str] = "conv"
    onnx_types: ClassVar[tuple[str, ...]] = ("Conv",)
    tolerance: ClassVar[float] = 1e-4  # Winograd F(4,3) loses two digits; the others stay under 1e-5

    def dimensions(self, graph: Graph, node: Node) -> Mapping[Dimension, int]:
        return {Dimension.HEIGHT: 2, Dimension.WIDTH: 3, Dimension.OUTPUT_CHANNEL: 1}

    def input_regions(self, graph: Graph, node: Node, out: Region) -> tuple[Region, ...]:
        _, _, height, width = graph.tensor(node.inputs[0]).shape
        oc, icg = graph.tensor(node.inputs[1]).shape[:2]
        window = Window.of(node)
        batch, channels, rows, columns = out.ranges
        box = (
            batch,
            channels_of_groups(channels, oc // groups(node), icg),
            window.reads(0, rows, height),
            window.reads(1, columns, width),
        )
        return (empty_input(out, box),)

    def work(self, graph: Graph, node: Node, out: Region) -> Work:
        window = Window.of(node)
        (read,) = self.input_regions(graph, node, out)
        icg = graph.tensor(node.inputs[1]).shape[1]
        batch, channels, rows, columns = out.shape
        touched = read.shape[1] // icg
        weights = channels * (icg * window.taps + has_bias(node))
        return Work(
            kind="depthwise" if is_depthwise(graph, node) else "conv",
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
            groups=touched,
            flops=2.0 * out.size * icg * window.taps,
            input_bytes=read.size * FLOAT,
            output_bytes=out.size * FLOAT,
            weight_bytes=0 if out.empty else weights * FLOAT,
        )

    def algorithms(self, graph: Graph, node: Node) -> tuple[str, ...]:
        window = Window.of(node)
        if is_depthwise(graph, node):
            return ("depthwise", "direct")
        if window.taps == 1:
            return ("gemm", "direct")
        return ("direct", "gemm")

    def program(self, request: KernelRequest) -> KernelProgram:
        raise NotImplementedError


def groups(node: Node) -> int:
    """The number of groups of a `conv` or `conv_transpose`."""
    return int(node.attributes["group"])  # type: ignore[arg-type]


def has_bias(node: Node) -> bool:
    """Whether a `conv`, `conv_transpose` or `gemm` has a third input."""
    return len(node.inputs) > 2 and bool(node.inputs[2])


def is_depthwise(graph: Graph, node: Node) -> bool:
    """Whether each output channel reads exactly the input channel of the same number."""
    oc, icg = graph.tensor(node.inputs[1]).shape[:2]
    return icg == 1 and groups(node) == oc > 1
