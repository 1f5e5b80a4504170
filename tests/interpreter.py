"""What a model computes in ONNX Runtime, and what a canonical graph computes by the definition of each family."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import floor, prod
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import helper

from codl.graph import Activation, Graph, Node
from tests.heavy_reference import activate
from tests.light_reference import BINARY


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
