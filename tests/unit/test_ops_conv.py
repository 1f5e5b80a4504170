"""Convolution kernels: chosen shapes that the random ones may miss."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from codl.graph import Activation, Graph, Node, Tensor
from codl.ops import REGISTRY
from codl.ops.activation import TAILS, define
from codl.region import Region
from tests.heavy_reference import conv, one_node, reference, relative_error
from tests.kernel_runner import run_node

PARAMS = {
    "leaky_relu": (0.1,), "clip": (-0.5, 0.7), "hard_sigmoid": (0.3, 0.4), "silu": (1.2,), "elu": (0.8,),
    "selu": (1.7, 1.1),
}  # fmt: skip


def check(case: dict[str, Any], cpu: bool = True, out: Region | None = None, simd: int = 0, margin: int = 3) -> None:
    """Every algorithm of a convolution against ONNX Runtime."""
    rng = np.random.default_rng(1)
    graph, node = conv(rng, **case)
    inputs = {name: rng.standard_normal(graph.tensor(name).shape).astype(np.float32) for name in graph.inputs}
    expected = reference(graph, node, **inputs)
    assert expected.std() > 0.05
    out = out or Region.full(expected.shape)
    box = expected[tuple(slice(lo, hi) for lo, hi in out.ranges)]
    for algorithm in REGISTRY[node].algorithms(graph, node):
        got = run_node(graph, node, inputs, out, algorithm, cpu=cpu, simd=simd, margin=margin)
        allowed = REGISTRY[node].tolerance if "winograd" in algorithm else 1e-5
        assert relative_error(got, box, float(np.abs(expected).max())) < allowed, algorithm


@pytest.mark.parametrize("kind", sorted(TAILS))
def test_activation(kind: str) -> None:
    activation = Activation(kind, PARAMS.get(kind, ()))
    check({"shape": (1, 8, 5, 7), "channels": 20, "kernel": (1, 1), "pads": (0,) * 4, "activation": activation})


@pytest.mark.parametrize("simd", [4, 8, 16])
@pytest.mark.parametrize("channels, group", [(16, 1), (5, 5)], ids=["vectors", "scalars"])
@pytest.mark.parametrize("kind", ["sigmoid", "silu", "gelu_tanh"])
def test_activation_far_out(kind: str, channels: int, group: int, simd: int) -> None:
    """Kernels of convolutions have an exponential of their own: at any value as exact as it can be, NaN and infinities
    too."""
    values = np.append(np.linspace(-120, 120, channels * 60 - 3), [np.nan, np.inf, -np.inf]).astype(np.float32)
    shape = (1, channels, 6, 10)
    x, slope = values.reshape(shape), np.float64(1.2 if kind == "silu" else 1.0)
    weights = np.ones((channels, 1, 1, 1)) if group > 1 else np.eye(channels)[:, :, None, None]
    attributes = {"kernel": (1, 1), "stride": (1, 1), "pads": (0,) * 4, "dilation": (1, 1), "group": group}
    node = Node("y", "conv", ("x", "w"), ("y",), attributes, Activation(kind, PARAMS.get(kind, ())))
    tensors = {name: Tensor(name, of) for name, of in (("x", shape), ("w", weights.shape), ("y", shape))}
    graph = Graph("far out", (node,), tensors, {"w": weights.astype(np.float32)}, ("x",), ("y",))
    inputs = {"x": x if group > 1 else np.where(np.isfinite(x), x, 0)}  # 0 times infinity would spoil the others' sums
    got = run_node(graph, node, inputs, Region.full(shape), simd=simd)
    exact = inputs["x"].astype(np.float64)
    inner = 1.5957691216 * (exact + 0.044715 * exact**3) if kind == "gelu_tanh" else slope * exact
    with np.errstate(over="ignore", invalid="ignore"):
        share = 1 / (1 + np.exp(-inner))
        expected = share if kind == "sigmoid" else exact * share
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-30)  # rounding exp's argument, up to 100, costs 5e-6


def test_unknown_activation() -> None:
    with pytest.raises(Exception, match="unknown activation 'swish2'"):
        define(Activation("swish2"))


SHAPES: dict[str, dict[str, Any]] = {
    "first layer": {"shape": (1, 3, 23, 19), "channels": 32, "kernel": (7, 7), "stride": (2, 2), "pads": (3,) * 4},
    "deep": {"shape": (1, 300, 5, 7), "channels": 70, "pads": (0, 1, 2, 0), "stride": (2, 1)},
    "many pixels": {"shape": (1, 16, 24, 33), "channels": 40},
    "wide": {"shape": (1, 8, 3, 90), "channels": 160},
    "large kernel": {"shape": (1, 37, 17, 19), "channels": 24, "kernel": (7, 7), "pads": (3,) * 4},
    "large kernel, two images": {"shape": (2, 140, 9, 8), "channels": 20, "kernel": (5, 5), "pads": (2, 0, 1, 2)},
    "large kernel, rows and columns": {"shape": (1, 16, 15, 9), "channels": 40, "kernel": (9, 4), "pads": (4, 1, 4, 2)},
    "pointwise with stride and padding": {
        "shape": (2, 16, 9, 9), "channels": 24, "kernel": (1, 1), "pads": (1, 0, 0, 2), "stride": (2, 2), "bias": False,
    },
    "pointwise, whole tiles": {"shape": (1, 40, 12, 18), "channels": 24, "kernel": (1, 1), "pads": (0,) * 4},
    "pointwise, whole tiles, deep": {"shape": (1, 300, 7, 12), "channels": 73, "kernel": (1, 1), "pads": (0,) * 4},
    "pointwise, whole tiles, padding above": {
        "shape": (1, 16, 11, 12), "channels": 16, "kernel": (1, 1), "pads": (1, 0, 1, 0),
    },
    "pointwise, whole tiles, with stride": {
        "shape": (1, 16, 12, 24), "channels": 33, "kernel": (1, 1), "pads": (0,) * 4, "stride": (2, 2),
    },
    "vector": {"shape": (1, 40, 1, 1), "channels": 50, "kernel": (1, 1), "pads": (0,) * 4},
    "pointwise, one pixel in padding": {
        "shape": (1, 4, 1, 1), "channels": 8, "kernel": (1, 1), "pads": (0, 0, 0, 1),
    },
    "groups": {"shape": (2, 12, 9, 9), "channels": 24, "group": 4, "dilation": (2, 2), "pads": (2,) * 4},
    "more padding than map": {"shape": (1, 4, 2, 2), "channels": 4, "kernel": (3, 3), "pads": (4, 3, 4, 3)},
    "depthwise": {
        "shape": (2, 37, 12, 7), "channels": 37, "group": 37, "kernel": (5, 3), "stride": (2, 1), "pads": (2, 1, 0, 2),
    },
    "depthwise, few channels": {"shape": (1, 5, 12, 7), "channels": 5, "group": 5, "dilation": (1, 2)},
    "depthwise, four columns at once": {"shape": (2, 21, 9, 11), "channels": 21, "group": 21},
    "depthwise, two rows at once, padding on both sides": {"shape": (1, 24, 4, 4), "channels": 24, "group": 24},
    "depthwise, two rows at once, without padding": {
        "shape": (2, 16, 7, 10), "channels": 16, "group": 16, "pads": (0,) * 4,
    },
    "depthwise, two rows at once, in padding": {
        "shape": (1, 9, 2, 6), "channels": 9, "group": 9, "pads": (5, 1, 4, 0),
    },
    "depthwise, every second row": {
        "shape": (1, 16, 9, 8), "channels": 16, "group": 16, "stride": (2, 1), "pads": (1, 0, 1, 1),
    },
    "depthwise, every second column": {
        "shape": (1, 16, 8, 14), "channels": 16, "group": 16, "stride": (1, 2), "pads": (0, 1, 2, 0),
    },
    "narrow": {"shape": (2, 37, 9, 13), "channels": 3, "kernel": (5, 3), "pads": (2, 1, 2, 1)},
    "narrow, with stride and dilation": {
        "shape": (1, 16, 17, 19), "channels": 1, "stride": (2, 3), "dilation": (2, 1), "pads": (3, 4, 1, 0),
    },
    "depthwise with multiplier": {"shape": (1, 6, 5, 7), "channels": 12, "group": 6},
}  # fmt: skip


@pytest.mark.parametrize("margin", [0, 3], ids=["packed", "strided"])
@pytest.mark.parametrize("cpu", [True, False], ids=["cpu", "gpu"])
@pytest.mark.parametrize("name", SHAPES)
def test_shape(name: str, cpu: bool, margin: int) -> None:
    check(SHAPES[name] | {"activation": Activation("relu")}, cpu, margin=margin)


@pytest.mark.parametrize("cpu", [True, False], ids=["cpu", "gpu"])
@pytest.mark.parametrize("place", ["before", "after"])
@pytest.mark.parametrize(
    "name",
    [
        "deep", "many pixels", "large kernel", "pointwise with stride and padding", "pointwise, whole tiles, deep",
        "vector", "groups", "depthwise", "narrow",
    ],
)  # fmt: skip
def test_residual(name: str, place: str, cpu: bool) -> None:
    """Another value is added before or after the activation, by every kernel that may be chosen."""
    check(SHAPES[name] | {"activation": Activation("relu"), "residual": place}, cpu)


@pytest.mark.parametrize("simd", [4, 8, 16])
@pytest.mark.parametrize(
    "name",
    [
        "wide", "pointwise, whole tiles, deep", "vector", "depthwise", "depthwise, four columns at once",
        "depthwise, every second column", "narrow",
    ],
)  # fmt: skip
def test_vectors_of_any_width(name: str, simd: int) -> None:
    """Also of processors that this machine is not: slow there, but no less right."""
    check(SHAPES[name] | {"activation": Activation("relu")}, simd=simd)


def test_matrix_product_whose_columns_lie_apart() -> None:
    """The last axis of a tensor of rank 4 is not the innermost in memory."""
    rng = np.random.default_rng(2)
    x, weights = (rng.standard_normal(shape).astype(np.float32) for shape in ((1, 3, 12, 20), (20, 32)))
    graph, node = one_node("gemm", x.shape, (1, 3, 12, 32), [weights])
    expected = np.matmul(x, weights)
    got = run_node(graph, node, {"x": x}, Region.full(expected.shape))
    assert relative_error(got, expected) < 1e-5


def test_channel_range_that_cuts_groups() -> None:
    case = SHAPES["groups"] | {"activation": Activation("relu"), "residual": "before"}
    check(case, out=Region(((0, 2), (2, 21), (0, 9), (1, 8))))


def test_nothing_to_compute() -> None:
    graph, node = conv(np.random.default_rng(0), (1, 4, 6, 6), 8)
    empty = Region(((0, 1), (0, 8), (3, 3), (0, 6)))
    spec = REGISTRY[node]
    assert spec.input_regions(graph, node, empty)[0].empty
    assert spec.work(graph, node, empty).flops == 0
    assert run_node(graph, node, {"x": np.zeros((1, 4, 6, 6), np.float32)}, empty).size == 0
