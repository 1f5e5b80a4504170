"""Opening an ONNX model: every way in which a file can be wrong becomes one clear error."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path

import numpy as np
import onnx
import onnx.inliner
import onnx.version_converter
from onnx import numpy_helper

from codl.errors import CodlError, FileError, ModelError, first_line
from codl.io import read_bytes
from codl.limits import beyond, limit

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
    for inner in _tensors_of(skeleton.graph):
        _attach(inner, folder, where)
    _refuse_sparse_external(skeleton.graph, proto.graph.sparse_initializer, where)
    constants = {t.name: _array(t, folder, where, contents) for t in tensors}
    constants |= {t.values.name: _dense(t, where) for t in proto.graph.sparse_initializer}
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
    stored = [(tensor.name, tensor.dims) for tensor in (*proto.graph.initializer, *_tensors_of(proto.graph))]
    stored += [(tensor.values.name, tensor.dims) for tensor in proto.graph.sparse_initializer]
    for name, dims in stored:
        check_size(name, tuple(dims), where)


def check_size(name: str, shape: tuple[int, ...], where: str) -> None:
    """Raise `ModelError` for a tensor beyond the limit, or of a negative size."""
    if shape and min(shape) < 0:
        raise ModelError(f"{where}: tensor {name!r} has the negative size {min(shape)}")
    if prod(shape) > limit("TENSOR_ELEMENTS"):
        raise ModelError(f"{where}: tensor {name!r} has {prod(shape)} elements; {beyond('TENSOR_ELEMENTS')}")


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
    for tensor in _tensors_of(checkable.graph):
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


def _tensors_of(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    """Tensors inside a graph's nodes: attributes, and all of its subgraphs."""
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
            yield from attribute.tensors
        for subgraph in subgraphs(node):
            yield from subgraph.initializer
            yield from _tensors_of(subgraph)


def _attach(tensor: onnx.TensorProto, folder: Path | None, where: str) -> None:
    """Put external data into the tensor itself."""
    if tensor.data_location == onnx.TensorProto.EXTERNAL:
        data = _external(tensor, folder, where)
        tensor.ClearField("data_location")
        tensor.ClearField("external_data")
        tensor.raw_data = data


def _refuse_sparse_external(graph: onnx.GraphProto, sparse: Sequence[onnx.SparseTensorProto], where: str) -> None:
    """ONNX would look for the external data of a sparse tensor in the current folder."""
    found = list(sparse)
    graphs = [graph]
    while graphs:
        for node in graphs.pop().node:
            for attribute in node.attribute:
                found += [attribute.sparse_tensor, *attribute.sparse_tensors]
            graphs += subgraphs(node)
            found += [tensor for inner in subgraphs(node) for tensor in inner.sparse_initializer]
    for tensor in found:
        if onnx.TensorProto.EXTERNAL in (tensor.values.data_location, tensor.indices.data_location):
            raise ModelError(f"{where}: sparse tensor {tensor.values.name!r} has external data, which is not supported")


def _external(tensor: onnx.TensorProto, folder: Path | None, where: str) -> bytes:
    entries = {entry.key: entry.value for entry in tensor.external_data}
    location = entries.get("location", "")
    if folder is None:
        raise ModelError(f"{where}: a model in memory cannot refer to external data; pass its path")
    home, path = folder.resolve(), (folder / location).resolve()
    if not location or not path.is_relative_to(home):
        raise FileError(where, f"tensor {tensor.name!r} keeps its data in {location!r}, outside the model's folder")
    try:
        offset, length = int(entries.get("offset", 0)), int(entries.get("length", -1))
        if path.exists() and not path.is_file():
            raise FileError(where, f"tensor {tensor.name!r}: {location} is not a file")
        size = path.stat().st_size
        if (length if length >= 0 else size - offset) > limit("MODEL_MB") * 1e6:
            raise FileError(where, f"tensor {tensor.name!r}: {location} is too large; {beyond('MODEL_MB')}")
        if offset < 0 or offset + max(length, 0) > size:
            raise FileError(where, f"tensor {tensor.name!r}: {location} ends before its data (has {size} bytes)")
        with path.open("rb") as file:
            file.seek(offset)
            data: bytes = file.read(length) if length >= 0 else file.read()
            return data
    except ValueError:
        problem = f"tensor {tensor.name!r}: offset and length of its external data are no numbers"
        raise FileError(where, problem) from None
    except OSError as error:
        raise FileError(where, f"tensor {tensor.name!r}: external data {location}: {error.strerror}") from None


def _array(tensor: onnx.TensorProto, folder: Path | None, where: str, contents: bool) -> np.ndarray:
    if not contents and not tensor.raw_data and tensor.data_type == onnx.TensorProto.FLOAT and not tensor.float_data:
        return np.broadcast_to(np.float32(0), tuple(tensor.dims))
    if tensor.data_location == onnx.TensorProto.EXTERNAL:
        loaded = onnx.TensorProto(name=tensor.name, data_type=tensor.data_type, dims=tensor.dims)
        loaded.raw_data = _external(tensor, folder, where)
        tensor = loaded
    try:
        return numpy_helper.to_array(tensor)
    except CodlError:
        raise
    except Exception as error:  # wrong sizes raise ValueError, unknown types KeyError, bad text UnicodeError
        problem = f"the contents of initialiser {tensor.name!r} are broken: {first_line(error)}"
        raise ModelError(f"{where}: {problem}") from None


def _dense(tensor: onnx.SparseTensorProto, where: str) -> np.ndarray:
    """A sparse initialiser as an ordinary array."""
    try:
        check_size(tensor.values.name, tuple(tensor.dims), where)
        values = numpy_helper.to_array(tensor.values)
        indices = numpy_helper.to_array(tensor.indices)
        dense = np.zeros(tuple(tensor.dims), values.dtype)
        if indices.ndim == 1:
            dense.reshape(-1)[indices] = values
        else:
            dense[tuple(indices.T)] = values
        return dense
    except (ValueError, IndexError) as error:
        raise ModelError(f"{where}: sparse initialiser {tensor.values.name!r} is broken: {first_line(error)}") from None


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
