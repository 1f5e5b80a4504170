"""Boxes and work of operators that compute no products of weights: what the element-wise and moving families share."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType

import numpy as np

from codl.graph import Graph, Node
from codl.ops.spec import Dimension, OpSpec, Work
from codl.region import Range, Region

AXIS_OF: Mapping[Dimension, int] = MappingProxyType(
    {Dimension.HEIGHT: 2, Dimension.WIDTH: 3, Dimension.OUTPUT_CHANNEL: 1}
)
"""Axis of each partition dimension in a feature map (N, C, H, W)."""


def feature_map_dimensions(shape: Sequence[int], without: Iterable[int] = ()) -> dict[Dimension, int]:
    """The partition dimensions of an output of this shape: none unless it is a feature map (rank 4).

    Args:
        without: axes along which the operator can't be cut. Axes of extent 1 are left out as well.
    """
    if len(shape) != 4:
        return {}
    refused = set(without)
    return {name: axis for name, axis in AXIS_OF.items() if axis not in refused and shape[axis] > 1}


def whole_along(out: Region, axes: Iterable[int], shape: Sequence[int]) -> Region:
    """`out`, made whole along some axes of this shape: what is read where all elements along them go into each."""
    for axis in axes:
        out = out.along(axis, 0, shape[axis])
    return out


def broadcast_region(shape: Sequence[int], out: Region) -> Region:
    """What of an operand of this shape is read for `out`, by numpy's broadcasting rules: aligned at the last axis, an
    extent of 1 serves every index."""
    offset = len(out.ranges) - len(shape)
    return Region(tuple((0, 1) if extent == 1 else out.ranges[offset + axis] for axis, extent in enumerate(shape)))


def table_range(table: np.ndarray, wanted: Range, extent: int) -> Range:
    """The range of input indices that a source-index table names for a range of output indices.

    Args:
        table: source index of each output index along one axis; negative where nothing is read.
        extent: of the input along that axis; an empty result stays inside it.
    """
    start, stop = wanted
    used = table[start:stop]
    used = used[used >= 0]
    if used.size == 0:
        place = min(max(start, 0), extent)
        return place, place
    return int(used.min()), int(used.max()) + 1


def light_work(
    graph: Graph, node: Node, out: Region, inputs: Sequence[Region], kind: str, flops_per_element: float
) -> Work:
    """Work of an operator whose cost is its memory traffic.

    Args:
        inputs: what it reads of each variable input.
        flops_per_element: floating-point operations for each element of `out`.
    """
    variable = [tensor for _, tensor in graph.variable_inputs(node)]
    read = sum(region.size * np.dtype(t.dtype).itemsize for region, t in zip(inputs, variable, strict=True))
    constants = [graph.tensor(value) for value in node.inputs if value and value in graph.weights]
    batch, channels, height, width = _as_feature_map(out.shape)
    in_channels, in_h, in_w = _as_feature_map(inputs[0].shape)[1:] if inputs else (channels, height, width)
    return Work(
        kind=kind,
        batch=batch,
        out_h=height,
        out_w=width,
        out_channels=channels,
        in_h=in_h,
        in_w=in_w,
        in_channels=in_channels,
        flops=flops_per_element * out.size,
        input_bytes=read,
        output_bytes=out.size * np.dtype(graph.tensor(node.output).dtype).itemsize,
        weight_bytes=sum(
            broadcast_region(t.shape, out).size * np.dtype(t.dtype).itemsize
            for t in constants
            if len(t.shape) <= len(out.ranges)
        ),
    )


class Moving(OpSpec):
    """An operator that only moves elements: it can be cut along every axis of a feature map, and computes nothing."""

    def dimensions(self, graph: Graph, node: Node) -> Mapping[Dimension, int]:
        return feature_map_dimensions(graph.tensor(node.output).shape)

    def work(self, graph: Graph, node: Node, out: Region) -> Work:
        return light_work(graph, node, out, self.input_regions(graph, node, out), "move", 0)

    def algorithms(self, graph: Graph, node: Node) -> tuple[str, ...]:
        return ("move",)


def _as_feature_map(shape: Sequence[int]) -> tuple[int, int, int, int]:
    """(batch, channels, height, width) that stand for a shape of any rank."""
    if len(shape) == 4:
        batch, channels, height, width = shape
        return batch, channels, height, width
    if len(shape) < 2:
        return 1, 1, 1, shape[0] if shape else 1
    rest = shape[2:]
    width = rest[-1] if rest else 1
    height = 1
    for extent in rest[:-1]:
        height *= extent
    return shape[0], shape[1], height, width
