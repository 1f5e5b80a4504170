"""Kernels of the light operators: against ONNX Runtime, whole and in parts, on CPU devices and posing as a GPU."""

from __future__ import annotations

from math import prod

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codl.graph import Activation
from codl.ops import REGISTRY
from codl.ops.activation import CODES
from codl.region import Region
from tests.kernel_runner import request, run_node
from tests.light_reference import FAMILIES, PARAMS, Case


def agree(case: Case, got: np.ndarray, wanted: np.ndarray) -> None:
    largest = float(np.abs(wanted).max(initial=1.0, where=np.isfinite(wanted)))
    tolerance = REGISTRY[case.graph.nodes[0]].tolerance * largest
    np.testing.assert_allclose(got, wanted, rtol=0, atol=tolerance, err_msg=repr(case))


def can_be_cut(case: Case) -> bool:
    return bool(REGISTRY[case.graph.nodes[0]].dimensions(case.graph, case.graph.nodes[0]))


@pytest.mark.parametrize("family", sorted(FAMILIES))
@given(data=st.data())
@settings(max_examples=60, deadline=None, derandomize=True)
def test_an_operator_computes_what_onnx_runtime_does(family: str, data: st.DataObject) -> None:
    case = data.draw(FAMILIES[family])
    margin, cpu = data.draw(st.sampled_from([0, 3])), data.draw(st.booleans())
    graph = case.graph
    wanted = case.expected()
    assert wanted.shape == case.shape
    agree(case, run_node(graph, graph.nodes[0], case.inputs, margin=margin, cpu=cpu), wanted)


@pytest.mark.parametrize("family", sorted(set(FAMILIES) - {"reshape"}))
@given(data=st.data())
@settings(max_examples=30, deadline=None, derandomize=True)
def test_parts_are_parts_of_the_whole(family: str, data: st.DataObject) -> None:
    case = data.draw(FAMILIES[family].filter(can_be_cut))
    graph = case.graph
    node = graph.nodes[0]
    dimensions = REGISTRY[node].dimensions(graph, node)
    axis = data.draw(st.sampled_from(sorted(dimensions.values())))
    cut = data.draw(st.integers(1, case.shape[axis] - 1))
    whole = Region.full(case.shape)
    margin, cpu = data.draw(st.sampled_from([0, 3])), data.draw(st.booleans())
    parts = [
        run_node(graph, node, case.inputs, whole.along(axis, *piece), margin=margin, cpu=cpu)
        for piece in ((0, cut), (cut, case.shape[axis]))
    ]
    agree(case, np.concatenate(parts, axis), case.expected())


EDGES = np.array([np.nan, np.inf, -np.inf, -1.0, -0.0, 0.0, 1.0, 40.0, -40.0, -3.0, 3.0], np.float32)


@pytest.mark.parametrize("kind", [kind for kind in CODES if kind])
def test_nan_and_infinities_pass_as_in_onnx_runtime(kind: str) -> None:
    params = PARAMS | {"leaky_relu": (-0.5,), "clip": (3.0, 1.0)}
    case = Case("unary", (np.tile(EDGES, 3),), (33,), {"kind": kind, "params": params.get(kind, ())})
    got = run_node(case.graph, case.graph.nodes[0], case.inputs)
    np.testing.assert_allclose(got, case.expected(), rtol=1e-5, atol=1e-6)


def test_softmax_of_several_axes_normalises_them_together() -> None:
    x = np.random.default_rng(0).standard_normal((2, 3, 4, 5)).astype(np.float32)
    case = Case("softmax", (x,), x.shape, {"axis": 1, "last_axis": 4})
    wanted = np.exp(x) / np.exp(x).sum((1, 2, 3), keepdims=True)
    for cpu in (True, False):
        agree(case, run_node(case.graph, case.graph.nodes[0], case.inputs, cpu=cpu), wanted)


def test_large_softmax_does_not_overflow() -> None:
    x = (1000 * np.random.default_rng(0).standard_normal((3, 200))).astype(np.float32)
    case = Case("softmax", (x,), x.shape, {"axis": 1, "last_axis": 2})
    for cpu in (True, False):
        agree(case, run_node(case.graph, case.graph.nodes[0], case.inputs, cpu=cpu), case.expected())


def test_mean_of_many_values_stays_accurate() -> None:
    x = (np.random.default_rng(0).random((1, 9, 200, 150)) + 1).astype(np.float32)
    case = Case("reduce", (x,), (1, 9, 1, 1), {"kind": "mean", "axes": (2, 3), "keepdims": 1})
    wanted = x.astype(np.float64).mean((2, 3), keepdims=True)
    for cpu in (True, False):
        got = run_node(case.graph, case.graph.nodes[0], case.inputs, cpu=cpu)
        np.testing.assert_allclose(got, wanted, rtol=1e-6)


@pytest.mark.parametrize("cpu", [True, False])
def test_large_maps_are_cut_into_several_work_items(cpu: bool) -> None:
    rng = np.random.default_rng(1)
    x, y = (rng.standard_normal((1, 40, 60, 50)).astype(np.float32) for _ in range(2))
    cases = [
        Case("binary", (x, y), x.shape, {"kind": "add"}, (), Activation("relu")),
        Case("transpose", (x,), (1, 60, 50, 40), {"perm": (0, 2, 3, 1)}),
        Case("reshape", (x,), (40, 3000), {}),
        Case("concat", (x, y), (1, 80, 60, 50), {"axis": 1}),
        Case("softmax", (x,), x.shape, {"axis": 3, "last_axis": 4}),
    ]
    for case in cases:
        graph, node = case.graph, case.graph.nodes[0]
        program = REGISTRY[node].program(request(graph, node, cpu=cpu))
        assert all(prod(launch.global_size) > 1 for launch in program.launches)
        agree(case, run_node(graph, node, case.inputs, cpu=cpu), case.expected())


def test_axes_beyond_the_kernels_become_several_launches() -> None:
    shape = (2, 3, 2, 3, 2, 3, 2)
    x = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    perm = (6, 5, 4, 3, 2, 1, 0)
    case = Case("transpose", (x,), tuple(shape[axis] for axis in perm), {"perm": perm})
    program = REGISTRY[case.graph.nodes[0]].program(request(case.graph, case.graph.nodes[0]))
    assert len(program.launches) == 2
    agree(case, run_node(case.graph, case.graph.nodes[0], case.inputs), x.transpose(perm))


def test_the_fallback_runs_on_the_host_and_whole() -> None:
    x = np.zeros((1, 2, 3, 4), np.float32)
    case = Case("onnx", (x,), x.shape, {"model": b""})
    node = case.graph.nodes[0]
    spec = REGISTRY[node]
    assert spec.host_only and not spec.dimensions(case.graph, node)
    program = spec.program(request(case.graph, node))
    assert program.host and not program.launches
    work = spec.work(case.graph, node, Region.full(x.shape))
    assert (work.kind, work.input_bytes, work.output_bytes) == ("other", 96, 96)
