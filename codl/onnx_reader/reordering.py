"""Reshapes and transpositions that follow each other become one, or none; element-wise operators go before reshapes."""

from __future__ import annotations

from codl.onnx_reader.network import Network, Operator
from codl.onnx_reader.uses import drop_dead, makers, readers


def merge_moves(network: Network) -> None:
    """Merge moves along each chain, in topological order."""
    made, reads = makers(network), readers(network)
    for index, operator in enumerate(network.operators):
        before = made.get(operator.inputs[0]) if operator.inputs else None
        if before is None:
            continue
        if operator.op == before.op == "reshape":
            operator.inputs[0] = before.inputs[0]
        elif operator.op == before.op == "transpose":
            _compose(operator, before)
        elif operator.op == "unary" and before.op == "reshape" and reads[before.output] == 1:
            swapped = _sunk(network, operator, before)
            network.operators[index] = before
            network.operators[network.operators.index(before)] = swapped
            made |= {swapped.output: swapped, before.output: before}
            reads[swapped.output] = 1
    drop_dead(network)


def _compose(operator: Operator, before: Operator) -> None:
    first, second = before.attributes["perm"], operator.attributes["perm"]
    assert isinstance(first, tuple) and isinstance(second, tuple)
    perm = tuple(int(first[int(axis)]) for axis in second)
    operator.inputs[0] = before.inputs[0]
    if perm == tuple(range(len(perm))):
        operator.op, operator.attributes = "reshape", {}
    else:
        operator.attributes["perm"] = perm


def _sunk(network: Network, unary: Operator, reshape: Operator) -> Operator:
    """The reshape's input through the unary operator; the reshape is changed to come after it. A convolution before
    them can then take in the operator."""
    value = network.add_value(f"{unary.name}.before", network.shape(reshape.inputs[0]))
    earlier = Operator(unary.name, unary.op, [reshape.inputs[0]], [value], unary.attributes, unary.onnx_op)
    reshape.inputs, reshape.outputs = [value], list(unary.outputs)
    return earlier
