"""Models of a few nodes, seeded numbers, and whether what was read of a model computes the same."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from codl.graph import Graph
from tests.interpreter import run_graph, run_model

RNG = np.random.default_rng(0)
SEEDED = RNG.bit_generator.state


def normal(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(np.float32)


def model_of(
    nodes: list[onnx.NodeProto], inputs: dict[str, Any], outputs: list[str],
    constants: dict[str, np.ndarray] | None = None, opset: int = 17, domains: tuple[str, ...] = (),
) -> onnx.ModelProto:  # fmt: skip
    """A model with float inputs of these shapes, and outputs whose types are left to inference."""
    graph = helper.make_graph(
        nodes,
        "test",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in inputs.items()],
        [onnx.ValueInfoProto(name=name) for name in outputs],
        [numpy_helper.from_array(array, name) for name, array in (constants or {}).items()],
    )
    opsets = [helper.make_opsetid("", opset), *(helper.make_opsetid(domain, 1) for domain in domains)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8)


def node(op: str, inputs: str, outputs: str, name: str = "", **attributes: Any) -> onnx.NodeProto:
    """A node with value names separated by spaces; '-' is an input left out."""
    return helper.make_node(
        op, [v.replace("-", "") for v in inputs.split()], outputs.split(), name=name, **attributes
    )  # fmt: skip


def families(graph: Graph) -> list[str]:
    return [n.op for n in graph.nodes]


def same_as_onnxruntime(model: onnx.ModelProto, graph: Graph) -> None:
    feeds = {name: normal(*graph.tensor(name).shape) for name in graph.inputs}
    expected = run_model(model.SerializeToString(), feeds)
    found = run_graph(graph, feeds)
    assert list(graph.outputs) == [value.name for value in model.graph.output]
    for name, array in expected.items():
        np.testing.assert_allclose(found[name], array, rtol=0, atol=2e-5 * max(1.0, np.abs(array).max()))


TYPE = helper.make_tensor_type_proto(TensorProto.FLOAT, [2, 3])
K = numpy_helper.from_array(np.ones(3, np.float32), "k")


def if_model(constant: bool) -> onnx.ModelProto:
    """Two branches that capture a constant; the condition is one too, or depends on the input."""

    def branch(op: str) -> onnx.GraphProto:
        inner = [node(op, "x", "t"), node("Add", "t k", "u")]
        return helper.make_graph(inner, op, [], [onnx.ValueInfoProto(name="u", type=TYPE)], [K])

    condition = [] if constant else [node("ReduceSum", "x", "r", keepdims=0), node("Greater", "r zero", "cond")]
    nodes = [*condition, node("If", "cond", "y", then_branch=branch("Relu"), else_branch=branch("Tanh"))]
    constants = {"zero": np.zeros((), np.float32), **({"cond": np.array(True)} if constant else {})}
    return model_of(nodes, {"x": [2, 3]}, ["y"], constants)
