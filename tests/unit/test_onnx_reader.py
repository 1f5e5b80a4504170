"""What the reader makes of a model: families, names, shapes, and one clear error for each thing that can be wrong."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from codl.errors import FileError, ModelError, UnsupportedOperator
from codl.graph import Activation, Graph
from codl.onnx_reader import read
from tests.unit.test_onnx_reader_semantics import run_graph, run_model

RNG = np.random.default_rng(0)
SEEDED = RNG.bit_generator.state


@pytest.fixture(autouse=True)
def _same_numbers_in_any_order_of_tests() -> None:
    RNG.bit_generator.state = SEEDED


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


# -- input shapes ------------------------------------------------------------------------------------------------

SYMBOLIC = model_of([node("Relu", "x", "y")], {"x": ["n", 3, "side", "side"]}, ["y"])


def test_a_symbolic_shape_needs_numbers() -> None:
    with pytest.raises(ModelError, match=r"'x' has the symbolic shape nx3xsidexside.*--shape x=1x3x640x640"):
        read(SYMBOLIC)
    assert read(SYMBOLIC, {"x": (2, 3, 8, 8)}).tensor("y").shape == (2, 3, 8, 8)


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        ({"z": (1, 3, 8, 8)}, "no input is called 'z'; inputs: x"),
        ({"x": (1, 3, 8)}, "3 axes, the model's has 4"),
        ({"x": (1, 4, 8, 8)}, r"contradicts the model's nx3xsidexside \(axis 1 is 3\)"),
        ({"x": (1, 3, 8, 9)}, "gives side two sizes, 8 and 9"),
        ({"x": (0, 3, 8, 8)}, "at least 1"),
    ],
)
def test_shapes_that_contradict_the_model(shapes: dict[str, tuple[int, ...]], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        read(SYMBOLIC, shapes)


def test_the_shape_of_a_constant_cannot_be_chosen() -> None:
    model = model_of([node("Add", "x c", "y")], {"x": [2]}, ["y"], {"c": normal(2)})
    with pytest.raises(ModelError, match="'c' is a constant"):
        read(model, {"c": (3,)})


# -- files -------------------------------------------------------------------------------------------------------


def test_files_that_are_no_models(tmp_path: Path) -> None:
    text, empty, half = tmp_path / "text.onnx", tmp_path / "empty.onnx", tmp_path / "half.onnx"
    text.write_text("this is not a model")
    empty.touch()
    half.write_bytes(SYMBOLIC.SerializeToString()[:-20])
    for path, error in ((text, FileError), (empty, FileError), (half, (FileError, ModelError)), (tmp_path, FileError)):
        with pytest.raises(error, match=r"ONNX|is a folder") as caught:
            read(path)
        assert str(path) in str(caught.value)
    with pytest.raises(FileError, match="no such file"):
        read(tmp_path / "missing.onnx")


def test_a_model_that_the_checker_refuses() -> None:
    with pytest.raises(ModelError, match=r"not a valid ONNX model.*NoSuchOperator"):
        read(model_of([node("NoSuchOperator", "x", "y")], {"x": [1]}, ["y"]))


def test_broken_initialiser() -> None:
    model = model_of([node("Add", "x c", "y")], {"x": [2]}, ["y"], {"c": normal(2)})
    model.graph.initializer[0].raw_data = b"\0" * 6
    with pytest.raises(ModelError, match="initialiser 'c' are broken"):
        read(model)


def test_a_name_that_is_not_text(tmp_path: Path) -> None:
    path = tmp_path / "bad.onnx"
    model = model_of([node("Add", "x weights", "y")], {"x": [2]}, ["y"], {"weights": normal(2)})
    path.write_bytes(model.SerializeToString().replace(b"weights", b"\xcfeights"))
    with pytest.raises(ModelError, match=r"bad.onnx: is not a valid ONNX model"):
        read(path)


def test_a_node_that_does_not_fit_its_inputs() -> None:
    model = model_of([node("MatMul", "x w", "y", "bad")], {"x": [1, 3]}, ["y"], {"w": normal(4, 5)})
    with pytest.raises(ModelError, match=r"bad \(MatMul, operator set 17\) does not fit"):
        read(model)


@pytest.mark.parametrize(
    ("weights", "bias", "attributes"),
    [
        ((4, 5, 3, 3), 4, {}),
        ((4, 3, 3, 3), 5, {}),
        ((4, 1, 3, 3), 4, {"group": 3}),
        ((4, 3, 3, 3), 4, {"kernel_shape": [1, 1]}),
    ],
)
def test_weights_that_do_not_fit(weights: tuple[int, ...], bias: int, attributes: dict[str, Any]) -> None:
    constants = {"w": normal(*weights), "b": normal(bias)}
    model = model_of([node("Conv", "x w b", "y", "bad", **attributes)], {"x": [1, 3, 8, 8]}, ["y"], constants)
    with pytest.raises(ModelError, match=r"bad \(Conv, operator set 17\) does not fit its inputs"):
        read(model)


def _external(folder: Path, location: str) -> Path:
    weights = numpy_helper.from_array(normal(4, 3, 3, 3), "w")
    path = folder / "model.onnx"
    (folder / "w.bin").write_bytes(weights.raw_data)
    weights.ClearField("raw_data")
    weights.data_location = TensorProto.EXTERNAL
    weights.external_data.add(key="location", value=location)
    model = model_of([node("Conv", "x w", "y")], {"x": [1, 3, 8, 8]}, ["y"])
    model.graph.initializer.append(weights)
    path.write_bytes(model.SerializeToString())
    return path


def test_external_data_comes_from_the_models_folder(tmp_path: Path) -> None:
    graph = read(_external(tmp_path, "w.bin"))
    assert graph.constants["w"].tobytes() == (tmp_path / "w.bin").read_bytes()
    assert graph.name == "model"


@pytest.mark.parametrize(
    ("location", "message"),
    [("../w.bin", "outside the model's"), ("/etc/hostname", "outside"), ("none.bin", "No such"), ("", "outside")],
)
def test_external_data_elsewhere_is_refused(tmp_path: Path, location: str, message: str) -> None:
    with pytest.raises(FileError, match=message):
        read(_external(tmp_path, location))


def test_external_data_through_a_link_out_of_the_folder_is_refused(tmp_path: Path) -> None:
    inside = tmp_path / "inside"
    inside.mkdir()
    (tmp_path / "secret.bin").write_bytes(b"\0" * 432)
    path = _external(inside, "link.bin")
    (inside / "link.bin").symlink_to(tmp_path / "secret.bin")
    with pytest.raises(FileError, match="outside the model's folder"):
        read(path)


def test_external_data_that_ends_early(tmp_path: Path) -> None:
    path = _external(tmp_path, "w.bin")
    (tmp_path / "w.bin").write_bytes(b"\0" * 8)
    with pytest.raises(ModelError, match="initialiser 'w' are broken"):
        read(path)


# -- fusion ------------------------------------------------------------------------------------------------------


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


# -- folding -----------------------------------------------------------------------------------------------------


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


def _if_model(constant: bool) -> onnx.ModelProto:
    def branch(op: str) -> onnx.GraphProto:
        inner = [node(op, "x", "t"), node("Add", "t k", "u")]
        return helper.make_graph(inner, op, [], [onnx.ValueInfoProto(name="u", type=TYPE)], [K])

    condition = [] if constant else [node("ReduceSum", "x", "r", keepdims=0), node("Greater", "r zero", "cond")]
    nodes = [*condition, node("If", "cond", "y", then_branch=branch("Relu"), else_branch=branch("Tanh"))]
    constants = {"zero": np.zeros((), np.float32), **({"cond": np.array(True)} if constant else {})}
    return model_of(nodes, {"x": [2, 3]}, ["y"], constants)


TYPE = helper.make_tensor_type_proto(TensorProto.FLOAT, [2, 3])
K = numpy_helper.from_array(np.ones(3, np.float32), "k")


def test_a_branch_is_inlined_where_its_condition_is_constant() -> None:
    graph = read(_if_model(constant=True))
    assert families(graph) == ["unary", "binary"]
    same_as_onnxruntime(_if_model(constant=True), graph)


def test_a_branch_that_depends_on_data_runs_in_onnx_runtime_with_what_it_captures() -> None:
    model = _if_model(constant=False)
    graph = read(model)
    assert graph.nodes[-1].op == "onnx"
    assert "cond" not in graph.tensors  # it is computed and read in the same session
    for sign in (1, -1):
        feeds = {"x": sign * np.abs(normal(2, 3))}
        np.testing.assert_allclose(run_graph(graph, feeds)["y"], run_model(model.SerializeToString(), feeds)["y"], 1e-6)


# -- the fallback ------------------------------------------------------------------------------------------------


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


# -- names, versions ---------------------------------------------------------------------------------------------


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
    model = _if_model(constant=True)
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


# -- a real network ----------------------------------------------------------------------------------------------


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
