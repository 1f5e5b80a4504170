"""Where values lie while a plan is lowered: buffers and images by processor, and which boxes of them are valid.

A boundary tensor (one that crosses chains) lies in one buffer that all share (`unified`, `mapped`) or in a buffer of
each processor's own memory (`copied`). A processor that works on images keeps images of its own besides, in any memory:
`conv1@gpu`, and where its memory is its own too, `conv1@gpu.buffer` for what is copied or read by kernels on buffers.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from codl.graph import Graph
from codl.plan.model import Plan
from codl.region import Region
from codl.tasks import SHARED, Buffer, subtract

FLOATS = "float32"
"""The only number format that images hold."""


@dataclass(frozen=True, slots=True)
class Piece:
    """A box of a tensor that is valid in one buffer, and the task that put it there ('' for a graph input)."""

    buffer: str
    region: Region
    writer: str
    lane: str
    borrowed: bool = False
    """A copy for another processor than the home processor."""


Move = tuple[str, Piece, Region]
"""(value, piece, box): a box that is wanted elsewhere, and a piece that holds it."""


class Storage:
    """Buffers by name, made at first use, and by tensor the pieces that are valid."""

    def __init__(self, graph: Graph, plan: Plan) -> None:
        self.graph = graph
        self.plan = plan
        self.buffers: dict[str, Buffer] = {}
        self.pieces: dict[str, list[Piece]] = {}

    # -- buffers -----------------------------------------------------------------------------------------------------

    def works_on_images(self, processor: str) -> bool:
        return self.plan.processors[processor].data_type == "image"

    def boundary(self, processor: str, value: str, data_type: str) -> str:
        """The buffer in which a processor keeps a boundary tensor in a data type."""
        whole = Region.full(self.graph.tensors[value].shape)
        kept = self._held(value, data_type)
        if kept == "buffer" and self.plan.sharing != "copied":
            return self.make(value, value, whole, SHARED)
        return self.make(self._own(processor, value, kept), value, whole, processor, kept)

    def private(self, processor: str, value: str, region: Region, data_type: str) -> str:
        """A processor's own buffer for a box of a tensor that no other processor reads; of the same box as in the
        other data type, where it holds it in that one already."""
        kept = self._held(value, data_type)
        for other in ("buffer", "image"):
            known = self.buffers.get(self._own(processor, value, other))
            region = known.region if known else region
        return self.make(self._own(processor, value, kept), value, region, processor, kept)

    def make(self, name: str, value: str, region: Region, space: str, data_type: str = "buffer") -> str:
        if name not in self.buffers:
            nbytes = region.size * self._itemsize(value)
            self.buffers[name] = Buffer(name, value, region, space, nbytes, data_type)
        return name

    def nbytes(self, value: str, regions: Iterable[Region]) -> int:
        return sum(region.size for region in regions) * self._itemsize(value)

    def in_image(self, piece: Piece) -> bool:
        return self.buffers[piece.buffer].data_type == "image"

    def _held(self, value: str, data_type: str) -> str:
        return data_type if self.graph.tensors[value].dtype == FLOATS else "buffer"

    def _own(self, processor: str, value: str, data_type: str) -> str:
        beside_images = data_type == "buffer" and self.works_on_images(processor)
        return f"{value}@{processor}.buffer" if beside_images else f"{value}@{processor}"

    def _itemsize(self, value: str) -> int:
        return int(np.dtype(self.graph.tensors[value].dtype).itemsize)

    # -- what is valid -----------------------------------------------------------------------------------------------

    def valid(self, value: str, buffer: str, region: Region) -> list[Piece]:
        return [p for p in self.pieces.get(value, ()) if p.buffer == buffer and p.region.overlaps(region)]

    def missing(self, value: str, buffer: str, region: Region) -> list[Region]:
        """The parts of a box that are not valid in a buffer."""
        rest = [region]
        for piece in self.valid(value, buffer, region):
            rest = [part for box in rest for part in subtract(box, piece.region)]
        return rest

    def holders(self, value: str, whole: Region) -> list[str]:
        """The buffers that hold all of a value."""
        holders = dict.fromkeys(piece.buffer for piece in self.pieces[value])
        return [name for name in holders if not self.missing(value, name, whole)]

    def moves(self, processor: str, needs: Mapping[str, Region], data_type: str) -> list[Move]:
        """Every box that a processor needs in a data type and that is valid only elsewhere; buffers before images."""
        found: list[Move] = []
        for value, region in needs.items():
            for box in self.missing(value, self.boundary(processor, value, data_type), region):
                rest = [box]
                for piece in sorted(self.pieces[value], key=self.in_image):
                    common = [part.intersect(piece.region) for part in rest]
                    found += [(value, piece, part) for part in common if not part.empty]
                    rest = [cut for part in rest for cut in subtract(part, piece.region)]
        return found
