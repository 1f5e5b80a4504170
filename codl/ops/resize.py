"""Resize and Upsample, nearest and linear, by the coordinate formulas of the ONNX operator Resize."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, cast

import numpy as np

from codl.graph import Graph, Node
from codl.ops.gather import gather
from codl.ops.geometry import feature_map_dimensions, light_work
from codl.ops.interpolation import interpolate, interpolate_by_axis, is_identity
from codl.ops.launch import KernelProgram, KernelRequest
from codl.ops.spec import Dimension, OpSpec, Work
from codl.ops.window import many
from codl.region import Range, Region

_ONE = np.float32(1)
_HALF = np.float32(0.5)


class Resize(OpSpec):
    """Attributes `mode` nearest or linear, `scales` (output over input extent, per axis), `coordinate` and `rounding`
    (for nearest) as ONNX names them. The output shape is the tensor's. At most 6 axes of more than one element;
    linear along any of them."""

    family = "resize"
    onnx_types = ("Resize", "Upsample")

    def dimensions(self, graph: Graph, node: Node) -> Mapping[Dimension, int]:
        return feature_map_dimensions(graph.tensor(node.output).shape)

    def input_regions(self, graph: Graph, node: Node, out: Region) -> tuple[Region, ...]:
        ranges: list[tuple[Any, Any]] = []
        for axis, (start, stop) in enumerate(out.ranges):
            low, high, _ = sources(graph, node, axis)  # neither ever falls
            if many((start, stop)):
                ranges.append((np.asarray(low[start], np.int64), high[stop - 1] + np.int64(1)))
            elif stop <= start:
                place = min(start, graph.tensor(node.inputs[0]).shape[axis])
                ranges.append((place, place))
            else:
                ranges.append((int(low[start]), int(high[stop - 1]) + 1))
        return (Region(cast(tuple[Range, ...], tuple(ranges))),)  # of `Regions`, arrays in place of numbers

    def work(self, graph: Graph, node: Node, out: Region) -> Work:
        linear = node.attributes["mode"] == "linear"
        kind, flops = ("elementwise", 8) if linear else ("move", 0)
        return light_work(graph, node, out, self.input_regions(graph, node, out), kind, flops)

    def algorithms(self, graph: Graph, node: Node) -> tuple[str, ...]:
        return ("resize",)

    def program(self, request: KernelRequest) -> KernelProgram:
        graph, node = request.graph, request.node
        rank = len(request.out.ranges)
        tables = [sources(graph, node, axis) for axis in range(rank)]
        if node.attributes["mode"] == "nearest":
            return gather(request, [low for low, _, _ in tables])
        resized = [axis for axis in range(rank) if not is_identity(*tables[axis])]
        if request.out.empty:
            return KernelProgram()
        if rank == 4 and set(resized) <= {2, 3}:
            return interpolate(request, tables)
        return interpolate_by_axis(request, tables, resized)


def sources(graph: Graph, node: Node, axis: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(low, high, weight) of each output index along an axis: the value is in[low] * (1 - weight) + in[high] * weight.

    low and high are int32, weight is float32; nearest, and places where one element is met exactly, have low == high
    and weight 0. Regions and kernels use these same tables, so that what is read never differs from what is declared.
    The arithmetic is float32 in the order of ONNX Runtime's, so that roundings agree with it; as there, a tensor whose
    shape stays the same is copied, whatever the scales.
    """
    before, after = graph.tensor(node.inputs[0]).shape, graph.tensor(node.output).shape
    given = node.attributes
    scale = float(given["scales"][axis])  # type: ignore[index]  # lowering made them a tuple
    if before == after or (scale == 1 and before[axis] == after[axis]):
        return _table(before[axis], after[axis], 1.0, "nearest", "asymmetric", "floor")
    coordinate, rounding = str(given["coordinate"]), str(given["rounding"])
    return _table(before[axis], after[axis], scale, str(given["mode"]), coordinate, rounding)


@lru_cache(maxsize=4096)
def _table(
    extent: int, size: int, scale: float, mode: str, coordinate: str, rounding: str
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    x = _original(np.arange(size, dtype=np.float32), coordinate, np.float32(scale), size, extent)
    if mode == "nearest":
        index = np.clip(_round(x, rounding), 0, extent - 1).astype(np.int32)
        return index, index, np.zeros(size, np.float32)
    x = np.clip(x, np.float32(0), np.float32(extent - 1))
    low = np.minimum(x.astype(np.int32), extent - 1)
    weight = (x - low.astype(np.float32)).astype(np.float32)
    high = np.where(weight > 0, np.minimum(low + 1, extent - 1), low).astype(np.int32)
    weight[high == low] = 0
    return low, high, weight


def _original(x: np.ndarray, coordinate: str, scale: np.float32, size: int, extent: int) -> np.ndarray:
    """Coordinates in the input of output coordinates `x` (float32), by ONNX's `coordinate_transformation_mode`."""
    if coordinate == "asymmetric":
        return np.asarray(x / scale)
    if coordinate == "align_corners":
        if size == 1:
            return np.zeros_like(x)
        return np.asarray(x * np.float32(extent - 1) / np.float32(size - 1))
    if coordinate == "pytorch_half_pixel" and size == 1:
        return np.zeros_like(x)
    return np.asarray((x + _HALF) / scale - _HALF)


def _round(x: np.ndarray, rounding: str) -> np.ndarray:
    """The nearest input index, by ONNX's `nearest_mode`. The two roundings differ at halves only."""
    if rounding == "floor":
        return np.asarray(np.floor(x))
    if rounding == "ceil":
        return np.asarray(np.ceil(x))
    whole = np.trunc(x)
    fraction = x - whole
    away: np.ndarray = whole + np.where(np.abs(fraction) >= _HALF, np.copysign(_ONE, x), np.float32(0))
    if rounding == "round_prefer_floor":
        return np.where(fraction == _HALF, whole, away)
    return away
