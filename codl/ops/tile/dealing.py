"""How a CPU device deals work-items to its cores, and how long they take for it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import accumulate, product

from codl.ops.window import ceil_div

_MOST_AT_ONCE = 32
"""PoCL hands out no more work-items than this at once, times the number of cores."""

_MANY = 100
"""From so many work-items a core on, they are dealt evenly whatever their size."""


def balanced(total: int, limit: int) -> int:
    """The piece length of the fewest equal pieces of `total` that are no longer than `limit`; 0 of 0."""
    return ceil_div(total, ceil_div(total, limit)) if total else 0


def shared_out(
    extent: tuple[int, int],
    limits: tuple[int, int],
    cores: int,
    cost: Callable[[int, int, bool], float],
    groups: int = 1,
) -> tuple[int, int]:
    """The size of work-items, at most `limits`, into which tiles and blocks of channels are cut.

    Large work-items repeat less, but all cores should end at the same time: where there are few items, the sizes are
    those with which the last core ends first.

    Args:
        extent: all tiles, and all blocks, of each of the `groups`.
        cost: of a work-item of so many tiles and blocks, and whether these end with the last block.
    """
    tiles, blocks = extent
    largest = balanced(tiles, limits[0]), balanced(blocks, limits[1])

    def items(sizes: tuple[int, int]) -> int:
        return ceil_div(tiles, sizes[0] or 1) * ceil_div(blocks, sizes[1] or 1) * groups

    def taken(sizes: tuple[int, int]) -> float:
        across = [min(sizes[0], tiles - at) for at in range(0, tiles, sizes[0])]
        along = [(min(sizes[1], blocks - at), at + sizes[1] >= blocks) for at in range(0, blocks, sizes[1])]
        return makespan([cost(a, b, last) for b, last in along for a in across] * groups, cores)

    if cores == 1 or not 0 < items(largest) < _MANY * cores:
        return largest
    lengths = {balanced(tiles, most): None for most in range(limits[0], 0, -1)}
    widths = {balanced(blocks, most): None for most in range(limits[1], 0, -1)}
    return min((sizes for sizes in product(lengths, widths) if items(sizes) < _MANY * cores), key=taken)


def makespan(items: Sequence[float], cores: int) -> float:
    """When the last work-item ends, in the unit of `items`, what each takes.

    As PoCL 3 deals them: a core that is free takes the next 1 / `cores` of those that are left. Two cores share 8 equal
    ones evenly; of 5 the first takes 3 at once.
    """
    before = [0.0, *accumulate(items)]
    free = [0.0] * cores
    at = 0
    while at < len(items):
        core = free.index(min(free))
        upto = at + min(ceil_div(len(items) - at, cores), _MOST_AT_ONCE * cores)
        free[core] += before[upto] - before[at]
        at = upto
    return max(free)
