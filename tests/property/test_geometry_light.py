"""What a part of a light operator says it reads is exactly what it reads: ONNX Runtime is the witness."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codl.ops import REGISTRY
from codl.region import Region
from tests.light_reference import FAMILIES, Case

SPLITTABLE = sorted(set(FAMILIES) - {"reshape"})
TIGHT = sorted(set(SPLITTABLE) - {"unary", "binary"})
"""Families of which every element read changes the result (an activation may swallow it)."""


@st.composite
def parts(draw: st.DrawFn, family: str) -> tuple[Case, Region]:
    """An operator and a box of its output that a split could ask for."""
    case = draw(FAMILIES[family])
    node = case.graph.nodes[0]
    axes = set(REGISTRY[node].dimensions(case.graph, node).values())
    ranges = []
    for axis, extent in enumerate(case.shape):
        low = draw(st.integers(0, extent - 1)) if axis in axes else 0
        ranges.append((low, draw(st.integers(low + 1, extent)) if axis in axes else extent))
    return case, Region(tuple(ranges))


def _boxes(case: Case, out: Region) -> dict[int, Region]:
    graph = case.graph
    node = graph.nodes[0]
    boxes = REGISTRY[node].input_regions(graph, node, out)
    return {index: box for (index, _), box in zip(graph.variable_inputs(node), boxes, strict=True)}


def _slices(box: Region) -> tuple[slice, ...]:
    return tuple(slice(low, high) for low, high in box.ranges)


@pytest.mark.parametrize("family", SPLITTABLE)
@given(data=st.data())
@settings(max_examples=40, deadline=None, derandomize=True)
def test_nothing_outside_the_box_matters(family: str, data: st.DataObject) -> None:
    case, out = data.draw(parts(family))
    changed = list(case.arrays)
    for index, box in _boxes(case, out).items():
        assert Region.full(case.arrays[index].shape).contains(box) and all(a <= b for a, b in box.ranges)
        array = np.asarray(case.arrays[index] + np.float32(100))
        array[_slices(box)] = case.arrays[index][_slices(box)]
        changed[index] = array
    np.testing.assert_array_equal(case.expected(*changed)[_slices(out)], case.expected()[_slices(out)])


@pytest.mark.parametrize("family", TIGHT)
@given(data=st.data())
@settings(max_examples=40, deadline=None, derandomize=True)
def test_each_face_of_the_box_matters(family: str, data: st.DataObject) -> None:
    case, out = data.draw(parts(family))
    before = case.expected()[_slices(out)]
    for index, box in _boxes(case, out).items():
        for axis, (low, high) in enumerate(box.ranges if not box.empty else ()):
            for face in {(low, low + 1), (high - 1, high)}:
                changed = list(case.arrays)
                changed[index] = case.arrays[index].copy()
                changed[index][_slices(box.along(axis, *face))] += np.random.default_rng(0).random(1, np.float32) + 1
                after = case.expected(*changed)[_slices(out)]
                assert (after != before).any() or _may_not_matter(case), (box, axis, face)


def _may_not_matter(case: Case) -> bool:
    """A softmax or a normalisation over one element, or one all of whose elements are shifted alike, is the same
    whatever the input; an extreme depends on one element."""
    return case.op in ("softmax", "normalize") or case.attributes.get("kind") in ("max", "min")


@pytest.mark.parametrize("family", SPLITTABLE)
@given(data=st.data())
@settings(max_examples=30, deadline=None, derandomize=True)
def test_work_adds_up_over_parts(family: str, data: st.DataObject) -> None:
    case = data.draw(FAMILIES[family])
    graph = case.graph
    node = graph.nodes[0]
    spec = REGISTRY[node]
    whole = Region.full(case.shape)
    total = spec.work(graph, node, whole)
    assert total.output_bytes == 4 * whole.size
    for axis in spec.dimensions(graph, node).values():
        cut = data.draw(st.integers(1, case.shape[axis] - 1))
        pieces = [spec.work(graph, node, whole.along(axis, *r)) for r in ((0, cut), (cut, case.shape[axis]))]
        assert sum(piece.output_bytes for piece in pieces) == total.output_bytes
        assert sum(piece.flops for piece in pieces) == pytest.approx(total.flops)
        assert sum(piece.input_bytes for piece in pieces) >= total.input_bytes or family in ("resize", "slice", "take")
