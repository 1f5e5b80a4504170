"""Operators that move elements without computing on them, and resizing."""

from __future__ import annotations

from itertools import accumulate

import numpy as np

from codl.graph import Attribute
from codl.onnx_reader.network import Network, OnnxNode, Operator


def concat(network: Network, node: OnnxNode) -> list[Operator] | None:
    """Concat; empty tensors add nothing."""
    inputs = [value for value in node.inputs if not _empty(network, value)]
    if not all(network.is_float(value) for value in inputs):
        return None
    if len(inputs) == 1:
        return [_reshape(node, inputs[0])]
    axis = int(node.attribute("axis", 1)) % len(network.shape(node.outputs[0]))
    return [Operator(node.name, "concat", inputs, [node.outputs[0]], {"axis": axis})]


def _empty(network: Network, value: str) -> bool:
    tensor = network.tensor(value)
    return tensor is not None and tensor.size == 0


def pad(network: Network, node: OnnxNode) -> list[Operator] | None:
    """Pad that only adds; amounts are an attribute before operator set 11, constant inputs after."""
    x, mode = node.input(0), node.attribute("mode", "constant")
    if not network.is_variable(x) or mode not in ("constant", "reflect", "edge"):
        return None
    rank = len(network.shape(x))
    amounts, value = node.ints("pads"), float(node.attribute("value", 0.0))
    if node.input(1):
        given = network.constant(node.input(1))
        if given is None:
            return None
        amounts = tuple(int(amount) for amount in given.reshape(-1))
    if node.input(2):
        fill = network.constant(node.input(2))
        if fill is None:
            return None
        value = float(fill.item())
    axes: list[int] = list(range(rank))
    if node.input(3):
        chosen = network.constant(node.input(3))
        if chosen is None:
            return None
        axes = [int(axis) % rank for axis in chosen.reshape(-1)]
    begin, end = [0] * rank, [0] * rank
    for index, axis in enumerate(axes):
        begin[axis], end[axis] = amounts[index], amounts[index + len(axes)]
    if min((*begin, *end), default=0) < 0:
        return None
    attributes: dict[str, Attribute] = {"begin": tuple(begin), "end": tuple(end), "mode": mode, "value": value}
    return [Operator(node.name, "pad", [x], [node.outputs[0]], attributes)]


def resize(network: Network, node: OnnxNode) -> list[Operator] | None:
    """Resize (and Upsample) of feature maps along height and width."""
    x = node.input(0)
    if not network.is_variable(x) or len(network.shape(x)) != 4:
        return None
    scales = _scales(network, node)
    settings = _interpolation(node, scales) if scales is not None else None
    if scales is None or settings is None or scales[:2] != (1.0, 1.0):
        return None
    mode, coordinate, rounding = settings
    attributes: dict[str, Attribute] = {
        "mode": mode, "scales": scales, "coordinate": coordinate, "rounding": rounding,
    }  # fmt: skip
    return [Operator(node.name, "resize", [x], [node.outputs[0]], attributes)]


def _scales(network: Network, node: OnnxNode) -> tuple[float, ...] | None:
    """Scale by axis; where sizes are given, the quotient of the sizes."""
    shape, out = network.shape(node.input(0)), network.shape(node.outputs[0])
    if node.attribute("keep_aspect_ratio_policy", "stretch") != "stretch":
        return None
    index = 1 if node.type == "Upsample" or node.opset < 11 else 2
    given: tuple[float, ...] = tuple(float(scale) for scale in node.attribute("scales", ()))
    if node.input(index):
        array = network.constant(node.input(index))
        if array is None:
            return None
        given = tuple(float(scale) for scale in array.reshape(-1))
    if not given:
        return tuple(float(np.float32(b) / np.float32(a)) for a, b in zip(shape, out, strict=True))
    scales = [1.0] * len(shape)
    for axis, scale in zip(node.ints("axes", range(len(shape))), given, strict=True):
        scales[axis % len(shape)] = scale
    return tuple(scales)


def _interpolation(node: OnnxNode, scales: tuple[float, ...]) -> tuple[str, str, str] | None:
    """Mode, coordinate transformation and rounding; None for those that codl has no kernel for."""
    mode = {"nearest": "nearest", "linear": "linear", "bilinear": "linear"}.get(node.attribute("mode", "nearest"))
    if mode is None or node.attribute("antialias", 0) or node.attribute("exclude_outside", 0):
        return None
    if node.type == "Upsample" or node.opset < 11:
        # Resize-10 rounds down where it enlarges and up where it shrinks (ONNX Runtime's `simple` mode).
        if mode == "nearest" and min(scales) < 1 < max(scales):
            return None
        return mode, "asymmetric", "ceil" if min(scales) < 1 else "floor"
    coordinate = node.attribute("coordinate_transformation_mode", "half_pixel")
    if coordinate not in ("half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric"):
        return None
    return mode, coordinate, node.attribute("nearest_mode", "round_prefer_floor")


def reshape(network: Network, node: OnnxNode) -> list[Operator] | None:
    """Whatever keeps the elements in their logical order: the output's shape says it all."""
    return [_reshape(node, node.input(0))] if network.is_variable(node.input(0)) else None


def _reshape(node: OnnxNode, value: str) -> Operator:
    return Operator(node.name, "reshape", [value], [node.outputs[0]])


def expand(network: Network, node: OnnxNode) -> list[Operator] | None:
    """Expand: axes of one element repeat it."""
    if not network.is_variable(node.input(0)):
        return None
    shape, out = network.shape(node.input(0)), network.shape(node.outputs[0])
    shape = (*[1] * (len(out) - len(shape)), *shape)
    chosen = {axis: (0,) * size for axis, (extent, size) in enumerate(zip(shape, out, strict=True)) if extent != size}
    return _taken(network, node, shape, chosen)


def tile(network: Network, node: OnnxNode) -> list[Operator] | None:
    """Tile a constant number of times."""
    repeats = network.constant(node.input(1))
    if not network.is_variable(node.input(0)) or repeats is None:
        return None
    shape = network.shape(node.input(0))
    counts = [int(count) for count in repeats.reshape(-1)]
    chosen = {axis: tuple(range(shape[axis])) * count for axis, count in enumerate(counts) if count != 1}
    return _taken(network, node, shape, chosen)


def gather(network: Network, node: OnnxNode) -> list[Operator] | None:
    """Gather at constant places along an axis."""
    indices = network.constant(node.input(1))
    if not network.is_variable(node.input(0)) or indices is None or indices.ndim > 1:
        return None
    shape = network.shape(node.input(0))
    axis = int(node.attribute("axis", 0)) % len(shape)
    places = tuple(int(place) % shape[axis] for place in indices.reshape(-1))
    return _taken(network, node, shape, {axis: places})


def _taken(
    network: Network, node: OnnxNode, shape: tuple[int, ...], chosen: dict[int, tuple[int, ...]]
) -> list[Operator]:
    """Elements at listed places of some axes of the input, seen in a shape of its size; the result in the output's."""
    operators: list[Operator] = []
    value = node.input(0)

    def then(op: str, label: str, made: tuple[int, ...], attributes: dict[str, Attribute]) -> str:
        name = network.add_value(f"{node.name}.{label}", made)
        operators.append(Operator(network.names.fresh(f"{node.name}.{label}"), op, [value], [name], attributes))
        return name

    if shape != network.shape(value):
        value = then("reshape", "seen", shape, {})
    for axis, places in chosen.items():
        shape = (*shape[:axis], len(places), *shape[axis + 1 :])
        run = range(places[0], places[0] + len(places))
        if places == tuple(run):  # neighbours
            starts = tuple(run.start if k == axis else 0 for k in range(len(shape)))
            value = then("slice", f"axis{axis}", shape, {"starts": starts, "steps": (1,) * len(shape)})
        else:
            value = then("take", f"axis{axis}", shape, {"axis": axis, "indices": places})
    if not operators or shape != network.shape(node.outputs[0]):
        return [*operators, _reshape(node, value)]
    operators[-1].outputs = list(node.outputs[:1])
    return operators


def depth_to_space(network: Network, node: OnnxNode) -> list[Operator] | None:
    """DepthToSpace and SpaceToDepth: blocks of b x b pixels and their channels change places."""
    if not network.is_variable(node.input(0)):
        return None
    n, c, h, w = network.shape(node.input(0))
    b = int(node.attribute("blocksize"))
    if node.type == "SpaceToDepth":
        apart = (n, c, h // b, b, w // b, b)
        perm = (0, 3, 5, 1, 2, 4) if node.attribute("mode", "DCR") == "DCR" else (0, 1, 3, 5, 2, 4)
    elif node.attribute("mode", "DCR") == "DCR":
        apart, perm = (n, b, b, c // b**2, h, w), (0, 3, 4, 1, 5, 2)
    else:
        apart, perm = (n, c // b**2, b, b, h, w), (0, 1, 4, 2, 5, 3)
    names = [network.names.fresh(f"{node.name}.{label}") for label in ("apart", "moved")]
    values = [
        network.add_value(f"{node.name}.apart", apart),
        network.add_value(f"{node.name}.moved", tuple(apart[axis] for axis in perm)),
    ]
    return [
        Operator(names[0], "reshape", [node.input(0)], [values[0]]),
        Operator(names[1], "transpose", [values[0]], [values[1]], {"perm": perm}),
        _reshape(node, values[1]),
    ]


def transpose(network: Network, node: OnnxNode) -> list[Operator] | None:
    """Transpose; without `perm` it reverses the axes."""
    if not network.is_variable(node.input(0)):
        return None
    rank = len(network.shape(node.input(0)))
    perm = node.ints("perm") or tuple(reversed(range(rank)))
    if perm == tuple(range(rank)):
        return [_reshape(node, node.input(0))]
    return [Operator(node.name, "transpose", [node.input(0)], [node.outputs[0]], {"perm": perm})]


def slice_(network: Network, node: OnnxNode) -> list[Operator] | None:
    """Slice with constant numbers; they are attributes before operator set 10, inputs after. Steps backwards list the
    places."""
    if not network.is_variable(node.input(0)):
        return None
    shape = network.shape(node.input(0))
    settings: list[tuple[int, ...]] = []
    for index, name in ((1, "starts"), (2, "ends"), (3, "axes"), (4, "steps")):
        array = network.constant(node.input(index))
        if node.input(index) and array is None:
            return None
        settings.append(node.ints(name) if array is None else tuple(int(value) for value in array.reshape(-1)))
    begins, ends, axes, strides = settings
    axes = axes or tuple(range(len(begins)))
    strides = strides or (1,) * len(begins)
    ranges = {
        axis % len(shape): range(*slice(begin, end, stride).indices(shape[axis]))
        for begin, end, axis, stride in zip(begins, ends, axes, strides, strict=True)
    }
    if min(strides, default=1) < 1:
        return _taken(network, node, shape, {axis: tuple(places) for axis, places in ranges.items()})
    starts = [ranges[axis].start if axis in ranges else 0 for axis in range(len(shape))]
    steps = [ranges[axis].step if axis in ranges else 1 for axis in range(len(shape))]
    return [_slice(network, node.name, node.input(0), node.outputs[0], starts, steps)]


def split(network: Network, node: OnnxNode) -> list[Operator] | None:
    """Split: a slice for each output that is read."""
    if not network.is_variable(node.input(0)):
        return None
    shape = network.shape(node.input(0))
    axis = int(node.attribute("axis", 0)) % len(shape)
    sizes = _split_sizes(network, node, shape[axis])
    if sizes is None:
        return None
    operators = []
    for index, (value, begin) in enumerate(zip(node.outputs, accumulate(sizes, initial=0), strict=False)):
        if value:
            starts = [begin if i == axis else 0 for i in range(len(shape))]
            name = network.names.fresh(f"{node.name}.{index}")
            operators.append(_slice(network, name, node.input(0), value, starts, [1] * len(shape)))
    return operators


def _split_sizes(network: Network, node: OnnxNode, extent: int) -> tuple[int, ...] | None:
    if node.input(1):
        given = network.constant(node.input(1))
        return None if given is None else tuple(int(size) for size in given.reshape(-1))
    if node.ints("split"):
        return node.ints("split")
    part = -(-extent // len(node.proto.output))  # equal parts; from operator set 18 on, the last may be smaller
    return tuple(min(part, extent - index * part) for index in range(len(node.proto.output)))


def _slice(network: Network, name: str, value: str, out: str, starts: list[int], steps: list[int]) -> Operator:
    if network.shape(value) == network.shape(out):
        return Operator(name, "reshape", [value], [out])
    return Operator(name, "slice", [value], [out], {"starts": tuple(starts), "steps": tuple(steps)})


RULES = {
    "Concat": concat,
    "Pad": pad,
    "Resize": resize,
    "Upsample": resize,
    "Flatten": reshape,
    "Reshape": reshape,
    "Squeeze": reshape,
    "Unsqueeze": reshape,
    "Identity": reshape,
    "Cast": reshape,
    "Expand": expand,
    "Tile": tile,
    "Gather": gather,
    "DepthToSpace": depth_to_space,
    "SpaceToDepth": depth_to_space,
    "Transpose": transpose,
    "Slice": slice_,
    "Split": split,
}
