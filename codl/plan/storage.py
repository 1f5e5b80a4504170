"""Where the tensors of a plan lie while it runs: in which buffers, and which boxes of them are valid there."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from codl.graph import Graph
from codl.plan.model import Plan
from codl.region import Region
from codl.tasks import SHARED, Buffer, subtract


@dataclass(frozen=True, slots=True)
class Piece:
    """A box of a tensor that is valid in one buffer, and the task that put it there ('' for a graph input)."""

    buffer: str
    region: Region
    writer: str
    lane: str
    borrowed: bool = False
    """A copy for another processor than the home processor."""


class Storage:
    """The buffers of a plan's tensors.

    Attributes:
        buffers: by name.
        pieces: by tensor, what is valid where.
    """

    def __init__(self, graph: Graph, plan: Plan) -> None:
        self.graph = graph
        self.plan = plan
        self.buffers: dict[str, Buffer] = {}
        self.pieces: dict[str, list[Piece]] = {}

    def of(self, processor: str, value: str) -> str:
        """The buffer in which a processor keeps a boundary tensor; made at first use."""
        own = self.plan.sharing == "copied" or (
            self.plan.sharing == "mapped" and self.plan.processors[processor].data_type == "image"
        )
        whole = Region.full(self.graph.tensors[value].shape)
        return self.buffer(f"{value}@{processor}" if own else value, value, whole, processor if own else SHARED)

    def buffer(self, name: str, value: str, region: Region, space: str) -> str:
        """The buffer of this name, for a box of a tensor; made at first use."""
        if name not in self.buffers:
            self.buffers[name] = Buffer(name, value, region, space, self.nbytes(value, [region]))
        return name

    def nbytes(self, value: str, regions: Iterable[Region]) -> int:
        """Bytes of boxes of a tensor."""
        return sum(r.size for r in regions) * np.dtype(self.graph.tensors[value].dtype).itemsize

    def valid(self, value: str, buffer: str, region: Region) -> list[Piece]:
        """What is valid in a buffer and overlaps a box."""
        return [p for p in self.pieces[value] if p.buffer == buffer and p.region.overlaps(region)]

    def missing(self, value: str, buffer: str, region: Region) -> list[Region]:
        """What of a box is not valid in a buffer."""
        rest = [region]
        for piece in self.valid(value, buffer, region):
            rest = [part for box in rest for part in subtract(box, piece.region)]
        return rest

    def holders(self, value: str, whole: Region) -> list[str]:
        """The buffers that hold all of a value."""
        holders = dict.fromkeys(piece.buffer for piece in self.pieces[value])
        return [name for name in holders if not self.missing(value, name, whole)]
