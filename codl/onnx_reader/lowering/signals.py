"""Convolutions and pools of signals (N, C, L): images of one row."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
from onnx import helper

from codl.onnx_reader.lowering import convolution
from codl.onnx_reader.network import Network, OnnxNode, Operator

Rule = Callable[[Network, OnnxNode], list[Operator] | None]

_BY_AXIS = ("kernel_shape", "strides", "dilations", "output_padding")
"""Attributes of one number an axis; of a row, each is 1 but the last, which is 0."""


def of_signals(rule: Rule) -> Rule:
    """A rule for images, which also takes signals: the axis of length 1 that makes them images comes and goes by
    reshapes."""

    def wider(network: Network, node: OnnxNode) -> list[Operator] | None:
        x = node.input(0)
        if not network.is_variable(x) or len(network.shape(x)) != 3 or any(node.outputs[1:]):
            return rule(network, node)
        if node.ints("output_shape"):
            return None
        (batch, channels, length), out = network.shape(x), network.shape(node.outputs[0])
        image = network.add_value(f"{node.name}.image", (batch, channels, 1, length))
        result = network.add_value(f"{node.name}.row", (*out[:2], 1, out[2]))
        inputs = [image, *node.inputs[1:]]
        weight = network.constant(node.input(1))
        if weight is not None:
            inputs[1] = network.add_constant(f"{node.name}.weight", np.expand_dims(weight, 2))
        elif node.input(1):
            return None
        operators = rule(network, _as_image(node, inputs, result))
        if operators is None:
            return None
        for operator in operators:
            operator.onnx_op = operator.onnx_op or node.type
        there, back = network.names.fresh(f"{node.name}.there"), network.names.fresh(f"{node.name}.back")
        return [
            Operator(there, "reshape", [x], [image]),
            *operators,
            Operator(back, "reshape", [result], [node.outputs[0]]),
        ]

    return wider


def _as_image(node: OnnxNode, inputs: list[str], out: str) -> OnnxNode:
    proto = onnx.NodeProto()
    proto.CopyFrom(node.proto)
    del proto.attribute[:]
    for attribute in node.proto.attribute:
        value = helper.get_attribute_value(attribute)
        if attribute.name in _BY_AXIS:
            value = [0 if attribute.name == "output_padding" else 1, *value]
        elif attribute.name == "pads":
            value = [0, value[0], 0, value[1]]
        proto.attribute.append(helper.make_attribute(attribute.name, value))
    return OnnxNode(node.name, [proto], node.opset, inputs, [out])


RULES = {name: of_signals(rule) for name, rule in convolution.RULES.items()}
