"""Changing the data type of a box of a tensor: between a buffer and an image (`cl/image_transform.cl`)."""

from __future__ import annotations

from codl.ops.image.layout import Layout, blocks_of, map_strides
from codl.ops.launch import Input, KernelProgram, Launch, Output, View
from codl.region import Region


def to_image(source: View, target: Region, box: Region) -> KernelProgram:
    """A box from a buffer, input 0, to the image of the box `target`, the output."""
    return _transform("to_image", source, target, box, (Input(0), Output()))


def to_buffer(source: Region, target: View, box: Region) -> KernelProgram:
    """A box from the image of the box `source`, input 0, to a buffer, the output."""
    return _transform("to_buffer", target, source, box, (Output(), Input(0)))


def _transform(
    entry: str, buffer: View, image: Region, box: Region, arguments: tuple[Input | Output, ...]
) -> KernelProgram:
    if box.empty:
        return KernelProgram()
    moved = Layout.of(box).box
    strides = map_strides(buffer)
    images, _, rows, columns = moved.shape
    launch = Launch(
        "cl/image_transform.cl", entry, (("UNIT", int(strides[1] == 1)),),
        (*arguments, buffer.offset, *strides, *Layout.of(image).place, *moved.start, moved.ranges[1][1], rows),
        (blocks_of(moved), columns, images * rows), None,
    )  # fmt: skip
    return KernelProgram((launch,))
