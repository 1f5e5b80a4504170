"""Element-wise operators, softmax and reductions."""

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


def chained(kind: str) -> Callable[[Network, OnnxNode], list[Operator] | None]:
    """Rule for an operator of any number of tensors: operators of two, in their order."""

    def rule(network: Network, node: OnnxNode) -> list[Operator] | None:
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
            operators.append(Operator(name, "binary", [left, right], [out], {"kind": kind}))
            left = out
        return operators

    return rule


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


def reduce(kind: str) -> Callable[[Network, OnnxNode], list[Operator] | None]:
    """Rule for a reduction; its axes are an attribute in old operator sets, a constant input in new ones."""

    def rule(network: Network, node: OnnxNode) -> list[Operator] | None:
        x = node.input(0)
        axes = _reduced_axes(network, node) if network.is_variable(x) else None
        if axes is None:
            return None
        if not axes:
            return [Operator(node.name, "reshape", [x], [node.outputs[0]])]
        attributes: dict[str, Attribute] = {"kind": kind, "axes": axes, "keepdims": int(node.attribute("keepdims", 1))}
        return [Operator(node.name, "reduce", [x], [node.outputs[0]], attributes)]

    return rule


def norm(network: Network, node: OnnxNode) -> list[Operator] | None:
    """ReduceL1, ReduceL2, ReduceSumSquare: a function of each element, the sum, a function of the sum."""
    before, after = {"ReduceL1": ("abs", ""), "ReduceL2": ("square", "sqrt"), "ReduceSumSquare": ("square", "")}[
        node.type
    ]
    x, out = node.input(0), node.outputs[0]
    axes = _reduced_axes(network, node) if network.is_variable(x) else None
    if not axes:
        return None
    mapped = network.add_value(f"{node.name}.{before}", network.shape(x))
    summed = network.add_value(f"{node.name}.sum", network.shape(out)) if after else out
    attributes: dict[str, Attribute] = {"kind": "sum", "axes": axes, "keepdims": int(node.attribute("keepdims", 1))}
    operators = [
        Operator(network.names.fresh(f"{node.name}.{before}"), "unary", [x], [mapped], {"kind": before, "params": ()}),
        Operator(node.name, "reduce", [mapped], [summed], attributes),
    ]
    if after:
        name = network.names.fresh(f"{node.name}.{after}")
        operators.append(Operator(name, "unary", [summed], [out], {"kind": after, "params": ()}))
    return operators


def _reduced_axes(network: Network, node: OnnxNode) -> tuple[int, ...] | None:
    """The axes that a node reduces, sorted and >= 0; None if they depend on data."""
    rank = len(network.shape(node.input(0)))
    axes = node.ints("axes")
    if node.input(1):
        given = network.constant(node.input(1))
        if given is None:
            return None
        axes = tuple(int(axis) for axis in given.reshape(-1))
    if not axes:
        return () if node.attribute("noop_with_empty_axes", 0) else tuple(range(rank))
    return tuple(sorted({axis % rank for axis in axes}))


def power(network: Network, node: OnnxNode) -> list[Operator] | None:
    """Pow; squares and square roots have kernels of their own."""
    if not network.is_float(node.input(0)) or node.input(1) == "":
        return None
    exponent = network.constant(node.input(1))
    if exponent is not None and exponent.size == 1 and network.is_variable(node.input(0)):
        number = float(exponent.item())
        same = network.shape(node.input(0)) == network.shape(node.outputs[0])
        kind = {2.0: "square", 0.5: "sqrt", -1.0: "reciprocal"}.get(number)
        if same and kind:
            return [_unary(node, kind, ())]
        name = network.add_constant(f"{node.name}.exponent", exponent.astype(np.float32))
        return [Operator(node.name, "binary", [node.input(0), name], [node.outputs[0]], {"kind": "pow"})]
    return binary("pow")(network, node)


def gelu(network: Network, node: OnnxNode) -> list[Operator] | None:
    """Gelu, exact or by its approximation with tanh."""
    if not network.is_variable(node.input(0)):
        return None
    return [_unary(node, "gelu_tanh" if node.attribute("approximate", "none") == "tanh" else "gelu", ())]


RULES = {
    "Add": binary("add"),
    "Sub": binary("sub"),
    "Mul": binary("mul"),
    "Div": binary("div"),
    "PRelu": binary("prelu"),
    "Pow": power,
    "Sum": chained("add"),
    "Max": chained("max"),
    "Min": chained("min"),
    "Relu": unary("relu"),
    "LeakyRelu": unary("leaky_relu", alpha=0.01),
    "Sigmoid": unary("sigmoid"),
    "Tanh": unary("tanh"),
    "HardSwish": unary("hard_swish"),
    "HardSigmoid": unary("hard_sigmoid", alpha=0.2, beta=0.5),
    "Swish": unary("silu", alpha=1.0),
    "Gelu": gelu,
    "Elu": unary("elu", alpha=1.0),
    "Selu": unary("selu", alpha=1.67326319217681884765625, gamma=1.05070102214813232421875),
    "Softplus": unary("softplus"),
    "Mish": unary("mish"),
    "Exp": unary("exp"),
    "Log": unary("log"),
    "Sqrt": unary("sqrt"),
    "Reciprocal": unary("reciprocal"),
    "Abs": unary("abs"),
    "Neg": unary("neg"),
    "Erf": unary("erf"),
    "Floor": unary("floor"),
    "Ceil": unary("ceil"),
    "Sin": unary("sin"),
    "Cos": unary("cos"),
    "Clip": clip,
    "Softmax": softmax,
    "ReduceMean": reduce("mean"),
    "ReduceSum": reduce("sum"),
    "ReduceMax": reduce("max"),
    "ReduceMin": reduce("min"),
    "ReduceL1": norm,
    "ReduceL2": norm,
    "ReduceSumSquare": norm,
}
