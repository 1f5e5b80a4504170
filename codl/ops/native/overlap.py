"""Loops in steps of a vector or a tile, over any length (`cl/overlap.cl`)."""

from __future__ import annotations

from codl.ops.native.abi import inlined


@inlined
def overlapping(i: int, width: int, n: int) -> int:
    """Where the `width` elements that cover element i of n begin: the last ones overlap those before them."""
    return i if i + width <= n else n - width
