"""Chains that a planner weighs side by side, one column each, and the cuts that they may end with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from codl.ops import Dimension
from codl.plan.boxes import NOTHING, Floats, Ids

DIMENSIONS = (Dimension.HEIGHT, Dimension.OUTPUT_CHANNEL, Dimension.WIDTH)
"""Dimensions by the index that tables hold."""


@dataclass(frozen=True, slots=True)
class Cuts:
    """Ways to cut operators in two. Rows of arrays that have two are the processors.

    Args:
        dimension: what an operator is cut along, as an index into `DIMENSIONS`.
        cut: rows or channels of its output that the first processor computes; `ratio`: their share.
        parts: the boxes of its output (numbers of `Tables.boxes` of that tensor), (2, cuts).
        part_bytes: their sizes.
        longer: whether chains of more than one operator may end with it.
    """

    dimension: Ids
    cut: Ids
    ratio: Floats
    parts: Ids
    part_bytes: Floats
    longer: NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Ends(Cuts):
    """All ways to cut an operator in two that a sweep weighs, operator by operator: what chains end with.

    Args:
        stop: the position of the operator, ascending.
        first: by operator, the index of its first end; then the number of all.
    """

    stop: Ids
    first: Sequence[int]


@dataclass(frozen=True, slots=True)
class Columns:
    """Chains that begin with operator `start` and are cut in two: one column a chain, dimension and cut.

    Args:
        end: what each chain ends with, as an index into `ends`; ascending, so that shorter chains come first.
        costs: (ns, bytes of memory traffic, joules) of all kernels of a processor, halo included: (2, columns, 3).
        needs: by tensor from before the chain, the boxes that each processor reads, (2, columns).
    """

    start: int
    ends: Ends
    end: Ids
    costs: Floats
    needs: Mapping[str, Ids]

    @property
    def stop(self) -> Ids:
        """The position of each chain's last operator."""
        return self.ends.stop.take(self.end)

    @property
    def part_bytes(self) -> Floats:
        """Of the last operator's output, (2, columns)."""
        return self.ends.part_bytes.take(self.end, axis=1)

    @property
    def alone(self) -> int:
        """The number of columns with `start` alone, which are the first ones."""
        return int(self.end.searchsorted(self.ends.first[self.start + 1]))

    def __len__(self) -> int:
        return len(self.end)


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
