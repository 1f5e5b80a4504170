"""What an implicit GEMM computes: which pixels, from which elements, with which weights."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from codl.graph import Activation
from codl.ops.launch import Argument, Constant, KernelProgram, Launch, View
from codl.ops.packing import DTYPES, LazyConstants, padded, panels
from codl.ops.residual import Residual
from codl.ops.window import Pair


@dataclass(frozen=True, slots=True)
class Strided:
    """Where the elements of a batch of maps lie: element (n, y, x, c) of group g, all counted from 0."""

    offset: int
    n: int
    y: int
    x: int
    c: int
    group: int = 0

    @staticmethod
    def of(view: View, start: tuple[int, int, int, int], group: int = 0) -> Strided:
        """A feature map's view, with (n, c, y, x) counted from `start`; groups are `group` channels apart."""
        n, c, y, x = view.strides
        offset = view.offset + sum(a * b for a, b in zip(start, view.strides, strict=True))
        return Strided(offset, n, y, x, c, group * c)


def end_of(view: View) -> int:
    """The first element after the box that a view holds, in the buffer."""
    last = (stop - 1 for _, stop in view.region.ranges)
    return view.offset + sum(at * stride for at, stride in zip(last, view.strides, strict=True)) + 1


@dataclass(frozen=True)
class TileProblem:
    """`batch` x `rows` x `columns` pixels of `channels` outputs in each of `groups` groups.

    Output row r, tap row t reads the input row `r * step[0] + origin[0] + t * dilation[0]`, columns likewise; outside
    `extent` lies padding (zeros). `weights()` gives (groups, channels, taps * depth), taps row by row, channels within
    a tap; `bias()` (groups, channels). Both are named by `key`.
    """

    key: str
    source: Argument
    target: Argument
    read: Strided
    read_end: int
    write: Strided
    extent: Pair
    batch: int
    rows: int
    columns: int
    groups: int
    channels: int
    depth: int
    weights: Callable[[], np.ndarray]
    bias: Callable[[], np.ndarray]
    kernel: Pair = (1, 1)
    step: Pair = (1, 1)
    origin: Pair = (0, 0)
    dilation: Pair = (1, 1)
    activation: Activation | None = None
    residual: Residual | None = None
    weight_bytes: int = 4
    """Of a weight in memory: 4, or on CPU devices 2 (float16)."""

    @property
    def pixels(self) -> int:
        return self.batch * self.rows * self.columns

    @property
    def k(self) -> int:
        """Length of each output's sum."""
        return self.kernel[0] * self.kernel[1] * self.depth

    @property
    def plain(self) -> bool:
        """A matrix product: pixel (n, y, x) reads the input pixel (n, y, x) and no other."""
        inside = self.rows <= self.extent[0] and self.columns <= self.extent[1]
        return inside and (self.kernel, self.step, self.origin) == ((1, 1), (1, 1), (0, 0))

    def geometry(self) -> tuple[Argument, ...]:
        """The arguments that both kernels begin with, after the buffers."""
        r, w = self.read, self.write
        return (
            r.offset, self.read_end, r.n, r.y, r.x, r.c, r.group, *self.extent, w.offset, w.n, w.y, w.x, w.c, w.group,
            self.rows, self.columns, self.pixels, *self.kernel, *self.step, *self.origin, *self.dilation,
            self.depth, self.channels,
        )  # fmt: skip


def packed(problem: TileProblem, width: int, chunk: int) -> tuple[Constant, Constant, LazyConstants]:
    """Weights and bias as arguments: panels of `width` channels (`packing.panels`), and what makes them."""
    dtype = DTYPES[problem.weight_bytes]
    weights, bias = f"{problem.key}/weights/{dtype}panels{width}x{chunk}", f"{problem.key}/bias/padded{width}"
    makers: dict[str, Callable[[], np.ndarray]] = {
        weights: lambda: panels(problem.weights(), width, chunk, dtype),
        bias: lambda: padded(problem.bias(), width),
    }
    return Constant(weights), Constant(bias), LazyConstants(makers)


def joined(programs: list[KernelProgram]) -> KernelProgram:
    """Several programs as one task: their launches in order."""
    launches: tuple[Launch, ...] = ()
    constants = LazyConstants({})
    scratch: dict[str, int] = {}
    for each in programs:
        launches += each.launches
        if isinstance(each.constants, LazyConstants):
            constants = constants | each.constants
        for key, nbytes in each.scratch.items():  # one after the other, so they can share
            scratch[key] = max(nbytes, scratch.get(key, 0))
    return KernelProgram(launches, constants, scratch)
