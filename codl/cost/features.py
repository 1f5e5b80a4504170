"""From work to basic units: the quantised form of the latency predictor (CoDL, MobiSys '22, table 1, equations 1-3).

A latency is `sum(quantity x unit time)`. This module knows the quantities, as formulas of shapes, blocks, tiles,
threads and waves; only the unit times are learned (`codl.cost.fit`). The formulas use nothing but arithmetic, so that
`work` may be a `codl.ops.spec.Work`, or any object with the same fields as numpy arrays.

Quantisation, in the terms of the paper: an axis of n outputs takes ceil(n / block) blocks and the whole of the last
block is computed; blocks are dealt out to `slots` (CPU threads; waves that run at once on a GPU) in rounds, and the
tail round takes as long as a full one. A library may deal several blocks at a time (`pieces`), or groups of waves
(`codl.cost.groups`).

Longer than other modules: the catalogue of all formulas, so that they can be read beside each other.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from codl.cost.groups import RULES, group_waves
from codl.errors import SchemaError
from codl.hardware import Kernel, Processor
from codl.ops.tile.gpu import GEMV_PIXELS, SHAPES, tilings

FLOAT = 4  # bytes of a float32

Quantities = dict[str, Any]
"""Quantity by unit name: floats, or arrays where the work is one of arrays."""


@dataclass(frozen=True)
class Form:
    """A formula: the names of the units that it yields, by what they are counted in."""

    quantities: Callable[[Any, Kernel, Processor], Quantities]
    compute: tuple[str, ...] = ()
    memory: tuple[str, ...] = ()
    fixed: tuple[str, ...] = ()

    @property
    def units(self) -> tuple[str, ...]:
        return (*self.compute, *self.memory, *self.fixed)


def _ceil(value: Any, block: int) -> Any:
    """Number of blocks."""
    return -(-value // block)


def _blocks(work: Any, kernel: Kernel) -> dict[str, Any]:
    """Blocks along each output axis."""
    get = kernel.blocks.get
    return {
        "batch": work.batch,
        "out_channels": _ceil(work.out_channels, get("out_channels", 1)),
        "out_h": _ceil(work.out_h, get("out_h", 1)),
        "out_w": _ceil(work.out_w, get("out_w", 1)),
    }


def _padded(work: Any, kernel: Kernel) -> Any:
    """Outputs that are computed when every block is computed whole."""
    get = kernel.blocks.get
    blocks = _blocks(work, kernel)
    return (
        blocks["batch"]
        * (blocks["out_channels"] * get("out_channels", 1))
        * (blocks["out_h"] * get("out_h", 1))
        * (blocks["out_w"] * get("out_w", 1))
    )


def rounds(work: Any, kernel: Kernel, processor: Processor) -> Any:
    """Slowdown by quantisation into rounds: 1 where the blocks fill every round, `slots` where there is one block.

    A kernel with no parallel axis shares its work out evenly, whatever the shape.
    """
    if not kernel.parallel:
        return 1.0
    blocks = _blocks(work, kernel)
    if kernel.groups:
        return _group_rounds(work, blocks, kernel, processor)
    units = blocks["batch"]
    for axis in kernel.parallel:
        units = units * blocks[axis]
    if processor.kind == "gpu":
        units = _ceil(units, processor.wave_size)
    slots = kernel.slots or processor.slots
    if not kernel.pieces:
        return _ceil(units, slots) * slots / units
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
    in_flight = _ceil(groups, units) * units / groups
    return waves * processor.wave_size / (items[0] * items[1] * items[2]) * in_flight


def waves(work: Any, kernel: Kernel, processor: Processor) -> Any:
    """Waves (blocks, on a CPU) that a kernel consists of."""
    blocks = _blocks(work, kernel)
    units = blocks["batch"] * blocks["out_channels"] * blocks["out_h"] * blocks["out_w"]
    return _ceil(units, processor.wave_size)


def _direct(work: Any, kernel: Kernel, processor: Processor) -> Quantities:
    depth = _ceil(work.in_channels, kernel.blocks.get("in_channels", 1)) * kernel.blocks.get("in_channels", 1)
    flops = 2.0 * _padded(work, kernel) * depth * work.kernel_h * work.kernel_w
    return {
        "multiply": flops * rounds(work, kernel, processor),
        "data": 1.0 * (work.input_bytes + work.output_bytes),
        "weights": 1.0 * work.weight_bytes,
        "launch": 1.0,
    }


def _gemm(work: Any, kernel: Kernel, processor: Processor) -> Quantities:
    """Packing rewrites the input (read, write) before the product reads it once more; weights, packed too at every
    inference, are read from memory once."""
    flops = 2.0 * _padded(work, kernel) * work.in_channels * work.kernel_h * work.kernel_w
    packed = 1.0 * FLOAT * work.batch * work.out_h * work.out_w * work.in_channels * work.kernel_h * work.kernel_w
    return {
        "multiply": flops * rounds(work, kernel, processor),
        "pack": packed + work.input_bytes + work.output_bytes,
        "weights": 1.0 * work.weight_bytes,
        "launch": 1.0,
    }


def _waves(work: Any, kernel: Kernel, processor: Processor) -> Quantities:
    """A GPU kernel whose work-items are as many as its blocks, for parts both large and small.

    `multiply` counts all (padded) operations: what a full machine is bound by. `item` counts those of one work-item:
    what a machine with few waves is bound by. `round` counts `item` for every round of waves, `pair` for every two
    rounds: the staircase between the two.
    """
    blocks, get = _blocks(work, kernel), kernel.blocks.get
    depth = _ceil(work.in_channels, get("in_channels", 1)) * get("in_channels", 1)
    steps = 2.0 * depth * work.kernel_h * work.kernel_w
    item = steps * get("out_channels", 1) * get("out_h", 1) * get("out_w", 1)
    columns = blocks["out_w"]
    if kernel.group:
        half = kernel.group // 2
        columns = _ceil(columns, kernel.group) * kernel.group - half * (columns <= half)
    count = _ceil(blocks["batch"] * blocks["out_channels"] * blocks["out_h"] * columns, processor.wave_size)
    slots = kernel.slots or processor.slots
    return {
        "multiply": item * blocks["batch"] * blocks["out_channels"] * blocks["out_h"] * blocks["out_w"],
        "item": item,
        "round": item * _ceil(count, slots),
        "pair": item * _ceil(count, 2 * slots),
        "read": 1.0 * work.input_bytes,
        "write": 1.0 * work.output_bytes,
        "weights": 1.0 * work.weight_bytes,
        "launch": 1.0,
    }


def _winograd(work: Any, kernel: Kernel, processor: Processor) -> Quantities:
    """F(t x t, 3 x 3): transform the input to (t+2)^2 matrices, multiply, transform back; all in whole tiles.

    The transforms are memory work. The input is copied to whole tiles (read, written) and read; the transformed input
    is written, and packed for the product (read, written). The transformed output is cleared, written by the product
    and read; the output is written in whole tiles and copied from there (read, written). Weights are read from memory.
    """
    tiles, points = _tiles(work, kernel)
    channel_block, tile_block = kernel.blocks.get("out_channels", 1), kernel.blocks.get("tiles", 1)
    channels = _ceil(work.out_channels, channel_block) * channel_block
    columns = _ceil(tiles, tile_block) * tile_block
    scratch = FLOAT * points * tiles * (work.in_channels + work.out_channels)
    return {
        "multiply": 2.0 * points * columns * work.in_channels * channels * rounds(work, kernel, processor),
        "transform": 3.0 * (scratch + work.input_bytes + work.output_bytes),
        "weights": FLOAT * points * work.in_channels * work.out_channels,
        "launch": 1.0,
    }


def _tiles(work: Any, kernel: Kernel) -> tuple[Any, float]:
    """Number of output tiles, and elements of one transformed input tile."""
    side = kernel.tile + 2
    return work.batch * _ceil(work.out_h, kernel.tile) * _ceil(work.out_w, kernel.tile), 1.0 * side * side


def _items(work: Any, kernel: Kernel, pixels: Any, processor: Processor) -> Any:
    """Slowdown by dealing work-items out to compute units in rounds, where items are `item_pixels` x `item_channels`
    large, or smaller where there would be fewer than four a unit."""
    if processor.slots == 1:
        return 1.0
    get, slots = kernel.blocks.get, processor.slots
    columns, finest = work.out_channels / work.groups, _ceil(pixels, get("pixels", 1))
    items = work.groups * _ceil(pixels, get("item_pixels", 1)) * _ceil(columns, get("item_channels", 1))
    most = work.groups * finest * _ceil(columns, get("out_channels", 1))
    wanted = items + (4 * slots - items) * (items < 4 * slots)
    items = wanted + (most - wanted) * (most < wanted)
    return _ceil(items, slots) * slots / items


def _tiled(work: Any, kernel: Kernel, processor: Processor) -> Quantities:
    """Implicit GEMM on a CPU: work-items of `item_pixels` x `item_channels` outputs, register tiles of `pixels` x
    `out_channels`. A work-item gathers (stages) its pixels' inputs once, and reads its channels' weights once: both
    are repeated along the other axis. Each group is computed for itself. A lone pixel has no tile to share weights.
    """
    get = kernel.blocks.get
    pixels = work.batch * work.out_h * work.out_w
    tile = get("pixels", 1) - (get("pixels", 1) - 1) * (pixels == 1)
    width, per_group = get("out_channels", 1), work.out_channels / work.groups
    columns = work.groups * _ceil(per_group, width) * width
    depth = 1.0 * work.in_channels * work.kernel_h * work.kernel_w
    slower = _items(work, kernel, pixels, processor)
    return {
        "multiply": 2.0 * _ceil(pixels, tile) * tile * columns * depth * slower,
        "stage": FLOAT * work.groups * pixels * depth * _ceil(per_group, get("item_channels", 1)) * slower,
        "stream": FLOAT * depth * columns * _ceil(pixels, get("item_pixels", 1)) * slower,
        "data": 1.0 * (work.input_bytes + work.output_bytes),
        "weights": 1.0 * work.weight_bytes,
        "launch": 1.0,
    }


def _tiled_winograd(work: Any, kernel: Kernel, processor: Processor) -> Quantities:
    """F(t x t, 3 x 3) on a CPU, fused: a work-item transforms the inputs of `item_pixels` tiles, multiplies them by the
    weights of `item_channels` channels, register tiles of at least `pixels` x `out_channels` at a time, and transforms
    back. Transforms of inputs are repeated for every such set of channels, reading weights for every such set of tiles.
    """
    get = kernel.blocks.get
    tiles, points = _tiles(work, kernel)
    width, tile = get("out_channels", 1), get("pixels", 1)
    columns = _ceil(work.out_channels, width) * width
    vectors = _ceil(work.in_channels, get("in_channels", 1)) * get("in_channels", 1)
    slower = _items(work, kernel, tiles, processor)
    computed = tiles + (tile - tiles) * (tiles < tile)
    return {
        "multiply": 2.0 * points * computed * work.in_channels * columns * slower,
        "transform": FLOAT * points * tiles * vectors * _ceil(work.out_channels, get("item_channels", 1)) * slower,
        "inverse": FLOAT * points * tiles * columns * slower,
        "stream": FLOAT * points * work.in_channels * columns * _ceil(tiles, get("item_pixels", 1)) * slower,
        "data": 1.0 * (work.input_bytes + work.output_bytes),
        "weights": FLOAT * points * work.in_channels * columns,
        "launch": 1.0,
    }


def _tiles_gpu(pixels: Any, columns: Any, groups: Any, depth: Any, processor: Processor) -> Quantities:
    """Implicit GEMM on a GPU: operations of a compute unit in all rounds of work-groups, by the tile that the kernel
    library chooses (`codl.ops.tile.gpu`), and bytes of sums that are computed in parts."""
    pm, pn, parts, k_part = tilings(pixels, columns, groups, depth, processor.compute_units)
    work_groups = groups * _ceil(pixels, 16 * pm) * _ceil(columns, 16 * pn) * parts
    a_unit = 2.0 * 256 * pm * pn * k_part * _ceil(work_groups, processor.compute_units)
    found = {f"tile{m}x{n}": a_unit * ((pm == m) & (pn == n)) for m, n, _ in SHAPES}
    return found | {
        "parts": FLOAT * parts * (parts > 1) * groups * pixels * columns,
        "launch": 1.0 + (parts > 1),
    }


def _tiled_gpu(work: Any, kernel: Kernel, processor: Processor) -> Quantities:
    pixels = work.batch * work.out_h * work.out_w
    found = _tiles_gpu(
        pixels, work.out_channels / work.groups, work.groups, work.in_channels * work.kernel_h * work.kernel_w,
        processor,
    )  # fmt: skip
    vector = (pixels <= GEMV_PIXELS) & (work.kernel_h * work.kernel_w == 1)  # another kernel, bound by its weights
    return {name: amount * (1 - vector) if name != "launch" else amount for name, amount in found.items()} | {
        "data": 1.0 * (work.input_bytes + work.output_bytes),
        "weights": 1.0 * work.weight_bytes,
    }


def _tiled_gpu_winograd(work: Any, kernel: Kernel, processor: Processor) -> Quantities:
    """Three launches: inputs transformed, one product for each of the points, outputs transformed back."""
    tiles, points = _tiles(work, kernel)
    products = _tiles_gpu(tiles, work.out_channels, int(points), work.in_channels, processor)
    scratch = FLOAT * points * tiles * (work.in_channels + work.out_channels)
    return products | {
        "launch": 2.0 + products["launch"],
        "transform": 2.0 * scratch + work.input_bytes + work.output_bytes,
        "weights": FLOAT * points * work.in_channels * work.out_channels,
    }


def _stream(work: Any, kernel: Kernel, processor: Processor) -> Quantities:
    """Work that is bound by reading and writing, with a little arithmetic."""
    return {
        "operate": 1.0 * work.flops,
        "data": 1.0 * (work.input_bytes + work.output_bytes),
        "weights": 1.0 * work.weight_bytes,
        "launch": 1.0,
    }


def _vector(work: Any, kernel: Kernel, processor: Processor) -> Quantities:
    """As `stream`, for kernels that take vectors of channels pixel by pixel: channels beyond the last whole vector are
    computed one by one, and every pixel costs something by itself."""
    width = kernel.blocks.get("out_channels", 1)
    pixels = 1.0 * work.batch * work.out_h * work.out_w
    rest = work.out_channels % width
    return {
        "operate": work.flops * (work.out_channels - rest) / work.out_channels,
        "tail": work.flops * rest / work.out_channels + pixels * rest,
        "data": 1.0 * (work.input_bytes + work.output_bytes),
        "weights": 1.0 * work.weight_bytes,
        "pixel": pixels,
        "launch": 1.0,
    }


FORMS: Mapping[str, Form] = {
    "direct": Form(_direct, compute=("multiply",), memory=("data", "weights"), fixed=("launch",)),
    "gemm": Form(_gemm, compute=("multiply",), memory=("pack", "weights"), fixed=("launch",)),
    "winograd": Form(_winograd, compute=("multiply",), memory=("transform", "weights"), fixed=("launch",)),
    "waves": Form(
        _waves,
        compute=("multiply", "item", "round", "pair"),
        memory=("read", "write", "weights"),
        fixed=("launch",),
    ),
    "tiled": Form(_tiled, compute=("multiply",), memory=("stage", "stream", "data", "weights"), fixed=("launch",)),
    "tiled-winograd": Form(
        _tiled_winograd,
        compute=("multiply",),
        memory=("transform", "inverse", "stream", "data", "weights"),
        fixed=("launch",),
    ),
    "tiled-gpu": Form(
        _tiled_gpu,
        compute=tuple(f"tile{m}x{n}" for m, n, _ in SHAPES),
        memory=("parts", "data", "weights"),
        fixed=("launch",),
    ),
    "tiled-gpu-winograd": Form(
        _tiled_gpu_winograd,
        compute=tuple(f"tile{m}x{n}" for m, n, _ in SHAPES),
        memory=("parts", "transform", "weights"),
        fixed=("launch",),
    ),
    "vector": Form(_vector, compute=("operate", "tail"), memory=("data", "weights"), fixed=("launch", "pixel")),
    "stream": Form(_stream, compute=("operate",), memory=("data", "weights"), fixed=("launch",)),
}
"""Every formula by the name that hardware files use."""


def form(kernel: Kernel) -> Form:
    """The formula of a kernel.

    Raises:
        SchemaError: the kernel names a formula or a rule, or has a unit, that does not exist.
    """
    found = FORMS.get(kernel.form)
    if found is None:
        raise SchemaError(
            f"kernel {kernel.name}", [("form", f"unknown formula {kernel.form!r}; known: {', '.join(FORMS)}")]
        )
    if kernel.groups and kernel.groups not in RULES:
        problem = f"unknown rule {kernel.groups!r}; known: {', '.join(RULES)}"
        raise SchemaError(f"kernel {kernel.name}", [("groups", problem)])
    for section in ("compute", "memory", "fixed"):
        allowed = getattr(found, section)
        for unit in getattr(kernel, section):
            if unit not in allowed:
                raise SchemaError(
                    f"kernel {kernel.name}",
                    [
                        (
                            f"{section}.{unit}",
                            f"formula {kernel.form} has no such unit; it has {', '.join(allowed) or 'none'}",
                        )
                    ],
                )
    return found


def launches(work: Any, kernel: Kernel, processor: Processor) -> float:
    """Launches that a kernel consists of, each of which the host hands over by itself; 1 where its formula counts no
    launches."""
    return float(form(kernel).quantities(work, kernel, processor).get("launch", 1.0))


def traffic(work: Any, kernel: Kernel, processor: Processor) -> Any:
    """Bytes that cross the memory bus: the compulsory ones, and scratch data that the last-level cache cannot hold."""
    weights = work.weight_bytes * (kernel.weight_bytes / FLOAT)
    compulsory = 1.0 * (work.input_bytes + work.output_bytes + weights) * (kernel.element_bytes / FLOAT)
    if not kernel.tile or kernel.form == "tiled-winograd":  # fused: its scratch data never leave the core's cache
        return compulsory
    tiles, points = _tiles(work, kernel)
    scratch = FLOAT * points * tiles * (work.in_channels + work.out_channels)
    return compulsory + 2.0 * scratch * (scratch > processor.cache)
