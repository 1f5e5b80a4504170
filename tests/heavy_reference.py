"""Graphs of one heavy operator, and what ONNX Runtime computes for them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from scipy.special import erf

from codl.graph import Activation, Graph, Node, Tensor

ONNX_TYPE = {"conv": "Conv", "conv_transpose": "ConvTranspose", "gemm": "MatMul"}


def one_node(
    op: str,
    shape: Sequence[int],
    out_shape: Sequence[int],
    constants: Sequence[np.ndarray] = (),
    activation: Activation | None = None,
    **attributes: Any,
) -> tuple[Graph, Node]:
    """A graph that is one operator on `x`, with constant further inputs `c1`, `c2`."""
    names = [f"c{index}" for index in range(1, len(constants) + 1)]
    node = Node("node", op, ("x", *names), ("y",), attributes, activation)
    tensors = {"x": Tensor("x", tuple(shape)), "y": Tensor("y", tuple(out_shape))}
    tensors |= {name: Tensor(name, array.shape) for name, array in zip(names, constants, strict=True)}
    arrays = {name: array.astype(np.float32) for name, array in zip(names, constants, strict=True)}
    return Graph("one", (node,), tensors, arrays, ("x",), ("y",)), node


def conv(
    rng: np.random.Generator,
    shape: Sequence[int],
    channels: int,
    *,
    kernel: tuple[int, int] = (3, 3),
    stride: tuple[int, int] = (1, 1),
    pads: tuple[int, int, int, int] = (1, 1, 1, 1),
    dilation: tuple[int, int] = (1, 1),
    group: int = 1,
    bias: bool = True,
    activation: Activation | None = None,
    residual: str = "",
) -> tuple[Graph, Node]:
    """A convolution with seeded weights whose outputs have a deviation of about 1. With `residual` (`before` or `after`
    the activation) it adds a second input, `r`."""
    n, c, h, w = shape
    weights = rng.standard_normal((channels, c // group, *kernel)) / np.sqrt(c // group * kernel[0] * kernel[1])
    constants = [weights, rng.standard_normal(channels)] if bias else [weights]
    out = [
        (extent + pads[i] + pads[i + 2] - (kernel[i] - 1) * dilation[i] - 1) // stride[i] + 1
        for i, extent in enumerate((h, w))
    ]
    graph, node = one_node(
        "conv", shape, (n, channels, *out), constants, activation,
        kernel=kernel, stride=stride, pads=pads, dilation=dilation, group=group,
    )  # fmt: skip
    if not residual:
        return graph, node
    inputs = (*node.inputs, *[""] * (3 - len(node.inputs)), "r")
    node = replace(node, inputs=inputs, attributes={**node.attributes, "residual": residual})
    tensors = {**graph.tensors, "r": Tensor("r", graph.tensor("y").shape)}
    return Graph("one", (node,), tensors, graph.constants, ("x", "r"), ("y",)), node


def reference(graph: Graph, node: Node, x: np.ndarray, r: np.ndarray | float = 0.0) -> np.ndarray:
    """The node's output by ONNX Runtime, its activation and residual `r` by NumPy."""
    names = [name for name in node.inputs if name not in ("", "r")]
    attributes: dict[str, Any] = {}
    opset = 13
    onnx_type = ONNX_TYPE.get(node.op, "")
    given = dict(node.attributes)
    if node.op != "gemm":
        attributes = {"kernel_shape": given["kernel"], "strides": given["stride"], "pads": given["pads"]}
        attributes["dilations"] = given["dilation"]
    if node.op in ("conv", "conv_transpose"):
        attributes["group"] = given["group"]
    if node.op == "conv_transpose":
        attributes["output_padding"] = given["output_padding"]
    if node.op == "pool":
        onnx_type = "MaxPool" if given["mode"] == "max" else "AveragePool"
        attributes["ceil_mode"] = given.get("ceil_mode", 0)
        opset = 19
        if given["mode"] == "average":
            attributes["count_include_pad"] = given["count_include_pad"]
    nodes = [helper.make_node(onnx_type, names[:2] if node.op == "gemm" else names, ["y"], **attributes)]
    if node.op == "gemm" and len(names) > 2:
        nodes = [helper.make_node("MatMul", names[:2], ["p"]), helper.make_node("Add", ["p", names[2]], ["y"])]
    model = helper.make_model(
        helper.make_graph(
            nodes,
            "reference",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, x.shape)],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, graph.tensor("y").shape)],
            [numpy_helper.from_array(array, name) for name, array in graph.constants.items()],
        ),
        opset_imports=[helper.make_opsetid("", opset)],
        ir_version=9,
    )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    (result,) = session.run(None, {"x": x})
    if node.get("residual", "") == "after":
        return activate(np.asarray(result), node.activation) + r
    return activate(np.asarray(result) + r, node.activation)


def activate(y: np.ndarray, activation: Activation | None) -> np.ndarray:
    """An activation in float64."""
    if activation is None:
        return y
    y = y.astype(np.float64)
    first, second = (*activation.params, 0.0, 0.0)[:2]
    match activation.kind:
        case "relu":
            return np.maximum(y, 0)
        case "leaky_relu":
            return np.where(y < 0, first * y, y)
        case "clip":
            return np.clip(y, first, second)
        case "sigmoid":
            return 1 / (1 + np.exp(-y))
        case "tanh":
            return np.tanh(y)
        case "hard_swish":
            return y * np.clip(y / 6 + 0.5, 0, 1)
        case "hard_sigmoid":
            return np.clip(first * y + second, 0, 1)
        case "silu":
            return y / (1 + np.exp(-first * y))
        case "gelu":
            return 0.5 * y * (1 + erf(y / np.sqrt(2)))
        case "gelu_tanh":
            return 0.5 * y * (1 + np.tanh(np.sqrt(2 / np.pi) * (y + 0.044715 * y**3)))
        case "elu":
            return np.where(y < 0, first * np.expm1(y), y)
        case "selu":
            return second * np.where(y < 0, first * np.expm1(y), y)
        case "softplus":
            return np.logaddexp(0, y)
        case "mish":
            return y * np.tanh(np.logaddexp(0, y))
        case "exp" | "log" | "sqrt" | "square" | "reciprocal" | "abs" | "floor" | "ceil" | "sin" | "cos":
            function: Any = getattr(np, activation.kind)
            return np.asarray(function(y))
        case "neg":
            return -y
        case "erf":
            return np.asarray(erf(y))
    raise AssertionError(activation.kind)


def relative_error(value: np.ndarray, expected: np.ndarray, scale: float | None = None) -> float:
    """Largest error relative to the largest magnitude; infinite where shapes differ or values are missing."""
    if value.shape != expected.shape or np.isnan(value).any():
        return float("inf")
    if value.size == 0:
        return 0.0
    return float(np.abs(value - expected).max() / (scale or max(float(np.abs(expected).max()), 1e-30)))
