"""Graphs inside nodes (branches of If, bodies of Loop and Scan), and what crosses their borders."""

from __future__ import annotations

from collections.abc import Iterator

import onnx


def tensors_of(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    """Tensors inside a graph's nodes: attributes, and all of its subgraphs."""
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
            yield from attribute.tensors
        for subgraph in subgraphs(node):
            yield from subgraph.initializer
            yield from tensors_of(subgraph)


def subgraphs(proto: onnx.NodeProto) -> Iterator[onnx.GraphProto]:
    """The graphs in a node's attributes (branches of If, body of Loop and Scan)."""
    for attribute in proto.attribute:
        if attribute.HasField("g"):
            yield attribute.g
        yield from attribute.graphs


def captures(proto: onnx.NodeProto) -> list[str]:
    """Values of the surrounding graph that a node's subgraphs read, each once."""
    found: dict[str, None] = {}
    for graph in subgraphs(proto):
        own = {value.name for value in graph.input} | {tensor.name for tensor in graph.initializer}
        for node in graph.node:
            for value in (*node.input, *captures(node)):
                if value and value not in own:
                    found[value] = None
            own.update(node.output)
        found.update(dict.fromkeys(value.name for value in graph.output if value.name not in own))
    return list(found)
