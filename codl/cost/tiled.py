"""Formulas of codl's own matrix kernels (`codl.ops.tile`, `codl.ops.winograd`, `codl.ops.fft`): implicit GEMM in
register tiles."""

from __future__ import annotations

from typing import Any

from codl.cost.blocks import Quantities, ceil, tiles_of, winograd_depth
from codl.hardware import Kernel, Processor
from codl.ops.fft import MOST_TILES, POINTS, outputs
from codl.ops.narrow import pixels_at_once
from codl.ops.tile.gpu import GEMV_PIXELS, SHAPES, tilings
from codl.ops.window import FLOAT


def _items(work: Any, kernel: Kernel, pixels: Any, processor: Processor) -> Any:
    """Slowdown by dealing work-items out to compute units in rounds, where items are `item_pixels` x `item_channels`
    large, or smaller where there would be fewer than four a unit."""
    if processor.slots == 1:
        return 1.0
    get, slots = kernel.blocks.get, processor.slots
    columns, finest = work.out_channels / work.groups, ceil(pixels, get("pixels", 1))
    items = work.groups * ceil(pixels, get("item_pixels", 1)) * ceil(columns, get("item_channels", 1))
    most = work.groups * finest * ceil(columns, get("out_channels", 1))
    wanted = items + (4 * slots - items) * (items < 4 * slots)
    items = wanted + (most - wanted) * (most < wanted)
    return ceil(items, slots) * slots / items


def _moved(work: Any) -> Quantities:
    """Bytes of feature maps, by what is done with them."""
    return {
        "read": 1.0 * (work.input_bytes - work.added_bytes),
        "write": 1.0 * work.output_bytes,
        "added": 1.0 * work.added_bytes,
    }


def tiled(work: Any, kernel: Kernel, processor: Processor) -> Quantities:
    """Implicit GEMM on a CPU: work-items of `item_pixels` x `item_channels` outputs, register tiles of `pixels` x
    `out_channels`. A work-item gathers (stages) its pixels' inputs once, and reads its channels' weights once: both
    are repeated along the other axis; a row of taps is staged in whole vectors. Channels are computed in whole vectors,
    and those that fill none are written one by one. Writing (for which a cache first reads the line), and reading what
    is added at the end, take longer a byte than inputs, which the processor foresees. Each group is computed for
    itself. A lone pixel has no tile to share weights.
    """
    get = kernel.blocks.get
    pixels = work.batch * work.out_h * work.out_w
    tile = get("pixels", 1) - (get("pixels", 1) - 1) * (pixels == 1)
    vector, per_group = get("in_channels", 1), work.out_channels / work.groups
    columns = work.groups * ceil(per_group, vector) * vector
    staged = work.kernel_h * ceil(work.kernel_w * work.in_channels, vector) * vector
    depth = 1.0 * work.in_channels * work.kernel_h * work.kernel_w
    slower = _items(work, kernel, pixels, processor)
    return {
        "multiply": 2.0 * ceil(pixels, tile) * tile * columns * depth * slower,
        "stage": FLOAT * work.groups * pixels * staged * ceil(per_group, get("item_channels", 1)) * slower,
        "stream": FLOAT * depth * columns * ceil(pixels, get("item_pixels", 1)) * slower,
        **_moved(work),
        "weights": 1.0 * work.weight_bytes,
        "scalar": 1.0 * work.groups * pixels * (per_group % vector),
        "launch": 1.0,
    }


def tiled_winograd(work: Any, kernel: Kernel, processor: Processor) -> Quantities:
    """F(t x t, r x r) on a CPU, fused: a work-item transforms the inputs of `item_pixels` tiles, multiplies them by the
    weights of `item_channels` channels, register tiles of at least `pixels` x `out_channels` at a time, and transforms
    back. Transforms of inputs are repeated for every such set of channels, reading weights for every such set of tiles;
    both, and the products, for every part of the taps.
    """
    get = kernel.blocks.get
    tiles, points = tiles_of(work, kernel)
    width, tile = get("out_channels", 1), get("pixels", 1)
    columns = ceil(work.out_channels, width) * width
    depth, vector = winograd_depth(work, kernel), get("in_channels", 1)
    vectors = depth / work.in_channels * ceil(work.in_channels, vector) * vector
    slower = _items(work, kernel, tiles, processor)
    computed = tiles + (tile - tiles) * (tiles < tile)
    return {
        "multiply": 2.0 * points * computed * depth * columns * slower,
        "transform": FLOAT * points * tiles * vectors * ceil(work.out_channels, get("item_channels", 1)) * slower,
        "inverse": FLOAT * points * tiles * columns * slower,
        "stream": FLOAT * points * depth * columns * ceil(tiles, get("item_pixels", 1)) * slower,
        **_moved(work),
        "weights": FLOAT * points * depth * columns,
        "launch": 1.0,
    }


def fft(work: Any, kernel: Kernel, processor: Processor) -> Quantities:
    """Fourier transforms of tiles on a CPU, in three launches for every `codl.ops.fft.MOST_TILES` tiles: inputs and
    sums are transformed in whole blocks of channels, products deal points to cores, and weights, for each such set of
    tiles, come from memory.
    """
    block = kernel.blocks.get("out_channels", 1)
    rows, columns = outputs((work.kernel_h, work.kernel_w))
    tiles = work.batch * ceil(work.out_h, rows) * ceil(work.out_w, columns)
    channels, sets = ceil(work.out_channels, block) * block, ceil(tiles, MOST_TILES)
    slower = ceil(POINTS, processor.slots) * processor.slots / POINTS
    return {
        "multiply": 2.0 * POINTS * tiles * work.in_channels * channels * slower,
        "transform": FLOAT * POINTS * tiles * (ceil(work.in_channels, block) * block + channels),
        "data": 1.0 * (work.input_bytes + work.output_bytes),
        "weights": FLOAT * POINTS * work.in_channels * channels * sets,
        "launch": 3.0 * sets,
    }


def narrow(work: Any, kernel: Kernel, processor: Processor) -> Quantities:
    """A few output channels on a CPU, vectors along the input channels: those that fill none (`tail`) are computed one
    by one. Every pixel's inputs are loaded once (`stage`), weights once for every set of neighbouring pixels
    (`stream`). Cores share the rows.
    """
    rest, channels = work.in_channels % kernel.blocks.get("in_channels", 1), work.out_channels
    rows = ceil(work.batch * work.out_h, processor.slots) * processor.slots
    taps = 1.0 * rows * work.kernel_h * work.kernel_w
    depth = taps * (work.in_channels - rest)
    return {
        "multiply": 2.0 * work.out_w * channels * depth,
        "tail": 2.0 * work.out_w * channels * taps * rest,
        "stage": FLOAT * work.out_w * depth,
        "stream": FLOAT * ceil(work.out_w, pixels_at_once(channels)) * channels * depth,
        "data": 1.0 * (work.input_bytes + work.output_bytes),
        "launch": 1.0,
    }


def _tiles_gpu(pixels: Any, columns: Any, groups: Any, depth: Any, processor: Processor) -> Quantities:
    """Implicit GEMM on a GPU: operations of a compute unit in all rounds of work-groups, by the tile that the kernel
    library chooses (`codl.ops.tile.gpu`), and bytes of sums that are computed in parts."""
    pm, pn, parts, k_part = tilings(pixels, columns, groups, depth, processor.compute_units)
    work_groups = groups * ceil(pixels, 16 * pm) * ceil(columns, 16 * pn) * parts
    a_unit = 2.0 * 256 * pm * pn * k_part * ceil(work_groups, processor.compute_units)
    found = {f"tile{m}x{n}": a_unit * ((pm == m) & (pn == n)) for m, n, _ in SHAPES}
    return found | {
        "parts": FLOAT * parts * (parts > 1) * groups * pixels * columns,
        "launch": 1.0 + (parts > 1),
    }


def tiled_gpu(work: Any, kernel: Kernel, processor: Processor) -> Quantities:
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


def tiled_gpu_winograd(work: Any, kernel: Kernel, processor: Processor) -> Quantities:
    """Three launches: inputs transformed, one product for each of the points, outputs transformed back."""
    tiles, points = tiles_of(work, kernel)
    depth = winograd_depth(work, kernel)
    products = _tiles_gpu(tiles, work.out_channels, int(points), depth, processor)
    scratch = FLOAT * points * tiles * (depth + work.out_channels)
    return products | {
        "launch": 2.0 + products["launch"],
        "transform": 2.0 * scratch + work.input_bytes + work.output_bytes,
        "weights": FLOAT * points * depth * work.out_channels,
    }
