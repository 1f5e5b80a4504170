"""How large the tiles and work-items of codl's own CPU kernels are: read from the launches that they would make.

The kernels decide these themselves (`codl.ops`); asking for the launches of one large convolution says what they decide
for one core, so that no number is written down twice.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np

from codl.graph import Graph, Node, Tensor
from codl.ops import REGISTRY, winograd
from codl.ops.launch import DeviceTraits, KernelRequest, View
from codl.ops.tile import GPU_TILE
from codl.ops.window import ceil_div
from codl.region import Region

_SIDE, _DEPTH, _CHANNELS = 480, 64, 4096
_NAME = "large"


@cache
def blocks(algorithm: str, traits: DeviceTraits) -> dict[str, int]:
    """`pixels`, `out_channels` of a register tile, `item_pixels`, `item_channels` of the largest work-item, and the
    width of a vector (`in_channels`) of a convolution kernel on a CPU device. Winograd's pixels are tiles, and its
    register tiles as small as `pixels`, so that as good as none is computed in vain.

    Args:
        algorithm: `direct`, `gemm` or `winogradN`.
    """
    side = winograd.ALGORITHMS.get(algorithm, 1)
    graph = _convolution(1 if algorithm == "gemm" else winograd.TAPS.get(side, 3))
    (node,) = graph.nodes
    out = Region.full(graph.tensors[node.output].shape)
    inputs = (View.of(Region.full(graph.tensors[node.inputs[0]].shape)),)
    one_core = replace(traits, compute_units=1)
    request = KernelRequest(graph, node, out, inputs, View.of(out), algorithm, one_core)
    (launch,) = REGISTRY[node].program(request).launches
    defines = dict(launch.defines)
    width = 2 * int(defines["SIMD"])
    pixels = ceil_div(_SIDE, side) ** 2
    tile = int(defines.get("LEAST", defines["PIXELS"]))
    return {
        "out_channels": width,
        "pixels": tile,
        "item_pixels": round(pixels / launch.global_size[0] / tile) * tile,
        "item_channels": round(_CHANNELS / launch.global_size[1] / width) * width,
        "in_channels": width // 2,
    }


def block_channels(traits: DeviceTraits) -> int:
    """Output channels that the convolution kernels of a device compute together."""
    return blocks("direct", traits)["out_channels"] if traits.cpu else GPU_TILE


def _convolution(kernel: int) -> Graph:
    """One large convolution; its weights are zeros that take no memory."""
    shape, weights = (1, _CHANNELS, _SIDE, _SIDE), (_CHANNELS, _DEPTH, kernel, kernel)
    node = Node(
        _NAME, "conv", ("x", "w"), (_NAME,),
        {"kernel": (kernel, kernel), "stride": (1, 1), "pads": (kernel // 2,) * 4, "dilation": (1, 1), "group": 1},
    )  # fmt: skip
    tensors = {"x": Tensor("x", (1, _DEPTH, _SIDE, _SIDE)), "w": Tensor("w", weights), _NAME: Tensor(_NAME, shape)}
    zeros = {"w": np.broadcast_to(np.float32(0), weights)}
    return Graph("geometry", (node,), tensors, zeros, ("x",), ())
