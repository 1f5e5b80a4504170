"""Work-groups: how a library cuts a GPU kernel's work-items into groups, and how many waves that makes.

A group runs on one compute unit, and its last wave may be half empty; so may the groups at the end of an axis. Both
cost a part of an operator more than the whole of it, relatively. The rules are MACE's (`LocalWS` in the OpenCL kernels
conv_2d_1x1, conv_2d_3x3 and conv_2d_general of its image operators); they know the device's cache, compute units and
largest group.

Sizes may be numbers or numpy arrays of integers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from codl.hardware import Processor

Sizes = tuple[Any, Any, Any]
"""Work-items, or work-items of a group, along channels, width and height."""

Rule = Callable[[Sizes, int, Processor], Sizes]
"""(work-items, taps of the kernel, GPU) -> sizes of a group."""

_CACHE_UNIT = 16384
"""Bytes of cache for each channel block that a group holds."""
_VECTOR = 16
"""Bytes of four channels."""
_REST = 8
"""Rows of a group are multiples of this, and as many as this where the cache says none."""


def _min(left: Any, right: Any) -> Any:
    """`np.minimum`, many times faster for a pair of numbers."""
    return min(left, right) if isinstance(left, int) and isinstance(right, int) else np.minimum(left, right)


def _max(left: Any, right: int) -> Any:
    return max(left, right) if isinstance(left, int) else np.maximum(left, right)


def _where(condition: Any, yes: Any, no: Any) -> Any:
    if isinstance(condition, bool):
        return yes if condition else no
    return np.where(condition, yes, no)


def _base(processor: Processor) -> int:
    return max(int(processor.cache) // _CACHE_UNIT, 1)


def _rows(fitting: Any, otherwise: Any, items: Sizes, columns: Any, channels: Any, processor: Processor) -> Sizes:
    """A group of as many rows as fit the cache (`otherwise` where none do) and the device's largest group."""
    rows = _where(fitting == 0, otherwise, fitting)
    rows = _min(_min(rows, items[2]), processor.max_work_group_size // (columns * channels))
    return channels, columns, _max(rows, 1)


def _mace_3x3(items: Sizes, taps: int, processor: Processor) -> Sizes:
    base = min(_base(processor), 4)
    columns = _min(items[1], processor.max_work_group_size)
    channels = _min(_min(items[0], base), processor.max_work_group_size // columns)
    held = int(processor.cache) // (14 * _VECTOR) // (columns * channels) // max(processor.compute_units // 2, 1)
    return _rows(-(-held // base) * base, base, items, columns, channels, processor)


def _mace_1x1(items: Sizes, taps: int, processor: Processor) -> Sizes:
    base = _base(processor)
    columns = _min(items[1], processor.max_work_group_size)
    narrow = _where(items[0] // 8 < base, _max(items[0] // 4, base), items[0] // 8)
    wide = (columns >= base) | ((columns > 1) & (items[0] >= 128))
    channels = _where(wide, _min(items[0], base), narrow)
    channels = _max(_min(channels, processor.max_work_group_size // columns), 1)
    held = int(processor.cache) // (12 * _VECTOR) // (columns * channels) // processor.compute_units
    return _rows(held * _REST, base, items, columns, channels, processor)


def _mace_general(items: Sizes, taps: int, processor: Processor) -> Sizes:
    columns = _min(items[1], processor.max_work_group_size)
    channels = _where(items[0] < 4, items[0], items[0] // 4)
    channels = _max(_min(channels, processor.max_work_group_size // columns), 1)
    held = int(processor.cache) // (12 * _VECTOR) // taps // (columns * channels) // processor.compute_units
    otherwise = _where(items[2] < 20, items[2], _base(processor))
    return _rows(held * _REST, otherwise, items, columns, channels, processor)


RULES: Mapping[str, Rule] = {"mace_1x1": _mace_1x1, "mace_3x3": _mace_3x3, "mace_general": _mace_general}
"""Every rule by the name that hardware files use."""


def group_waves(items: Sizes, taps: int, rule: str, processor: Processor) -> tuple[Any, Any]:
    """(groups, waves) that a grid of work-items consists of; groups at the end of an axis hold what is left."""
    sizes = RULES[rule](items, taps, processor)
    axes = [_pieces(count, size) for count, size in zip(items, sizes, strict=True)]
    groups, waves = 0, 0
    for channels, many in axes[0]:
        for columns, wide in axes[1]:
            for rows, high in axes[2]:
                number = many * wide * high
                groups = groups + number
                waves = waves + number * -(-(channels * columns * rows) // processor.wave_size)
    return groups, waves


def _pieces(count: Any, size: Any) -> list[tuple[Any, Any]]:
    """(extent, how many) of the groups along an axis: the whole ones, and one of the rest."""
    rest = count % size
    whole = (size, count // size)
    return [whole] if isinstance(rest, int) and not rest else [whole, (rest, 1 * (rest > 0))]
