"""Formulas of kernels as libraries for phones have them: direct convolution, GEMM, Winograd, GPU waves, streams."""

from __future__ import annotations

from typing import Any

from codl.cost.blocks import Quantities, blocks_of, ceil, padded, rounds, tiles_of, winograd_depth
from codl.hardware import Kernel, Processor
from codl.ops.window import FLOAT


def direct(work: Any, kernel: Kernel, processor: Processor) -> Quantities:
    depth = ceil(work.in_channels, kernel.blocks.get("in_channels", 1)) * kernel.blocks.get("in_channels", 1)
    flops = 2.0 * padded(work, kernel) * depth * work.kernel_h * work.kernel_w
    return {
        "multiply": flops * rounds(work, kernel, processor),
        "data": 1.0 * (work.input_bytes + work.output_bytes),
        "weights": 1.0 * work.weight_bytes,
        "launch": 1.0,
    }


def gemm(work: Any, kernel: Kernel, processor: Processor) -> Quantities:
    """Packing rewrites the input (read, write) before the product reads it once more; weights, packed too at every
    inference, are read from memory once."""
    flops = 2.0 * padded(work, kernel) * work.in_channels * work.kernel_h * work.kernel_w
    packed = 1.0 * FLOAT * work.batch * work.out_h * work.out_w * work.in_channels * work.kernel_h * work.kernel_w
    return {
        "multiply": flops * rounds(work, kernel, processor),
        "pack": packed + work.input_bytes + work.output_bytes,
        "weights": 1.0 * work.weight_bytes,
        "launch": 1.0,
    }


def waves(work: Any, kernel: Kernel, processor: Processor) -> Quantities:
    """A GPU kernel whose work-items are as many as its blocks, for parts both large and small.

    `multiply` counts all (padded) operations: what a full machine is bound by. `item` counts those of one work-item:
    what a machine with few waves is bound by. `round` counts `item` for every round of waves, `pair` for every two
    rounds: the staircase between the two.
    """
    blocks, get = blocks_of(work, kernel), kernel.blocks.get
    depth = ceil(work.in_channels, get("in_channels", 1)) * get("in_channels", 1)
    steps = 2.0 * depth * work.kernel_h * work.kernel_w
    item = steps * get("out_channels", 1) * get("out_h", 1) * get("out_w", 1)
    columns = blocks["out_w"]
    if kernel.group:
        half = kernel.group // 2
        columns = ceil(columns, kernel.group) * kernel.group - half * (columns <= half)
    count = ceil(blocks["batch"] * blocks["out_channels"] * blocks["out_h"] * columns, processor.wave_size)
    slots = kernel.slots or processor.slots
    return {
        "multiply": item * blocks["batch"] * blocks["out_channels"] * blocks["out_h"] * blocks["out_w"],
        "item": item,
        "round": item * ceil(count, slots),
        "pair": item * ceil(count, 2 * slots),
        "read": 1.0 * work.input_bytes,
        "write": 1.0 * work.output_bytes,
        "weights": 1.0 * work.weight_bytes,
        "launch": 1.0,
    }


def winograd(work: Any, kernel: Kernel, processor: Processor) -> Quantities:
    """F(t x t, r x r): transform the input to (t + r - 1)^2 matrices, multiply, transform back; all in whole tiles.

    The transforms are memory work. The input is copied to whole tiles (read, written) and read; the transformed input
    is written, and packed for the product (read, written). The transformed output is cleared, written by the product
    and read; the output is written in whole tiles and copied from there (read, written). Weights are read from memory.
    """
    tiles, points = tiles_of(work, kernel)
    channel_block, tile_block = kernel.blocks.get("out_channels", 1), kernel.blocks.get("tiles", 1)
    channels = ceil(work.out_channels, channel_block) * channel_block
    columns = ceil(tiles, tile_block) * tile_block
    depth = winograd_depth(work, kernel)
    scratch = FLOAT * points * tiles * (depth + work.out_channels)
    return {
        "multiply": 2.0 * points * columns * depth * channels * rounds(work, kernel, processor),
        "transform": 3.0 * (scratch + work.input_bytes + work.output_bytes),
        "weights": FLOAT * points * depth * work.out_channels,
        "launch": 1.0,
    }


def stream(work: Any, kernel: Kernel, processor: Processor) -> Quantities:
    """Work that is bound by reading and writing, with a little arithmetic."""
    return {
        "operate": 1.0 * work.flops,
        "piece": 1.0 * work.scattered,
        "data": 1.0 * (work.input_bytes + work.output_bytes),
        "weights": 1.0 * work.weight_bytes,
        "launch": 1.0,
    }


def vector(work: Any, kernel: Kernel, processor: Processor) -> Quantities:
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
        "piece": 1.0 * work.scattered,
        "launch": 1.0,
    }
