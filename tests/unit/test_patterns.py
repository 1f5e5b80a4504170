"""What exporters spell out becomes one operator where it is that operator, and stays where it only looks like it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import pytest
from onnx import helper

from codl.graph import Graph
from codl.onnx_reader import read
from tests.exported import Exporter
from tests.unit.test_onnx_reader_semantics import run_graph, run_model

SHAPE = (2, 8, 6, 4)
Pattern = Callable[[Exporter], str]


def model_of(pattern: Pattern, *outputs: str) -> onnx.ModelProto:
    e = Exporter(opset=17)
    result = pattern(e)
    e.nodes.append(helper.make_node("Identity", [result], ["y"]))
    free = ["a", "b", "c", "d"]
    return e.model({"x": SHAPE}, {"y": free, **dict.fromkeys(outputs, free)})


def graph_of(pattern: Pattern, *outputs: str) -> Graph:
    """The graph that is read, after a check that it computes what ONNX Runtime does."""
    model = model_of(pattern, *outputs)
    graph = read(model)
    feeds = {"x": np.random.default_rng(0).standard_normal(SHAPE, dtype=np.float32)}
    found = run_graph(graph, feeds)
    for name, expected in run_model(model.SerializeToString(), feeds).items():
        np.testing.assert_allclose(found[name], expected, 1e-4, 1e-5)
    return graph


def gated(e: Exporter, gate: str, scale: float = 1.0) -> str:
    product = e.op("Mul", "x", gate)
    return product if scale == 1 else e.op("Mul", product, e.constant(scale))


def clipped(e: Exporter, shift: float = 3, high: float = 6) -> str:
    return e.op("Clip", e.op("Add", "x", e.constant(shift)), e.constant(0), e.constant(high))


def erf_gate(e: Exporter, root: float = 2.0, one: float = 1.0) -> str:
    return e.op("Add", e.op("Erf", e.op("Div", "x", e.constant(root**0.5))), e.constant(one))


def normalised(e: Exporter, axes: tuple[int, ...], again: tuple[int, ...], *, reciprocal: bool = False) -> str:
    centred = e.op("Sub", "x", e.op("ReduceMean", "x", axes=axes))
    other = e.op("Sub", "x", e.op("ReduceMean", "x", axes=again))
    variance = e.op("ReduceMean", e.op("Mul", other, other), axes=axes)
    deviation = e.op("Sqrt", e.op("Add", variance, e.constant(1e-3)))
    return e.op("Mul", centred, e.op("Reciprocal", deviation)) if reciprocal else e.op("Div", centred, deviation)


RECOGNISED: dict[str, tuple[Pattern, str]] = {
    "swish": (lambda e: gated(e, e.op("Sigmoid", "x")), "silu"),
    "swish with a slope": (lambda e: gated(e, e.op("Sigmoid", e.op("Mul", "x", e.constant(1.7)))), "silu"),
    "hard swish, product first": (lambda e: gated(e, clipped(e), 1 / 6), "hard_swish"),
    "hard swish, quotient first": (lambda e: gated(e, e.op("Div", clipped(e), e.constant(6))), "hard_swish"),
    "hard swish by a hard sigmoid": (lambda e: gated(e, e.op("HardSigmoid", "x", alpha=1 / 6)), "hard_swish"),
    "gelu": (lambda e: gated(e, erf_gate(e), 0.5), "gelu"),
    "gelu, half first": (lambda e: e.op("Mul", e.op("Mul", "x", e.constant(0.5)), erf_gate(e)), "gelu"),
    "mish": (lambda e: gated(e, e.op("Tanh", e.op("Softplus", "x"))), "mish"),
}
DIFFERENT: dict[str, Pattern] = {
    "the gate of another value": lambda e: gated(e, e.op("Sigmoid", e.op("Relu", "x"))),
    "twice the swish": lambda e: gated(e, e.op("Sigmoid", "x"), 2.0),
    "another shift": lambda e: gated(e, clipped(e, shift=2), 1 / 6),
    "another bound": lambda e: gated(e, clipped(e, high=5), 1 / 6),
    "another factor": lambda e: gated(e, clipped(e), 1 / 5),
    "another slope": lambda e: gated(e, e.op("HardSigmoid", "x", alpha=0.2)),
    "another root": lambda e: gated(e, erf_gate(e, root=3.0), 0.5),
    "another one": lambda e: gated(e, erf_gate(e, one=2.0), 0.5),
}


def kinds(graph: Graph) -> list[str]:
    return [str(node.attributes.get("kind", node.op)) for node in graph.nodes]


@pytest.mark.parametrize("name", RECOGNISED)
def test_an_activation_spelt_out_is_one_operator(name: str) -> None:
    pattern, kind = RECOGNISED[name]
    assert kinds(graph_of(pattern)) == [kind]


@pytest.mark.parametrize("name", DIFFERENT)
def test_what_only_looks_like_one_stays(name: str) -> None:
    graph = graph_of(DIFFERENT[name])
    assert not {"hard_swish", "gelu"} & set(kinds(graph))
    assert kinds(graph) != ["silu"]


def test_a_value_that_others_read_is_kept() -> None:
    def pattern(e: Exporter) -> str:
        e.nodes.append(helper.make_node("Sigmoid", ["x"], ["gate"]))
        return gated(e, "gate")

    assert kinds(graph_of(pattern, "gate")) == ["sigmoid", "mul"]


def test_layer_normalisation_spelt_out_is_one_operator() -> None:
    assert kinds(graph_of(lambda e: normalised(e, (3,), (3,)))) == ["normalize"]
    assert kinds(graph_of(lambda e: normalised(e, (1,), (1,), reciprocal=True))) == ["normalize"]
    assert "normalize" not in kinds(graph_of(lambda e: normalised(e, (3,), (2, 3))))


def test_scale_and_shift_join_a_normalisation() -> None:
    def pattern(e: Exporter) -> str:
        scaled = e.op("Mul", e.constant(np.linspace(1, 2, 4)), normalised(e, (3,), (3,)))
        return e.op("Add", scaled, e.constant(np.linspace(-1, 1, 4)))

    assert kinds(graph_of(pattern)) == ["normalize"]


def test_moves_that_undo_each_other_disappear() -> None:
    def pattern(e: Exporter) -> str:
        there = e.op("Reshape", e.op("Transpose", "x", perm=[0, 2, 3, 1]), e.ints(2, 24, 8))
        back = e.op("Reshape", e.op("Tanh", there), e.ints(2, 6, 4, 8))
        return e.op("Transpose", back, perm=[0, 3, 1, 2])

    graph = graph_of(pattern)
    assert kinds(graph) == ["transpose", "tanh", "transpose"]


def test_a_slice_backwards_takes_its_places() -> None:
    def pattern(e: Exporter) -> str:
        return e.op("Slice", "x", e.ints(-1, 0), e.ints(-100, 5), e.ints(3, 1), e.ints(-1, 2))

    assert set(kinds(graph_of(pattern))) == {"take"}
