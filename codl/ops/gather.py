"""Copies whose source index is looked up in a table along some axes: launches of `cl/move.cl`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from codl.errors import UnsupportedOperator
from codl.ops.launch import Constant, KernelProgram, KernelRequest, Launch, memory_order
from codl.ops.strided import AXES, Loop, Operand, at, grid, operand_view, output_operand, vector_lanes


def gather(request: KernelRequest, tables: Sequence[np.ndarray], value: float = 0.0) -> KernelProgram:
    """The program that fills `request.out` with elements of the node's first input.

    Args:
        tables: for each axis the source index (int32) of each index of the whole output, -1 where there is none.
        value: of elements without a source.

    Raises:
        UnsupportedOperator: more than 6 axes after merging those that are only shifted.
    """
    key = f"{request.node.name}/sources"
    extents = request.out.shape
    places, start = [0] * len(tables), [0] * len(tables)
    position = 0
    order = memory_order(len(tables))
    for axis in order:
        low, high = request.out.ranges[axis]
        used = tables[axis][low:high]
        if used.size and used[0] >= 0 and (used.size == 1 or bool((np.diff(used) == 1).all())):
            start[axis] = int(used[0])
        else:
            places[axis] = position + low + 1
        position += tables[axis].size
    argument, view = operand_view(request, 0)
    # The table's place stands in for a stride: 0 on axes that are only shifted, which may merge; tables never merge,
    # since places grow inwards.
    lookup = Operand(Constant(key), 0, tuple(places))
    source = Operand(argument, at(view, start), view.strides)
    loop = Loop(extents, (output_operand(request), source, lookup))
    if loop.size == 0:
        return KernelProgram()
    loop = loop.merged()
    if len(loop.extents) > AXES:
        raise UnsupportedOperator(
            f"{request.node.name}: {len(loop.extents)} axes; {request.node.op} kernels take at most {AXES}"
        )
    (loop,) = loop.unrolled(AXES)
    target, source, lookup = loop.operands
    moved = Loop(loop.extents, (target, source))
    scattered = lookup.strides[-1] > 0 and not request.device.cpu
    lanes = 1 if scattered else vector_lanes(moved, request.device)
    chunks, global_size, local_size = grid(moved, lanes, request.device)
    launch = Launch(
        source="cl/move.cl",
        entry="gather",
        defines=(("LANES", lanes), ("CPU", int(request.device.cpu))),
        arguments=(
            target.argument, source.argument, lookup.argument, target.offset, source.offset,
            *reversed(loop.extents), *reversed(target.strides), *reversed(source.strides), *reversed(lookup.strides),
            *chunks, value,
        ),
        global_size=global_size,
        local_size=local_size,
    )  # fmt: skip
    return KernelProgram((launch,), {key: np.concatenate([tables[axis] for axis in order])})
