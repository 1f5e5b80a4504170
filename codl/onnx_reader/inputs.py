"""Concrete shapes of the graph's inputs."""

from __future__ import annotations

from collections.abc import Mapping

import onnx

from codl.errors import ModelError
from codl.onnx_reader.contents import check_size
from codl.onnx_reader.source import Source


def concrete_inputs(source: Source, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, onnx.TypeProto]:
    """The type of every input that a caller gives, with the sizes of `shapes` filled in.

    Raises:
        ModelError: an input has a symbolic size and no shape is given, or a given shape contradicts the model.
    """
    free = [value for value in source.proto.graph.input if value.name not in source.constants]
    names = [value.name for value in free]
    for name in shapes:
        if name in source.constants:
            raise ModelError(f"{source.where}: {name!r} is a constant of the model, its shape cannot be chosen")
        if name not in names:
            raise ModelError(f"{source.where}: no input is called {name!r}; inputs: {', '.join(names) or 'none'}")
    return {value.name: _concrete(source.where, value, shapes.get(value.name)) for value in free}


def _concrete(where: str, value: onnx.ValueInfoProto, given: tuple[int, ...] | None) -> onnx.TypeProto:
    if value.type.WhichOneof("value") != "tensor_type" or value.type.tensor_type.elem_type == onnx.TensorProto.STRING:
        kind = (value.type.WhichOneof("value") or "untyped").removesuffix("_type")
        kind = "text" if kind == "tensor" else kind
        raise ModelError(f"{where}: input {value.name!r} is a {kind} value; only tensors of numbers can be inputs")
    tensor = value.type.tensor_type
    known = [_size(d) for d in tensor.shape.dim] if tensor.HasField("shape") else None
    text = "unknown" if known is None else "x".join(str(size) for size in known) or "scalar"
    if given is None:
        if known is None or any(isinstance(size, str) for size in known):
            raise ModelError(
                f"{where}: input {value.name!r} has the symbolic shape {text}; "
                f"give its sizes with --shape {value.name}={_example(known)}"
            )
        sizes = tuple(int(size) for size in known)
    else:
        sizes = tuple(given)
        wrong = f"{where}: shape {'x'.join(map(str, sizes))} given for input {value.name!r}"
        if any(size < 1 for size in sizes):
            raise ModelError(f"{wrong} must have sizes of at least 1")
        if known is not None and len(known) != len(sizes):
            raise ModelError(f"{wrong} has {len(sizes)} axes, the model's has {len(known)} ({text})")
        for axis, (size, fixed) in enumerate(zip(sizes, known or sizes, strict=True)):
            if isinstance(fixed, int) and fixed != size:
                raise ModelError(f"{wrong} contradicts the model's {text} (axis {axis} is {fixed})")
        _same_symbol_same_size(wrong, known or [], sizes)
    check_size(value.name, sizes, where)
    return onnx.helper.make_tensor_type_proto(tensor.elem_type, sizes)


def _size(dim: onnx.TensorShapeProto.Dimension) -> int | str:
    if dim.HasField("dim_value") and dim.dim_value >= 0:
        return int(dim.dim_value)
    return dim.dim_param or "?"


def _same_symbol_same_size(wrong: str, known: list[int | str], sizes: tuple[int, ...]) -> None:
    chosen: dict[str, int] = {}
    for symbol, size in zip(known, sizes, strict=False):
        if isinstance(symbol, str) and symbol != "?" and chosen.setdefault(symbol, size) != size:
            raise ModelError(f"{wrong} gives {symbol} two sizes, {chosen[symbol]} and {size}")


def _example(known: list[int | str] | None) -> str:
    """A shape for the message: batch 1, images of 640x640, and whatever the model fixes."""
    if known is None:
        return "1x3x640x640"
    guess = [1] + [640 if len(known) == 4 and axis >= 2 else 3 if axis == 1 else 64 for axis in range(1, len(known))]
    return "x".join(str(guess[axis] if isinstance(size, str) else size) for axis, size in enumerate(known))
