"""Operators that run through ONNX Runtime, and ONNX Runtime as what outputs are compared with."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from codl import onnx_reader
from codl.errors import InputError, ModelError
from codl.graph import Graph
from codl.ops import Dimension
from codl.plan.model import Plan
from codl.real.devices import Assignment
from codl.real.reference import max_relative_error, run_onnxruntime
from tests.opencl import executor_of, halves, inputs_of
from tests.plans import placed, split


@pytest.fixture(scope="module")
def devices() -> Assignment:
    return halves()


def fallback_model() -> onnx.ModelProto:
    """conv, an operator without kernels, and one with outputs of two dtypes."""
    weights = np.random.default_rng(3).standard_normal((4, 3, 3, 3)).astype(np.float32)
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], pads=[1, 1, 1, 1]),
        helper.make_node("Selu", ["c"], ["s"]),
        helper.make_node("TopK", ["s", "k"], ["v", "i"], axis=1),
        helper.make_node("Relu", ["v"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes, "fallback", [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 8, 8])],
        [
            helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 2, 8, 8]),
            helper.make_tensor_value_info("i", TensorProto.INT64, [1, 2, 8, 8]),
        ],
        [onnx.numpy_helper.from_array(weights, "w"), onnx.numpy_helper.from_array(np.array([2]), "k")],
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


@pytest.mark.parametrize("make", [lambda g: placed(g, "cpu"), lambda g: split(g, Dimension.HEIGHT)])
def test_operators_without_kernels_run_through_onnxruntime(make: Callable[[Graph], Plan], devices: Assignment) -> None:
    model = fallback_model()
    graph = onnx_reader.read(model)
    x = inputs_of(graph)
    with executor_of(graph, make(graph), devices) as executor:
        outputs, trace = executor.run(x, trace=True)
        assert trace is not None
        assert len(executor.fallbacks) == 1  # neighbours share a session
        assert 0 < executor.fallback_share(trace) < 1
    assert max_relative_error(outputs, run_onnxruntime(model.SerializeToString(), x)) < 1e-5
    assert outputs["i"].dtype == np.int64
    spans = [span for span in trace.spans if span.op in executor.fallbacks and span.kind == "kernel"]
    assert {span.lane for span in spans} == {"cpu"}
    assert set(str(trace.environment["fallbacks"]).split(", ")) == set(executor.fallbacks)


def test_a_failing_operator_is_named(devices: Assignment) -> None:
    """An index beyond its table: only ONNX Runtime can find out, at run time."""
    nodes = [helper.make_node("Gather", ["t", "i"], ["y"])]
    graph_proto = helper.make_graph(
        nodes, "gather", [helper.make_tensor_value_info("i", TensorProto.INT64, [1])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])],
        [onnx.numpy_helper.from_array(np.ones(3, np.float32), "t")],
    )  # fmt: skip
    graph = onnx_reader.read(helper.make_model(graph_proto, opset_imports=[helper.make_opsetid("", 17)], ir_version=9))
    with executor_of(graph, placed(graph, "cpu"), devices) as executor:
        assert executor.run({"i": np.array([2])})[0]["y"] == 1
        with pytest.raises(ModelError, match=r"Gather, through the fallback\): ONNX Runtime fails"):
            executor.run({"i": np.array([99])})
        assert executor.run({"i": np.array([2])})[0]["y"] == 1


def test_relative_error() -> None:
    reference = {"y": np.array([1.0, -4.0, 0.0], np.float32)}
    assert max_relative_error({"y": np.array([1.0, -4.0, 0.4], np.float32)}, reference) == pytest.approx(0.1)
    assert max_relative_error({"y": np.array([1.0, -4.0, np.nan], np.float32)}, reference) == float("inf")
    special = {"y": np.array([np.inf, -np.inf, np.nan, 2.0])}
    assert max_relative_error({"y": special["y"].copy()}, special) == 0
    assert max_relative_error({"y": np.array([np.inf, np.inf, np.nan, 2.0])}, special) == float("inf")
    assert max_relative_error({"y": np.array([1, 2])}, {"y": np.array([1, 2])}) == 0
    assert max_relative_error({"y": np.array([1, 3])}, {"y": np.array([1, 2])}) == float("inf")
    assert max_relative_error({"y": np.zeros((0, 2))}, {"y": np.zeros((0, 2))}) == 0
    with pytest.raises(InputError, match="'y' is missing"):
        max_relative_error({}, reference)
    with pytest.raises(InputError, match="shape"):
        max_relative_error({"y": np.zeros(2, np.float32)}, reference)


def test_onnxruntime_says_what_it_misses() -> None:
    with pytest.raises(InputError, match="input 'x' is missing"):
        run_onnxruntime(fallback_model().SerializeToString(), {})
    with pytest.raises(ModelError, match="ONNX Runtime refuses it"):
        run_onnxruntime(b"nonsense", {})
