"""Boxes of tensor elements: what one processor computes, and what it must read for that.

A `Region` holds one half-open range per axis, in the *logical* axis order of ONNX (N, C, H, W for feature maps),
whatever the layout in memory.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import prod

Range = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Region:
    """A box: `ranges[axis] == (start, stop)`, start <= stop. A scalar has no axis and one element."""

    ranges: tuple[Range, ...]

    @staticmethod
    def full(shape: Iterable[int]) -> Region:
        """The whole of a tensor of this shape."""
        return Region(tuple((0, extent) for extent in shape))

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple([stop - start for start, stop in self.ranges])

    @property
    def start(self) -> tuple[int, ...]:
        return tuple(start for start, _ in self.ranges)

    @property
    def size(self) -> int:
        """Number of elements."""
        return prod(self.shape)

    @property
    def empty(self) -> bool:
        return any(stop <= start for start, stop in self.ranges)

    def along(self, axis: int, start: int, stop: int) -> Region:
        """This box with another range on one axis."""
        return Region((*self.ranges[:axis], (start, stop), *self.ranges[axis + 1 :]))

    def intersect(self, other: Region) -> Region:
        """The common box; on an axis without overlap the range is empty (start == stop)."""
        ranges = []
        for (a, b), (c, d) in zip(self.ranges, other.ranges, strict=True):
            start = max(a, c)
            ranges.append((start, max(start, min(b, d))))
        return Region(tuple(ranges))

    def hull(self, other: Region) -> Region:
        """The smallest box that holds both; an empty box adds nothing."""
        if self.empty:
            return other
        if other.empty:
            return self
        return Region(tuple((min(a, c), max(b, d)) for (a, b), (c, d) in zip(self.ranges, other.ranges, strict=True)))

    def contains(self, other: Region) -> bool:
        return other.empty or all(a <= c and d <= b for (a, b), (c, d) in zip(self.ranges, other.ranges, strict=True))

    def overlaps(self, other: Region) -> bool:
        return not self.intersect(other).empty

    def __str__(self) -> str:
        return "[" + ", ".join(f"{start}:{stop}" for start, stop in self.ranges) + "]"


class Regions(Region):
    """Many boxes at once: a start or stop may also be an array, one element a box, all of one length. None is empty.

    Geometry that is pure arithmetic (`OpSpec.work`, `OpSpec.input_regions` of most families) takes these as it takes
    one box; planners use that to weigh all cuts of an operator together.
    """

    __slots__ = ()

    @property
    def empty(self) -> bool:
        return False
