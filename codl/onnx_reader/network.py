"""The network while it is being read: ONNX nodes first, canonical operators later, and what is known of each value."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from onnx import helper

from codl.graph import Activation, Attribute, Tensor
from codl.onnx_reader.nested import subgraphs
from codl.onnx_reader.source import Source, plain_domain

STATIC_DTYPES = frozenset(
    (
        "float16", "float32", "float64", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64",
        "bool", "complex64", "complex128",
    )
)  # fmt: skip
"""Number formats that a run-time tensor may have; numpy knows no others."""


@dataclass
class OnnxNode:
    """One ONNX node, or several that only make sense together (`regions`)."""

    name: str
    protos: list[onnx.NodeProto]
    opset: int
    """Version of the operator set that the (first) node belongs to."""
    inputs: list[str]
    """Values read, subgraphs included; '' for an optional input left out. Only a single node keeps positions."""
    outputs: list[str]

    @property
    def proto(self) -> onnx.NodeProto:
        return self.protos[0]

    @property
    def type(self) -> str:
        return "+".join(dict.fromkeys(proto.op_type for proto in self.protos))

    @property
    def domain(self) -> str:
        return plain_domain(self.proto.domain)

    def attribute(self, name: str, default: Any = None) -> Any:
        """An attribute as a Python value: number, text, list, or protobuf message."""
        for attribute in self.proto.attribute:
            if attribute.name == name:
                value = helper.get_attribute_value(attribute)
                return value.decode() if isinstance(value, bytes) else value
        return default

    def ints(self, name: str, default: Sequence[int] = ()) -> tuple[int, ...]:
        return tuple(int(value) for value in self.attribute(name, default))

    def input(self, index: int) -> str:
        """Name of an input, '' if it is left out."""
        return self.inputs[index] if index < len(self.inputs) else ""

    def __str__(self) -> str:
        domain = f"{self.domain}." if self.domain else ""
        return f"{self.name} ({domain}{self.type}, operator set {self.opset})"


@dataclass
class Operator:
    """A canonical operator that passes may still change. `protos` is set for the fallback only."""

    name: str
    op: str
    inputs: list[str]
    outputs: list[str]
    attributes: dict[str, Attribute] = field(default_factory=dict)
    onnx_op: str = ""
    activation: Activation | None = None
    protos: list[onnx.NodeProto] = field(default_factory=list)
    opset: int = 0

    @property
    def output(self) -> str:
        return self.outputs[0]


class Names:
    """Unique names of nodes: those of the model where they are unique, else the type and the index of the node."""

    _FOREIGN = re.compile(r"[^A-Za-z0-9_.:-]")

    def __init__(self) -> None:
        self._taken: set[str] = set()

    def of_nodes(self, nodes: Sequence[onnx.NodeProto]) -> list[str]:
        """A name for each node of a graph."""
        wanted = [self.clean(node.name) for node in nodes]
        count: dict[str, int] = {}
        for name in wanted:
            count[name] = count.get(name, 0) + 1
        self._taken |= {name for name in wanted if name and count[name] == 1}
        return [
            name if name and count[name] == 1 else self.fresh(self.clean(f"{node.op_type.lower()}_{index}"))
            for index, (name, node) in enumerate(zip(wanted, nodes, strict=True))
        ]

    def fresh(self, base: str) -> str:
        """`base`, or `base_2`, `base_3`, ... if that is taken."""
        name, number = base, 1
        while name in self._taken:
            number += 1
            name = f"{base}_{number}"
        self._taken.add(name)
        return name

    @classmethod
    def clean(cls, name: str | bytes) -> str:
        """Only characters that may stand in a task id."""
        if isinstance(name, bytes):  # protobuf's way to give text that is not UTF-8
            name = name.decode(errors="replace")
        return cls._FOREIGN.sub("_", name.lstrip("/"))


@dataclass
class Network:
    """All that is known while reading. `operators` replaces `nodes` when these are lowered."""

    source: Source
    types: dict[str, onnx.TypeProto]
    constants: dict[str, np.ndarray]
    inputs: list[str]
    outputs: list[str]
    names: Names
    reserved: set[str] = field(default_factory=set)
    """Names of values that the reader must not give to its own."""
    nodes: list[OnnxNode] = field(default_factory=list)
    operators: list[Operator] = field(default_factory=list)

    def tensor(self, name: str) -> Tensor | None:
        """Shape and number format of a value, None if they depend on data or it is no tensor."""
        array = self.constants.get(name)
        if array is not None:
            return Tensor(name, array.shape, array.dtype.name)
        return static_tensor(name, self.types.get(name))

    def shape(self, name: str) -> tuple[int, ...]:
        """The shape of a value that has a static one."""
        tensor = self.tensor(name)
        if tensor is None:
            raise KeyError(f"{name!r} has no static shape")
        return tensor.shape

    def is_float(self, name: str) -> bool:
        """Whether this is a float32 tensor of static shape with at least one element."""
        tensor = self.tensor(name) if name else None
        return tensor is not None and tensor.dtype == "float32" and tensor.size > 0

    def is_variable(self, name: str) -> bool:
        """Whether this is a float32 tensor that is computed at run time."""
        return name not in self.constants and self.is_float(name)

    def constant(self, name: str) -> np.ndarray | None:
        return self.constants.get(name) if name else None

    def add_constant(self, base: str, array: np.ndarray) -> str:
        """Keep a new constant under a name that nothing else has."""
        name = self.fresh_value(base)
        self.constants[name] = array
        return name

    def add_value(self, base: str, shape: tuple[int, ...]) -> str:
        """Declare a new float32 value, made by an operator that the reader adds."""
        name = self.fresh_value(base)
        self.types[name] = helper.make_tensor_type_proto(onnx.TensorProto.FLOAT, shape)
        return name

    def fresh_value(self, base: str) -> str:
        """A name like `base` that no value has."""
        name, number = base, 1
        while name in self.types or name in self.constants or name in self.reserved:
            number += 1
            name = f"{base}_{number}"
        self.reserved.add(name)
        return name

    def type_of(self, name: str) -> onnx.TypeProto | None:
        """The ONNX type of a value, constants included."""
        array = self.constants.get(name)
        return array_type(array) if array is not None else self.types.get(name)


def static_tensor(name: str, type_proto: onnx.TypeProto | None) -> Tensor | None:
    """The tensor that a type describes, None unless every size is a number and numpy knows the number format."""
    if type_proto is None or not type_proto.HasField("tensor_type"):
        return None
    tensor = type_proto.tensor_type
    if not tensor.HasField("shape") or not all(dim.HasField("dim_value") for dim in tensor.shape.dim):
        return None
    try:
        dtype = helper.tensor_dtype_to_np_dtype(tensor.elem_type).name
    except KeyError:
        return None
    if dtype not in STATIC_DTYPES:
        return None
    return Tensor(name, tuple(int(dim.dim_value) for dim in tensor.shape.dim), dtype)


def array_type(array: np.ndarray) -> onnx.TypeProto:
    elem_type = onnx.TensorProto.STRING if array.dtype.kind in "OUS" else helper.np_dtype_to_tensor_dtype(array.dtype)
    return helper.make_tensor_type_proto(elem_type, array.shape)


def rename(proto: onnx.NodeProto, names: Mapping[str, str]) -> None:
    """Rename the values that a node reads and makes, in place; what its subgraphs define themselves stays."""
    if not names:
        return
    for index, value in enumerate(proto.input):
        if value in names:
            proto.input[index] = names[value]
    for index, value in enumerate(proto.output):
        if value in names:
            proto.output[index] = names[value]
    for graph in subgraphs(proto):
        own = {value.name for value in graph.input} | {tensor.name for tensor in graph.initializer}
        own |= {value for node in graph.node for value in node.output}
        outer = {old: new for old, new in names.items() if old not in own}
        for node in graph.node:
            rename(node, outer)
        for value in graph.output:
            if value.name in outer:
                value.name = outer[value.name]
