"""Boxes of tensors by number, so that a planner weighs thousands of them in arrays.

A planner asks the same few questions about thousands of boxes: what does this box cost here, what does it read? Every
box of a tensor gets a small number, each question is answered once per box, and the answers are arrays that numpy
indexes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Ids = NDArray[np.int64]
Floats = NDArray[np.float64]
NOTHING = -1
"""The number of the empty box, of every tensor."""
UNKNOWN = -2
"""Not numbered, or not asked about, yet."""


class Boxes:
    """The boxes of tensors of one shape, numbered as they turn up."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.shape = shape
        self.count = 0
        self.whole: Ids = np.array([(0, extent) for extent in shape], dtype=np.int64).reshape(len(shape), 2)
        self._ids: dict[bytes, int] = {}
        self._full: int | None = None
        self._ranges: Ids = np.zeros((8, len(shape), 2), dtype=np.int64)
        self._sizes = np.zeros(9)
        """elements of each box; the last is the empty box's"""
        self._cuts: dict[tuple[int, int], tuple[Ids, Ids, Ids]] = {}

    @property
    def ranges(self) -> Ids:
        """(start, stop) of every axis of every box, (boxes, axes, 2)."""
        return self._ranges[: self.count]

    def ids(self, ranges: Ids) -> Ids:
        """The numbers of boxes given as (boxes, axes, 2); `NOTHING` for empty ones."""
        if not self.shape or not len(ranges):
            return np.zeros(len(ranges), dtype=np.int64)
        rows = np.ascontiguousarray(ranges, dtype=np.int64)
        keys: list[Any] = rows.reshape(len(rows), -1).view(np.dtype((np.void, 16 * len(self.shape)))).ravel().tolist()
        known = self._ids
        found = [known.get(key, UNKNOWN) for key in keys]
        ids = np.array(found, dtype=np.int64)
        fresh = np.flatnonzero(ids == UNKNOWN)
        if len(fresh):
            self._add([keys[index] for index in fresh], rows[fresh])
            ids[fresh] = [known[keys[index]] for index in fresh]
        return ids

    def _add(self, keys: Sequence[bytes], rows: Ids) -> None:
        """Number boxes that turned up; some may be the same."""
        empty = (rows[:, :, 1] <= rows[:, :, 0]).any(axis=1)
        if empty.any():
            self._ids.update((keys[index], NOTHING) for index in np.flatnonzero(empty).tolist())
            rows, keys = rows[~empty], [keys[index] for index in np.flatnonzero(~empty).tolist()]
        firsts = {key: index for index, key in enumerate(keys)}
        if len(firsts) < len(keys):
            rows = rows[list(firsts.values())]
        while self.count + len(rows) > len(self._ranges):
            self._ranges = np.concatenate([self._ranges, np.zeros_like(self._ranges)])
            self._sizes = np.concatenate([self._sizes, np.zeros(len(self._sizes) - 1)])
        new = slice(self.count, self.count + len(rows))
        self._ranges[new] = rows
        self._sizes[new] = np.prod(rows[:, :, 1] - rows[:, :, 0], axis=1, dtype=np.float64)
        self._ids.update(zip(firsts, range(self.count, self.count + len(rows)), strict=True))
        self.count += len(rows)

    def full(self) -> int:
        """The number of the whole tensor."""
        if self._full is None:
            self._full = int(self.ids(self.whole[None])[0])
        return self._full

    def cuts(self, axis: int, alignment: int) -> tuple[Ids, Ids, Ids]:
        """Every way to cut an axis in two at a multiple of `alignment`: (cuts, boxes before, boxes from the cut on)."""
        key = (axis, alignment)
        if key not in self._cuts:
            cuts = np.arange(alignment, self.shape[axis], alignment, dtype=np.int64)
            rows = np.repeat(self.whole[None], 2 * len(cuts), axis=0)
            rows[: len(cuts), axis, 1] = cuts
            rows[len(cuts) :, axis, 0] = cuts
            ids = self.ids(rows)
            self._cuts[key] = (cuts, ids[: len(cuts)], ids[len(cuts) :])
        return self._cuts[key]

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

    def sizes(self, ids: Ids) -> Floats:
        """Elements of each box."""
        return self._sizes[ids]

    def missing(self, own: Ids, need: Ids) -> Floats:
        """Elements of each needed box that each owned box lacks: (owned, needed)."""
        distinct = np.unique(own)
        if 4 * len(distinct) < len(own):  # often most states hold the whole tensor
            found: Floats = self.missing(distinct, need)[np.searchsorted(distinct, own)]
            return found
        if len(own) == 1 and own[0] == self._full:
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
