"""How a CPU device deals work-items to its cores, and how long they take for it."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

from codl.ops.window import ceil_div

_MOST_AT_ONCE = 32
"""PoCL hands out no more work-items than this at once, times the number of cores."""


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
