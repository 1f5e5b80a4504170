"""Loops over boxes of tensors with any strides, as launches of `cl/elementwise.cl`.

An element-wise operator, a copy, a slice, a transposition and a concatenation are the same loop: for every element of
the output's box, read one element of each source, at an offset that is linear in the indices. `Loop` holds such a
loop; it drops axes of extent 1 and merges neighbours that lie in one piece in every operand, so that most loops end
with one or two axes, the last of them contiguous.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from math import prod

import numpy as np

from codl.graph import Activation
from codl.ops import activation
from codl.ops.launch import Argument, Constant, DeviceTraits, Input, KernelRequest, Launch, Output, View, to_memory
from codl.region import Region

AXES = 6
"""Axes that one launch of a strided kernel loops over; loops of more (after merging) become several launches."""

GRAIN = 8192
"""Elements that one work-item of a CPU device handles: some microseconds, well above the cost of a work-group."""

WORK_GROUP = 64
"""Work-items a group on other devices: a wave of most GPUs, and small enough for all."""


@dataclass(frozen=True, slots=True)
class Operand:
    """A tensor in a loop: element (i0, i1, ...) of the loop is at `offset + sum(i * strides)` elements."""

    argument: Argument
    offset: int
    strides: tuple[int, ...]

    @staticmethod
    def of(argument: Argument, view: View, box: Region) -> Operand:
        """A loop over `box` (of this rank, in logical axes) of what `view` shows."""
        return Operand(argument, at(view, box.start), view.strides)

    @staticmethod
    def broadcast(argument: Argument, view: View, shape: Sequence[int], box: Region) -> Operand:
        """A loop over `box` of an output, reading a tensor of this shape that broadcasts to it as in numpy."""
        missing = len(box.ranges) - len(shape)
        start = [0 if extent == 1 else box.start[missing + axis] for axis, extent in enumerate(shape)]
        strides = [0 if extent == 1 else stride for extent, stride in zip(shape, view.strides, strict=True)]
        return Operand(argument, at(view, start), (0,) * missing + tuple(strides))


def at(view: View, index: Sequence[int]) -> int:
    """Where in its buffer a view holds the element with these logical coordinates."""
    return view.offset + sum(i * stride for i, stride in zip(index, view.strides, strict=True))


def operand_view(request: KernelRequest, position: int) -> tuple[Argument, View]:
    """Argument and view of the node's input at `position`: a buffer, or an uploaded constant (see `constants`)."""
    for index, (place, _) in enumerate(request.graph.variable_inputs(request.node)):
        if place == position:
            return Input(index), request.inputs[index]
    value = request.node.inputs[position]
    return Constant(_key(value)), View.of(Region.full(request.graph.tensor(value).shape))


def constants(request: KernelRequest) -> dict[str, np.ndarray]:
    """The constant inputs of a node as `KernelProgram.constants`, each in its memory order."""
    graph = request.graph
    names = {value for value in request.node.inputs if value and value in graph.weights}
    return {_key(name): to_memory(graph.constants[name]) for name in sorted(names)}


def _key(value: str) -> str:
    return f"{value}/memory"


@dataclass(frozen=True, slots=True)
class Loop:
    """A nest of loops, outermost axis first; the first operand is the one that is written."""

    extents: tuple[int, ...]
    operands: tuple[Operand, ...]

    def merged(self) -> Loop:
        """The same loop with as few axes as possible, in the memory order of the operand that is written."""
        written = self.operands[0].strides
        order = sorted(
            (axis for axis, extent in enumerate(self.extents) if extent != 1), key=lambda axis: -written[axis]
        )
        extents: list[int] = []
        columns: list[tuple[int, ...]] = []
        for axis in order:
            extent = self.extents[axis]
            column = tuple(operand.strides[axis] for operand in self.operands)
            if columns and all(outer == inner * extent for outer, inner in zip(columns[-1], column, strict=True)):
                extents[-1] *= extent
                columns[-1] = column
            else:
                extents.append(extent)
                columns.append(column)
        operands = tuple(
            Operand(operand.argument, operand.offset, tuple(column[k] for column in columns))
            for k, operand in enumerate(self.operands)
        )
        return Loop(tuple(extents), operands)

    def unrolled(self, axes: int) -> Iterator[Loop]:
        """Loops of exactly `axes` axes that together are this one: outer axes become separate loops, missing ones
        have extent 1."""
        surplus = max(len(self.extents) - axes, 0)
        missing = max(axes - len(self.extents), 0)
        for index in product(*(range(extent) for extent in self.extents[:surplus])):
            yield Loop(
                (1,) * missing + self.extents[surplus:],
                tuple(
                    Operand(
                        operand.argument,
                        operand.offset + sum(i * s for i, s in zip(index, operand.strides[:surplus], strict=True)),
                        (0,) * missing + operand.strides[surplus:],
                    )
                    for operand in self.operands
                ),
            )

    @property
    def size(self) -> int:
        return prod(self.extents)


BINARY_CODES = {"": 0, "add": 1, "sub": 2, "mul": 3, "div": 4, "prelu": 5, "pow": 6, "max": 7, "min": 8}
"""`BINARY` in `cl/elementwise.cl`, by kind."""


def elementwise(loop: Loop, device: DeviceTraits, kind: str = "", tail: Activation | None = None) -> tuple[Launch, ...]:
    """Launches that write `tail(source)` or, with a binary `kind`, `tail(source0 kind source1)`.

    Args:
        loop: operands output, source(s).
        kind: of `BINARY_CODES`; "" has one source.
    """
    if loop.size == 0:
        return ()
    launches = []
    for part in loop.merged().unrolled(AXES):
        lanes = vector_lanes(part, device)
        chunks, global_size, local_size = grid(part, lanes, device)
        launches.append(
            Launch(
                source="cl/elementwise.cl",
                entry="map",
                defines=(
                    ("BINARY", BINARY_CODES[kind]),
                    activation.define(tail),
                    ("LANES", lanes),
                    ("CPU", int(device.cpu)),
                ),
                arguments=(
                    *(operand.argument for operand in part.operands[:2]),
                    *(operand.offset for operand in part.operands[:2]),
                    *reversed(part.extents),
                    *(stride for operand in part.operands[:2] for stride in reversed(operand.strides)),
                    *chunks,
                    *activation.parameters(tail),
                    *(
                        each
                        for operand in part.operands[2:]
                        for each in (operand.argument, operand.offset, *reversed(operand.strides))
                    ),
                ),
                global_size=global_size,
                local_size=local_size,
            )
        )
    return tuple(launches)


def copy(request: KernelRequest, extents: Sequence[int], target: Operand, source: Operand) -> tuple[Launch, ...]:
    """Launches that copy elements of a loop with these extents."""
    return elementwise(Loop(tuple(extents), (target, source)), request.device)


def output_operand(request: KernelRequest) -> Operand:
    """The box to compute, of the output."""
    return Operand.of(Output(), request.output, request.out)


def vector_lanes(loop: Loop, device: DeviceTraits) -> int:
    """Vector width: 16, 8 or 4 on CPUs; elsewhere 4 where every vector lies on its own alignment (it would be read in
    pieces otherwise), else 1."""
    if device.cpu:
        return simd_lanes(device)
    inner = [operand.strides[-1] for operand in loop.operands]
    if inner[0] != 1 or any(stride not in (0, 1) for stride in inner) or loop.extents[-1] % 4:
        return 1
    for operand in loop.operands:
        if operand.strides[-1] == 1 and any(place % 4 for place in (operand.offset, *operand.strides[:-1])):
            return 1
    return 4


def simd_lanes(device: DeviceTraits) -> int:
    """Explicit vector width on a CPU device."""
    return 16 if device.simd_width >= 16 else 8 if device.simd_width >= 8 else 4


def grid(loop: Loop, lanes: int, device: DeviceTraits) -> tuple[tuple[int, int], tuple[int, ...], tuple[int, ...]]:
    """(chunk of the innermost axis, chunk of the next one), global size, local size of a loop of at least two axes.

    On a CPU device a work-item handles a tile of the two innermost axes and work-items are numbered along (innermost,
    next, all others); elsewhere it handles one vector of `lanes` elements and they are numbered along one dimension.
    """
    inner, rows = loop.extents[-1], loop.extents[-2]
    if not device.cpu:
        items = loop.size // lanes
        return (lanes, 1), (-(-items // WORK_GROUP) * WORK_GROUP, 1, 1), (WORK_GROUP, 1, 1)
    grain = min(GRAIN, max(1024, loop.size // (4 * device.compute_units)))
    transposed = any(operand.strides[-1] > 1 for operand in loop.operands)
    first = min(inner, 256 if transposed else grain)  # a transposing tile must fit into the first-level cache
    second = min(rows, max(1, grain // first))
    outer = prod(loop.extents[:-2])
    return (first, second), (-(-inner // first), -(-rows // second), outer), (1, 1, 1)
