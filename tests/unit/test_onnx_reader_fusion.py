"""What the reader makes of several nodes: fused into one operator, folded into constants, inlined."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from codl.errors import ModelError
from codl.graph import Activation
from codl.onnx_reader import read
from tests.interpreter import run_graph, run_model
from tests.onnx_models import families, if_model, model_of, node, normal, same_as_onnxruntime

pytestmark = pytest.mark.usefixtures("seeded_models")


def test_batch_normalisation_and_activation_join_the_convolution() -> None:
    statistics = {"s": normal(4), "b": normal(4), "m": normal(4), "v": np.abs(normal(4))}
    nodes = [
        node("Conv", "x w", "c", "conv", pads=[1, 1, 1, 1]),
        node("BatchNormalization", "c s b m v", "n", "norm"),
        node("Clip", "n lo hi", "y"),
    ]
    limits = {"lo": np.float32(0).reshape(()), "hi": np.float32(6).reshape(())}
    model = model_of(nodes, {"x": [1, 3, 8, 8]}, ["y"], {"w": normal(4, 3, 3, 3), **statistics, **limits})
    graph = read(model)
    assert families(graph) == ["conv"]
    assert graph.nodes[0].name == "conv"
    assert graph.nodes[0].activation == Activation("clip", (0.0, 6.0))
    assert len(graph.nodes[0].inputs) == 3
    same_as_onnxruntime(model, graph)


def test_batch_normalisation_that_cannot_fold_becomes_mul_and_add() -> None:
    statistics = {"s": normal(3), "b": normal(3), "m": normal(3), "v": np.abs(normal(3))}
    nodes = [node("BatchNormalization", "x s b m v", "n", "norm"), node("Relu", "n", "y")]
    model = model_of(nodes, {"x": [1, 3, 4, 4]}, ["y"], statistics)
    graph = read(model)
    assert [(n.name, n.attributes["kind"]) for n in graph.nodes] == [("norm.mul", "mul"), ("norm.add", "add")]
    assert graph.constants[graph.nodes[0].inputs[1]].shape == (1, 3, 1, 1)
    assert graph.nodes[1].activation == Activation("relu")
    same_as_onnxruntime(model, graph)


def test_a_value_that_others_read_is_not_fused_away() -> None:
    nodes = [node("Conv", "x w", "c"), node("Relu", "c", "r"), node("Sigmoid", "c", "s"), node("Mul", "r s", "y")]
    model = model_of(nodes, {"x": [1, 3, 8, 8]}, ["y"], {"w": normal(4, 3, 1, 1)})
    graph = read(model)
    assert families(graph) == ["conv", "unary", "unary", "binary"]
    same_as_onnxruntime(model, graph)


def test_a_graph_output_is_not_fused_away() -> None:
    nodes = [node("Conv", "x w", "c"), node("Relu", "c", "y")]
    model = model_of(nodes, {"x": [1, 3, 8, 8]}, ["c", "y"], {"w": normal(4, 3, 1, 1)})
    graph = read(model)
    assert families(graph) == ["conv", "unary"]
    same_as_onnxruntime(model, graph)


def test_weights_that_two_convolutions_share_are_scaled_for_one_only() -> None:
    nodes = [node("Conv", "x w", "a"), node("Mul", "a s", "b"), node("Conv", "x w", "c"), node("Add", "b c", "y")]
    model = model_of(nodes, {"x": [1, 3, 8, 8]}, ["y"], {"w": normal(4, 3, 3, 3), "s": normal(4, 1, 1)})
    graph = read(model)
    assert families(graph) == ["conv", "conv"]
    same_as_onnxruntime(model, graph)


@pytest.mark.parametrize(
    ("before", "after", "fused"),
    [
        ("Conv x w c", "Add c x s; Relu s y", "before relu"),  # the convolution's own input
        ("Conv x w c; Relu c d", "Add x d y", "after relu"),
        ("Conv x w c; Conv x v d", "Add c d y", "before"),  # the later one takes in the earlier one's output
        ("Conv x w c; Sigmoid x d", "Add d c y", "before"),  # the convolution moves behind what it adds
        ("Conv x w c", "Add c x s; Add s x y", "before"),  # a second addition stays
        ("Conv x w c; Relu c d", "Add x d s; Relu s y", ""),  # an activation on either side
        ("Conv x w c", "Add c c y", ""),
        ("Conv x w c", "Add c x s; Mul s c y", ""),  # somebody else reads the sums
        ("Conv x w c", "Add c k y", ""),  # broadcasting
    ],
)
def test_an_addition_joins_the_convolution(before: str, after: str, fused: str) -> None:
    nodes = [
        node(op, f"{' '.join(inputs)}", out) for op, *inputs, out in map(str.split, f"{before}; {after}".split(";"))
    ]
    constants = {"w": normal(3, 3, 1, 1), "v": normal(3, 3, 1, 1), "k": normal(1, 3, 8, 1)}
    model = model_of(nodes, {"x": [1, 3, 8, 8]}, ["y"], constants)
    graph = read(model)
    found = [f"{n.attributes['residual']} {n.activation.kind if n.activation else ''}".strip()
             for n in graph.nodes if "residual" in n.attributes]  # fmt: skip
    assert found == ([fused] if fused else [])
    same_as_onnxruntime(model, graph)


def test_zero_padding_joins_the_convolution_other_padding_does_not() -> None:
    pads = np.array([0, 0, 1, 0, 0, 0, 2, 1], np.int64)
    for mode, expected in (("constant", ["conv"]), ("reflect", ["pad", "conv"])):
        nodes = [node("Pad", "x p", "q", mode=mode), node("Conv", "q w", "y", pads=[1, 1, 0, 0])]
        model = model_of(nodes, {"x": [1, 3, 8, 8]}, ["y"], {"w": normal(4, 3, 3, 3), "p": pads})
        graph = read(model)
        assert families(graph) == expected
        same_as_onnxruntime(model, graph)
    assert read(_padded_channels()).nodes[0].op == "pad"


def _padded_channels() -> onnx.ModelProto:
    pads = np.array([0, 1, 0, 0, 0, 0, 0, 0], np.int64)
    nodes = [node("Pad", "x p", "q"), node("Conv", "q w", "y")]
    return model_of(nodes, {"x": [1, 3, 8, 8]}, ["y"], {"w": normal(4, 4, 3, 3), "p": pads})


def test_copies_vanish_and_outputs_keep_their_names() -> None:
    nodes = [
        node("Identity", "x", "a"), node("Conv", "a w", "c"), node("Dropout", "c", "d"), node("Identity", "d", "y"),
        node("Identity", "x", "z"), node("Identity", "k", "constant"), node("Relu", "d", "u"),
    ]  # fmt: skip
    constants = {"w": normal(4, 3, 1, 1), "k": normal(2)}
    model = model_of(nodes, {"x": [1, 3, 8, 8]}, ["y", "z", "constant", "u", "x"], constants)
    graph = read(model)
    assert families(graph) == ["conv", "reshape", "unary"]
    assert graph.by_name["conv_1"].outputs == ("y",)
    same_as_onnxruntime(model, graph)


def test_gemm_takes_its_numbers_into_the_weights() -> None:
    nodes = [node("Gemm", "x w b", "g", alpha=0.5, beta=2.0, transB=1), node("Tanh", "g", "y")]
    model = model_of(nodes, {"x": [3, 5]}, ["y"], {"w": normal(4, 5), "b": normal(1, 4)})
    graph = read(model)
    assert families(graph) == ["gemm"]
    assert [graph.constants[n].shape for n in graph.nodes[0].inputs[1:]] == [(5, 4), (4,)]
    same_as_onnxruntime(model, graph)


@pytest.mark.parametrize("bias", [(3, 4), (3, 1)])
def test_gemm_with_a_bias_by_row(bias: tuple[int, int]) -> None:
    constants = {"w": normal(5, 4), "b": normal(*bias)}
    model = model_of([node("Gemm", "x w b", "y", transA=1)], {"x": [5, 3]}, ["y"], constants)
    graph = read(model)
    assert families(graph) == ["transpose", "gemm", "binary"]
    same_as_onnxruntime(model, graph)


def test_what_nobody_reads_is_dropped() -> None:
    nodes = [node("Relu", "x", "y"), node("Sigmoid", "x", "unused"), node("Tanh", "unused", "unused2")]
    graph = read(model_of(nodes, {"x": [3], "z": [2]}, ["y"], {"big": normal(10)}))
    assert families(graph) == ["unary"]
    assert graph.inputs == ("x", "z")
    assert not graph.constants


def test_shape_arithmetic_folds() -> None:
    constants = {"two": np.array(2), "axis": np.array([0]), "minus": np.array([-1])}
    nodes = [
        node("Shape", "x", "s"), node("Gather", "s two", "h", axis=0), node("Mul", "h two", "h2"),
        node("Unsqueeze", "h2 axis", "u"), node("Concat", "u minus", "t", axis=0), node("Reshape", "x t", "y"),
        node("ConstantOfShape", "t2", "ones", value=numpy_helper.from_array(np.ones(1, np.float32))),
        node("Constant", "", "t2", value_ints=[2]), node("Add", "y2 ones", "z"), node("Reshape", "x t3", "y2"),
        node("Range", "zero four two_", "t3f"), node("Sub", "t3f shift", "t3"),
    ]  # fmt: skip
    constants |= {"zero": np.array(0), "four": np.array(4), "two_": np.array(2), "shift": np.array([1, 0])}
    model = model_of(nodes, {"x": ["n", 3, "h", "w"]}, ["y", "z"], constants)
    graph = read(model, {"x": (1, 3, 4, 6)})
    assert families(graph) == ["reshape", "reshape", "binary"]
    assert graph.tensor("y").shape == (8, 9)
    x = normal(1, 3, 4, 6)
    found = run_graph(graph, {"x": x})
    np.testing.assert_array_equal(found["y"], x.reshape(8, 9))
    np.testing.assert_array_equal(found["z"], x.reshape(-1, 2) + 1)


def test_a_giant_constant_is_refused() -> None:
    nodes = [node("ConstantOfShape", "s", "c"), node("Add", "x c", "y")]
    model = model_of(nodes, {"x": [1]}, ["y"], {"s": np.array([100000, 100000])})
    with pytest.raises(ModelError, match="has 10000000000 elements; the limit is"):
        read(model)


def test_a_branch_is_inlined_where_its_condition_is_constant() -> None:
    graph = read(if_model(constant=True))
    assert families(graph) == ["unary", "binary"]
    same_as_onnxruntime(if_model(constant=True), graph)


def test_a_branch_that_depends_on_data_runs_in_onnx_runtime_with_what_it_captures() -> None:
    model = if_model(constant=False)
    graph = read(model)
    assert graph.nodes[-1].op == "onnx"
    assert "cond" not in graph.tensors  # it is computed and read in the same session
    for sign in (1, -1):
        feeds = {"x": sign * np.abs(normal(2, 3))}
        np.testing.assert_allclose(run_graph(graph, feeds)["y"], run_model(model.SerializeToString(), feeds)["y"], 1e-6)
