"""Boxes of tensors by number, so that a planner weighs thousands of them in arrays.

A planner asks the same few questions about thousands of boxes: what does this box cost here, what does it read? Every
box of a tensor gets a small number, each question is answered once per box, and the answers are arrays that numpy
indexes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import prod

import numpy as np
from numpy.typing import NDArray

from codl.errors import InputError
from codl.region import Region

Ids = NDArray[np.int64]
Floats = NDArray[np.float64]
NOTHING = -1
"""The number of the empty box, of every tensor."""
UNKNOWN = -2
"""Not numbered, or not asked about, yet."""
_NO_CODE = np.iinfo(np.int64).max


class Boxes:
    """The boxes of tensors of one shape, numbered as they turn up.

    Boxes are looked up by a code: axis by axis, `start * extent + stop - 1` is a digit to the base `extent ** 2`.

    Raises:
        InputError: the tensor has too many elements for codes of 64 bits.
    """

    def __init__(self, shape: tuple[int, ...]) -> None:
        if prod(shape) ** 2 > _NO_CODE:
            raise InputError(f"a tensor of shape {shape} is too large to plan for")
        self.shape = shape
        self.whole: Ids = np.array([(0, extent) for extent in shape], dtype=np.int64).reshape(len(shape), 2)
        digits = [prod(shape[:axis]) ** 2 for axis in range(len(shape))]
        pairs = [(extent * digit, digit) for extent, digit in zip(shape, digits, strict=True)]
        self._digits: Ids = np.array(pairs, dtype=np.int64).reshape(-1)
        """what each start and each stop counts in a code"""
        self._ones = self._digits[1::2].sum()
        self.full = 0 if prod(shape) else NOTHING
        """the number of the whole tensor"""
        self.count = self.full + 1
        self._ranges: Ids = np.zeros((8, len(shape), 2), dtype=np.int64)
        self._ranges[0] = self.whole
        self._sizes = np.array([prod(shape), *[0.0] * 8])
        """elements of each box; the last is the empty box's"""
        codes = [self._code(self.whole.tolist())] * self.count
        self._codes: Ids = np.array([*codes, _NO_CODE])
        """of known boxes, ascending"""
        self._numbers: Ids = np.array([*[self.full] * self.count, UNKNOWN])
        """of the boxes with these codes"""

    @property
    def ranges(self) -> Ids:
        """(start, stop) of every axis of every box, (boxes, axes, 2)."""
        return self._ranges[: self.count]

    def ids(self, ranges: Ids) -> Ids:
        """The numbers of boxes given as (boxes, axes, 2); `NOTHING` for empty ones."""
        filled = ranges[:, :, 1] > ranges[:, :, 0]
        if not filled.all():
            some = filled.all(axis=1)
            ids = np.full(len(ranges), NOTHING, dtype=np.int64)
            ids[some] = self.ids(ranges[some])
            return ids
        codes = ranges.reshape(len(ranges), len(self._digits)) @ self._digits - self._ones
        places = self._codes.searchsorted(codes)
        fresh = self._codes[places] != codes
        if fresh.any():
            self._add(codes[fresh], ranges[fresh])
            places = self._codes.searchsorted(codes)
        found: Ids = self._numbers[places]
        return found

    def _add(self, codes: Ids, rows: Ids) -> None:
        """Number boxes that turned up; some may be the same."""
        codes, firsts = np.unique(codes, return_index=True)
        rows = rows[firsts]
        known, self.count = self.count, self.count + len(rows)
        if self.count > len(self._ranges):
            self._ranges = np.concatenate([self._ranges, np.zeros((self.count, *self.whole.shape), dtype=np.int64)])
            self._sizes = np.concatenate([self._sizes, np.zeros(self.count)])
        self._ranges[known : self.count] = rows
        self._sizes[known : self.count] = (rows[:, :, 1] - rows[:, :, 0]).astype(np.float64).prod(axis=1)
        new = np.arange(known, self.count)
        codes, numbers = np.concatenate([self._codes, codes]), np.concatenate([self._numbers, new])
        order = np.argsort(codes, kind="stable")
        self._codes, self._numbers = codes[order], numbers[order]

    def _code(self, ranges: Sequence[Sequence[int]]) -> int:
        code, digit = 0, 1
        for (start, stop), extent in zip(ranges, self.shape, strict=True):
            code, digit = code + (start * extent + stop - 1) * digit, digit * extent**2
        return code

    def number(self, region: Region) -> int:
        """The number of a box; `UNKNOWN` if it has none yet, `NOTHING` for an empty one."""
        if region.empty:
            return NOTHING
        code = self._code(region.ranges)
        place = int(self._codes.searchsorted(code))
        return int(self._numbers[place]) if self._codes[place] == code else UNKNOWN

    def cut(self, places: Iterable[tuple[int, Ids]]) -> Ids:
        """The boxes before cuts of an axis, and those from the cuts on, one axis after the other: (2, cuts)."""
        halves = []
        for axis, cuts in places:
            rows = np.empty((2, len(cuts), *self.whole.shape), dtype=np.int64)
            rows[:] = self.whole
            rows[0, :, axis, 1] = rows[1, :, axis, 0] = cuts
            halves.append(rows)
        rows = np.concatenate(halves, axis=1)
        return self.ids(rows.reshape(-1, *self.whole.shape)).reshape(2, -1)

    def hull(self, left: Ids, right: Ids) -> Ids:
        """Element by element, the smallest box that holds both."""
        if left is right or np.array_equal(left, right):
            return left
        merged = np.where(left == NOTHING, right, left)
        both = (left != NOTHING) & (right != NOTHING) & (left != right)
        if both.any():
            a, b = self.ranges[left[both]], self.ranges[right[both]]
            rows = np.stack([np.minimum(a[..., 0], b[..., 0]), np.maximum(a[..., 1], b[..., 1])], axis=-1)
            merged[both] = self.ids(rows)
        return merged

    def distinct(self, asked: Iterable[Ids]) -> Ids:
        """The boxes that turn up in arrays, each once, without the empty one."""
        among = np.zeros(self.count + 1, dtype=bool)  # the last is the empty box
        for ids in asked:
            among[ids] = True
        return np.flatnonzero(among[:-1])

    def sizes(self, ids: Ids) -> Floats:
        """Elements of each box."""
        return self._sizes.take(ids)

    def missing(self, own: Ids, need: Ids) -> Floats:
        """Elements of each needed box that each owned box lacks: (owned, needed)."""
        distinct = np.unique(own)
        if 4 * len(distinct) < len(own):  # often most states hold the whole tensor
            found: Floats = self.missing(distinct, need)[np.searchsorted(distinct, own)]
            return found
        if len(own) == 1 and own[0] == self.full:
            return np.zeros((1, len(need)))
        have, want = self._ranges[own], self._ranges[need]
        common = np.ones((len(own), len(need)))
        for axis, extent in enumerate(self.shape):
            if bool(np.all((have[:, axis, 0] == 0) & (have[:, axis, 1] == extent))):
                common *= (want[:, axis, 1] - want[:, axis, 0])[None, :]
                continue
            start = np.maximum(have[:, axis, 0][:, None], want[:, axis, 0][None, :])
            stop = np.minimum(have[:, axis, 1][:, None], want[:, axis, 1][None, :])
            common *= np.maximum(stop - start, 0)
        common[own == NOTHING] = 0
        return np.where(need == NOTHING, 0.0, self.sizes(need)[None, :] - common)
