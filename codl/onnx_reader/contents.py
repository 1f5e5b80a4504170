"""Contents of tensors: inside the model file, beside it (external data), or sparse; sizes are checked first."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper

from codl.errors import CodlError, FileError, ModelError, first_line
from codl.limits import beyond, limit
from codl.onnx_reader.nested import subgraphs


def check_size(name: str, shape: tuple[int, ...], where: str) -> None:
    """Raise `ModelError` for a tensor beyond the limit, or of a negative size."""
    if shape and min(shape) < 0:
        raise ModelError(f"{where}: tensor {name!r} has the negative size {min(shape)}")
    if prod(shape) > limit("TENSOR_ELEMENTS"):
        raise ModelError(f"{where}: tensor {name!r} has {prod(shape)} elements; {beyond('TENSOR_ELEMENTS')}")


def attach(tensor: onnx.TensorProto, folder: Path | None, where: str) -> None:
    """Put external data into the tensor itself."""
    if tensor.data_location == onnx.TensorProto.EXTERNAL:
        data = _external(tensor, folder, where)
        tensor.ClearField("data_location")
        tensor.ClearField("external_data")
        tensor.raw_data = data


def refuse_sparse_external(graph: onnx.GraphProto, sparse: Sequence[onnx.SparseTensorProto], where: str) -> None:
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


def array(tensor: onnx.TensorProto, folder: Path | None, where: str, contents: bool) -> np.ndarray:
    """An initialiser's elements; without `contents`, zeros in place of float32 data that lies elsewhere.

    Raises:
        ModelError, FileError: they are broken, or missing.
    """
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


def dense(tensor: onnx.SparseTensorProto, where: str) -> np.ndarray:
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
