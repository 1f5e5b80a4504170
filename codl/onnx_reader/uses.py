"""Who makes and who reads a value, while operators are being rewritten."""

from __future__ import annotations

from codl.onnx_reader.network import Network, Operator


def readers(network: Network) -> dict[str, int]:
    """How often each value is read; an output of the graph counts as read by the caller."""
    count: dict[str, int] = {}
    for operator in network.operators:
        for value in operator.inputs:
            count[value] = count.get(value, 0) + 1
    for value in network.outputs:
        count[value] = count.get(value, 0) + 1
    return count


def makers(network: Network) -> dict[str, Operator]:
    return {value: operator for operator in network.operators for value in operator.outputs}


def remove(network: Network, gone: set[int]) -> None:
    """Remove operators by their `id()`."""
    network.operators = [operator for operator in network.operators if id(operator) not in gone]


def drop_dead(network: Network) -> None:
    """Remove operators whose outputs nobody reads."""
    needed = set(network.outputs)
    alive = []
    for operator in reversed(network.operators):
        if needed.intersection(operator.outputs):
            alive.append(operator)
            needed.update(operator.inputs)
    network.operators = alive[::-1]
