"""Each ONNX node becomes canonical operators (families of `codl.ops`), or the fallback.

A rule looks at one node and returns its operators, or None where codl's families do not cover it: another number
format, another rank, weights that are not constant, an attribute that no kernel knows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from codl.onnx_reader.lowering import arithmetic, layout, linear, normalization, signals
from codl.onnx_reader.network import Network, OnnxNode, Operator

Rule = Callable[[Network, OnnxNode], list[Operator] | None]

RULES: Mapping[str, Rule] = signals.RULES | linear.RULES | normalization.RULES | arithmetic.RULES | layout.RULES
"""Rule by ONNX operator type of the default domain."""


def lower(network: Network) -> None:
    """Replace the network's nodes by operators."""
    read = {value for node in network.nodes for value in node.inputs} | set(network.outputs)
    for node in network.nodes:
        node.outputs = [value if value in read else "" for value in node.outputs]
        if any(node.outputs):
            network.operators += _operators(network, node)
    network.nodes = []


def _operators(network: Network, node: OnnxNode) -> list[Operator]:
    rule = RULES.get(node.type) if node.domain == "" and len(node.protos) == 1 else None
    floats = all(network.is_float(value) for value in node.outputs if value)
    if rule is not None and floats:
        operators = rule(network, node)
        if operators is not None:
            for operator in operators:
                operator.onnx_op = operator.onnx_op or node.type
            return operators
    inputs = list(dict.fromkeys(value for value in node.inputs if value and value not in network.constants))
    outputs = [value for value in node.outputs if value]
    return [Operator(node.name, "onnx", inputs, outputs, {}, node.type, protos=node.protos, opset=node.opset)]
