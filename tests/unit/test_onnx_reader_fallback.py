"""What the reader leaves to ONNX Runtime, and the names and versions that models come with."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from codl.errors import ModelError, UnsupportedOperator
from codl.graph import Activation
from codl.onnx_reader import read
from tests.interpreter import run_graph
from tests.onnx_models import families, if_model, model_of, node, normal, same_as_onnxruntime

pytestmark = pytest.mark.usefixtures("seeded_models")


def test_other_operators_and_number_formats_keep_their_onnx_node() -> None:
    nodes = [
        node("Asinh", "x", "e", "asinh"), node("Cast", "e", "h", to=TensorProto.DOUBLE), node("Add", "h k", "a"),
        node("Cast", "a", "f", to=TensorProto.FLOAT), node("TopK", "f two", "values indices"),
        node("Cast", "indices", "i", to=TensorProto.FLOAT), node("MaxPool", "p", "m where", kernel_shape=[2, 2]),
        node("Conv", "q w", "c1"), node("Cast", "where", "wf", to=TensorProto.FLOAT),
    ]  # fmt: skip
    constants = {"k": np.array([1.0, 2.0, 3.0]), "two": np.array([2]), "w": normal(2, 2, 3, 1, 1)}
    inputs = {"x": [4, 3], "p": [1, 1, 4, 4], "q": [1, 2, 9, 2, 2]}
    model = model_of(nodes, inputs, ["values", "i", "m", "c1", "wf"], constants)
    graph = read(model)
    (together,) = graph.nodes  # one after another in one session
    assert together.op == "onnx"
    assert together.onnx_op == "Asinh+Cast+Add+TopK+MaxPool+Conv"
    assert set(together.inputs) == {"x", "p", "q"} and set(together.outputs) == {"values", "i", "m", "c1", "wf"}
    same_as_onnxruntime(model, graph)


def test_operators_of_onnxruntime_merge_around_those_of_codl() -> None:
    """Two that need an operator of codl between them stay apart; those that do not, do not."""
    nodes = [
        node("Asinh", "x", "a"), node("Relu", "a", "r"), node("Acosh", "r", "b"), node("Atan", "x", "c"),
        node("Tan", "c", "d"), node("Add", "b d", "y"),
    ]  # fmt: skip
    graph = read(model_of(nodes, {"x": [2, 3]}, ["y"]))
    assert families(graph) == ["onnx", "unary", "onnx", "binary"]
    assert {graph.nodes[0].onnx_op, graph.nodes[2].onnx_op} == {"Asinh+Atan+Tan", "Acosh"}


def test_a_shape_that_depends_on_data_is_hidden_in_one_operator() -> None:
    nodes = [
        node("Relu", "x", "r"), node("NonZero", "r", "found"), node("Transpose", "found", "t"),
        node("GatherND", "r t", "positive"), node("ReduceSum", "positive", "sum", keepdims=0),
        node("Mul", "sum r", "y"),
    ]  # fmt: skip
    model = model_of(nodes, {"x": [3, 4]}, ["y"])
    graph = read(model)
    assert families(graph) == ["unary", "onnx", "binary"]
    assert graph.nodes[1].onnx_op == "NonZero+Transpose+GatherND+ReduceSum"
    same_as_onnxruntime(model, graph)
    with pytest.raises(ModelError, match=r"output 't', made by transpose_2 .* has a shape that depends on the data"):
        read(model_of(nodes, {"x": [3, 4]}, ["y", "t"]))


def test_sequences_are_hidden_in_one_operator() -> None:
    nodes = [
        node("SplitToSequence", "x", "s", axis=0), node("SequenceAt", "s one", "a"), node("Relu", "a", "r"),
        node("SequenceInsert", "s r", "s2"), node("ConcatFromSequence", "s2", "y", axis=0),
    ]  # fmt: skip
    model = model_of(nodes, {"x": [3, 4]}, ["y"], {"one": np.array(1)})
    model.graph.output[0].type.CopyFrom(helper.make_tensor_type_proto(TensorProto.FLOAT, [4, 4]))
    graph = read(model)
    assert families(graph) == ["onnx"]  # Relu lies on a path out of the sequence and back into it
    same_as_onnxruntime(model, graph)


def test_operators_of_onnx_runtime_itself() -> None:
    nodes = [node("Conv", "x w", "c"), node("Gelu", "c", "g", domain="com.microsoft"), node("Relu", "g", "y")]
    model = model_of(nodes, {"x": [1, 3, 4, 4]}, ["y"], {"w": normal(2, 3, 1, 1)}, domains=("com.microsoft",))
    graph = read(model)
    assert families(graph) == ["conv", "onnx", "unary"]
    assert graph.tensor("y").shape == (1, 2, 4, 4)
    same_as_onnxruntime(model, graph)


def test_an_operator_that_nobody_has_is_refused_by_name() -> None:
    nodes = [node("Relu", "x", "r"), node("Mystery", "r", "y", "riddle", domain="my.own")]
    model = model_of(nodes, {"x": [1]}, ["y"], domains=("my.own",))
    model.graph.output[0].type.CopyFrom(helper.make_tensor_type_proto(TensorProto.FLOAT, [1]))
    with pytest.raises(UnsupportedOperator, match=r"riddle \(Mystery, operator set 1\)"):
        read(model)


def test_a_loop_keeps_what_it_captures() -> None:
    value = helper.make_tensor_value_info
    body = helper.make_graph(
        [node("Add", "a x", "a2"), node("Identity", "go", "go2"), node("Mul", "a2 w", "scan")],
        "body",
        [value("i", TensorProto.INT64, []), value("go", TensorProto.BOOL, []), value("a", TensorProto.FLOAT, [3])],
        [value("go2", TensorProto.BOOL, []), *(value(name, TensorProto.FLOAT, [3]) for name in ("a2", "scan"))],
    )
    nodes = [node("Identity", "z", "z2"), node("Loop", "n - z2", "last all", body=body), node("Relu", "all", "y")]
    model = model_of(nodes, {"x": [3], "z": [3]}, ["last", "y"], {"n": np.array(4), "w": normal(3)})
    graph = read(model)
    assert families(graph) == ["onnx", "unary"]
    assert set(graph.nodes[0].inputs) == {"z", "x"}
    assert graph.tensor("y").shape == (4, 3)
    same_as_onnxruntime(model, graph)


def test_names_are_those_of_the_model_where_they_are_unique() -> None:
    nodes = [
        node("Relu", "x", "a", "/layer/Relu"), node("Tanh", "a", "b", "twice"), node("Tanh", "b", "c", "twice"),
        node("Erf", "c", "d"), node("Split", "d", "e f", "cut", axis=0), node("Add", "e f", "y", "ä b"),
    ]  # fmt: skip
    graph = read(model_of(nodes, {"x": [4, 2]}, ["y"]))
    assert [n.name for n in graph.nodes] == ["layer_Relu", "tanh_1", "tanh_2", "erf_3", "cut.0", "cut.1", "__b"]


def test_old_operator_sets() -> None:
    """Attributes that later became inputs; poolings, softmax and resizing with their old meaning."""
    nodes = [
        node("Pad", "x", "p", pads=[0, 0, 1, 1, 0, 0, 1, 1], mode="edge"), node("Clip", "p", "c", min=-0.5, max=0.5),
        node("Upsample", "c", "u", scales=[1.0, 1.0, 2.0, 2.0], mode="nearest"),
        node("Slice", "u", "s", starts=[1, -4], ends=[9, 1000], axes=[2, 3]), node("Squeeze", "s", "q", axes=[0]),
        node("Unsqueeze", "q", "n", axes=[0]), node("Softmax", "n", "y"),
        node("Split", "n", "y1 y2", axis=1, split=[1, 2]),
    ]  # fmt: skip
    model = model_of(nodes, {"x": [1, 3, 4, 4]}, ["y", "y1", "y2"], opset=7)
    graph = read(model)
    assert families(graph) == ["pad", "unary", "resize", "slice", "softmax", "slice", "slice"]
    assert graph.by_name["softmax_6"].attributes == {"axis": 1, "last_axis": 4}
    same_as_onnxruntime(model, graph)


def test_models_older_than_operator_set_7_are_converted() -> None:
    model = model_of([node("Relu", "x", "r"), node("Add", "r k", "y")], {"x": [2, 3]}, ["y"], {"k": normal(3)}, opset=6)
    model.graph.node[1].attribute.append(helper.make_attribute("broadcast", 1))
    model.ir_version = 3
    model.graph.input.append(helper.make_tensor_value_info("k", TensorProto.FLOAT, [3]))
    model.graph.output[0].type.CopyFrom(helper.make_tensor_type_proto(TensorProto.FLOAT, [2, 3]))
    graph = read(model)
    assert families(graph) == ["unary", "binary"]
    x = normal(2, 3)
    expected = np.maximum(x, 0) + graph.constants["k"]
    np.testing.assert_allclose(run_graph(graph, {"x": x})["y"], expected, 1e-6)


def test_functions_of_the_model_are_inlined() -> None:
    opsets = [helper.make_opsetid("", 17)]
    function = helper.make_function("local", "Twice", ["a"], ["b"], [node("Add", "a a", "b")], opsets)
    nodes = [node("Twice", "x", "t", domain="local"), node("Relu", "t", "y")]
    model = model_of(nodes, {"x": [3]}, ["y"], domains=("local",))
    model.functions.append(function)
    graph = read(model)
    assert families(graph) == ["binary"]
    assert graph.nodes[0].activation == Activation("relu")


def test_reading_twice_gives_the_same_digest_and_leaves_the_model_alone() -> None:
    model = if_model(constant=True)
    before = model.SerializeToString()
    assert read(model).digest == read(model).digest
    assert model.SerializeToString() == before


def test_a_model_without_contents_can_be_planned() -> None:
    model = model_of([node("Conv", "x w", "c"), node("Relu", "c", "y")], {"x": [1, 3, 8, 8]}, ["y"])
    model.graph.initializer.add(name="w", data_type=TensorProto.FLOAT, dims=[4, 3, 3, 3])
    graph = read(model, contents=False)
    assert not graph.executable
    assert graph.weights == {"w"}
    assert graph.nodes[0].activation == Activation("relu")


def test_real_network(retinaface: Path) -> None:
    model = onnx.load(retinaface)
    with pytest.raises(ModelError, match="--shape input=1x3x640x640"):
        read(model)
    graph = read(model, {"input": (1, 3, 96, 128)})
    assert Counter(families(graph)) == {
        "conv": 59, "transpose": 9, "reshape": 9, "concat": 6, "unary": 3, "resize": 2, "softmax": 1,
    }  # fmt: skip
    assert graph.outputs == ("loc", "conf", "landmarks")
    same_as_onnxruntime(model, graph)
