"""Operators that slide a window over a feature map: `conv`, `conv_transpose` and `pool` are cut and counted alike."""

from __future__ import annotations

from collections.abc import Mapping

from codl.graph import Graph, Node
from codl.ops.geometry import AXIS_OF
from codl.ops.spec import Dimension, OpSpec, Work
from codl.ops.window import FLOAT, Pair, Window
from codl.region import Region


class Windowed(OpSpec):
    """An operator on feature maps (N, C, H, W) whose output can be cut into rows, columns and channels."""

    def dimensions(self, graph: Graph, node: Node) -> Mapping[Dimension, int]:
        return AXIS_OF


def origin(window: Window, out: Region) -> Pair:
    """Row and column of the input under the first tap of a box's first output; negative in padding."""
    rows, columns = out.ranges[2:]
    return rows[0] * window.stride[0] - window.pads[0], columns[0] * window.stride[1] - window.pads[1]


def window_work(
    kind: str,
    window: Window,
    read: Region,
    out: Region,
    *,
    in_channels: int,
    operations: float,
    weights: int = 0,
    added: int = 0,
    all_channels: int = 0,
) -> Work:
    """The work of computing `out` from `read`, halo included.

    Args:
        in_channels: of a group.
        operations: for one element of `out`; a multiply-accumulate is two.
        weights: of one output channel, its bias included.
        added: elements read besides and added, of a residual.
        all_channels: of the input, where a part of the channels reads its own only.
    """
    batch, channels, rows, columns = out.shape
    _, read_channels, in_h, in_w = read.shape
    size = out.size
    return Work(
        kind=kind,
        batch=batch,
        out_h=rows,
        out_w=columns,
        out_channels=channels,
        in_h=in_h,
        in_w=in_w,
        in_channels=in_channels,
        kernel_h=window.kernel[0],
        kernel_w=window.kernel[1],
        stride_h=window.stride[0],
        stride_w=window.stride[1],
        dilation_h=window.dilation[0],
        dilation_w=window.dilation[1],
        groups=read_channels // in_channels,
        flops=operations * size + added,
        input_bytes=(read.size + added) * FLOAT,
        output_bytes=size * FLOAT,
        weight_bytes=0 if out.empty else channels * weights * FLOAT,
        added_bytes=added * FLOAT,
        scattered=batch * in_h * in_w * (read_channels < all_channels),
    )
