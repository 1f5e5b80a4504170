"""Devices for tests of the executor, the same on machines with and without a GPU."""

from __future__ import annotations

from functools import cache

from codl.real.devices import Assignment, choose, find


@cache
def halves() -> Assignment:
    """Two halves of the OpenCL CPU device as `gpu` and `cpu`, in one memory; the whole twice where it has one core."""
    whole = next(info for info in find() if info.kind == "cpu" and info.id == info.root)
    parts = [info for info in find() if info.root == whole.id and info.id != whole.id]
    first, second = parts or (whole, whole)
    return choose(cpu=second.id, gpu=first.id)
