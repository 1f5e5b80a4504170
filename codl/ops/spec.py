"""What the rest of codl knows about an operator: where it can be cut, what a part of it reads, and how much work it is.

One `OpSpec` per family of operators; `codl.ops.registry` finds it. No other module asks what kind an operator is.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import ClassVar

from codl.errors import PlanError
from codl.graph import Graph, Node
from codl.ops.launch import FLOAT16, KernelProgram, KernelRequest
from codl.region import Region


class Dimension(str, Enum):
    """A dimension that an operator's output can be partitioned along."""

    HEIGHT = "height"
    WIDTH = "width"
    OUTPUT_CHANNEL = "output_channel"


@dataclass(frozen=True, slots=True)
class Work:
    """The work of computing one region of one operator, in the terms that the cost formulas use.

    Shapes are those of the region computed: `out_*` its output, `in_h` x `in_w` the rows and columns of the input
    that are read (halo included, padding not). `in_channels` is per group. `flops` counts a multiply-accumulate as
    two; bytes are the compulsory traffic: each element of input, weights and output once.
    """

    kind: str
    """`conv`, `depthwise`, `conv_transpose`, `pool`, `fc`, `elementwise`, `move` (layout only), or `other`."""
    batch: int
    out_h: int
    out_w: int
    out_channels: int
    in_h: int
    in_w: int
    in_channels: int
    kernel_h: int = 1
    kernel_w: int = 1
    stride_h: int = 1
    stride_w: int = 1
    dilation_h: int = 1
    dilation_w: int = 1
    groups: int = 1
    flops: float = 0.0
    input_bytes: int = 0
    output_bytes: int = 0
    weight_bytes: int = 0
    added_bytes: int = 0
    """Of the `input_bytes`, those of a map that is added to the sums (`codl.ops.residual`)."""
    scattered: int = 0
    """Pixels of which some channels are read and not their neighbours: each is a piece of memory by itself. Counted by
    operators whose output channels each read the input channel of the same number."""

    @property
    def bytes(self) -> int:
        return self.input_bytes + self.output_bytes + self.weight_bytes

    @property
    def out_vectors(self) -> int:
        """Outputs in vectors of four channels, the unit in which GPU libraries choose their kernels."""
        return self.batch * self.out_h * self.out_w * -(-self.out_channels // 4)


class OpSpec(ABC):
    """One family of operators.

    Attributes:
        family: the name that `Node.op` holds.
        onnx_types: the ONNX operator types that become this family.
        host_only: only a processor of kind cpu can run it (the fallback).
        for_cpus: those of the `algorithms` that only CPU devices have kernels of; others run another one instead.
        float16: those of the `algorithms` that can also store weights as float16.
        tolerance: largest accepted error of one operator, relative to the output's largest magnitude, float32.
    """

    family: ClassVar[str]
    onnx_types: ClassVar[tuple[str, ...]] = ()
    host_only: ClassVar[bool] = False
    for_cpus: ClassVar[frozenset[str]] = frozenset()
    float16: ClassVar[frozenset[str]] = frozenset()
    tolerance: ClassVar[float] = 1e-5

    def dimensions(self, graph: Graph, node: Node) -> Mapping[Dimension, int]:
        """The dimensions along which this operator may be split, each with its axis of the (first) output.

        Empty: it runs whole, on one processor.
        """
        return {}

    def input_regions(self, graph: Graph, node: Node, out: Region) -> tuple[Region, ...]:
        """What computing `out` reads of each variable input, in the order of `graph.variable_inputs(node)`.

        The default reads everything: right for whatever is never split.
        """
        return tuple(Region.full(tensor.shape) for _, tensor in graph.variable_inputs(node))

    @abstractmethod
    def work(self, graph: Graph, node: Node, out: Region) -> Work:
        """The work of computing `out`."""

    @abstractmethod
    def algorithms(self, graph: Graph, node: Node) -> tuple[str, ...]:
        """Names of the kernel variants that can compute this operator, the generally best first."""

    @abstractmethod
    def program(self, request: KernelRequest) -> KernelProgram:
        """The launches that compute `request.out` with `request.algorithm` (of `algorithms`, or a float16 twin)."""

    def image_algorithms(self, graph: Graph, node: Node) -> tuple[str, ...]:
        """As `algorithms`, of kernels whose variable inputs and output are images (docs/data-types.md); none unless a
        family says so."""
        return ()

    def image_program(self, request: KernelRequest) -> KernelProgram:
        """As `program`, with one of `image_algorithms`.

        Raises:
            PlanError: the family has no kernels on images.
        """
        raise PlanError(f"{request.node.name}: {self.family} has no kernels on images")

    def variants(self, graph: Graph, node: Node, data_type: str) -> tuple[str, ...]:
        """The kernel variants that work on a data type, `buffer` or `image`; on buffers also, after the `algorithms`,
        their twins that store weights as float16: less exact, and measured only where that is asked for."""
        if data_type == "image":
            return self.image_algorithms(graph, node)
        plain = self.algorithms(graph, node)
        return (*plain, *(f"{name}{FLOAT16}" for name in plain if name in self.float16))
