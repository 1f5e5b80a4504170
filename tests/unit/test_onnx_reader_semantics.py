"""A graph that was read computes what the model computes: interpreted node by node, against ONNX Runtime."""

from __future__ import annotations

import warnings
from functools import cache
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from onnx.backend.test.loader import load_model_tests

from codl.onnx_reader import read
from tests.interpreter import run_graph, run_model

RUNTIME_ERRORS = (
    onnxruntime.capi.onnxruntime_pybind11_state.Fail,
    onnxruntime.capi.onnxruntime_pybind11_state.InvalidGraph,
    onnxruntime.capi.onnxruntime_pybind11_state.NotImplemented,
    onnxruntime.capi.onnxruntime_pybind11_state.RuntimeException,
)

CANONICAL = frozenset(
    (
        "Conv", "MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool", "Gemm", "MatMul", "Add", "Mul", "Sub",
        "Div", "Relu", "LeakyRelu", "PRelu", "Clip", "Sigmoid", "Tanh", "HardSwish", "HardSigmoid", "Concat", "Pad",
        "Resize", "Upsample", "Flatten", "Reshape", "Transpose", "Squeeze", "Unsqueeze", "Softmax", "ConvTranspose",
        "ReduceMean", "Identity", "Dropout", "BatchNormalization", "Slice", "Split", "Sum", "Pow",
        "Max", "Min", "Gelu", "Elu", "Selu", "Softplus", "Mish", "Exp", "Log", "Sqrt", "Reciprocal", "Abs", "Neg",
        "Erf", "Floor", "Ceil", "Sin", "Cos", "ReduceSum", "ReduceMax", "ReduceMin", "ReduceL1", "ReduceL2",
        "ReduceSumSquare", "InstanceNormalization", "LayerNormalization", "GroupNormalization", "Tile", "Gather",
        "DepthToSpace", "SpaceToDepth", "Expand",
    )
)  # fmt: skip


@cache
def _cases() -> dict[str, list[Any]]:
    """Node tests whose operators are all listed above, by the type of their first node."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # their generators divide by zero on purpose
        cases = load_model_tests(kind="node")
    chosen: dict[str, list[Any]] = {}
    for case in cases:
        types = [node.op_type for node in case.model.graph.node] if case.model is not None else []
        arrays = all(isinstance(x, np.ndarray | np.generic) for x in case.data_sets[0][0]) if types else False
        if arrays and set(types) <= CANONICAL:
            chosen.setdefault(types[0], []).append(case)
    return chosen


def _with_constants(model: onnx.ModelProto, feeds: dict[str, np.ndarray]) -> onnx.ModelProto:
    """The model with all inputs but the first made constant, and only the first output of a normalisation."""
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    if changed.graph.node[0].op_type == "LayerNormalization":
        del changed.graph.output[1:], changed.graph.node[0].output[1:]
    for value in list(changed.graph.input)[1:]:
        changed.graph.initializer.append(numpy_helper.from_array(feeds[value.name], value.name))
        changed.graph.input.remove(value)
    return changed


@pytest.mark.parametrize("op_type", sorted(CANONICAL - {"BatchNormalization", "Dropout"}))
def test_node_tests_of_the_onnx_package(op_type: str) -> None:
    canonical = 0
    for case in _cases()[op_type]:
        feeds = {v.name: np.asarray(x) for v, x in zip(case.model.graph.input, case.data_sets[0][0], strict=True)}
        for model in (case.model, _with_constants(case.model, feeds)):
            try:
                expected = run_model(model.SerializeToString(), feeds)
            except RUNTIME_ERRORS:  # a number format that ONNX Runtime does not do
                continue
            graph = read(model)
            found = run_graph(graph, {name: feeds[name] for name in graph.inputs})
            for name in expected:
                np.testing.assert_allclose(found[name], expected[name], 1e-4, 1e-5, err_msg=f"{case.name} {name}")
            canonical += all(node.op != "onnx" for node in graph.nodes)
    assert canonical > 0, "no test of this operator gives canonical operators"


@pytest.mark.parametrize("op_type", ["BatchNormalization", "Dropout"])
def test_training_variants_are_left_to_onnx_runtime(op_type: str) -> None:
    """Random masks cannot be compared; shapes and the choice of family can."""
    for case in _cases()[op_type]:
        feeds = {v.name: np.asarray(x) for v, x in zip(case.model.graph.input, case.data_sets[0][0], strict=True)}
        graph = read(_with_constants(case.model, feeds))
        assert any(node.op == "onnx" for node in graph.nodes) == ("training" in case.name), case.name


@st.composite
def convolutions(draw: st.DrawFn) -> tuple[onnx.ModelProto, tuple[int, ...]]:
    """[Pad] + Conv or ConvTranspose + [BatchNormalization] + [Mul] + [Add] + [activation], any attributes."""
    rng = np.random.default_rng(draw(st.integers(0, 2**16)))
    size = (draw(st.integers(5, 9)), draw(st.integers(5, 9)))
    kernel = (draw(st.integers(1, 3)), draw(st.integers(1, 3)))
    groups, per_group = draw(st.sampled_from([(1, 3), (2, 2), (4, 1)]))
    channels, out = groups * per_group, groups * draw(st.integers(1, 2))
    transposed = draw(st.booleans())
    attributes: dict[str, Any] = {"group": groups, "kernel_shape": kernel}
    attributes["strides"] = stride = (draw(st.integers(1, 2)), draw(st.integers(1, 2)))
    if draw(st.booleans()):
        attributes["auto_pad"] = draw(st.sampled_from(["SAME_UPPER", "SAME_LOWER", "VALID"]))
    else:
        attributes["pads"] = [draw(st.integers(0, kernel[axis] - 1)) for axis in (0, 1, 0, 1)]
        attributes["dilations"] = (draw(st.integers(1, 2)), draw(st.integers(1, 2)))
        if transposed:
            attributes["output_padding"] = [draw(st.integers(0, s - 1)) for s in stride]
    constants, nodes, last = {}, [], "x"

    def add(op: str, *arrays: np.ndarray, **attrs: Any) -> None:
        nonlocal last
        names = [f"{op}_{len(nodes)}_{i}" for i in range(len(arrays))]
        constants.update(zip(names, arrays, strict=True))
        nodes.append(helper.make_node(op, [last, *names], [f"{op}_{len(nodes)}"], **attrs))
        last = nodes[-1].output[0]

    def normal(*shape: int) -> np.ndarray:
        return rng.standard_normal(shape).astype(np.float32)

    if draw(st.booleans()):
        add("Pad", np.array([0, 0, *(draw(st.integers(0, 2)) for _ in "tl"), 0, 0, 1, 0], np.int64))
    weights = (channels, out // groups, *kernel) if transposed else (out, per_group, *kernel)
    bias = [normal(out)] if draw(st.booleans()) else []
    add("ConvTranspose" if transposed else "Conv", normal(*weights), *bias, **attributes)
    if draw(st.booleans()):
        add("BatchNormalization", normal(out), normal(out), normal(out), np.abs(normal(out)) + np.float32(0.5))
    if draw(st.booleans()):
        add(draw(st.sampled_from(["Mul", "Div"])), np.abs(normal(1, out, 1, 1)) + np.float32(0.5))
    if draw(st.booleans()):
        add(draw(st.sampled_from(["Add", "Sub"])), normal(*draw(st.sampled_from([(out, 1, 1), (1,), (1, 1, 1, 1)]))))
    activation = draw(st.sampled_from(["", "Relu", "LeakyRelu", "Sigmoid", "Tanh", "HardSwish", "HardSigmoid"]))
    if activation:
        add(activation)
    graph = helper.make_graph(
        nodes,
        "random",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", channels, "h", "w"])],
        [helper.make_tensor_value_info(last, TensorProto.FLOAT, None)],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", draw(st.integers(14, 19)))], ir_version=8)
    return model, (draw(st.integers(1, 2)), channels, *size)


@settings(max_examples=80, deadline=None)
@given(convolutions())
def test_everything_after_a_convolution_folds_into_it(drawn: tuple[onnx.ModelProto, tuple[int, ...]]) -> None:
    model, shape = drawn
    graph = read(model, {"x": shape})
    transposed = any(node.op_type == "ConvTranspose" for node in model.graph.node)
    padded = model.graph.node[0].op_type == "Pad"
    assert [n.op for n in graph.nodes] == (["pad", "conv_transpose"] if transposed else ["conv"])[0 if padded else -1 :]
    x = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    (expected,) = run_model(model.SerializeToString(), {"x": x}).values()
    (found,) = run_graph(graph, {"x": x}).values()
    np.testing.assert_allclose(found, expected, 1e-4, 1e-4)
