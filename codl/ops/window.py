"""Sliding windows: what a convolution or pooling reads of its input, along height and width.

Output row `o` reads the input rows `o * stride - pad + tap * dilation`, `tap` in [0, kernel); rows outside the tensor
are padding and are not read.
"""

from __future__ import annotations

from dataclasses import dataclass

from codl.errors import ModelError
from codl.graph import Node
from codl.region import Range, Region

Pair = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Window:
    """Attributes of a sliding window; each pair is (height, width)."""

    kernel: Pair
    stride: Pair
    pads: tuple[int, int, int, int]
    """top, left, bottom, right"""
    dilation: Pair

    @staticmethod
    def of(node: Node) -> Window:
        """The window of a `conv`, `conv_transpose` or `pool` node.

        Raises:
            ModelError: an attribute is missing or has the wrong length.
        """
        try:
            kernel, stride, dilation = (_pair(node.attributes[key]) for key in ("kernel", "stride", "dilation"))
            top, left, bottom, right = (int(pad) for pad in node.attributes["pads"])  # type: ignore[union-attr]
        except (KeyError, TypeError, ValueError) as error:
            raise ModelError(
                f"{node.name}: {node.op} needs kernel, stride, dilation (2 numbers each) and pads (4); {error}"
            ) from None
        return Window(kernel, stride, (top, left, bottom, right), dilation)

    @property
    def taps(self) -> int:
        return self.kernel[0] * self.kernel[1]

    def reads(self, direction: int, out: Range, extent: int) -> Range:
        """The input rows (`direction` 0) or columns (1) that the output range reads, clamped to [0, extent).

        The range is empty where everything lies in padding.
        """
        lo, hi = out
        if hi <= lo:
            return (0, 0)
        stride, pad = self.stride[direction], self.pads[direction]
        first = lo * stride - pad
        last = (hi - 1) * stride - pad + (self.kernel[direction] - 1) * self.dilation[direction]
        return _clamp(first, last + 1, extent)

    def scattered_from(self, direction: int, out: Range, extent: int) -> Range:
        """The input rows or columns that a transposed convolution adds into the output range.

        Input `i` reaches the outputs `i * stride - pad + tap * dilation`.
        """
        lo, hi = out
        stride, pad = self.stride[direction], self.pads[direction]
        found: list[Range] = []
        for tap in range(self.kernel[direction]) if hi > lo else ():
            shift = pad - tap * self.dilation[direction]
            first, last = -((-(lo + shift)) // stride), (hi - 1 + shift) // stride
            clamped = _clamp(first, last + 1, extent)
            if clamped[1] > clamped[0]:
                found.append(clamped)
        if not found:
            return (0, 0)
        return (min(start for start, _ in found), max(stop for _, stop in found))


def _pair(value: object) -> Pair:
    first, second = value  # type: ignore[misc]
    return int(first), int(second)


def _clamp(start: int, stop: int, extent: int) -> Range:
    start = min(max(start, 0), extent)
    return start, max(start, min(stop, extent))


def channels_of_groups(out: Range, per_group_out: int, per_group_in: int) -> Range:
    """Input channels that a range of output channels of a grouped convolution reads."""
    lo, hi = out
    if hi <= lo:
        return (0, 0)
    return (lo // per_group_out * per_group_in, ((hi - 1) // per_group_out + 1) * per_group_in)


def empty_input(out: Region, box: tuple[Range, ...]) -> Region:
    """`box`, or an empty box if nothing is computed."""
    return Region(tuple((0, 0) for _ in box)) if out.empty else Region(box)
