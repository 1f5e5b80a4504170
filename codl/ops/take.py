"""Take: elements of one axis at listed places, as Gather with constant indices, Tile and reversed slices give them."""

from __future__ import annotations

import numpy as np

from codl.graph import Graph, Node
from codl.ops.gather import gather
from codl.ops.geometry import Moving, table_range
from codl.ops.launch import KernelProgram, KernelRequest
from codl.region import Region


class Take(Moving):
    """Attributes `axis` and `indices`: index `i` of the output's axis is index `indices[i]` (>= 0) of the input's."""

    family = "take"

    def input_regions(self, graph: Graph, node: Node, out: Region) -> tuple[Region, ...]:
        axis, indices = node.integer("axis"), _indices(node)
        extent = graph.tensor(node.inputs[0]).shape[axis]
        return (out.along(axis, *table_range(indices, out.ranges[axis], extent)),)

    def program(self, request: KernelRequest) -> KernelProgram:
        axis = request.node.integer("axis")
        tables = [np.arange(extent, dtype=np.int32) for extent in request.graph.tensor(request.node.output).shape]
        tables[axis] = _indices(request.node)
        return gather(request, tables)


def _indices(node: Node) -> np.ndarray:
    return np.array(node.attributes["indices"], np.int32)
