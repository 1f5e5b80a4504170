"""Reshape, and whatever else keeps the elements and their logical order: Flatten, Squeeze, Unsqueeze, Identity."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from codl.graph import Graph, Node
from codl.ops.geometry import light_work
from codl.ops.launch import Argument, KernelProgram, KernelRequest, Scratch
from codl.ops.spec import OpSpec, Work
from codl.ops.strided import Operand, copy, operand_view, output_operand
from codl.region import Region


class Reshape(OpSpec):
    """`x` of any rank to the output tensor's shape. Never split: a box of the output is no box of the input."""

    family = "reshape"
    onnx_types = ("Reshape", "Flatten", "Squeeze", "Unsqueeze", "Identity", "Dropout")

    def work(self, graph: Graph, node: Node, out: Region) -> Work:
        return light_work(graph, node, out, self.input_regions(graph, node, out), "move", 0)

    def algorithms(self, graph: Graph, node: Node) -> tuple[str, ...]:
        return ("move",)

    def program(self, request: KernelRequest) -> KernelProgram:
        argument, view = operand_view(request, 0)
        shape = request.graph.tensor(request.node.inputs[0]).shape
        target, source = output_operand(request), Operand.of(argument, view, Region.full(shape))
        steps = common_axes(shape, request.out.shape)
        if steps is not None:
            extents, from_source, from_target = steps
            return KernelProgram(copy(request, extents, _finer(target, from_target), _finer(source, from_source)))
        flat = row_major(Scratch("row_major"), shape)
        there = copy(request, shape, flat, source)
        back = copy(request, request.out.shape, target, row_major(Scratch("row_major"), request.out.shape))
        return KernelProgram((*there, *back), scratch={"row_major": 4 * prod(shape)})


def row_major(argument: Argument, shape: Sequence[int]) -> Operand:
    """A buffer that holds a tensor of this shape in its logical order."""
    return Operand(argument, 0, tuple(prod(shape[axis + 1 :]) for axis in range(len(shape))))


Steps = tuple[tuple[int, int], ...]
"""For each axis of a finer shape: (axis of the coarser shape, elements of that axis in one step)."""


def common_axes(source: Sequence[int], target: Sequence[int]) -> tuple[tuple[int, ...], Steps, Steps] | None:
    """The axes that two shapes of one size share: extents, and how each is a step along an axis of either shape.

    (2, 12) and (2, 3, 4) share (2, 3, 4). None where an axis of the one straddles axes of the other, as in (4, 6) and
    (6, 4).
    """
    extents: list[int] = []
    steps: tuple[list[tuple[int, int]], list[tuple[int, int]]] = ([], [])
    shapes = ([(k, n) for k, n in enumerate(source) if n != 1], [(k, n) for k, n in enumerate(target) if n != 1])
    places, left = [0, 0], [pending[0][1] if pending else 1 for pending in shapes]
    while all(place < len(pending) for place, pending in zip(places, shapes, strict=True)):
        extent = min(left)
        if any(rest % extent for rest in left):
            return None
        extents.append(extent)
        for side in (0, 1):
            left[side] //= extent
            steps[side].append((shapes[side][places[side]][0], left[side]))
            if left[side] == 1:
                places[side] += 1
                left[side] = shapes[side][places[side]][1] if places[side] < len(shapes[side]) else 1
    return tuple(extents), tuple(steps[0]), tuple(steps[1])


def _finer(operand: Operand, steps: Steps) -> Operand:
    return Operand(operand.argument, operand.offset, tuple(operand.strides[axis] * step for axis, step in steps))
