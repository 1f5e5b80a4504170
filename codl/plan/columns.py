"""Chains that a planner weighs side by side, one column each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from codl.ops import Dimension
from codl.plan.boxes import NOTHING, Floats, Ids

DIMENSIONS = (Dimension.HEIGHT, Dimension.OUTPUT_CHANNEL, Dimension.WIDTH)
"""Dimensions by the index that tables hold."""


@dataclass(frozen=True, slots=True)
class Columns:
    """Chains that begin with operator `start` and are cut in two: one column a chain, dimension and cut.

    Rows of arrays that have two are the processors. Shorter chains come first.

    Args:
        what: the dimension that each chain is cut along (an index into `DIMENSIONS`), the position of its last
            operator, and the rows or channels of that one's output that the first processor computes, (3, columns).
        costs: (ns, bytes of memory traffic, joules) of all kernels of a processor, halo included: (2, columns, 3).
        parts: boxes of the last operator's output (numbers of `Tables.boxes` of that tensor), (2, columns).
        part_bytes: their sizes.
        needs: by tensor from before the chain, the boxes that each processor reads, (2, columns).
    """

    start: int
    what: Ids
    costs: Floats
    parts: Ids
    part_bytes: Floats
    needs: Mapping[str, Ids]

    @property
    def dimension(self) -> Ids:
        row: Ids = self.what[0]
        return row

    @property
    def stop(self) -> Ids:
        row: Ids = self.what[1]
        return row

    @property
    def cut(self) -> Ids:
        row: Ids = self.what[2]
        return row

    @property
    def ns(self) -> Floats:
        """Kernel time by processor, (2, columns)."""
        ns: Floats = self.costs[:, :, 0]
        return ns

    @property
    def nbytes(self) -> Floats:
        """Memory traffic of both processors, (columns,)."""
        nbytes: Floats = self.costs[0, :, 1] + self.costs[1, :, 1]
        return nbytes

    @property
    def joules(self) -> Floats:
        """Of the kernels of both processors, (columns,)."""
        joules: Floats = self.costs[0, :, 2] + self.costs[1, :, 2]
        return joules

    def at(self, chosen: Ids | NDArray[np.bool_]) -> Columns:
        """Some of the columns."""
        return Columns(
            self.start, self.what[:, chosen], self.costs[:, chosen], self.parts[:, chosen], self.part_bytes[:, chosen],
            {value: ids[:, chosen] for value, ids in self.needs.items()},
        )  # fmt: skip

    def __len__(self) -> int:
        return len(self.what[0])


def joined_needs(parts: Sequence[tuple[Mapping[str, Ids], int]]) -> dict[str, Ids]:
    """What columns read, side by side; a tensor that a column does not read is read as `NOTHING`.

    Args:
        parts: by tensor the boxes read, (2, columns), and the number of columns.
    """
    needs = {}
    for value in dict.fromkeys(value for read, _ in parts for value in read):
        rows = [read[value] if value in read else np.full((2, count), NOTHING, dtype=np.int64) for read, count in parts]
        needs[value] = np.concatenate(rows, axis=1)
    return needs


def joined(parts: Sequence[Columns]) -> Columns | None:
    """Columns side by side, None for none."""
    if len(parts) < 2:
        return parts[0] if parts else None
    needs = joined_needs([(part.needs, len(part)) for part in parts])

    def field(name: str) -> Any:
        return np.concatenate([getattr(part, name) for part in parts], axis=1)

    return Columns(parts[0].start, field("what"), field("costs"), field("parts"), field("part_bytes"), needs)
