"""Nodes that exchange values without a static shape (or sequences, or numbers that numpy lacks) are grouped.

Such values cannot be tensors of a `Graph`. A group hides them: it becomes one operator, run by ONNX Runtime, whose
own inputs and outputs are static again. Whatever lies on a path from a group back into it must join it.
"""

from __future__ import annotations

from collections import Counter

import onnx

from codl.errors import ModelError
from codl.onnx_reader.network import STATIC_DTYPES, Network, OnnxNode

ONNX_NAMES = STATIC_DTYPES | {"float", "double"}
"""Number formats of run-time tensors, as ONNX calls them in lower case."""


def group_dynamic(network: Network) -> None:
    """Replace each set of nodes linked by values of unknown shape by one node of several protos.

    Raises:
        ModelError: a graph output itself has no static shape.
    """
    dynamic = {name for node in network.nodes for name in node.outputs if name and network.tensor(name) is None}
    if not dynamic:
        return
    maker = {name: node for node in network.nodes for name in node.outputs if name}
    for output in network.outputs:
        if output in dynamic:
            raise ModelError(
                f"{network.source.where}: output {output!r}, made by {maker[output]}, {_why(network, output)}; "
                "only tensors of numbers that have a fixed shape can be outputs"
            )
    group = _groups(network.nodes, dynamic)
    network.nodes = _contracted(network, group)


def _why(network: Network, name: str) -> str:
    type_proto = network.types.get(name)
    if type_proto is None:
        return "has an unknown type"
    if not type_proto.HasField("tensor_type"):
        return f"is a {(type_proto.WhichOneof('value') or 'untyped').removesuffix('_type')} value"
    formats = {number: name.lower() for name, number in onnx.TensorProto.DataType.items()}
    number_format = formats.get(type_proto.tensor_type.elem_type, "unknown")
    if number_format not in ONNX_NAMES:
        return f"has number format {number_format}"
    return "has a shape that depends on the data"


def _groups(nodes: list[OnnxNode], dynamic: set[str]) -> list[int]:
    """The group of each node, by index: nodes linked by a dynamic value, closed under paths that leave and return."""
    group = list(range(len(nodes)))
    maker = {name: index for index, node in enumerate(nodes) for name in node.outputs if name}
    reads = [sorted({maker[name] for name in node.inputs if name in maker}) for node in nodes]

    def join(a: int, b: int) -> None:
        old, new = group[b], group[a]
        for index, value in enumerate(group):
            if value == old:
                group[index] = new

    for index, node in enumerate(nodes):
        for name in node.inputs:
            if name in dynamic:
                join(maker[name], index)
    changed = True
    while changed:
        changed = False
        for label in [label for label, size in Counter(group).items() if size > 1]:
            for index in _between(group, reads, label):
                join(group.index(label), index)
                changed = True
    return group


def _between(group: list[int], reads: list[list[int]], label: int) -> list[int]:
    """Nodes outside a group that both depend on it and are needed by it."""
    after: set[int] = set()  # labels of groups that depend on this one
    size = -1
    while size != len(after):  # groups are not in topological order, so repeat until nothing is added
        size = len(after)
        for index, sources in enumerate(reads):
            if group[index] != label and any(group[s] == label or group[s] in after for s in sources):
                after.add(group[index])
    needed: set[int] = set()
    size = -1
    while size != len(needed):
        size = len(needed)
        for index, sources in enumerate(reads):
            if group[index] == label or group[index] in needed:
                needed.update(group[s] for s in sources if group[s] != label)
    return [index for index, value in enumerate(group) if value in after and value in needed]


def _contracted(network: Network, group: list[int]) -> list[OnnxNode]:
    """One node a group, in a topological order."""
    members: dict[int, list[OnnxNode]] = {}
    for label, node in zip(group, network.nodes, strict=True):
        members.setdefault(label, []).append(node)
    merged = [nodes[0] if len(nodes) == 1 else _merge(network, nodes) for nodes in members.values()]
    waiting = {value for node in merged for value in node.outputs if value}
    ordered: list[OnnxNode] = []
    while merged:  # nearly sorted already, so that few sweeps suffice
        later = []
        for node in merged:
            if waiting.isdisjoint(node.inputs):
                waiting.difference_update(node.outputs)
                ordered.append(node)
            else:
                later.append(node)
        if len(later) == len(merged):
            raise ModelError(f"{network.source.where}: the nodes around {later[0]} depend on each other")
        merged = later
    return ordered


def _merge(network: Network, nodes: list[OnnxNode]) -> OnnxNode:
    made = {value for node in nodes for value in node.outputs}
    inputs = dict.fromkeys(value for node in nodes for value in node.inputs if value and value not in made)
    members = {id(node) for node in nodes}
    outside = {value for node in network.nodes if id(node) not in members for value in node.inputs}
    outside.update(network.outputs)
    outputs = [value for node in nodes for value in node.outputs if value in outside and value]
    protos = [proto for node in nodes for proto in node.protos]
    return OnnxNode(nodes[0].name, protos, nodes[0].opset, list(inputs), outputs)
