"""How a box of a tensor lies in a 2-D image of four floats (RGBA) a texel.

Texel (x, y) = (block * columns + column, n * rows + row), all counted from the box's start, holds channels 4 * block
to 4 * block + 3 of one pixel; blocks are those of the whole tensor, so that a box which begins in the middle of one
leaves its first channels unused. Channels beyond the tensor's last are zero. This is MACE's IN_OUT_CHANNEL layout,
which CoDL's kernels read.

A tensor of another rank than 4 lies as the feature map that its shape stands for: (C) as (1, C, 1, 1), (N, C) as
(N, C, 1, 1), (N, C, L) as (N, C, 1, L).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from codl.errors import PlanError
from codl.graph import Graph, Node
from codl.ops.launch import Launch, View
from codl.ops.window import ceil_div
from codl.region import Region

CHANNELS = 4
"""Of a texel."""
TEXEL_BYTES = 16
FLOATS = "float32"


@dataclass(frozen=True, slots=True)
class Layout:
    """The image that holds a box of a feature map."""

    box: Region

    @staticmethod
    def of(region: Region) -> Layout:
        """The image of a box of a tensor of any rank up to 4.

        Raises:
            PlanError: of a higher rank.
        """
        return Layout(Region(_as_map(region.ranges, (0, 1))))

    @property
    def width(self) -> int:
        return self.blocks * self.columns

    @property
    def height(self) -> int:
        return (self.box.ranges[0][1] - self.box.ranges[0][0]) * self.rows

    @property
    def columns(self) -> int:
        return self.box.shape[3]

    @property
    def rows(self) -> int:
        return self.box.shape[2]

    @property
    def blocks(self) -> int:
        first, stop = self.box.ranges[1]
        return ceil_div(stop, CHANNELS) - first // CHANNELS if stop > first else 0

    @property
    def place(self) -> tuple[int, int, int, int]:
        """(x, y, columns, rows) as `cl/image.cl` takes a map: where the tensor's texel (0, 0, 0, 0) would lie."""
        (n, _), (channel, _), (row, _), (column, _) = self.box.ranges
        return -(channel // CHANNELS) * self.columns - column, -n * self.rows - row, self.columns, self.rows


def start_of(box: Region) -> tuple[int, int, int, int]:
    """(n, block, row, column) of a box's first texel."""
    n, channel, row, column = box.start
    return n, channel // CHANNELS, row, column


def blocks_of(box: Region) -> int:
    return Layout(box).blocks


def per_texel(box: Region) -> tuple[int, int, int]:
    """Global size of a kernel that computes one texel of a box a work-item: (columns, blocks, images * rows)."""
    images, _, rows, columns = box.shape
    return columns, blocks_of(box), images * rows


def map_strides(view: View) -> tuple[int, int, int, int]:
    """A view's strides as those of the feature map that its shape stands for."""
    return _as_map(view.strides, 0)


def pack(array: np.ndarray, first_channel: int = 0) -> np.ndarray:
    """An array in logical axis order as the texels of its image, (height, width, 4).

    Args:
        first_channel: of the box that the array fills.
    """
    images, channels, rows, columns = _as_map(array.shape, 1)
    skipped = first_channel % CHANNELS
    blocks = ceil_div(skipped + channels, CHANNELS)
    texels = np.zeros((images, rows, blocks, columns, CHANNELS), dtype=np.float32)
    flat = array.reshape(images, channels, rows, columns).transpose(0, 2, 3, 1)
    for channel in range(channels):
        block, lane = divmod(skipped + channel, CHANNELS)
        texels[:, :, block, :, lane] = flat[..., channel]
    return texels.reshape(images * rows, blocks * columns, CHANNELS)


def unpack(texels: np.ndarray, shape: Sequence[int], first_channel: int = 0) -> np.ndarray:
    """The inverse of `pack`: an array of this shape."""
    images, channels, rows, columns = _as_map(tuple(shape), 1)
    skipped = first_channel % CHANNELS
    split = texels.reshape(images, rows, -1, columns, CHANNELS).transpose(0, 2, 4, 1, 3)
    stored = split.reshape(images, -1, rows, columns)[:, skipped : skipped + channels]
    return np.ascontiguousarray(stored).reshape(tuple(shape))


def is_feature_map(graph: Graph, value: str) -> bool:
    """Whether kernels on images take a tensor: rank 4, float32."""
    tensor = graph.tensor(value)
    return len(tensor.shape) == 4 and tensor.dtype == FLOATS


def takes(graph: Graph, node: Node) -> bool:
    """Whether all that a node reads, weights aside, and its one output are feature maps."""
    variable = [tensor.name for _, tensor in graph.variable_inputs(node)]
    return len(node.outputs) == 1 and all(is_feature_map(graph, value) for value in (*variable, *node.outputs))


def launch(
    source: str, defines: Sequence[tuple[str, int | float | str]], arguments: Sequence[object], size: tuple[int, ...]
) -> Launch:  # fmt: skip
    """One launch of `cl/SOURCE.cl`, of the kernel of that name; the driver chooses the work-groups."""
    # sizes of one to three numbers
    return Launch(f"cl/{source}.cl", source, tuple(defines), tuple(arguments), size, None)  # type: ignore[arg-type]


def _as_map(axes: Sequence[Any], one: Any) -> tuple[Any, Any, Any, Any]:
    """Four values of the axes of the feature map that stands for a shape, `one` where it adds an axis."""
    if len(axes) > 4:
        raise PlanError(f"images hold tensors of up to 4 axes; this one has {len(axes)}")
    if len(axes) == 4:
        return (axes[0], axes[1], axes[2], axes[3])
    if len(axes) == 3:
        return (axes[0], axes[1], one, axes[2])
    if len(axes) == 2:
        return (axes[0], axes[1], one, one)
    return (one, axes[0] if axes else one, one, one)
