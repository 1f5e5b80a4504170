"""Processors, kernels and a convolution with round numbers, for costs that are worked out by hand."""

from __future__ import annotations

from functools import cache
from typing import Any

from codl import hardware as hw
from codl.documents import validate
from codl.graph import Graph, Node, Tensor
from codl.hardware import Kernel, Processor

CPU = validate(
    Processor,
    {
        "kind": "cpu",
        "clusters": [{"name": "big", "cores": 4, "frequency": "2 GHz"}],
        "bandwidth": "20 GB/s",
        "active_power": "4 W",
        "cache": "1 MB",
    },
    "test",
)
GPU = validate(
    Processor,
    {
        "kind": "gpu",
        "compute_units": 2,
        "wave_size": 64,
        "concurrent_waves": 4,
        "bandwidth": "20 GB/s",
        "active_power": "2 W",
    },
    "test",
)

load = cache(hw.load)


def kernel(**fields: Any) -> Kernel:
    return validate(Kernel, {"name": "k", "algorithm": "direct", "form": "direct", **fields}, "test")


def conv_graph(inputs: int = 64, outputs: int = 64, size: int = 66, taps: int = 3) -> tuple[Graph, Node]:
    side = size - taps + 1
    tensors = [
        Tensor("x", (1, inputs, size, size)),
        Tensor("w", (outputs, inputs, taps, taps)),
        Tensor("y", (1, outputs, side, side)),
    ]
    attributes = {"kernel": (taps, taps), "stride": (1, 1), "pads": (0,) * 4, "dilation": (1, 1), "group": 1}
    node = Node("conv", "conv", ("x", "w"), ("y",), attributes)
    return Graph("one", (node,), {t.name: t for t in tensors}, {}, ("x",), ("y",), executable=False), node
