"""Kernels on images: feature maps with four channels a texel, as in MACE and CoDL (docs/data-types.md)."""

from codl.ops.image.convolution import convolution, depthwise, takes_convolution
from codl.ops.image.elementwise import concat, elementwise, takes_concat, takes_elementwise
from codl.ops.image.layout import Layout, pack, unpack
from codl.ops.image.pool import pool, takes_pool
from codl.ops.image.transform import to_buffer, to_image

__all__ = [
    "Layout", "concat", "convolution", "depthwise", "elementwise", "pack", "pool",
    "takes_concat", "takes_convolution", "takes_elementwise", "takes_pool", "to_buffer", "to_image", "unpack",
]  # fmt: skip
