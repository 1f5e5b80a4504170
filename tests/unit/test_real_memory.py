"""Boxes moved between buffers: the rectangles that OpenCL is given are exactly the box."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from codl.errors import DeviceError
from codl.ops.launch import View
from codl.real.lanes import Lanes
from codl.real.memory import aligned
from codl.real.moves import Piece, copy
from codl.real.rectangles import Rectangle, rectangles
from codl.region import Region
from tests.opencl import halves


@st.composite
def nested(draw: st.DrawFn) -> tuple[Region, Region, Region]:
    """Two boxes of one tensor, and a box inside both."""
    rank = draw(st.integers(0, 5))
    first, second, inner = [], [], []
    for _ in range(rank):
        a, b, c, d = sorted(draw(st.lists(st.integers(0, 6), min_size=4, max_size=4)))
        swap = draw(st.booleans())
        first.append((a, c) if swap else (b, d))
        second.append((b, d) if swap else (a, c))
        inner.append((b, c))
    return Region(tuple(first)), Region(tuple(second)), Region(tuple(inner))


def apply(rectangle: Rectangle, source: np.ndarray, target: np.ndarray) -> None:
    """What the OpenCL specification says a rectangle copy does, with its conditions on pitches."""
    width, height, depth = rectangle.size
    for pitches in (rectangle.source_pitches, rectangle.target_pitches):
        row, plane = pitches
        assert row >= width and plane >= height * row and plane % row == 0
    for z in range(depth):
        for y in range(height):
            ends = []
            for (x0, y0, z0), (row, plane) in (
                (rectangle.source_origin, rectangle.source_pitches),
                (rectangle.target_origin, rectangle.target_pitches),
            ):
                ends.append((z0 + z) * plane + (y0 + y) * row + x0)
            target[ends[1] : ends[1] + width] = source[ends[0] : ends[0] + width]


@given(nested(), st.sampled_from([1, 4, 8]))
def test_rectangles_move_exactly_the_box(boxes: tuple[Region, Region, Region], itemsize: int) -> None:
    here, there, box = boxes
    rng = np.random.default_rng(0)
    source = rng.integers(1, 255, here.size * itemsize, dtype=np.uint8)
    target = np.zeros(there.size * itemsize, np.uint8)
    for rectangle in rectangles(View.of(here), View.of(there), box, itemsize):
        apply(rectangle, source, target)
    expected = np.zeros((there.size, itemsize), np.uint8)
    for index in np.ndindex(box.shape):
        at = [start + offset for start, offset in zip(box.start, index, strict=True)]
        expected[place(View.of(there), at)] = source.reshape(-1, itemsize)[place(View.of(here), at)]
    np.testing.assert_array_equal(target, expected.reshape(-1))


def place(view: View, at: list[int]) -> int:
    return view.offset + sum(i * stride for i, stride in zip(at, view.strides, strict=True))


def test_contiguous_axes_become_one_copy() -> None:
    feature_map = Region.full((1, 8, 6, 5))
    rows = feature_map.along(2, 2, 4)
    (piece,) = rectangles(View.of(feature_map), View.of(rows), rows, 4)
    assert piece.size == (2 * 5 * 8 * 4, 1, 1)


@pytest.mark.parametrize("nbytes", [0, 1, 64, 5000])
def test_host_memory_is_page_aligned_and_zero(nbytes: int) -> None:
    block = aligned(nbytes)
    assert block.ctypes.data % 4096 == 0
    assert len(block) >= max(nbytes, 64)
    assert not block.any()


@pytest.mark.parametrize(
    ("shape", "dtype"), [((2, 3, 4, 5), "float32"), ((), "int64"), ((0, 3), "float32"), ((7,), "bool")]
)
@pytest.mark.parametrize("pinned", [False, True])
def test_allocations_give_back_what_was_written(shape: tuple[int, ...], dtype: str, pinned: bool) -> None:
    lane = Lanes.open({"cpu": halves().cpu}).by_name["cpu"]
    other = Lanes.open({"gpu": halves().gpu}).by_name["gpu"].memory if pinned else None
    values = np.random.default_rng(1).integers(0, 2, shape).astype(dtype)
    storage = lane.memory.allocate("t", Region.full(shape), dtype, other)
    assert not storage.read().any()
    storage.write(values)
    read = storage.read()
    np.testing.assert_array_equal(read, values)
    assert (read.dtype, read.shape) == (values.dtype, shape)
    assert (other or lane.memory).nbytes >= values.nbytes


def test_buffers_beyond_the_device_are_refused() -> None:
    lane = Lanes.open({"cpu": halves().cpu}).by_name["cpu"]
    with pytest.raises(DeviceError, match=r"huge needs .* MiB; the device allows"):
        lane.memory.allocate("huge", Region.full((1 << 40,)), "float32")


@pytest.mark.parametrize("towards", ["cpu", "gpu"])
@pytest.mark.parametrize("dtype", ["float32", "int64"])
@pytest.mark.parametrize("boxes", [1, 2])
def test_some_channels_of_every_pixel_cross_to_a_memory_apart_in_one_piece(
    towards: str, dtype: str, boxes: int
) -> None:
    """Packed on one side, unpacked on the other; what surrounds them in the target stays. A half of the CPU stands for
    the GPU, its buffers as if the host could not see them."""
    devices = halves()
    lanes = Lanes.open({"gpu": replace(devices.gpu, root="apart"), "cpu": devices.cpu})
    target, source = lanes.by_name[towards], lanes.by_name["cpu" if towards == "gpu" else "gpu"]
    lanes.by_name["gpu"].memory.in_host = False
    whole = Region.full((1, 40, 9, 7))
    held = whole.along(1, 4, 36)
    values = np.random.default_rng(1).integers(-99, 99, whole.shape).astype(dtype)
    before = source.memory.allocate("t@source", whole, dtype)
    after = target.memory.allocate("t@target", held, dtype)
    before.write(values)
    after.write(np.full(held.shape, 7, dtype))
    moved = [held.along(1, 10, 17), held.along(1, 20, 36).along(2, 1, 8)][:boxes]
    steps = copy([Piece(before, after, box) for box in moved], target, lanes, packed=True)
    assert len(steps) == 2  # not through arrays of the host
    for place, issue in steps:
        issue(None)[1].wait()
        assert place.queue is not None
    expected = np.full(held.shape, 7, dtype)
    for box in moved:
        taken = tuple(slice(*pair) for pair in box.ranges)
        given = tuple(slice(a - o, b - o) for (a, b), (o, _) in zip(box.ranges, held.ranges, strict=True))
        expected[given] = values[taken]
    np.testing.assert_array_equal(after.read(), expected)
