"""Quantisation: how many blocks, tiles and rounds of them an operator takes (CoDL, MobiSys '22, equations 1-3).

An axis of n outputs takes ceil(n / block) blocks and the whole of the last block is computed; blocks are dealt out to
`slots` (CPU threads; waves that run at once on a GPU) in rounds, and the tail round takes as long as a full one. A
library may deal several blocks at a time (`pieces`), or groups of waves (`codl.cost.groups`).

`work` may be a `codl.ops.spec.Work`, or any object with the same fields as numpy arrays.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from codl.cost.groups import group_waves
from codl.hardware import Kernel, Processor
from codl.ops.winograd import TAPS

Quantities = dict[str, Any]
"""Quantity by unit name: floats, or arrays where the work is one of arrays."""


def ceil(value: Any, block: int) -> Any:
    """Number of blocks."""
    return -(-value // block)


def blocks_of(work: Any, kernel: Kernel) -> dict[str, Any]:
    """Blocks along each output axis."""
    get = kernel.blocks.get
    return {
        "batch": work.batch,
        "out_channels": ceil(work.out_channels, get("out_channels", 1)),
        "out_h": ceil(work.out_h, get("out_h", 1)),
        "out_w": ceil(work.out_w, get("out_w", 1)),
    }


def padded(work: Any, kernel: Kernel) -> Any:
    """Outputs that are computed when every block is computed whole."""
    get = kernel.blocks.get
    blocks = blocks_of(work, kernel)
    return (
        blocks["batch"]
        * (blocks["out_channels"] * get("out_channels", 1))
        * (blocks["out_h"] * get("out_h", 1))
        * (blocks["out_w"] * get("out_w", 1))
    )


def tiles_of(work: Any, kernel: Kernel) -> tuple[Any, float]:
    """Number of output tiles, and elements of one transformed input tile."""
    side = kernel.tile + _taps(kernel) - 1
    return work.batch * ceil(work.out_h, kernel.tile) * ceil(work.out_w, kernel.tile), 1.0 * side * side


def winograd_depth(work: Any, kernel: Kernel) -> Any:
    """Input channels of a Winograd kernel, each as often as there are parts of the taps (`codl.ops.winograd`)."""
    taps = _taps(kernel)
    return work.in_channels * ceil(work.kernel_h, taps) * ceil(work.kernel_w, taps)


def _taps(kernel: Kernel) -> int:
    """r of F(m, r); 3 for tiles that codl's own kernels do not have, but another library's may."""
    return TAPS.get(kernel.tile, 3)


def rounds(work: Any, kernel: Kernel, processor: Processor) -> Any:
    """Slowdown by quantisation into rounds: 1 where the blocks fill every round, `slots` where there is one block.

    A kernel with no parallel axis shares its work out evenly, whatever the shape.
    """
    if not kernel.parallel:
        return 1.0
    blocks = blocks_of(work, kernel)
    if kernel.groups:
        return _group_rounds(work, blocks, kernel, processor)
    units = blocks["batch"]
    for axis in kernel.parallel:
        units = units * blocks[axis]
    if processor.kind == "gpu":
        units = ceil(units, processor.wave_size)
    slots = kernel.slots or processor.slots
    if not kernel.pieces:
        return ceil(units, slots) * slots / units
    size = np.maximum(units // (slots * kernel.pieces), 1)
    whole = units // size
    full, started = whole // slots * size, whole % slots > 0
    return (full + np.where(started, size, units % size)) * slots / units


def _group_rounds(work: Any, blocks: Mapping[str, Any], kernel: Kernel, processor: Processor) -> Any:
    """`rounds` of work-groups, which are dealt out to compute units: waves are counted whole, and so is the last round
    of groups."""
    items = (blocks["out_channels"], blocks["out_w"], blocks["out_h"] * blocks["batch"])
    groups, waves = group_waves(items, work.kernel_h * work.kernel_w, kernel.groups, processor)
    units = processor.compute_units
    in_flight = ceil(groups, units) * units / groups
    return waves * processor.wave_size / (items[0] * items[1] * items[2]) * in_flight
