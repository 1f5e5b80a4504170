"""Opening an ONNX model: every way in which a file can be wrong becomes one clear error."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnx.inliner
import onnx.version_converter

from codl.errors import FileError, ModelError, first_line
from codl.io import read_bytes
from codl.limits import beyond, limit
from codl.onnx_reader.contents import array, attach, check_size, dense, refuse_sparse_external
from codl.onnx_reader.nested import captures, subgraphs, tensors_of

MIN_OPSET = 7
"""Older models are converted to this opset first: before it, broadcasting was an attribute of the operators."""


@dataclass(frozen=True)
class Source:
    """A checked model. `constants` holds its initialisers; `where` names it in messages."""

    where: str
    name: str
    proto: onnx.ModelProto
    constants: Mapping[str, np.ndarray]
    contents: bool = True

    @property
    def opsets(self) -> Mapping[str, int]:
        """Version by domain; the default domain is ''."""
        return {plain_domain(entry.domain): entry.version for entry in self.proto.opset_import}


def plain_domain(domain: str) -> str:
    return "" if domain == "ai.onnx" else domain


def open_model(model: str | Path | onnx.ModelProto, name: str | None = None, *, contents: bool = True) -> Source:
    """Load, check and normalise a model (see `read` for the errors)."""
    if isinstance(model, onnx.ModelProto):
        where, proto, folder = name or model.graph.name or "model", model, None
    else:
        path = Path(model)
        where, proto, folder = str(path), _parse(path), path.parent
        name = name or path.stem
    if proto.ir_version < 1 or not proto.HasField("graph") or not (proto.graph.node or proto.graph.output):
        raise ModelError(f"{where}: is not an ONNX model (it has no graph)")
    if not proto.opset_import:
        raise ModelError(f"{where}: the model names no operator set (opset_import)")
    tensors = list(proto.graph.initializer)
    _check_limits(proto, where)
    skeleton = _skeleton(proto)
    _check(skeleton, where)
    skeleton = _modernise(_inline(skeleton, where), proto, where)
    if folder is None and any(t.data_location == onnx.TensorProto.EXTERNAL for t in tensors):
        raise ModelError(f"{where}: a model in memory cannot refer to external data; pass its path")
    for inner in tensors_of(skeleton.graph):
        attach(inner, folder, where)
    refuse_sparse_external(skeleton.graph, proto.graph.sparse_initializer, where)
    constants = {t.name: array(t, folder, where, contents) for t in tensors}
    constants |= {t.values.name: dense(t, where) for t in proto.graph.sparse_initializer}
    return Source(where, name or proto.graph.name or "model", skeleton, constants, contents)


def _parse(path: Path) -> onnx.ModelProto:
    data = read_bytes(path, "MODEL_MB")
    if not data:
        raise FileError(path, "is empty, not an ONNX model")
    proto = onnx.ModelProto()
    try:
        proto.ParseFromString(data)
    except Exception:  # protobuf's DecodeError, whose module differs between its implementations
        raise FileError(path, "is not an ONNX model (protobuf cannot parse it)") from None
    return proto


def _check_limits(proto: onnx.ModelProto, where: str) -> None:
    """Refuse more nodes or larger tensors than the limits allow, before anything is worked out or allocated."""
    nodes = [*proto.graph.node, *(node for function in proto.functions for node in function.node)]
    count = 0
    while nodes:
        node = nodes.pop()
        count += 1
        nodes += [inner for graph in subgraphs(node) for inner in graph.node]
    if count > limit("OPERATORS"):
        raise ModelError(f"{where}: has {count} nodes; {beyond('OPERATORS')}")
    stored = [(tensor.name, tensor.dims) for tensor in (*proto.graph.initializer, *tensors_of(proto.graph))]
    stored += [(tensor.values.name, tensor.dims) for tensor in proto.graph.sparse_initializer]
    for name, dims in stored:
        check_size(name, tuple(dims), where)


def _skeleton(proto: onnx.ModelProto) -> onnx.ModelProto:
    """The model without its initialisers, which become typed inputs: small enough to copy, check and rewrite."""
    skeleton = onnx.ModelProto()
    skeleton.ir_version = max(4, proto.ir_version)  # before 4 an initialiser had to be an input as well
    skeleton.opset_import.extend(proto.opset_import)
    skeleton.functions.extend(proto.functions)
    skeleton.metadata_props.extend(proto.metadata_props)
    graph, skeleton.graph.name = proto.graph, proto.graph.name or "graph"
    skeleton.graph.node.extend(_sorted(graph.node))
    skeleton.graph.output.extend(graph.output)
    constants = {t.name for t in graph.initializer} | {t.values.name for t in graph.sparse_initializer}
    skeleton.graph.input.extend(value for value in graph.input if value.name not in constants)
    skeleton.graph.input.extend(
        onnx.helper.make_tensor_value_info(t.name, t.data_type, list(t.dims)) for t in graph.initializer
    )
    skeleton.graph.input.extend(
        onnx.helper.make_tensor_value_info(t.values.name, t.values.data_type, list(t.dims))
        for t in graph.sparse_initializer
    )
    return skeleton


def _sorted(nodes: Sequence[onnx.NodeProto]) -> list[onnx.NodeProto]:
    """The nodes in a topological order, which is their own if that is one (ONNX Runtime does not insist)."""
    waiting = {value for node in nodes for value in node.output if value}
    ordered: list[onnx.NodeProto] = []
    rest = list(nodes)
    while rest:
        later = []
        for node in rest:
            if waiting.isdisjoint((*node.input, *captures(node))):
                waiting.difference_update(node.output)
                ordered.append(node)
            else:
                later.append(node)
        if len(later) == len(rest):  # a cycle: the checker says so
            return ordered + later
        rest = later
    return ordered


def _check(skeleton: onnx.ModelProto, where: str) -> None:
    """ONNX's own checker, less what ONNX Runtime does not ask for: types of outputs, and external data, which is
    checked when it is read."""
    checkable = onnx.ModelProto()
    checkable.CopyFrom(skeleton)
    for tensor in tensors_of(checkable.graph):
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            tensor.ClearField("data_location")
            tensor.ClearField("external_data")
            tensor.raw_data = b"\0"
    for value in (*checkable.graph.input, *checkable.graph.output):
        if not value.type.WhichOneof("value"):
            value.type.tensor_type.elem_type = onnx.TensorProto.FLOAT
        if value.type.HasField("tensor_type") and not value.type.tensor_type.HasField("shape"):
            value.type.tensor_type.shape.SetInParent()
    try:
        onnx.checker.check_model(checkable)
    except (onnx.checker.ValidationError, ValueError, TypeError) as error:
        raise ModelError(f"{where}: is not a valid ONNX model: {first_line(error)}") from None


def _inline(skeleton: onnx.ModelProto, where: str) -> onnx.ModelProto:
    """Replace calls of the model's own functions by their bodies."""
    if not skeleton.functions:
        return skeleton
    try:
        inlined: onnx.ModelProto = onnx.inliner.inline_local_functions(skeleton)
        return inlined
    except Exception as error:  # the inliner raises plain RuntimeErrors
        raise ModelError(f"{where}: the model's functions cannot be inlined: {first_line(error)}") from None


def _modernise(skeleton: onnx.ModelProto, proto: onnx.ModelProto, where: str) -> onnx.ModelProto:
    """Convert a model older than `MIN_OPSET`."""
    version = next((e.version for e in skeleton.opset_import if plain_domain(e.domain) == ""), MIN_OPSET)
    if version >= MIN_OPSET:
        return skeleton
    # The converter reads some initialisers (shapes, scales), and IR 3 wants them among the inputs: give it all.
    whole = onnx.ModelProto()
    whole.CopyFrom(skeleton)
    whole.graph.initializer.extend(proto.graph.initializer)
    try:
        converted = onnx.version_converter.convert_version(whole, MIN_OPSET)
    except Exception as error:  # the converter raises plain RuntimeErrors
        raise ModelError(
            f"{where}: uses operator set {version}, older than {MIN_OPSET}, and cannot be converted: "
            f"{first_line(error)}"
        ) from None
    result = onnx.ModelProto()
    result.CopyFrom(converted)
    del result.graph.initializer[:]
    return result
