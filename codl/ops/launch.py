"""Kernel launches as data: what `codl.real` enqueues, without any OpenCL object.

Layout rule: a buffer holds a box (`Region`) of a tensor. Feature maps (rank 4) lie in memory as N, H, W, C
("NHWC"), every other rank row-major in its logical axis order. A `View` maps logical coordinates to element offsets.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from codl.graph import Graph, Node
from codl.region import Region


@dataclass(frozen=True, slots=True)
class View:
    """Where the elements of a tensor lie in a buffer that holds the box `region` of it.

    Element (i0, i1, ...), in logical coordinates of the whole tensor, is at `offset + sum(i * strides)` elements.
    `offset` may be negative, since a box need not begin at 0.
    """

    region: Region
    offset: int
    strides: tuple[int, ...]

    @staticmethod
    def of(region: Region) -> View:
        """The view of a buffer that holds exactly `region`."""
        shape = region.shape
        order = memory_order(len(shape))
        strides = [0] * len(shape)
        step = 1
        for axis in reversed(order):
            strides[axis] = step
            step *= shape[axis]
        offset = -sum(start * stride for start, stride in zip(region.start, strides, strict=True))
        return View(region, offset, tuple(strides))


def stretches(box: Region, whole: Region) -> int:
    """How many pieces of memory a box of a tensor consists of, in a buffer that holds the box `whole` of it."""
    count, broken = 1, False
    for axis in reversed(memory_order(len(box.shape))):  # the fastest first
        if broken:
            count *= box.shape[axis]
        broken = broken or box.shape[axis] != whole.shape[axis]
    return 0 if box.empty else count


def memory_order(rank: int) -> tuple[int, ...]:
    """Logical axes from slowest to fastest in memory: (0, 2, 3, 1) for feature maps, else 0, 1, 2, ..."""
    return (0, 2, 3, 1) if rank == 4 else tuple(range(rank))


def to_memory(array: np.ndarray) -> np.ndarray:
    """A logical (ONNX) array as it lies in a buffer: flat, contiguous."""
    return np.ascontiguousarray(array.transpose(memory_order(array.ndim))).reshape(-1)


def from_memory(flat: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """The inverse of `to_memory`: a logical array of this shape from a buffer's contents."""
    return np.ascontiguousarray(in_logical_order(flat, shape)).reshape(shape)  # numpy makes a scalar 1-D


def in_logical_order(flat: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """A view of a buffer's contents with axes in logical order."""
    stored = flat.reshape([shape[axis] for axis in memory_order(len(shape))])
    return stored.transpose(0, 3, 1, 2) if len(shape) == 4 else stored


@dataclass(frozen=True, slots=True)
class DeviceTraits:
    """What a kernel variant may adapt to. `cpu`: one work-item a group with explicit vectors is the fast style."""

    cpu: bool
    compute_units: int
    max_work_group_size: int
    simd_width: int
    """Preferred float vector width: 16 with AVX-512, 8 with AVX2, 1 on most GPUs."""


FLOAT16 = "-float16"
"""What the names of kernel variants end with that store weights as float16. They compute in float32."""


@dataclass(frozen=True, slots=True)
class KernelRequest:
    """One kernel task, to be turned into launches.

    `inputs` are the views of the variable inputs, in the order of `graph.variable_inputs(node)`; `output` that of
    the first output. `out` is the box to compute; only it may be written.
    """

    graph: Graph
    node: Node
    out: Region
    inputs: tuple[View, ...]
    output: View
    algorithm: str
    device: DeviceTraits

    @property
    def weight_bytes(self) -> int:
        """Of a weight in memory. Kernels for GPUs know float32 only."""
        return 2 if self.algorithm.endswith(FLOAT16) and self.device.cpu else 4


@dataclass(frozen=True, slots=True)
class Input:
    """Kernel argument: the buffer of variable input `index`."""

    index: int = 0


@dataclass(frozen=True, slots=True)
class Output:
    """Kernel argument: the buffer of the output."""


@dataclass(frozen=True, slots=True)
class Constant:
    """Kernel argument: packed weights, `KernelProgram.constants[key]`."""

    key: str


@dataclass(frozen=True, slots=True)
class Scratch:
    """Kernel argument: working memory of one task, `KernelProgram.scratch[key]` bytes."""

    key: str


Argument = Input | Output | Constant | Scratch | int | float
"""Python ints become `int`, floats become `float` in the kernel."""


@dataclass(frozen=True, slots=True)
class Launch:
    """One kernel launch: `entry` of the file `source` (relative to `codl/ops`), compiled with -D`defines`.

    A source may `#include` files of `codl/ops/cl` by name: compile with that folder on the include path.
    """

    source: str
    entry: str
    defines: tuple[tuple[str, int | float | str], ...]
    arguments: tuple[Argument, ...]
    global_size: tuple[int, ...]
    local_size: tuple[int, ...] | None = (1, 1, 1)


@dataclass(frozen=True, slots=True)
class KernelProgram:
    """The launches of one kernel task, in order.

    `constants` are arrays to upload once; equal keys mean equal contents, so that tasks share them. `host` marks a
    program that has no launches because the operator runs through the fallback on the host.
    """

    launches: tuple[Launch, ...] = ()
    constants: Mapping[str, np.ndarray] = field(default_factory=dict)
    scratch: Mapping[str, int] = field(default_factory=dict)
    host: bool = False
