"""Convolution (`conv`): NCHW logical shapes, groups, dilation, stride, uneven padding."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import ClassVar

import numpy as np

from codl.graph import Graph, Node
from codl.ops import depthwise, fft, image, narrow, winograd
from codl.ops.launch import Input, KernelProgram, KernelRequest, Output
from codl.ops.residual import has_residual, residual_of
from codl.ops.spec import Work
from codl.ops.tile import Strided, TileProblem, end_of, joined, program
from codl.ops.window import (
    GroupSpan,
    Window,
    channels_of_groups,
    empty_input,
    group_spans,
    groups,
    has_bias,
)
from codl.ops.windowed import Windowed, origin, window_work
from codl.region import Region


class Conv(Windowed):
    """2-D convolution with an optional bias, residual (`codl.ops.residual`) and activation.

    Any output box needs one input box: rows and columns with their halo, and the channels of the groups it touches; and
    the same box of the residual.
    """

    family: ClassVar[str] = "conv"
    onnx_types: ClassVar[tuple[str, ...]] = ("Conv",)
    for_cpus: ClassVar[frozenset[str]] = frozenset({fft.ALGORITHM})
    tolerance: ClassVar[float] = 1e-4  # Winograd F(4,3) loses two digits; the others stay under 1e-5

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
        return (empty_input(out, box), out) if has_residual(node) else (empty_input(out, box),)

    def work(self, graph: Graph, node: Node, out: Region) -> Work:
        window = Window.of(node)
        read, *residual = self.input_regions(graph, node, out)
        icg = graph.tensor(node.inputs[1]).shape[1]
        return window_work(
            "depthwise" if is_depthwise(graph, node) else "conv", window, read, out,
            in_channels=icg, operations=2.0 * icg * window.taps, weights=icg * window.taps + has_bias(node),
            added=sum(box.size for box in residual),
            all_channels=graph.tensor(node.inputs[0]).shape[1] if is_depthwise(graph, node) else 0,
        )  # fmt: skip

    def algorithms(self, graph: Graph, node: Node) -> tuple[str, ...]:
        window = Window.of(node)
        oc, icg = graph.tensor(node.inputs[1]).shape[:2]
        if is_depthwise(graph, node) and not has_residual(node):
            return ("depthwise", "direct")
        if window.taps == 1:
            return ("gemm",)
        if can_transform(graph, node):
            of = graph.tensor(node.output).shape, graph.tensor(node.inputs[0]).shape[1], window.kernel
            costs = winograd.costs(*of)
            if fft.suits(window.kernel):
                costs[fft.ALGORITHM] = fft.cost(*of)
            return tuple(sorted(costs, key=lambda name: costs[name]))
        if groups(node) == 1 and oc <= narrow.MOST_CHANNELS and icg >= narrow.LEAST_DEPTH and not has_residual(node):
            return ("narrow", "direct")
        return ("direct",)

    def program(self, request: KernelRequest) -> KernelProgram:
        if request.out.empty:
            return KernelProgram()
        if request.algorithm == "depthwise":
            return depthwise.program(request)
        if request.algorithm in self.for_cpus and not request.device.cpu:
            others = self.algorithms(request.graph, request.node)
            return self.program(replace(request, algorithm=next(one for one in others if one not in self.for_cpus)))
        if request.algorithm == "narrow" and request.device.cpu:
            return narrow.program(request)
        if request.algorithm == fft.ALGORITHM:
            return fft.program(request)
        if request.algorithm in winograd.ALGORITHMS:
            return winograd.program(request)
        return direct(request)

    def image_algorithms(self, graph: Graph, node: Node) -> tuple[str, ...]:
        if not image.takes_convolution(graph, node):
            return ()
        return ("depthwise",) if is_depthwise(graph, node) else ("direct",)

    def image_program(self, request: KernelRequest) -> KernelProgram:
        if request.out.empty:
            return KernelProgram()
        return image.depthwise(request) if request.algorithm == "depthwise" else image.convolution(request)


def can_transform(graph: Graph, node: Node) -> bool:
    """Whether Winograd's algorithm or Fourier transforms may compute a convolution: stride 1, dense, with enough
    channels."""
    window = Window.of(node)
    return (
        min(window.kernel) >= min(winograd.TAPS.values())
        and (window.stride, window.dilation) == ((1, 1), (1, 1))
        and groups(node) == 1
        and min(graph.tensor(node.inputs[1]).shape[:2]) >= 8
    )


def direct(request: KernelRequest) -> KernelProgram:
    """Any convolution as implicit GEMM; one launch, or up to three where a channel range cuts groups."""
    graph, node, out = request.graph, request.node, request.out
    _, _, height, width = graph.tensor(node.inputs[0]).shape
    oc, icg = graph.tensor(node.inputs[1]).shape[:2]
    ocg = oc // groups(node)
    window = Window.of(node)
    batch, channels, rows, columns = out.ranges
    programs = []
    for span in group_spans(channels, ocg):
        first_out = span.first * ocg + span.start
        problem = TileProblem(
            key=f"{node.name}[{first_out}:{first_out + span.count * ocg - ocg + span.size}]",
            source=Input(0),
            target=Output(),
            read=Strided.of(request.inputs[0], (batch[0], span.first * icg, 0, 0), icg),
            read_end=end_of(request.inputs[0]),
            write=Strided.of(request.output, (batch[0], first_out, rows[0], columns[0]), ocg),
            extent=(height, width),
            batch=out.shape[0],
            rows=out.shape[2],
            columns=out.shape[3],
            groups=span.count,
            channels=span.size,
            depth=icg,
            weights=partial(_weights, graph, node, span),
            bias=partial(bias_of, graph, node, span, ocg),
            kernel=window.kernel,
            step=window.stride,
            origin=origin(window, out),
            dilation=window.dilation,
            activation=node.activation,
            residual=residual_of(request, first_out),
        )
        programs.append(program(problem, request.device))
    return joined(programs)


def _weights(graph: Graph, node: Node, span: GroupSpan) -> np.ndarray:
    """(groups, channels, taps * input channels) of a span of groups."""
    weights = graph.constants[node.inputs[1]]
    weights = weights.reshape(groups(node), -1, *weights.shape[1:])[span.slices]
    return weights.transpose(0, 1, 3, 4, 2).reshape(span.count, span.size, -1)


def bias_of(graph: Graph, node: Node, span: GroupSpan, per_group: int) -> np.ndarray:
    """(groups, channels) of a span of groups; zeros where the node has no bias."""
    if not has_bias(node):
        return np.zeros((span.count, span.size), dtype=np.float32)
    return graph.constants[node.inputs[2]].reshape(-1, per_group)[span.slices]


def is_depthwise(graph: Graph, node: Node) -> bool:
    """Whether each output channel reads exactly the input channel of the same number."""
    oc, icg = graph.tensor(node.inputs[1]).shape[:2]
    return icg == 1 and groups(node) == oc > 1
