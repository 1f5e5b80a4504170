"""Cut anywhere along any dimension, computed in parts and put together, an operator is what ONNX Runtime computes."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from codl.graph import Activation, Graph, Node
from codl.ops import REGISTRY
from codl.region import Region
from tests.heavy_reference import conv, one_node, reference, relative_error
from tests.kernel_runner import run_node

SETTINGS = settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
sizes = st.integers(1, 12)
pairs = st.tuples(st.integers(1, 3), st.integers(1, 3))
four_pads = st.tuples(*[st.integers(0, 3)] * 4)

_TYPICAL = 0.1
"""Outputs are sums of variance 1 or so; where all of few cancel, their error is judged by this."""


def check_in_parts(data: st.DataObject, graph: Graph, node: Node) -> None:
    """Cuts the node's output in up to three parts along one of its dimensions and compares their union."""
    rng = np.random.default_rng(5)
    inputs = {name: rng.standard_normal(graph.tensor(name).shape).astype(np.float32) for name in graph.inputs}
    expected = reference(graph, node, **inputs)
    spec = REGISTRY[node]
    dimension = data.draw(st.sampled_from(sorted(spec.dimensions(graph, node))), "dimension")
    axis = spec.dimensions(graph, node)[dimension]
    extent = expected.shape[axis]
    cuts = sorted(data.draw(st.lists(st.integers(0, extent), min_size=1, max_size=2), "cuts"))
    algorithm = data.draw(st.sampled_from(spec.algorithms(graph, node)), "algorithm")
    cpu = data.draw(st.booleans(), "cpu")
    full = Region.full(expected.shape)
    edges = [0, *cuts, extent]
    parts = []
    for lo, hi in pairwise(edges):
        out = full.along(axis, lo, hi)
        for box, (_, tensor) in zip(spec.input_regions(graph, node, out), graph.variable_inputs(node), strict=True):
            assert Region.full(tensor.shape).contains(box)
        parts.append(run_node(graph, node, inputs, out, algorithm, cpu=cpu))
    united = np.concatenate(parts, axis=axis)
    scale = max(float(np.abs(expected).max(initial=0.0)), _TYPICAL)
    assert relative_error(united, expected, scale) < spec.tolerance


@SETTINGS
@given(st.data())
def test_convolution(data: st.DataObject) -> None:
    kernel = data.draw(pairs | st.just((3, 3)), "kernel")
    dilation = data.draw(st.just((1, 1)) | pairs, "dilation")
    stride = data.draw(st.just((1, 1)) | pairs, "stride")
    pads = data.draw(four_pads, "pads")
    group = data.draw(st.sampled_from([1, 1, 2, 3]), "group")
    c = group * data.draw(st.sampled_from([1, 2, 5, 16]), "channels of a group")
    oc = group * data.draw(st.integers(1, 36), "outputs of a group")
    if data.draw(st.booleans(), "depthwise"):
        group = c = oc = data.draw(st.integers(2, 40), "channels")
    least = [max(1, (kernel[i] - 1) * dilation[i] + 1 - pads[i] - pads[i + 2]) for i in (0, 1)]
    shape = (data.draw(st.integers(1, 2)), c, *(extent + data.draw(st.integers(0, 16)) for extent in least))
    graph, node = conv(
        np.random.default_rng(3), shape, oc, kernel=kernel, stride=stride, pads=pads, dilation=dilation, group=group,
        bias=data.draw(st.booleans(), "bias"), activation=Activation("relu"),
        residual=data.draw(st.sampled_from(["", "before", "after"]), "residual"),
    )  # fmt: skip
    check_in_parts(data, graph, node)


@SETTINGS
@given(st.data())
def test_transposed_convolution(data: st.DataObject) -> None:
    kernel, stride, dilation = (data.draw(pairs, name) for name in ("kernel", "stride", "dilation"))
    group = data.draw(st.sampled_from([1, 2]), "group")
    shape = (data.draw(st.integers(1, 2)), group * data.draw(st.integers(1, 5)), data.draw(sizes), data.draw(sizes))
    extra = tuple(data.draw(st.integers(0, stride[i] - 1), "output padding") for i in (0, 1))
    whole = [stride[i] * (shape[2 + i] - 1) + extra[i] + (kernel[i] - 1) * dilation[i] + 1 for i in (0, 1)]
    pads = [data.draw(st.integers(0, min(2, (whole[i % 2] - 1) // 2)), "pad") for i in range(4)]
    channels = group * data.draw(st.integers(1, 20), "outputs of a group")
    rng = np.random.default_rng(3)
    weights = rng.standard_normal((shape[1], channels // group, *kernel))
    graph, node = one_node(
        "conv_transpose", shape, (shape[0], channels, whole[0] - pads[0] - pads[2], whole[1] - pads[1] - pads[3]),
        [weights, rng.standard_normal(channels)], Activation("relu"),
        kernel=kernel, stride=stride, pads=tuple(pads), dilation=dilation, group=group, output_padding=extra,
    )  # fmt: skip
    check_in_parts(data, graph, node)


@SETTINGS
@given(st.data())
def test_pooling(data: st.DataObject) -> None:
    kernel, stride = data.draw(pairs, "kernel"), data.draw(pairs, "stride")
    dilation = data.draw(st.just((1, 1)) | pairs, "dilation")
    pads = tuple(data.draw(st.integers(0, kernel[i % 2] - 1), "pad") for i in range(4))
    reach = [(kernel[i] - 1) * dilation[i] + 1 for i in (0, 1)]
    shape = (data.draw(st.integers(1, 2)), data.draw(st.integers(1, 40)), *(r + data.draw(sizes) for r in reach))
    ceil_mode = data.draw(st.integers(0, 1), "ceil_mode")
    out = []
    for i in (0, 1):
        room = shape[2 + i] + pads[i] + pads[i + 2] - reach[i]
        count = (-(-room // stride[i]) if ceil_mode else room // stride[i]) + 1
        # ONNX: a window that would begin in the trailing padding does not exist
        out.append(count - (ceil_mode == 1 and (count - 1) * stride[i] >= shape[2 + i] + pads[i]))
    graph, node = one_node(
        "pool", shape, (*shape[:2], *out), mode=data.draw(st.sampled_from(["max", "average"]), "mode"),
        kernel=kernel, stride=stride, pads=pads, dilation=dilation, ceil_mode=ceil_mode,
        count_include_pad=data.draw(st.integers(0, 1), "count_include_pad"),
    )  # fmt: skip
    check_in_parts(data, graph, node)


@SETTINGS
@given(st.data())
def test_matrix_product(data: st.DataObject) -> None:
    leading = data.draw(st.lists(st.integers(1, 7), max_size=4), "leading axes")
    depth, columns = data.draw(st.integers(1, 300), "depth"), data.draw(st.integers(1, 80), "columns")
    rng = np.random.default_rng(3)
    constants = [rng.standard_normal((depth, columns)) / depth**0.5]
    if data.draw(st.booleans(), "bias"):
        constants.append(rng.standard_normal(columns))
    graph, node = one_node("gemm", (*leading, depth), (*leading, columns), constants, Activation("relu"))
    check_in_parts(data, graph, node)
