"""Sliding windows: what a convolution or pooling reads of its input, along height and width.

Output row `o` reads the input rows `o * stride - pad + tap * dilation`, `tap` in [0, kernel); rows outside the tensor
are padding and are not read.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from codl.errors import ModelError
from codl.graph import Node
from codl.region import Range, Region

Pair = tuple[int, int]

FLOAT = 4
"""Bytes of a float32."""


@dataclass(frozen=True, slots=True)
class Window:
    """Attributes of a sliding window; each pair is (height, width)."""

    kernel: Pair
    stride: Pair
    pads: tuple[int, int, int, int]
    """top, left, bottom, right"""
    dilation: Pair
    padded_input: bool = False
    """Padding counts as input: a range of outputs reads as many rows at the border as elsewhere (operator lists)."""

    @staticmethod
    def of(node: Node) -> Window:
        """The window of a `conv`, `conv_transpose` or `pool` node.

        Raises:
            ModelError: an attribute is missing or has the wrong length.
        """
        given = node.attributes
        try:
            return _window(
                given["kernel"], given["stride"], given["pads"], given["dilation"], given.get("padded_input")
            )
        except (KeyError, TypeError, ValueError) as error:
            raise ModelError(
                f"{node.name}: {node.op} needs kernel, stride, dilation (2 numbers each) and pads (4); {error}"
            ) from None

    @property
    def taps(self) -> int:
        return self.kernel[0] * self.kernel[1]

    def reads(self, direction: int, out: Range, extent: int) -> Range:
        """The input rows (`direction` 0) or columns (1) that the output range reads, clamped to [0, extent).

        The range is empty where everything lies in padding. With `padded_input`, it is moved inwards, not clamped.
        """
        lo, hi = out
        stride, pad = self.stride[direction], self.pads[direction]
        first = lo * stride - pad
        last = (hi - 1) * stride - pad + (self.kernel[direction] - 1) * self.dilation[direction]
        if many(out):
            if self.padded_input:
                count = np.minimum(last + 1 - first, extent)
                start = np.maximum(np.minimum(first, extent - count), 0)
                return start, start + count
            start = np.maximum(np.minimum(first, extent), 0)
            return start, np.maximum(start, np.minimum(last + 1, extent))
        if hi <= lo:
            return (0, 0)
        if self.padded_input:
            count = min(last + 1 - first, extent)
            start = max(min(first, extent - count), 0)
            return start, start + count
        return _clamp(first, last + 1, extent)

    def scattered_from(self, direction: int, out: Range, extent: int) -> Range:
        """The input rows or columns that a transposed convolution adds into the output range.

        Input `i` reaches the outputs `i * stride - pad + tap * dilation`.
        """
        lo, hi = out
        stride, pad = self.stride[direction], self.pads[direction]
        found: list[Range] = []
        for tap in range(self.kernel[direction]):
            shift = pad - tap * self.dilation[direction]
            first, last = ceil_div(lo + shift, stride), (hi - 1 + shift) // stride
            clamped = _clamp(first, last + 1, extent)
            if clamped[1] > clamped[0]:
                found.append(clamped)
        if not found:
            return (0, 0)
        return (min(start for start, _ in found), max(stop for _, stop in found))


@lru_cache(maxsize=4096)  # a planner asks for the windows of a network thousands of times
def _window(kernel: Any, stride: Any, pads: Any, dilation: Any, padded_input: Any) -> Window:
    """The window of these attributes.

    Raises:
        TypeError, ValueError: one of them is not as many numbers as it must be, or no tuple.
    """
    top, left, bottom, right = (int(pad) for pad in pads)
    return Window(_pair(kernel), _pair(stride), (top, left, bottom, right), _pair(dilation), bool(padded_input))


def ceil_div(number: int, divisor: int) -> int:
    """Division rounded up."""
    return -(-number // divisor)


def _pair(value: Any) -> Pair:
    first, second = value
    return int(first), int(second)


def many(out: tuple[Any, Any]) -> bool:
    """Whether this range is one of `Regions`: of many boxes, none of them empty."""
    return isinstance(out[0], np.ndarray) or isinstance(out[1], np.ndarray)


def _clamp(start: int, stop: int, extent: int) -> Range:
    start = min(max(start, 0), extent)
    return start, max(start, min(stop, extent))


def channels_of_groups(out: Range, per_group_out: int, per_group_in: int) -> Range:
    """Input channels that a range of output channels of a grouped convolution reads."""
    lo, hi = out
    if not many(out) and hi <= lo:
        return (0, 0)
    return (lo // per_group_out * per_group_in, ((hi - 1) // per_group_out + 1) * per_group_in)


@dataclass(frozen=True, slots=True)
class GroupSpan:
    """Output channels `start` to `stop`, counted within a group, of `count` groups from `first` on."""

    first: int
    count: int
    start: int
    stop: int

    @property
    def size(self) -> int:
        """Channels of each group."""
        return self.stop - self.start

    @property
    def slices(self) -> tuple[slice, slice]:
        """Into an array of (groups, channels of a group)."""
        return slice(self.first, self.first + self.count), slice(self.start, self.stop)


def group_spans(channels: Range, per_group: int) -> list[GroupSpan]:
    """A range of output channels as spans of equal parts of groups: a cut group, whole groups, a cut group."""
    spans: list[GroupSpan] = []
    at, stop = channels
    while at < stop:
        first, start = divmod(at, per_group)
        whole = (stop - at) // per_group if start == 0 else 0
        if whole:
            spans.append(GroupSpan(first, whole, 0, per_group))
            at += whole * per_group
        else:
            end = min(per_group, start + stop - at)
            spans.append(GroupSpan(first, 1, start, end))
            at += end - start
    return spans


def groups(node: Node) -> int:
    """The number of groups of a `conv` or `conv_transpose`."""
    return node.integer("group")


def has_bias(node: Node) -> bool:
    """Whether a `conv`, `conv_transpose` or `gemm` has a third input."""
    return len(node.inputs) > 2 and bool(node.inputs[2])


def empty_input(out: Region, box: tuple[Range, ...]) -> Region:
    """`box`, or an empty box if nothing is computed."""
    return Region(tuple((0, 0) for _ in box)) if out.empty else Region(box)
