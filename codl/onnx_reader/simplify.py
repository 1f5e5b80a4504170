"""Fewer operators, same function: pads, scales, offsets, activations and residuals join the operator beside them.

Every rule needs the value between the two operators to be read by nobody else and to be no output of the graph.
"""

from __future__ import annotations

import numpy as np

from codl.graph import Activation
from codl.onnx_reader.network import Network, Operator, rename
from codl.onnx_reader.patterns import recognise
from codl.onnx_reader.reordering import merge_moves
from codl.onnx_reader.uses import drop_dead, makers, readers, remove
from codl.ops import residual
from codl.ops.activation import TAILS

FUSES_ACTIVATION = frozenset(("conv", "conv_transpose", "gemm", "binary"))
_WEIGHTED = frozenset(("conv", "conv_transpose", "gemm"))


def simplify(network: Network) -> None:
    """Apply all rules, in an order in which each finds what the one before it leaves."""
    drop_dead(network)
    recognise(network)
    merge_moves(network)
    _drop_copies(network)
    _merge_pads(network)
    _fold_constants(network)
    _fuse_activations(network)
    _fuse_residuals(network)
    drop_dead(network)


def _drop_copies(network: Network) -> None:
    """Remove reshapes that change nothing. A graph output keeps its name: then the copied value takes that name."""
    names: dict[str, str] = {}
    gone: set[int] = set()
    made = makers(network)
    for operator in network.operators:
        _rename(operator, names)
        if operator.op != "reshape" or network.shape(operator.inputs[0]) != network.shape(operator.output):
            continue
        source, target = operator.inputs[0], operator.output
        if target not in network.outputs:
            names[target] = source
        elif source in made and source not in network.outputs:
            for earlier in network.operators:  # others may read the old name already
                if id(earlier) not in gone:
                    _rename(earlier, {source: target})
            made[target] = made[source]
            names[source] = target
            names = {old: names.get(new, new) for old, new in names.items()}
        else:
            continue
        gone.add(id(operator))
    remove(network, gone)


def _rename(operator: Operator, names: dict[str, str]) -> None:
    if any(value in names for value in (*operator.inputs, *operator.outputs)):
        operator.inputs = [names.get(value, value) for value in operator.inputs]
        operator.outputs = [names.get(value, value) for value in operator.outputs]
        for proto in operator.protos:
            rename(proto, names)


def _merge_pads(network: Network) -> None:
    """Zeros that a Pad adds around a convolution's image become the convolution's own."""
    reads, made = readers(network), makers(network)
    gone: set[int] = set()
    for operator in network.operators:
        before = made.get(operator.inputs[0]) if operator.inputs else None
        if operator.op != "conv" or before is None or before.op != "pad" or reads[before.output] != 1:
            continue
        begin, end = before.attributes["begin"], before.attributes["end"]
        assert isinstance(begin, tuple) and isinstance(end, tuple)
        zeros = before.attributes["mode"] == "constant" and before.attributes["value"] == 0
        if zeros and not any((*begin[:2], *end[:2])):
            pads = operator.attributes["pads"]
            assert isinstance(pads, tuple)
            added = (*begin[2:], *end[2:])
            operator.attributes["pads"] = tuple(int(a) + int(b) for a, b in zip(pads, added, strict=True))
            operator.inputs[0] = before.inputs[0]
            gone.add(id(before))
    remove(network, gone)


def _fold_constants(network: Network) -> None:
    """Scale or shift by channel after a convolution or matrix product goes into its weights and bias."""
    reads, made = readers(network), makers(network)
    gone: set[int] = set()
    for operator in network.operators:
        if operator.op != "binary" or operator.activation is not None:
            continue
        kind = str(operator.attributes["kind"])
        for index in (0, 1):
            before, constant = made.get(operator.inputs[index]), network.constant(operator.inputs[1 - index])
            if before is None or constant is None or before.op not in _WEIGHTED or reads[before.output] != 1:
                continue
            if network.shape(before.output) != network.shape(operator.output):
                continue
            vector = _by_channel(constant, before.op, network.shape(before.output))
            factor, offset = _affine(kind, index, vector) if vector is not None else (None, None)
            if factor is None or offset is None:
                continue
            _scale(network, before, factor, offset)
            before.outputs = list(operator.outputs)
            made[before.output] = before
            gone.add(id(operator))
            break
    remove(network, gone)


def _by_channel(constant: np.ndarray, op: str, shape: tuple[int, ...]) -> np.ndarray | None:
    """The constant as one number an output channel (float64), None if it varies along another axis."""
    axis = len(shape) - 1 if op == "gemm" else 1
    full = (1,) * (len(shape) - constant.ndim) + constant.shape
    if len(full) != len(shape) or any(size != 1 for i, size in enumerate(full) if i != axis):
        return None
    return np.broadcast_to(constant.reshape(-1).astype(np.float64), (shape[axis],))


def _affine(kind: str, index: int, vector: np.ndarray) -> tuple[np.ndarray, np.ndarray] | tuple[None, None]:
    """Factor and offset of `y = x * factor + offset`; x is operand `index` of the operation."""
    one, zero = np.ones_like(vector), np.zeros_like(vector)
    match kind, index:
        case "add", _:
            return one, vector
        case "sub", 0:
            return one, -vector
        case "sub", 1:
            return -one, vector
        case "mul", _:
            return vector, zero
        case "div", 0 if np.all(vector != 0):
            return 1 / vector, zero
    return None, None


def _scale(network: Network, operator: Operator, factor: np.ndarray, offset: np.ndarray) -> None:
    """Put `* factor + offset` into an operator's constants. They are copied: others may share them."""
    weight = network.constants[operator.inputs[1]]
    if np.any(factor != 1):
        by_output = factor.astype(np.float32)
        if operator.op == "conv":
            scaled = weight * by_output.reshape(-1, 1, 1, 1)
        elif operator.op == "gemm":
            scaled = weight * by_output
        else:  # conv_transpose: (IC, OC/g, kh, kw), and group g of the inputs makes group g of the outputs
            group = int(operator.attributes["group"])  # type: ignore[arg-type]  # lowering made it an integer
            parts = weight.reshape(group, -1, *weight.shape[1:]) * by_output.reshape(group, 1, -1, 1, 1)
            scaled = parts.reshape(weight.shape)
        operator.inputs[1] = network.add_constant(f"{operator.name}.weight", scaled)
    has_bias = len(operator.inputs) > 2
    bias = network.constants[operator.inputs[2]].astype(np.float64) * factor if has_bias else 0.0
    total = np.asarray(bias + offset, np.float32)
    if has_bias or np.any(total != 0):
        operator.inputs[2:] = [network.add_constant(f"{operator.name}.bias", total)]


def _fuse_activations(network: Network) -> None:
    """An element-wise tail joins the operator that makes its input."""
    reads, made = readers(network), makers(network)
    gone: set[int] = set()
    for operator in network.operators:
        if operator.op != "unary":
            continue
        before = made.get(operator.inputs[0])
        if before is None or before.op not in FUSES_ACTIVATION or before.activation or reads[before.output] != 1:
            continue
        if before.op in _WEIGHTED and operator.attributes["kind"] not in TAILS:
            continue
        params = operator.attributes["params"]
        assert isinstance(params, tuple)
        before.activation = Activation(str(operator.attributes["kind"]), tuple(float(value) for value in params))
        before.outputs = list(operator.outputs)
        made[before.output] = before
        gone.add(id(operator))
    remove(network, gone)


def _fuse_residuals(network: Network) -> None:
    """Adding another value to a convolution's output joins the convolution, which then runs where the addition stood.

    Of two convolutions that are added, the later one takes the other's output in.
    """
    reads, made = readers(network), makers(network)
    place = {id(operator): index for index, operator in enumerate(network.operators)}
    fused: dict[int, Operator] = {}  # by the addition's id()
    for operator in network.operators:
        if operator.op != "binary" or operator.attributes["kind"] != "add":
            continue
        pairs = [(made.get(operator.inputs[i]), operator.inputs[1 - i]) for i in (0, 1)]
        able = [(before, other) for before, other in pairs if before and reads[before.output] == 1
                and _takes_residual(network, before, other, operator)]  # fmt: skip
        if not able:
            continue
        conv, other = max(able, key=lambda pair: place[id(pair[0])])
        conv.inputs = [*conv.inputs, *[""] * (residual.POSITION - len(conv.inputs)), other]
        conv.attributes["residual"] = residual.AFTER if conv.activation else residual.BEFORE
        conv.activation = conv.activation or operator.activation
        conv.outputs = list(operator.outputs)
        made[conv.output] = conv
        fused[id(operator)], place[id(conv)] = conv, place[id(operator)]
    moved = {id(conv) for conv in fused.values()}
    network.operators = [fused.get(id(o), o) for o in network.operators if id(o) not in moved]


def _takes_residual(network: Network, conv: Operator, other: str, add: Operator) -> bool:
    """Whether a convolution can add a value to its output: not a depthwise one, whose kernel has no such ending."""
    if conv.op != "conv" or "residual" in conv.attributes or not network.is_variable(other):
        return False
    if network.shape(other) != network.shape(conv.output) or network.constants[conv.inputs[1]].shape[1] == 1:
        return False
    return add.activation is None or (conv.activation is None and add.activation.kind in TAILS)
