"""A single-node ONNX model as bytes, for timing the fallback without the onnx package.

Protocol buffers, as far as one node with one input and one output of a fixed float32 shape needs them (onnx.proto).
"""

from __future__ import annotations

from collections.abc import Iterable

_FLOAT = 1  # TensorProto.DataType
_IR_VERSION, _OPSET = 8, 13


def single_node_model(op_type: str, source: str, target: str, shape: Iterable[int]) -> bytes:
    """The model `target = op_type(source)`, both of this shape."""
    tensor = _number(1, _FLOAT) + _field(2, b"".join(_field(1, _number(1, extent)) for extent in shape))

    def value(name: str) -> bytes:
        return _field(1, name.encode()) + _field(2, _field(1, tensor))

    node = _field(1, source.encode()) + _field(2, target.encode()) + _field(4, op_type.encode())
    graph = _field(1, node) + _field(2, b"probe") + _field(11, value(source)) + _field(12, value(target))
    return _number(1, _IR_VERSION) + _field(7, graph) + _field(8, _number(2, _OPSET))


def _field(number: int, payload: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(payload)) + payload


def _number(number: int, value: int) -> bytes:
    return _varint(number << 3) + _varint(value)


def _varint(value: int) -> bytes:
    digits = bytearray()
    while value > 0x7F:
        digits.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes((*digits, value))
