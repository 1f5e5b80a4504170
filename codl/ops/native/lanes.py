"""What kernels over axes with strides share: where a work-item's elements begin, and vectors whose floats lie apart in
memory or of which some do not exist (`cl/lanes.cl`)."""

from __future__ import annotations

from typing import Any

from codl.ops.native.abi import LANES, f32, f32_store, integer, memory, splat, vload, vstore
from codl.ops.native.calls import always_inlined
from codl.ops.window import FLOAT


@always_inlined
def beginning(slots: int, argument: int, offset: int, step: int, j: int, k: int) -> Any:
    """Address of an argument's element at index j of one axis and k of the next outer one. Numbers of slots: argument,
    offset, and the step of the first of these axes, which that of the other follows."""
    first = integer(slots, offset) + j * integer(slots, step) + k * integer(slots, step + 1)
    return integer(slots, argument) + FLOAT * first


@always_inlined
def gather(address: int, step: int, count: int) -> Any:
    """The vector of floats `step` apart. Only the first `count` are read; what the others are does not matter."""
    if count >= LANES:
        return _gather_all(address, step)
    floats = memory(LANES)
    for lane in range(count):
        f32_store(floats, lane, f32(address, lane * step))
    return vload(floats, 0)


@always_inlined
def _gather_all(address: int, step: int) -> Any:
    """A whole vector: of neighbours, of one float, or of floats apart."""
    if step == 1:
        return vload(address, 0)
    if step == 0:
        return splat(f32(address, 0))
    floats = memory(LANES)
    for lane in range(LANES):
        f32_store(floats, lane, f32(address, lane * step))
    return vload(floats, 0)


@always_inlined
def scatter(address: int, step: int, count: int, value: Any) -> None:
    """Write the first `count` floats of a vector, `step` apart."""
    if step == 1 and count >= LANES:
        vstore(address, 0, value)
        return
    floats = memory(LANES)
    vstore(floats, 0, value)
    if count >= LANES:
        for lane in range(LANES):
            f32_store(address, lane * step, f32(floats, lane))
    else:
        for lane in range(count):
            f32_store(address, lane * step, f32(floats, lane))
