"""The walk over the nodes in their order: constants are evaluated, shapes inferred, copies and branches resolved.

All inputs have concrete shapes, so every `Shape` is a constant, and with it the arithmetic that exporters put around
it. What remains are the nodes that compute something from the network's input.
"""

from __future__ import annotations

from collections import deque
from math import prod

import numpy as np
import onnx
from onnx import helper, numpy_helper

from codl.errors import ModelError, first_line
from codl.limits import beyond, limit
from codl.onnx_reader.contents import check_size
from codl.onnx_reader.evaluate import compute, infer, learn
from codl.onnx_reader.nested import captures, subgraphs
from codl.onnx_reader.network import Names, Network, OnnxNode, rename, static_tensor
from codl.onnx_reader.source import Source, plain_domain

_RANDOM = frozenset(
    ("RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Multinomial", "Bernoulli")
)


def fold(source: Source, inputs: dict[str, onnx.TypeProto]) -> Network:
    """Walk the model's nodes; the network keeps those that compute something at run time."""
    network = Network(
        source=source,
        types=dict(inputs),
        constants=dict(source.constants),
        inputs=list(inputs),
        outputs=[value.name for value in source.proto.graph.output],
        names=Names(),
    )
    nodes = list(source.proto.graph.node)
    network.reserved.update(value for node in nodes for value in node.output)
    walk = _Walk(network)
    walk.queue.extend(zip(network.names.of_nodes(nodes), nodes, strict=True))
    while walk.queue:
        walk.step(*walk.queue.popleft())
    return network


class _Walk:
    """The state of the walk: what is still to come, and which value is only another name for which."""

    def __init__(self, network: Network) -> None:
        self.network = network
        self.queue: deque[tuple[str, onnx.NodeProto]] = deque()
        self.alias: dict[str, str] = {}
        self.folded = 0
        """Elements of the constants made so far."""
        outputs = network.source.proto.graph.output
        self.declared = {value.name: value.type for value in outputs if static_tensor("", value.type)}

    def step(self, name: str, proto: onnx.NodeProto) -> None:
        network = self.network
        rename(proto, {value: self.alias[value] for value in (*proto.input, *captures(proto)) if value in self.alias})
        domain = plain_domain(proto.domain)
        if domain not in network.source.opsets:
            raise ModelError(f"{network.source.where}: {name} is of domain {domain!r}, which the model does not import")
        inner = [value for value in captures(proto) if value not in proto.input]
        node = OnnxNode(name, [proto], network.source.opsets[domain], [*proto.input, *inner], list(proto.output))
        if domain == "" and self._resolved(node):
            return
        self._infer(node)
        if not self._constant(node):
            network.nodes.append(node)

    # -- nodes that need no computation ---------------------------------------------------------------------------

    def _resolved(self, node: OnnxNode) -> bool:
        network = self.network
        match node.type:
            case "Constant":
                network.constants[node.outputs[0]] = _constant_value(node, network.source.where)
                return True
            case "Shape" | "Size":
                return self._shape(node)
            case "Identity":
                return self._copy(node.input(0), node.outputs[0])
            case "Dropout":
                return self._dropout(node)
            case "Cast":
                tensor = network.tensor(node.input(0))
                to = helper.tensor_dtype_to_np_dtype(node.attribute("to")).name
                return tensor is not None and tensor.dtype == to and self._copy(node.input(0), node.outputs[0])
            case "If":
                return self._branch(node)
        return False

    def _shape(self, node: OnnxNode) -> bool:
        type_proto = self.network.type_of(node.input(0))
        tensor = self.network.tensor(node.input(0)) or static_tensor("", _as_float(type_proto))
        if tensor is None:
            return False
        if node.type == "Size":
            value = np.array(prod(tensor.shape), np.int64)
        else:
            value = np.array(tensor.shape[slice(node.attribute("start", 0), node.attribute("end"))], np.int64)
        self.network.constants[node.outputs[0]] = value
        return True

    def _copy(self, value: str, name: str) -> bool:
        """Make `name` another name of `value`. A graph output keeps its name, so a copy into it stays a node."""
        if name not in self.network.outputs:
            self.alias[name] = value
            return True
        if value in self.network.constants:
            self.network.constants[name] = self.network.constants[value]
            return True
        return False

    def _dropout(self, node: OnnxNode) -> bool:
        training = self.network.constant(node.input(2))
        if node.input(2) and (training is None or training.any()):
            return False
        mask = node.outputs[1] if len(node.outputs) > 1 else ""
        tensor = self.network.tensor(node.input(0))
        if mask and tensor is None:
            return False
        if mask and tensor is not None:  # nothing is dropped: from operator set 10 on, the mask is boolean
            self.network.constants[mask] = np.ones(tensor.shape, np.bool_ if node.opset >= 10 else tensor.dtype)
        if not self._copy(node.input(0), node.outputs[0]):
            name = node.outputs[0]
            self.queue.appendleft((node.name, helper.make_node("Identity", [node.input(0)], [name])))
        return True

    def _branch(self, node: OnnxNode) -> bool:
        """An `If` whose condition is constant is its branch."""
        condition = self.network.constant(node.input(0))
        if condition is None or condition.size != 1:
            return False
        branch: onnx.GraphProto = node.attribute("then_branch" if condition.item() else "else_branch")
        if len(branch.output) != len(node.outputs):
            problem = f"has {len(node.outputs)} outputs, its branch {len(branch.output)}"
            raise ModelError(f"{self.network.source.where}: {node} {problem}")
        own = [tensor.name for tensor in branch.initializer] + [v for inner in branch.node for v in inner.output if v]
        names = {value: self.network.fresh_value(f"{node.name}/{value}") for value in own}
        for tensor in branch.initializer:
            self.network.constants[names[tensor.name]] = numpy_helper.to_array(tensor)
        steps = []
        for index, inner in enumerate(branch.node):
            rename(inner, names)
            label = self.network.names.clean(inner.name) or f"{inner.op_type.lower()}_{index}"
            steps.append((self.network.names.fresh(f"{node.name}.{label}"), inner))
        for value, name in zip(branch.output, node.outputs, strict=True):
            if name:
                copy = helper.make_node("Identity", [names.get(value.name, value.name)], [name])
                steps.append((self.network.names.fresh(f"{node.name}.out"), copy))
        self.queue.extendleft(reversed(steps))
        return True

    # -- shapes and values ----------------------------------------------------------------------------------------

    def _infer(self, node: OnnxNode) -> None:
        network = self.network
        for value in node.inputs:
            known = network.tensor(value) if value else None
            if known is not None:
                check_size(value, known.shape, network.source.where)
        try:
            types = infer(network, node)
        except ModelError:  # ONNX Runtime is more lenient in places (a Range of one-element vectors)
            types = learn(network, node)
            if not types:
                raise
        unknown = [name for name in node.outputs if name and static_tensor(name, types.get(name)) is None]
        if unknown and _learnable(network, node):
            types |= {name: learned for name, learned in learn(network, node).items() if name in unknown}
        network.types.update(types)
        self._trust_declared([name for name in unknown if name in network.outputs])
        foldable = all(value in network.constants for value in node.inputs if value)
        for name in node.outputs:
            tensor = network.tensor(name) if name else None
            if tensor is None:
                continue
            check_size(name, tensor.shape, network.source.where)
            self.folded += tensor.size if foldable else 0
            if self.folded > limit("CONSTANT_ELEMENTS"):
                raise ModelError(
                    f"{network.source.where}: {node} makes a constant of {tensor.size} elements; "
                    f"{beyond('CONSTANT_ELEMENTS')} for all together"
                )

    def _trust_declared(self, names: list[str]) -> None:
        """A graph output whose shape seems to depend on data has the shape that the model promises, if it does."""
        for name in names:
            inferred, declared = self.network.tensor(name), self.declared.get(name)
            if inferred is None and declared is not None and _compatible(self.network.types.get(name), declared):
                self.network.types[name] = declared

    def _constant(self, node: OnnxNode) -> bool:
        """Evaluate a node that depends on no input, or whose outputs have no elements."""
        network = self.network
        used = [name for name in node.outputs if name]
        tensors = [network.tensor(name) for name in used]
        if used and all(tensor is not None and tensor.size == 0 for tensor in tensors):
            network.constants |= {t.name: np.zeros(t.shape, t.dtype) for t in tensors if t is not None}
            return True
        if _is_random(node.proto) or not all(value in network.constants for value in node.inputs if value):
            return False
        arrays = compute(network, node, {value: network.constants[value] for value in node.inputs if value})
        if arrays is None:
            return False
        network.constants |= dict(zip(used, arrays, strict=True))
        return True


def _compatible(inferred: onnx.TypeProto | None, declared: onnx.TypeProto) -> bool:
    """Whether a declared static type is one of those that a vaguer, inferred type allows."""
    if inferred is None or not inferred.HasField("tensor_type"):
        return inferred is None
    a, b = inferred.tensor_type, declared.tensor_type
    if a.elem_type not in (0, b.elem_type):
        return False
    if not a.HasField("shape"):
        return True
    return len(a.shape.dim) == len(b.shape.dim) and all(
        not x.HasField("dim_value") or x.dim_value == y.dim_value for x, y in zip(a.shape.dim, b.shape.dim, strict=True)
    )


def _as_float(type_proto: onnx.TypeProto | None) -> onnx.TypeProto | None:
    """The same shape as a float tensor: the size of a tensor is known even where its number format is exotic."""
    if type_proto is None or not type_proto.HasField("tensor_type"):
        return None
    copy = onnx.TypeProto()
    copy.CopyFrom(type_proto)
    copy.tensor_type.elem_type = onnx.TensorProto.FLOAT
    return copy


def _is_random(proto: onnx.NodeProto) -> bool:
    return (
        proto.op_type in _RANDOM
        or (proto.op_type == "Dropout" and len(proto.input) > 2)
        or any(_is_random(inner) for graph in subgraphs(proto) for inner in graph.node)
    )


def _learnable(network: Network, node: OnnxNode) -> bool:
    """Whether a trial run can tell the shape: not where the operator's definition lets it depend on data."""
    if node.type == "Loop":
        return node.input(0) in network.constants
    return node.type in ("Scan", "If") or not onnx.defs.has(node.type, node.opset, node.domain)


def _constant_value(node: OnnxNode, where: str) -> np.ndarray:
    """The value of a `Constant` node, in any of the forms that it may have."""
    if not node.proto.attribute:
        raise ModelError(f"{where}: {node} has no value")
    attribute = node.proto.attribute[0]
    try:
        match attribute.name:
            case "value":
                return numpy_helper.to_array(attribute.t)
            case "value_float" | "value_floats":
                return np.array(helper.get_attribute_value(attribute), np.float32)
            case "value_int" | "value_ints":
                return np.array(helper.get_attribute_value(attribute), np.int64)
            case "value_string":
                return np.array(attribute.s.decode(), object)
            case "value_strings":
                return np.array([text.decode() for text in attribute.strings], object)
    except Exception as error:  # wrong sizes, unknown number formats, bad text
        raise ModelError(f"{where}: the value of {node} is broken: {first_line(error)}") from None
    raise ModelError(f"{where}: {node} holds its value as {attribute.name!r}, which is not supported")
