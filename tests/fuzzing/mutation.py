"""Mutations of documents: values of a YAML or JSON tree, bytes of any file, fields of an ONNX model."""

from __future__ import annotations

import copy
import random
from typing import Any

import onnx

NASTY: tuple[Any, ...] = (
    None, True, 0, -1, 1, 2**31, 2**63, 2**64, 10**30, 0.0, -0.5, 1e300, float("1e-320"), "", "x", "\0", "nan", "inf",
    "9**9**9 s", "0 Hz", "-1 s", "1e308 GHz", "1e-300 s", "99999999999 B/s", [], {}, [[]], [None], {"": None},
    "../../etc/passwd", "/dev/zero", "é\u202e", "a" * 5000, "{{7*7}}", "!!python/object", "=1+1", "*", "~",
    "gpu", "cpu", "host", "height",
)  # fmt: skip


def mutated_values(document: Any, rng: random.Random) -> Any:
    """The document with some values replaced, dropped, doubled, renamed or moved."""
    document = copy.deepcopy(document)
    for _ in range(rng.choice((0, 1, 1, 1, 2, 4))):
        places = list(_places(document))
        if not places:
            return rng.choice(NASTY)
        holder, key = rng.choice(places)
        match rng.randrange(6):
            case 0:
                del holder[key]
            case 1 if isinstance(holder, dict):
                holder[rng.choice(("", "x", "schema", "name", "gpu", "\0"))] = holder[key]
            case 1 | 2:
                other, name = rng.choice(places)
                holder[key] = copy.deepcopy(other[name]) if name in other or isinstance(other, list) else None
            case 3 if isinstance(holder[key], (int, float)) and not isinstance(holder[key], bool):
                holder[key] = holder[key] * rng.choice((-1, 0, 2, 1e3, 1e9, 1e-9, 10**20))
            case _:
                holder[key] = rng.choice(NASTY)
    return document


def _places(document: Any) -> Any:
    stack = [document]
    while stack:
        holder = stack.pop()
        items = holder.items() if isinstance(holder, dict) else enumerate(holder) if isinstance(holder, list) else ()
        for key, value in list(items):
            yield holder, key
            stack.append(value)


TOKENS = (
    b"\0", b"\xff\xfe", b"\n", b"\r", b",", b'"', b"'", b":", b"- ", b"[", b"{", b"&a ", b"*a", b"<<: ",
    b"!!python/object:os.system ", b"|", b">", b"---\n", b"...\n", b"\t", b"1e999", b"NaN", b"-Infinity",
    b"9" * 5000, b"[" * 500, b"{a: " * 300,
    b"2020-02-30",
    b"!!binary x", b"!!set {a}", b"? ", b"%YAML 9.9\n", b"0x" + b"f" * 40, b"\xc3\x28", b"-", b".", b"e5",
)  # fmt: skip


def mutated_bytes(data: bytes, rng: random.Random) -> bytes:
    """The bytes with some flipped, cut out, doubled, or with nasty ones put in."""
    out = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 4, 16))):
        at = rng.randrange(len(out) + 1)
        match rng.randrange(6):
            case 0:
                out[at : at + 1] = bytes([rng.randrange(256)])
            case 1:
                del out[at : at + rng.choice((1, 2, 8, 64))]
            case 2:
                out[at:at] = out[at : at + rng.choice((1, 8, 64))]
            case 3:
                del out[at:]
            case 4 if at < len(out):
                out[at] ^= 1 << rng.randrange(8)
            case _:
                out[at:at] = rng.choice(TOKENS)
        if not out:
            break
    return bytes(out)


def mutated_model(model: onnx.ModelProto, rng: random.Random) -> bytes:
    """A model with a changed field somewhere inside, or with changed bytes."""
    if rng.random() < 0.4:
        return mutated_bytes(model.SerializeToString(), rng)
    for _ in range(rng.choice((1, 1, 2, 3))):
        messages = list(_messages(model))
        message, field, repeated = rng.choice(messages)
        _change(message, field, repeated, rng)
    data: bytes = model.SerializeToString()
    return data


def _messages(message: Any) -> Any:
    for field, value in message.ListFields():
        repeated = (
            isinstance(value, (str, bytes)) is False and hasattr(value, "__len__") and not hasattr(value, "ListFields")
        )
        yield message, field, repeated
        if field.message_type is not None:
            for inner in value if repeated else (value,):
                yield from _messages(inner)


def _change(message: Any, field: Any, repeated: bool, rng: random.Random) -> None:
    value = getattr(message, field.name)
    numbers = (0, -1, 1, 2, 7, 2**31 - 1, -(2**31), 2**62, -(2**62), 1_000_000)
    try:
        if rng.random() < 0.25:
            message.ClearField(field.name)
        elif repeated and len(value) > 1 and rng.random() < 0.5:
            del value[rng.randrange(len(value))]
        elif field.message_type is not None:
            if repeated and len(value):
                value.append(value[rng.randrange(len(value))])
        elif repeated:
            value[rng.randrange(len(value))] = rng.choice(("", "conv", "w", "image", *numbers))
        elif isinstance(value, str):
            setattr(
                message, field.name, rng.choice(("", "conv", "w", "image", "Conv", "Loop", "Resize", "../x", "é" * 90))
            )
        elif isinstance(value, bytes):
            setattr(message, field.name, mutated_bytes(value, rng))
        else:
            setattr(message, field.name, rng.choice(numbers))
    except (TypeError, ValueError, IndexError):  # a value of another type than the field's: this case changes nothing
        pass
