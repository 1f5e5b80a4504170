"""`codl why`: the answers, as text and as JSON."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests.conftest import Outcome

Codl = Callable[..., Outcome]


def model_with_a_fallback() -> onnx.ModelProto:
    """A convolution, and an operator `odd` that codl has no kernel for."""
    weights = np.random.default_rng(0).standard_normal((8, 3, 3, 3)).astype(np.float32)
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"], "conv", pads=[1, 1, 1, 1]),
        helper.make_node("CumSum", ["a", "axis"], ["y"], "odd"),
    ]
    constants = [numpy_helper.from_array(weights, "w"), numpy_helper.from_array(np.array(3, np.int64), "axis")]
    ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [1, c, 32, 32]) for n, c in (("x", 3), ("y", 8))]
    graph = helper.make_graph(nodes, "fallback", ends[:1], ends[1:], constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


def test_json_holds_costs_terms_and_reasons(codl: Codl) -> None:
    document = codl("why", "paper/vgg16", "--hardware", "sd865", "--planner", "hybrid", "--json").json
    assert len(document["operators"]) == 21
    for row in document["operators"]:
        for each in row["alternatives"]:
            assert sum(each["terms_ms"].values()) == pytest.approx(each["ms"])
        assert row["chosen"]["ms"] == pytest.approx(min(each["ms"] for each in row["alternatives"]))
        for kernel in row["kernels"].values():
            assert sum(kernel["terms_ms"].values()) == pytest.approx(kernel["ms"])
    slower = {r["operator"] for r in document["operators"] if r["kernels"]["gpu"]["ms"] > r["kernels"]["cpu"]["ms"]}
    assert slower == set(document["slower_on_gpu"]) and slower
    assert document["fallback"] == {"operators": [], "ms": 0.0, "share": 0.0}


def test_one_operator_is_explained_in_full(codl: Codl) -> None:
    outcome = codl("why", "yolov2", "--hardware", "sd865", "--operator", "conv08")
    assert outcome.code == 0
    for wanted in ("in a chain of", "cpu alone", "sync", "winograd6", "multiply"):
        assert wanted in outcome.out


def test_an_unknown_operator_is_refused_by_name(codl: Codl) -> None:
    outcome = codl("why", "yolov2", "--hardware", "sd865", "--operator", "conv99")
    assert outcome.code == 2
    assert "conv99" in outcome.err and "conv00" in outcome.err


def test_what_falls_back_is_named_with_its_cost(codl: Codl, tmp_path: Path) -> None:
    path = tmp_path / "fallback.onnx"
    onnx.save(model_with_a_fallback(), path)
    document = codl("why", path, "--hardware", "sd865", "--json").json
    assert document["fallback"]["operators"] == ["odd"]
    assert 0 < document["fallback"]["share"] < 1
    row = next(r for r in document["operators"] if r["operator"] == "odd")
    assert row["decided_by"] == "no kernel" and "ONNX Runtime" in row["why"]
    assert "through ONNX Runtime" in codl("why", path, "--hardware", "sd865").out
