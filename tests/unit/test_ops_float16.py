"""Weights stored as float16: really stored so, only where they are asked for, and computed with as float32."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import numpy as np
import pytest

from codl.calibrate.network import probe_graph
from codl.calibrate.probes import probes
from codl.errors import BoundExceeded
from codl.graph import Graph, Node, Tensor
from codl.ops import REGISTRY
from codl.ops.launch import FLOAT16
from codl.runs import require_agreement
from tests.kernel_runner import request, run_node

STORED = "gemm" + FLOAT16


def _layer(rows: int = 1) -> tuple[Graph, Node, dict[str, np.ndarray]]:
    """A fully connected layer of 300 inputs and 50 outputs."""
    rng = np.random.default_rng(0)
    shapes = {"x": (rows, 300), "w": (300, 50), "y": (rows, 50)}
    tensors = {name: Tensor(name, shape) for name, shape in shapes.items()}
    node = Node("y", "gemm", ("x", "w"), ("y",), {})
    weights = rng.standard_normal((300, 50)).astype(np.float32)
    graph = Graph("fc", (node,), tensors, {"w": weights}, ("x",), ("y",))
    return graph, node, {"x": rng.standard_normal((rows, 300)).astype(np.float32)}


def _rounded(graph: Graph, node: Node) -> Graph:
    """The graph with the node's weights rounded to float16."""
    name = node.inputs[1]
    weights = graph.constants[name].astype(np.float16).astype(np.float32)
    return replace(graph, constants={**graph.constants, name: weights})


@pytest.mark.parametrize("simd", [4, 8, 16])
@pytest.mark.parametrize("rows", [1, 9])
def test_a_product_with_float16_weights_is_that_of_rounded_weights(rows: int, simd: int) -> None:
    graph, node, x = _layer(rows)
    assert REGISTRY[node].variants(graph, node, "buffer") == ("gemm", STORED)
    got = run_node(graph, node, x, algorithm=STORED, simd=simd)
    np.testing.assert_array_equal(got, run_node(_rounded(graph, node), node, x, algorithm="gemm", simd=simd))
    assert (got != run_node(graph, node, x, algorithm="gemm", simd=simd)).any()


def test_half_as_much_is_read_on_a_cpu_and_nothing_changes_on_a_gpu() -> None:
    graph, node, x = _layer()
    sizes = {}
    for name, cpu in product(("gemm", STORED), (True, False)):
        constants = REGISTRY[node].program(request(graph, node, algorithm=name, cpu=cpu)).constants
        sizes[name, cpu] = max(constants[key].nbytes for key in constants)
    assert sizes[STORED, True] == sizes["gemm", True] / 2
    assert sizes[STORED, False] == sizes["gemm", False]
    plain, stored = (run_node(graph, node, x, algorithm=name, cpu=False) for name in ("gemm", STORED))
    np.testing.assert_array_equal(plain, stored)


def test_they_are_measured_only_where_they_are_asked_for() -> None:
    graph = probe_graph(quick=True)
    assert not any(probe.algorithm.endswith(FLOAT16) for probe in probes(graph, host=True))
    found = {probe.algorithm for probe in probes(graph, host=True, float16=True)}
    assert {STORED, "gemm"} <= found
    for node in graph.nodes:
        assert not any(name.endswith(FLOAT16) for name in REGISTRY[node].algorithms(graph, node))


def test_each_storage_has_its_own_bound() -> None:
    require_agreement("net", 5e-3, "float16")
    for error, storage in ((5e-3, "float32"), (2e-2, "float16")):
        with pytest.raises(BoundExceeded, match="differ from ONNX Runtime"):
            require_agreement("net", error, storage)
