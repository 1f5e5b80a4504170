"""What runs: a network as operators and tensors, independent of any file format and of any hardware.

Shapes are logical ONNX shapes, (N, C, H, W) for feature maps. Everything is concrete: batch and image sizes are
numbers. Constants (weights) are attached to the tensor that they fill, so that a graph without them (an operator
list, timed by others) can still be planned and simulated.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from math import prod
from types import MappingProxyType
from typing import Any, cast

import numpy as np

from codl.errors import ModelError
from codl.io import digest
from codl.limits import beyond, limit

Attribute = int | float | str | bytes | tuple[int, ...] | tuple[float, ...]
"""What a node's attribute may be."""


@dataclass(frozen=True, slots=True)
class Tensor:
    """A value: its logical shape and its number format (a numpy dtype name, `float32` for all that is split)."""

    name: str
    shape: tuple[int, ...]
    dtype: str = "float32"

    @property
    def size(self) -> int:
        return prod(self.shape)

    @property
    def nbytes(self) -> int:
        return self.size * np.dtype(self.dtype).itemsize


@dataclass(frozen=True, slots=True)
class Activation:
    """An element-wise tail fused into the operator before it: `kind` is the operator it stands for
    (`relu`, `leaky_relu`, `clip`, ...), `params` its numbers in the order that operator's family documents."""

    kind: str
    params: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Node:
    """One operator. `op` names its family in the operator registry (`codl.ops`)."""

    name: str
    op: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Attribute] = field(default_factory=dict)
    activation: Activation | None = None
    onnx_op: str = ""
    """The ONNX operator type it came from, for reports."""

    @property
    def output(self) -> str:
        """The first output: the one that a split is measured on."""
        return self.outputs[0]

    def get(self, key: str, default: Any) -> Any:
        return self.attributes.get(key, default)

    def integer(self, key: str) -> int:
        """An attribute that lowering made one integer."""
        return int(cast(int, self.attributes[key]))

    def integers(self, key: str) -> tuple[int, ...]:
        """An attribute that lowering made several integers."""
        return tuple(cast("tuple[int, ...]", self.attributes[key]))

    def number(self, key: str) -> float:
        """An attribute that lowering made one number."""
        return float(cast(float, self.attributes[key]))


@dataclass(frozen=True)
class Graph:
    """A network in topological order.

    Args:
        name: what reports call it.
        nodes: operators; each reads graph inputs, constants and outputs of earlier nodes only.
        tensors: every value by name.
        constants: contents of constant values (weights, biases, tables); empty for an operator list.
        inputs, outputs: names, in the order in which a caller gives and receives them.

    Raises:
        ModelError: a node reads a value that nothing before it makes, two nodes make one value, or a tensor is beyond
            the limit.
    """

    name: str
    nodes: tuple[Node, ...]
    tensors: Mapping[str, Tensor]
    constants: Mapping[str, np.ndarray]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    executable: bool = True
    """False for an operator list: it has no weights and its operators need not fit together numerically."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "tensors", MappingProxyType(dict(self.tensors)))
        object.__setattr__(self, "constants", MappingProxyType(dict(self.constants)))
        for tensor in self.tensors.values():
            if tensor.size > limit("TENSOR_ELEMENTS"):
                raise ModelError(
                    f"{self.name}: tensor {tensor.name!r} has {tensor.size} elements; {beyond('TENSOR_ELEMENTS')}"
                )
        known = set(self.inputs) | set(self.constants)
        names: set[str] = set()
        for node in self.nodes:
            if node.name in names:
                raise ModelError(f"{self.name}: two operators are called {node.name!r}")
            names.add(node.name)
            for value in node.inputs:
                if value and value not in known and value in self.tensors and not self._is_weight(node, value):
                    raise ModelError(f"{self.name}: {node.name} reads {value!r} before anything makes it")
                if value and value not in self.tensors:
                    raise ModelError(f"{self.name}: {node.name} reads {value!r}, which has no shape")
            for value in node.outputs:
                if value in known:
                    raise ModelError(f"{self.name}: {value!r} is made twice")
                if value:
                    known.add(value)
        for value in self.outputs:
            if value not in known:
                raise ModelError(f"{self.name}: nothing makes the output {value!r}")

    def _is_weight(self, node: Node, value: str) -> bool:
        return not self.executable and value in self.weights

    @cached_property
    def weights(self) -> frozenset[str]:
        """Names of constant values; for an operator list, of values that would be constant had it contents."""
        made = {value for node in self.nodes for value in node.outputs}
        return frozenset(set(self.tensors) - made - set(self.inputs))

    @cached_property
    def producer(self) -> Mapping[str, Node]:
        """The node that makes each value (graph inputs and constants have none)."""
        return {value: node for node in self.nodes for value in node.outputs if value}

    @cached_property
    def consumers(self) -> Mapping[str, tuple[Node, ...]]:
        """The nodes that read each value, in topological order."""
        table: dict[str, list[Node]] = {name: [] for name in self.tensors}
        for node in self.nodes:
            for value in dict.fromkeys(node.inputs):
                if value:
                    table[value].append(node)
        return {name: tuple(nodes) for name, nodes in table.items()}

    @cached_property
    def by_name(self) -> Mapping[str, Node]:
        return {node.name: node for node in self.nodes}

    @cached_property
    def position(self) -> Mapping[str, int]:
        """Index of each node, by name, in topological order."""
        return {node.name: index for index, node in enumerate(self.nodes)}

    @cached_property
    def alike(self) -> Mapping[str, int]:
        """By operator, a number that is the same for all that cost and read the same: those of one family, with equal
        attributes and shapes."""
        numbers: dict[object, int] = {}
        return {node.name: numbers.setdefault(self._likeness(node), len(numbers)) for node in self.nodes}

    def _likeness(self, node: Node) -> object:
        inputs = tuple(
            (self.tensors[value].shape, self.tensors[value].dtype, value in self.weights) if value else None
            for value in node.inputs
        )
        same = tuple(node.inputs.index(value) for value in node.inputs)
        outputs = tuple((self.tensors[value].shape, self.tensors[value].dtype) for value in node.outputs if value)
        return node.op, tuple(sorted(node.attributes.items())), node.activation, inputs, same, outputs

    @cached_property
    def digest(self) -> str:
        """Identifies structure, shapes and constants; the name and the file it came from do not matter."""
        return digest(
            {
                "nodes": [
                    [n.name, n.op, n.inputs, n.outputs, sorted(n.attributes.items()), n.activation] for n in self.nodes
                ],
                "tensors": sorted((t.name, t.shape, t.dtype) for t in self.tensors.values()),
                "constants": dict(sorted(self.constants.items())),
                "inputs": self.inputs,
                "outputs": self.outputs,
            }
        )

    def tensor(self, name: str) -> Tensor:
        return self.tensors[name]

    def variable_inputs(self, node: Node) -> Iterator[tuple[int, Tensor]]:
        """(position, tensor) of the inputs that are computed at run time: neither constant nor left out."""
        for index, value in enumerate(node.inputs):
            if value and value not in self.weights:
                yield index, self.tensors[value]

    def __len__(self) -> int:
        return len(self.nodes)
