"""Element-wise operators, softmax and means."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from codl.graph import Attribute
from codl.onnx_reader.network import Network, OnnxNode, Operator

_FLOAT_MAX = float(np.finfo(np.float32).max)


def binary(kind: str) -> Callable[[Network, OnnxNode], list[Operator] | None]:
    """Rule for an operator of two inputs with numpy broadcasting."""

    def rule(network: Network, node: OnnxNode) -> list[Operator] | None:
        if not all(network.is_float(value) for value in node.inputs):
            return None
        return [Operator(node.name, "binary", list(node.inputs), [node.outputs[0]], {"kind": kind})]

    return rule


def total(network: Network, node: OnnxNode) -> list[Operator] | None:
    """Sum of any number of tensors: additions in their order."""
    if not all(network.is_float(value) for value in node.inputs):
        return None
    if len(node.inputs) == 1:
        return [Operator(node.name, "reshape", list(node.inputs), [node.outputs[0]])]
    operators = []
    left = node.inputs[0]
    for index, right in enumerate(node.inputs[1:], 1):
        last = index == len(node.inputs) - 1
        name = node.name if last else network.names.fresh(f"{node.name}.{index}")
        shape = np.broadcast_shapes(network.shape(left), network.shape(right))
        out = node.outputs[0] if last else network.add_value(f"{node.name}.{index}", shape)
        operators.append(Operator(name, "binary", [left, right], [out], {"kind": "add"}))
        left = out
    return operators


def unary(kind: str, **defaults: float) -> Callable[[Network, OnnxNode], list[Operator] | None]:
    """Rule for an operator of one input; `defaults` are its numbers by attribute name."""

    def rule(network: Network, node: OnnxNode) -> list[Operator] | None:
        if not network.is_variable(node.input(0)):
            return None
        params = tuple(float(node.attribute(name, value)) for name, value in defaults.items())
        return [_unary(node, kind, params)]

    return rule


def clip(network: Network, node: OnnxNode) -> list[Operator] | None:
    """Clip; its bounds are attributes before operator set 11, constant inputs after."""
    if not network.is_variable(node.input(0)):
        return None
    bounds = [float(node.attribute("min", -_FLOAT_MAX)), float(node.attribute("max", _FLOAT_MAX))]
    for index in (1, 2):
        if node.input(index):
            value = network.constant(node.input(index))
            if value is None or value.size != 1:
                return None
            bounds[index - 1] = float(value.item())
    if bounds[0] > bounds[1]:  # ONNX: then everything becomes the upper bound
        bounds[0] = bounds[1]
    return [_unary(node, "clip", (bounds[0], bounds[1]))]


def _unary(node: OnnxNode, kind: str, params: tuple[float, ...]) -> Operator:
    return Operator(node.name, "unary", [node.input(0)], [node.outputs[0]], {"kind": kind, "params": params})


def softmax(network: Network, node: OnnxNode) -> list[Operator] | None:
    """Softmax; before operator set 13 it normalises over all axes from `axis` on together."""
    if not network.is_variable(node.input(0)):
        return None
    rank = len(network.shape(node.input(0)))
    if rank == 0:
        return None
    axis = int(node.attribute("axis", -1 if node.opset >= 13 else 1))
    axis = axis + rank if axis < 0 else axis
    last = axis + 1 if node.opset >= 13 else rank
    if axis >= rank:  # axis == rank is legal in old operator sets: every row has one element
        return None
    return [Operator(node.name, "softmax", [node.input(0)], [node.outputs[0]], {"axis": axis, "last_axis": last})]


def reduce_mean(network: Network, node: OnnxNode) -> list[Operator] | None:
    """ReduceMean; its axes are an attribute before operator set 18, a constant input after."""
    x = node.input(0)
    if not network.is_variable(x):
        return None
    rank = len(network.shape(x))
    axes = node.ints("axes")
    if node.input(1):
        given = network.constant(node.input(1))
        if given is None:
            return None
        axes = tuple(int(axis) for axis in given.reshape(-1))
    if not axes and node.attribute("noop_with_empty_axes", 0):
        return [Operator(node.name, "reshape", [x], [node.outputs[0]])]
    axes = tuple(sorted({axis % rank for axis in axes})) if axes else tuple(range(rank))
    if not axes:
        return [Operator(node.name, "reshape", [x], [node.outputs[0]])]
    attributes: dict[str, Attribute] = {"axes": axes, "keepdims": int(node.attribute("keepdims", 1))}
    return [Operator(node.name, "reduce_mean", [x], [node.outputs[0]], attributes)]


RULES = {
    "Add": binary("add"),
    "Sub": binary("sub"),
    "Mul": binary("mul"),
    "Div": binary("div"),
    "PRelu": binary("prelu"),
    "Sum": total,
    "Relu": unary("relu"),
    "LeakyRelu": unary("leaky_relu", alpha=0.01),
    "Sigmoid": unary("sigmoid"),
    "Tanh": unary("tanh"),
    "HardSwish": unary("hard_swish"),
    "HardSigmoid": unary("hard_sigmoid", alpha=0.2, beta=0.5),
    "Clip": clip,
    "Softmax": softmax,
    "ReduceMean": reduce_mean,
}
