"""The last step: fallback operators get their models, and everything becomes a frozen `Graph`."""

from __future__ import annotations

import numpy as np

from codl.errors import UnsupportedOperator, first_line
from codl.graph import Graph, Node, Tensor
from codl.onnx_reader.evaluate import node_model, session
from codl.onnx_reader.nested import captures
from codl.onnx_reader.network import Network, Operator


def finish(network: Network) -> Graph:
    """The graph: only the constants that an operator reads, or that are outputs, are kept.

    Raises:
        UnsupportedOperator: a node has no canonical form, and ONNX Runtime cannot run it either.
    """
    nodes = tuple(_node(network, operator) for operator in network.operators)
    used = dict.fromkeys(network.inputs)
    for node in nodes:
        used |= dict.fromkeys((*node.inputs, *node.outputs))
    used |= dict.fromkeys(network.outputs)
    used.pop("", None)  # an input left out
    constants = {name: _tidy(network.constants[name]) for name in used if name in network.constants}
    contents = network.source.contents
    return Graph(
        name=network.source.name,
        nodes=nodes,
        tensors={name: _tensor(network, name) for name in used},
        constants=constants if contents else {},
        inputs=tuple(network.inputs),
        outputs=tuple(network.outputs),
        executable=contents,
    )


def _tensor(network: Network, name: str) -> Tensor:
    tensor = network.tensor(name)
    if tensor is None:
        raise UnsupportedOperator(f"{network.source.where}: the value {name!r} is no tensor of numbers")
    return tensor


def _tidy(array: np.ndarray) -> np.ndarray:
    """Contiguous, and safe from changes: every interpreter reads the same array."""
    tidy = np.ascontiguousarray(array).reshape(array.shape)
    tidy.flags.writeable = False
    return tidy


def _node(network: Network, operator: Operator) -> Node:
    attributes = dict(operator.attributes)
    if operator.op == "onnx":
        attributes["model"] = _fallback_model(network, operator)
    return Node(
        name=operator.name,
        op=operator.op,
        inputs=tuple(operator.inputs),
        outputs=tuple(operator.outputs),
        attributes=attributes,
        activation=operator.activation,
        onnx_op=operator.onnx_op,
    )


def _fallback_model(network: Network, operator: Operator) -> bytes:
    """A model of the operator's own node(s), which ONNX Runtime has accepted."""
    made = {value for proto in operator.protos for value in proto.output}
    read = dict.fromkeys(value for proto in operator.protos for value in (*proto.input, *captures(proto)) if value)
    constants = {value: network.constants[value] for value in read if value in network.constants and value not in made}
    inputs = {value: network.types[value] for value in operator.inputs}
    try:
        model: bytes = node_model(network, operator.protos, inputs, operator.outputs, constants).SerializeToString()
        session(model)
    except Exception as error:  # onnxruntime's own exceptions, or protobuf's 2 GiB limit
        raise UnsupportedOperator(
            f"{network.source.where}: {operator.name} ({operator.onnx_op}, operator set {operator.opset}) has no "
            f"kernel in codl, and ONNX Runtime cannot run it either: {first_line(error)}"
        ) from None
    return model
