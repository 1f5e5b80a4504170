"""Operators for ONNX Runtime that can run one after another become one: one session, one step of the executor."""

from __future__ import annotations

from itertools import groupby

from codl.onnx_reader.network import Network, Operator


def merge_fallbacks(network: Network) -> None:
    """Reorder the operators so that those of family `onnx` stand together, and merge each run of them.

    Whatever is contiguous in a topological order can be one operator. A network without them keeps its order.
    """
    if sum(operator.op == "onnx" for operator in network.operators) < 2:
        return
    ordered = _clustered(network.operators)
    merged: list[Operator] = []
    for outside, group in groupby(ordered, key=lambda operator: operator.op == "onnx"):
        members = list(group)
        merged += [_merged(network, ordered, members)] if outside and len(members) > 1 else members
    network.operators = merged


def _clustered(operators: list[Operator]) -> list[Operator]:
    """A topological order that changes between codl's operators and others as rarely as a greedy choice can."""
    waiting = {value for operator in operators for value in operator.outputs}
    left = list(operators)
    ordered: list[Operator] = []
    outside = False
    while left:
        ready = [operator for operator in left if waiting.isdisjoint(operator.inputs)]
        chosen = next((operator for operator in ready if (operator.op == "onnx") == outside), None)
        if chosen is None:
            outside = not outside
            continue
        left.remove(chosen)
        waiting.difference_update(chosen.outputs)
        ordered.append(chosen)
    return ordered


def _merged(network: Network, operators: list[Operator], members: list[Operator]) -> Operator:
    made = {value for operator in members for value in operator.outputs}
    own = {id(operator) for operator in members}
    read = {value for operator in operators if id(operator) not in own for value in operator.inputs}
    read.update(network.outputs)
    protos = [proto for operator in members for proto in operator.protos]
    inputs = dict.fromkeys(value for operator in members for value in operator.inputs if value not in made)
    outputs = [value for operator in members for value in operator.outputs if value in read]
    types = "+".join(dict.fromkeys(operator.onnx_op for operator in members))
    first = members[0]
    return Operator(first.name, "onnx", list(inputs), outputs, {}, types, protos=protos, opset=first.opset)
