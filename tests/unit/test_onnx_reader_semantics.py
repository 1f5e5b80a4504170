"""A graph that was read computes what the model computes: interpreted node by node, against ONNX Runtime."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from functools import cache
from math import floor, prod
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from onnx.backend.test.loader import load_model_tests

from codl.graph import Activation, Graph, Node
from codl.onnx_reader import read
from tests.heavy_reference import activate
from tests.light_reference import BINARY

RUNTIME_ERRORS = (
    onnxruntime.capi.onnxruntime_pybind11_state.Fail,
    onnxruntime.capi.onnxruntime_pybind11_state.InvalidGraph,
    onnxruntime.capi.onnxruntime_pybind11_state.NotImplemented,
    onnxruntime.capi.onnxruntime_pybind11_state.RuntimeException,
)


def run_model(model: Any, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    names = [value.name for value in session.get_outputs()]
    wanted = {value.name for value in session.get_inputs()}
    return dict(zip(names, session.run(names, {k: v for k, v in feeds.items() if k in wanted}), strict=True))


def run_graph(graph: Graph, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """What a canonical graph computes, by the brief's definition of each family."""
    values = {**graph.constants, **feeds}
    for node in graph.nodes:
        results = run_model(node.attributes["model"], values) if node.op == "onnx" else _run_node(graph, node, values)
        for name in node.outputs:
            assert results[name].shape == graph.tensor(name).shape, node
            assert results[name].dtype.name == graph.tensor(name).dtype, node
            values[name] = results[name]
    return {name: values[name] for name in graph.outputs}


def _run_node(graph: Graph, node: Node, values: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    a: Mapping[str, Any] = node.attributes
    out = graph.tensor(node.output).shape
    x = values[node.inputs[0]]
    names = {"kernel_shape": "kernel", "strides": "stride", "dilations": "dilation", "pads": "pads"}
    window = {name: a.get(ours) for name, ours in names.items()}
    place = a.get("residual", "")
    added = values[node.inputs[3]] if place else None
    arrays = [values[name] for name in node.inputs[: 3 if place else None] if name]
    match node.op:
        case "conv":
            y = _op("Conv", arrays, group=a["group"], **window)
        case "conv_transpose":
            y = _op("ConvTranspose", arrays, group=a["group"], output_padding=a["output_padding"], **window)
        case "pool":
            y = _pool(x, a, out, window)
        case "gemm":
            y = (x @ arrays[1] + (arrays[2] if len(arrays) > 2 else 0)).astype(np.float32)
        case "binary":
            y = _op(BINARY[a["kind"]], arrays)
        case "unary":
            y = _activate(x, a["kind"], a["params"])
        case "concat":
            y = np.concatenate(arrays, a["axis"])
        case "pad":
            pads, value = np.array([*a["begin"], *a["end"]], np.int64), np.array(a["value"], np.float32)
            y = _op("Pad", [x, pads, value], mode=a["mode"])
        case "resize":
            y = _resize(x, a, out)
        case "reshape":
            y = x.reshape(out)
        case "transpose":
            y = x.transpose(a["perm"])
        case "softmax":
            shape = (prod(out[: a["axis"]]), prod(out[a["axis"] : a["last_axis"]]), prod(out[a["last_axis"] :]))
            y = _op("Softmax", [x.reshape(shape)], axis=1).reshape(out)
        case "reduce":
            y = getattr(x, a["kind"])(a["axes"], keepdims=bool(a["keepdims"])).astype(np.float32)
        case "matmul":
            y = np.matmul(*arrays)
        case "normalize":
            mean, variance = x.mean(a["axes"], keepdims=True), x.var(a["axes"], keepdims=True)
            y = ((x - mean) / np.sqrt(variance + np.float32(a["epsilon"])) * arrays[1] + arrays[2]).astype(np.float32)
        case "take":
            y = np.take(x, a["indices"], a["axis"])
        case "slice":
            y = x[tuple(slice(s, s + (n - 1) * t + 1, t) for s, t, n in zip(a["starts"], a["steps"], out, strict=True))]
        case other:
            raise AssertionError(f"unknown family {other}")
    if place == "before":
        y = y + added
    if node.activation:
        y = _activate(y, node.activation.kind, node.activation.params)
    if place == "after":
        y = y + added
    return {node.output: np.asarray(y)}


def _op(op: str, arrays: Sequence[np.ndarray], **attributes: Any) -> np.ndarray:
    names = [f"i{index}" for index in range(len(arrays))]
    node = helper.make_node(op, names, ["o"], **attributes)
    inputs = [
        helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(a.dtype), a.shape)
        for n, a in zip(names, arrays, strict=True)
    ]
    graph = helper.make_graph([node], "g", inputs, [onnx.ValueInfoProto(name="o")])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 14)], ir_version=8)
    return run_model(model.SerializeToString(), dict(zip(names, arrays, strict=True)))["o"]


def _activate(x: np.ndarray, kind: str, params: Sequence[float]) -> np.ndarray:
    with np.errstate(all="ignore"):
        return activate(x, Activation(kind, tuple(params))).astype(np.float32)


def _pool(x: np.ndarray, a: Mapping[str, Any], out: tuple[int, ...], window: dict[str, Any]) -> np.ndarray:
    """MaxPool, or AveragePool by its definition: numpy, since ONNX Runtime's dilated one came late."""
    kernel, stride, dilation, (top, left, bottom, right) = a["kernel"], a["stride"], a["dilation"], a["pads"]
    reach = [(out[2 + i] - 1) * stride[i] + (kernel[i] - 1) * dilation[i] + 1 for i in (0, 1)]
    over = [max(reach[0] - x.shape[2] - top - bottom, 0), max(reach[1] - x.shape[3] - left - right, 0)]
    around = ((0, 0), (0, 0), (top, bottom + over[0]), (left, right + over[1]))
    fill = -np.inf if a["mode"] == "max" else 0.0
    padded = np.pad(x.astype(np.float64), around, constant_values=fill)
    counted = np.pad(np.ones_like(x, np.float64), around)
    if a["count_include_pad"]:  # padding counts, what ceil_mode adds beyond it does not
        counted = np.pad(np.ones((*x.shape[:2], x.shape[2] + top + bottom, x.shape[3] + left + right)), (
            (0, 0), (0, 0), (0, over[0]), (0, over[1])))  # fmt: skip

    def windows(array: np.ndarray) -> np.ndarray:
        return np.stack([
            array[:, :, i * dilation[0] :: stride[0], j * dilation[1] :: stride[1]][:, :, : out[2], : out[3]]
            for i in range(kernel[0]) for j in range(kernel[1])
        ])  # fmt: skip

    if a["mode"] == "max":
        return windows(padded).max(0).astype(np.float32)
    return (windows(padded).sum(0) / windows(counted).sum(0)).astype(np.float32)


def _resize(x: np.ndarray, a: Mapping[str, Any], out: tuple[int, ...]) -> np.ndarray:
    settings = {
        "mode": a["mode"], "coordinate_transformation_mode": a["coordinate"], "nearest_mode": a["rounding"],
    }  # fmt: skip
    empty = np.zeros(0, np.float32)
    if tuple(floor(n * s) for n, s in zip(x.shape, a["scales"], strict=True)) == out:
        return _op("Resize", [x, empty, np.array(a["scales"], np.float32)], **settings)
    return _op("Resize", [x, empty, empty, np.array(out, np.int64)], **settings)


# -- the onnx package's own node tests ------------------------------------------------------------------------------

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


# -- random networks ------------------------------------------------------------------------------------------------


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
