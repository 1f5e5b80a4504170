"""Transposed convolution (`conv_transpose`): each input element adds its kernel into the output."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from math import gcd
from typing import ClassVar

import numpy as np

from codl.graph import Graph, Node
from codl.ops.conv import bias_of
from codl.ops.launch import Input, KernelProgram, KernelRequest, Output
from codl.ops.spec import Work
from codl.ops.tile import Strided, TileProblem, end_of, joined, program
from codl.ops.window import (
    GroupSpan,
    Window,
    ceil_div,
    channels_of_groups,
    empty_input,
    group_spans,
    groups,
    has_bias,
)
from codl.ops.windowed import Windowed, window_work
from codl.region import Range, Region


class ConvTranspose(Windowed):
    """2-D transposed convolution with an optional bias and activation; weights are (IC, OC/group, kh, kw)."""

    family: ClassVar[str] = "conv_transpose"
    onnx_types: ClassVar[tuple[str, ...]] = ("ConvTranspose",)
    tolerance: ClassVar[float] = 1e-5

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
        # each input element is multiplied with the whole kernel; over the output that is taps / stride**2 an element
        per_output = icg * window.taps / (window.stride[0] * window.stride[1])
        return window_work(
            "conv_transpose", window, read, out,
            in_channels=icg, operations=2.0 * per_output, weights=icg * window.taps + has_bias(node),
        )  # fmt: skip

    def algorithms(self, graph: Graph, node: Node) -> tuple[str, ...]:
        return ("gemm",)

    def program(self, request: KernelRequest) -> KernelProgram:
        """One launch for each residue of the output position modulo the stride: there it is a plain convolution."""
        if request.out.empty:
            return KernelProgram()
        graph, node, out = request.graph, request.node, request.out
        ocg = graph.tensor(node.inputs[1]).shape[1]
        window = Window.of(node)
        parts = product(
            group_spans(out.ranges[1], ocg), phases(window, 0, out.ranges[2]), phases(window, 1, out.ranges[3])
        )
        return joined([program(_problem(request, *part), request.device) for part in parts])


@dataclass(frozen=True, slots=True)
class Phase:
    """Output positions `first`, `first + stride`, ... (`count` of them) along one direction, as a convolution.

    Position number j reads the inputs `origin + j + t * dilation`, t in [0, len(taps)), through the kernel's rows (or
    columns) `taps[t]`.
    """

    first: int
    count: int
    taps: tuple[int, ...]
    origin: int
    dilation: int


def phases(window: Window, direction: int, out: Range) -> list[Phase]:
    """The convolutions that make up a transposed convolution along one direction.

    Tap k adds input i to output o = i * stride - pad + k * dilation, so o reads (o + pad - k * dilation) / stride for
    the taps where that is whole: taps stride / gcd apart, inputs dilation / gcd apart, gcd of stride and dilation.
    """
    stride, dilation, pad = window.stride[direction], window.dilation[direction], window.pads[direction]
    found = []
    for first in range(out[0], min(out[0] + stride, out[1])):
        taps = [tap for tap in range(window.kernel[direction]) if (first + pad - tap * dilation) % stride == 0]
        taps.reverse()  # so that inputs are read upwards
        origin = (first + pad - taps[0] * dilation) // stride if taps else 0
        found.append(
            Phase(first, ceil_div(out[1] - first, stride), tuple(taps), origin, dilation // gcd(stride, dilation))
        )
    return found


def _problem(request: KernelRequest, span: GroupSpan, along_y: Phase, along_x: Phase) -> TileProblem:
    graph, node = request.graph, request.node
    _, channels_in, height, width = graph.tensor(node.inputs[0]).shape
    ocg = graph.tensor(node.inputs[1]).shape[1]
    icg = channels_in // groups(node)
    window = Window.of(node)
    batch = request.out.ranges[0]
    first = span.first * ocg + span.start
    write = Strided.of(request.output, (batch[0], first, along_y.first, along_x.first), ocg)
    taps = f"{','.join(map(str, along_y.taps))}x{','.join(map(str, along_x.taps))}"
    return TileProblem(
        key=f"{node.name}[{first}:{first + (span.count - 1) * ocg + span.size}]/taps{taps}",
        source=Input(0),
        target=Output(),
        read=Strided.of(request.inputs[0], (batch[0], span.first * icg, 0, 0), icg),
        read_end=end_of(request.inputs[0]),
        write=replace(write, y=write.y * window.stride[0], x=write.x * window.stride[1]),
        extent=(height, width),
        batch=batch[1] - batch[0],
        rows=along_y.count,
        columns=along_x.count,
        groups=span.count,
        channels=span.size,
        depth=icg,
        weights=partial(_weights, graph, node, span, along_y.taps, along_x.taps),
        bias=partial(bias_of, graph, node, span, ocg),
        kernel=(len(along_y.taps), len(along_x.taps)),
        origin=(along_y.origin, along_x.origin),
        dilation=(along_y.dilation, along_x.dilation),
        activation=node.activation,
    )


def _weights(graph: Graph, node: Node, span: GroupSpan, rows: tuple[int, ...], columns: tuple[int, ...]) -> np.ndarray:
    """(groups, channels, taps * input channels) of the taps of one phase."""
    weights = graph.constants[node.inputs[1]]
    grouped = weights.reshape(groups(node), -1, *weights.shape[1:])
    chosen = grouped[span.slices[0], :, span.slices[1]][..., list(rows), :][..., list(columns)]
    return np.asarray(chosen.transpose(0, 2, 3, 4, 1).reshape(span.count, span.size, -1))
