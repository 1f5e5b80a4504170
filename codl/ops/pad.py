"""Pad: a border of a constant, of the edge's values, or of the mirrored inside."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from codl.graph import Graph, Node
from codl.ops.gather import gather
from codl.ops.geometry import Moving, table_range
from codl.ops.launch import Constant, KernelProgram, KernelRequest
from codl.ops.strided import Operand, copy, output_operand
from codl.region import Region


class Pad(Moving):
    """Attributes `begin`, `end` (elements added per axis; negative ones crop), `mode` constant, reflect or edge, and
    `value` (for constant). At most 6 axes of more than one element."""

    family = "pad"
    onnx_types = ("Pad",)

    def input_regions(self, graph: Graph, node: Node, out: Region) -> tuple[Region, ...]:
        tables = source_tables(graph, node)
        shape = graph.tensor(node.inputs[0]).shape
        ranges = map(table_range, tables, out.ranges, shape)
        return (Region(tuple(ranges)),)

    def program(self, request: KernelRequest) -> KernelProgram:
        graph, node = request.graph, request.node
        (read,) = self.input_regions(graph, node, request.out)
        value = node.number("value")
        if read.empty:  # all of it is border: one number for every element
            key = f"{node.name}/value"
            border = Operand(Constant(key), 0, (0,) * len(request.out.ranges))
            launches = copy(request, request.out.shape, output_operand(request), border)
            return KernelProgram(launches, {key: np.array([value], np.float32)})
        return gather(request, source_tables(graph, node), value)


def source_tables(graph: Graph, node: Node) -> tuple[np.ndarray, ...]:
    """For each axis the input index (int32) that each output index takes its value from; -1 in a constant border."""
    begins = node.integers("begin")
    mode = node.attributes["mode"]
    tables = []
    for extent, size, begin in zip(
        graph.tensor(node.inputs[0]).shape, graph.tensor(node.output).shape, begins, strict=True
    ):
        tables.append(_table(extent, size, begin, str(mode)))
    return tuple(tables)


@lru_cache(maxsize=4096)
def _table(extent: int, size: int, begin: int, mode: str) -> np.ndarray:
    index = np.arange(size, dtype=np.int64) - begin
    if mode == "constant":
        index[(index < 0) | (index >= extent)] = -1
    elif mode == "edge":
        index = np.clip(index, 0, extent - 1)
    elif extent > 1:  # mirrored at the first and the last element, neither repeated
        period = 2 * (extent - 1)
        index %= period
        index = np.minimum(index, period - index)
    else:
        index[:] = 0
    return index.astype(np.int32)
