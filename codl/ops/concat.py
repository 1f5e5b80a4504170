"""Concat: several tensors one after another along an axis."""

from __future__ import annotations

import numpy as np

from codl.graph import Graph, Node
from codl.ops import image
from codl.ops.geometry import Moving
from codl.ops.launch import KernelProgram, KernelRequest, Launch, Output
from codl.ops.strided import Operand, constants, copy, operand_view
from codl.ops.window import many
from codl.region import Range, Region


class Concat(Moving):
    """Inputs of one rank; attribute `axis` >= 0. Inputs may be constant."""

    family = "concat"
    onnx_types = ("Concat",)

    def input_regions(self, graph: Graph, node: Node, out: Region) -> tuple[Region, ...]:
        parts = pieces(graph, node, out)
        return tuple(parts[index] for index, _ in graph.variable_inputs(node))

    def program(self, request: KernelRequest) -> KernelProgram:
        axis = request.node.integer("axis")
        launches: list[Launch] = []
        graph, node = request.graph, request.node
        parts = zip(pieces(graph, node, request.out), starts(graph, node), strict=True)
        for position, (piece, start) in enumerate(parts):
            if piece.empty:
                continue
            low, high = piece.ranges[axis]
            target = Operand.of(Output(), request.output, piece.along(axis, start + low, start + high))
            launches += copy(request, piece.shape, target, Operand.of(*operand_view(request, position), piece))
        return KernelProgram(tuple(launches), constants(request))

    def image_algorithms(self, graph: Graph, node: Node) -> tuple[str, ...]:
        return ("move",) if image.takes_concat(graph, node) else ()

    def image_program(self, request: KernelRequest) -> KernelProgram:
        graph, node = request.graph, request.node
        return image.concat(request, pieces(graph, node, request.out), starts(graph, node))


def starts(graph: Graph, node: Node) -> tuple[int, ...]:
    """Where each input begins along the axis of the output."""
    axis = node.integer("axis")
    places = [0]
    for value in node.inputs[:-1]:
        places.append(places[-1] + graph.tensor(value).shape[axis])
    return tuple(places)


def pieces(graph: Graph, node: Node, out: Region) -> tuple[Region, ...]:
    """What `out` needs of each input, in that input's coordinates; empty on the axis where it needs nothing."""
    axis = node.integer("axis")
    extents = [graph.tensor(value).shape[axis] for value in node.inputs]
    return tuple(
        out.along(axis, *_overlap(out.ranges[axis], start, extent))
        for start, extent in zip(starts(graph, node), extents, strict=True)
    )


def _overlap(out: Range, start: int, extent: int) -> Range:
    """What a range of the output needs of an input that begins at `start`."""
    low, high = out[0] - start, out[1] - start
    if many(out):
        begin = np.clip(low, 0, extent)
        return begin, np.maximum(begin, np.minimum(high, extent))
    begin = min(max(low, 0), extent)
    return begin, max(begin, min(high, extent))
