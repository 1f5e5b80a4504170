"""Matrix product with constant weights (`gemm`): fully connected layers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product
from typing import ClassVar

import numpy as np

from codl.graph import Graph, Node
from codl.ops.launch import Input, KernelProgram, KernelRequest, Output, View
from codl.ops.spec import Dimension, OpSpec, Work
from codl.ops.tile import Strided, TileProblem, end_of, joined, program
from codl.ops.window import FLOAT, has_bias
from codl.region import Region


class Gemm(OpSpec):
    """x (..., K) times w (K, N), plus an optional bias (N) and activation.

    The output's last axis is split as output channels: each part reads all of x and its own columns of w.
    """

    family: ClassVar[str] = "gemm"
    onnx_types: ClassVar[tuple[str, ...]] = ("Gemm", "MatMul")
    float16: ClassVar[frozenset[str]] = frozenset({"gemm"})
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
        graph, node, out = request.graph, request.node, request.out
        if out.empty:
            return KernelProgram()
        depth = graph.tensor(node.inputs[0]).shape[-1]
        start, stop = out.ranges[-1]
        x, y = request.inputs[0], request.output
        outer, inner = _leading(out, x, y)
        programs = []
        for position in product(*(range(axis.extent) for axis in outer)):
            x_at = x.offset + sum(lo * step for (lo, _), step in zip(out.ranges[:-1], x.strides[:-1], strict=True))
            y_at = y.offset + sum(lo * step for lo, step in zip(out.start, y.strides, strict=True))
            x_at += sum(at * axis.x for at, axis in zip(position, outer, strict=True))
            y_at += sum(at * axis.y for at, axis in zip(position, outer, strict=True))
            problem = TileProblem(
                key=f"{node.name}[{start}:{stop}]",
                source=Input(0),
                target=Output(),
                read=Strided(x_at, inner[0].x, inner[1].x, inner[2].x, x.strides[-1]),
                read_end=end_of(x),
                write=Strided(y_at, inner[0].y, inner[1].y, inner[2].y, y.strides[-1]),
                extent=(inner[1].extent, inner[2].extent),
                batch=inner[0].extent,
                rows=inner[1].extent,
                columns=inner[2].extent,
                groups=1,
                channels=stop - start,
                depth=depth,
                weights=lambda: graph.constants[node.inputs[1]][:, start:stop].T[None],
                bias=lambda: _bias(graph, node, start, stop),
                activation=node.activation,
                weight_bytes=request.weight_bytes,
            )
            programs.append(program(problem, request.device))
        return joined(programs)


@dataclass(frozen=True, slots=True)
class _Axis:
    """A leading axis: its extent, and its stride in the input's and in the output's buffer."""

    extent: int
    x: int
    y: int


def _leading(out: Region, x: View, y: View) -> tuple[list[_Axis], list[_Axis]]:
    """The leading axes, merged where both buffers allow it: those to loop over, and three for the kernel."""
    merged: list[_Axis] = []
    for axis in map(_Axis, out.shape[:-1], x.strides[:-1], y.strides[:-1]):
        before = merged[-1] if merged else None
        if before is not None and (before.x, before.y) == (axis.extent * axis.x, axis.extent * axis.y):
            merged[-1] = _Axis(before.extent * axis.extent, axis.x, axis.y)
        elif axis.extent > 1:
            merged.append(axis)
    inner = merged[-3:]
    return merged[:-3], [_Axis(1, 0, 0)] * (3 - len(inner)) + inner


def _bias(graph: Graph, node: Node, start: int, stop: int) -> np.ndarray:
    if not has_bias(node):
        return np.zeros((1, stop - start), dtype=np.float32)
    return graph.constants[node.inputs[2]].reshape(-1)[None, start:stop]
