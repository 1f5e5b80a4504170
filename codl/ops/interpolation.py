"""Linear interpolation along axes of a tensor: launches of `cl/resize.cl`."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np

from codl.ops.launch import Argument, Constant, DeviceTraits, KernelProgram, KernelRequest, Launch, Scratch
from codl.ops.strided import GRAIN, WORK_GROUP, Operand, at, copy, operand_view, output_operand, simd_lanes

Table = tuple[np.ndarray, np.ndarray, np.ndarray]
"""(low, high, weight) of each output index along an axis: in[low] * (1 - weight) + in[high] * weight."""


def is_identity(low: np.ndarray, high: np.ndarray, weight: np.ndarray) -> bool:
    """Whether a table leaves an axis as it is."""
    return bool((low == np.arange(low.size)).all() and (low == high).all())


def interpolate(request: KernelRequest, tables: Sequence[Table]) -> KernelProgram:
    """A feature map resized along height and width, in one launch: vectors along the channels."""
    indices, weights, places = _packed(tables[2:])
    argument, view = operand_view(request, 0)
    start = [low for low, _ in request.out.ranges]
    source = Operand(argument, at(view, [start[0], start[1], 0, 0]), view.strides)
    name = request.node.name
    (low2, high2), (low1, high1) = places
    shifted = (low1 + start[3], high1 + start[3], low2 + start[2], high2 + start[2])
    launch = _launch(request.out.shape, output_operand(request), source, (1, 3, 2, 0), name, shifted, request.device)
    return KernelProgram((launch,), _constants(name, indices, weights))


def interpolate_by_axis(request: KernelRequest, tables: Sequence[Table], axes: Sequence[int]) -> KernelProgram:
    """Any rank and any axes: the part that is read is copied to working memory and resized one axis after another
    there. Linear interpolation is separable, so the order does not matter."""
    indices, weights, places = _packed(tables)
    name = request.node.name
    ranges = request.out.ranges
    first = [int(table[0][low:high].min()) for table, (low, high) in zip(tables, ranges, strict=True)]
    last = [int(table[1][low:high].max()) for table, (low, high) in zip(tables, ranges, strict=True)]
    shape = [end - begin + 1 for begin, end in zip(first, last, strict=True)]
    argument, view = operand_view(request, 0)
    scratch = {"pass0": 4 * prod(shape)}
    launches = [
        *copy(request, shape, _row_major(Scratch("pass0"), shape), Operand(argument, at(view, first), view.strides))
    ]
    for number, axis in enumerate(axes, start=1):
        before = _blocks(Scratch(f"pass{number - 1}"), shape, axis)
        shape[axis] = request.out.shape[axis]
        after = _blocks(Scratch(f"pass{number}"), shape, axis)
        scratch[f"pass{number}"] = 4 * prod(shape)
        before = Operand(before.argument, -first[axis] * before.strides[1], before.strides)  # tables are absolute
        extents = (prod(shape[:axis]), shape[axis], prod(shape[axis + 1 :]))
        low, high = (place + ranges[axis][0] for place in places[axis])
        launches.append(_launch(extents, after, before, (2, 1, None, 0), name, (low, high, -1, -1), request.device))
    launches += copy(request, shape, output_operand(request), _row_major(Scratch(f"pass{len(axes)}"), shape))
    return KernelProgram(tuple(launches), _constants(name, indices, weights), scratch)


def _packed(tables: Sequence[Table]) -> tuple[np.ndarray, np.ndarray, list[tuple[int, int]]]:
    """All tables in one array of indices and one of weights (at the places of `low`), and each axis's places."""
    places = []
    parts: list[np.ndarray] = []
    position = 0
    for low, high, _ in tables:
        places.append((position, position + low.size))
        position += low.size + high.size
        parts += [low, high]
    weights = [part for _, _, weight in tables for part in (weight, np.zeros_like(weight))]
    return np.concatenate(parts).astype(np.int32), np.concatenate(weights).astype(np.float32), places


def _constants(name: str, indices: np.ndarray, weights: np.ndarray) -> dict[str, np.ndarray]:
    return {f"{name}/sources": indices, f"{name}/weights": weights}


def _row_major(argument: Argument, shape: Sequence[int]) -> Operand:
    return Operand(argument, 0, tuple(prod(shape[axis + 1 :]) for axis in range(len(shape))))


def _blocks(argument: Argument, shape: Sequence[int], axis: int) -> Operand:
    """A row-major tensor as three axes: all before `axis`, `axis`, all behind it."""
    inner = prod(shape[axis + 1 :])
    return Operand(argument, 0, (shape[axis] * inner, inner, 1))


def _launch(
    extents: Sequence[int],
    target: Operand,
    source: Operand,
    axes: tuple[int, int, int | None, int],
    name: str,
    places: tuple[int, int, int, int],
    device: DeviceTraits,
) -> Launch:
    """One launch; `axes` are those of the operands that the kernel's axes 0 to 3 stand for, None one of extent 1."""
    sizes = [extents[axis] if axis is not None else 1 for axis in axes]
    out_strides = [target.strides[axis] if axis is not None else 0 for axis in axes]
    in_strides = [source.strides[axis] if axis is not None else 0 for axis in axes]
    lanes = simd_lanes(device) if device.cpu else 4
    chunk = max(1, min(sizes[1], GRAIN // max(1, 4 * sizes[0])))
    global_size: tuple[int, ...]
    if device.cpu:
        global_size, local_size = (-(-sizes[1] // chunk), sizes[2], sizes[3]), (1, 1, 1)
    else:
        global_size, local_size = (-(-prod(sizes) // WORK_GROUP) * WORK_GROUP, 1, 1), (WORK_GROUP, 1, 1)
    return Launch(
        source="cl/resize.cl",
        entry="linear",
        defines=(("LANES", lanes), ("CPU", int(device.cpu))),
        arguments=(
            target.argument, source.argument, Constant(f"{name}/sources"), Constant(f"{name}/weights"),
            target.offset, source.offset, *sizes, *out_strides, *in_strides, *places, chunk,
        ),
        global_size=global_size,
        local_size=local_size,
    )  # fmt: skip
