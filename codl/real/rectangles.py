"""A box moved between two buffers, as the rectangle copies that OpenCL has."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from codl.ops.launch import View, memory_order
from codl.region import Region


@dataclass(frozen=True, slots=True)
class Rectangle:
    """A box of elements in two buffers, as the rectangle copies of OpenCL take it: (x, y, z) with x in bytes."""

    size: tuple[int, int, int]
    source_origin: tuple[int, int, int]
    source_pitches: tuple[int, int]
    target_origin: tuple[int, int, int]
    target_pitches: tuple[int, int]


def rectangles(source: View, target: View, box: Region, itemsize: int) -> tuple[Rectangle, ...]:
    """The rectangle copies that move `box` between buffers of these views; usually one.

    Axes that are contiguous in both buffers count as one; of what remains, OpenCL takes three.
    """
    if box.empty:
        return ()
    order = memory_order(len(box.ranges))
    axes: list[tuple[int, int, int]] = []  # (extent, source stride, target stride), slowest first
    for axis in order:
        extent = box.shape[axis]
        if extent == 1:
            continue
        here = (extent, source.strides[axis], target.strides[axis])
        if axes and axes[-1][1] == extent * here[1] and axes[-1][2] == extent * here[2]:
            here = (axes.pop()[0] * extent, here[1], here[2])
        axes.append(here)
    if not axes or axes[-1][1] != 1 or axes[-1][2] != 1:
        axes.append((1, 1, 1))
    first_source = source.offset + sum(i * s for i, s in zip(box.start, source.strides, strict=True))
    first_target = target.offset + sum(i * s for i, s in zip(box.start, target.strides, strict=True))
    return tuple(_rectangles(axes, first_source, first_target, itemsize))


def _rectangles(axes: Sequence[tuple[int, int, int]], source: int, target: int, itemsize: int) -> list[Rectangle]:
    if len(axes) > 3:
        extent, source_stride, target_stride = axes[0]
        return [
            piece
            for index in range(extent)
            for piece in _rectangles(axes[1:], source + index * source_stride, target + index * target_stride, itemsize)
        ]
    width = axes[-1][0] * itemsize
    height = axes[-2][0] if len(axes) > 1 else 1
    depth = axes[-3][0] if len(axes) > 2 else 1
    pitches = []
    origins = []
    for which, offset in ((1, source), (2, target)):
        row = axes[-2][which] * itemsize if len(axes) > 1 else width
        plane = axes[-3][which] * itemsize if len(axes) > 2 else row * height
        start = offset * itemsize
        z = start // plane if len(axes) > 2 else 0
        y = (start - z * plane) // row if len(axes) > 1 else 0
        origins.append((start - z * plane - y * row, y, z))
        pitches.append((row, plane))
    return [Rectangle((width, height, depth), origins[0], pitches[0], origins[1], pitches[1])]
