"""Element-wise operators and concatenations from images to an image (`cl/image_map.cl`)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from codl.graph import Activation, Graph, Node
from codl.ops import activation
from codl.ops.image.layout import CHANNELS, Layout, launch, pack, per_texel, start_of, takes
from codl.ops.launch import Argument, Constant, Input, KernelProgram, KernelRequest, Launch, Output
from codl.ops.packing import LazyConstants
from codl.ops.strided import BINARY_CODES
from codl.region import Region


@dataclass(frozen=True, slots=True)
class _Operand:
    """A source: an image, or a constant in a buffer with `pitch` texels a row; `steps` are 0 along the axes (n, block,
    row, column) that it is broadcast along, and `spread` says that the channels are."""

    argument: Argument
    place: tuple[int, int, int, int]
    pitch: int = 0
    steps: tuple[int, ...] = (1, 1, 1, 1)
    spread: bool = False

    @property
    def defines(self) -> tuple[int, int]:
        return int(not self.pitch), int(self.spread)

    @property
    def arguments(self) -> tuple[int, ...]:
        return (*self.place, self.pitch, *self.steps)


def takes_elementwise(graph: Graph, node: Node) -> bool:
    """Whether there is a kernel on images: feature maps, and constants of up to four axes."""
    constants = [graph.tensor(value) for value in node.inputs if value in graph.weights]
    return takes(graph, node) and all(len(tensor.shape) <= 4 and tensor.dtype == "float32" for tensor in constants)


def elementwise(request: KernelRequest, kind: str = "", tail: Activation | None = None) -> KernelProgram:
    """`tail(a)` or, with a binary `kind`, `tail(a kind b)` of a node's inputs, which broadcast as in numpy."""
    graph, node = request.graph, request.node
    variable = {position: index for index, (position, _) in enumerate(graph.variable_inputs(node))}
    operands = []
    for position, value in enumerate(node.inputs):
        shape = graph.tensor(value).shape
        shape = (1,) * (4 - len(shape)) + shape
        broadcast = tuple(int(mine > 1 or wanted == 1) for mine, wanted in zip(shape, _shape(request), strict=True))
        spread = not broadcast[1]
        if position in variable:
            layout = Layout.of(request.inputs[variable[position]].region)
            operands.append(_Operand(Input(variable[position]), layout.place, 0, broadcast, spread))
        else:
            layout = Layout(Region.full(shape))
            operands.append(_Operand(Constant(_key(value)), layout.place, max(1, layout.width), broadcast, spread))
    names = [value for position, value in enumerate(node.inputs) if position not in variable]
    constants = LazyConstants({_key(value): _packer(graph, value) for value in dict.fromkeys(names)})
    return KernelProgram((_map(request, request.out, operands, kind, tail),), constants)


def takes_concat(graph: Graph, node: Node) -> bool:
    """Whether there is a kernel on images: of variable inputs, each of which begins with a whole texel."""
    if not takes(graph, node) or len(tuple(graph.variable_inputs(node))) != len(node.inputs):
        return False
    channels = [graph.tensor(value).shape[1] for value in node.inputs[:-1]]
    return node.attributes["axis"] != 1 or not any(count % CHANNELS for count in channels)


def concat(request: KernelRequest, pieces: Sequence[Region], starts: Sequence[int]) -> KernelProgram:
    """The inputs one after another.

    Args:
        pieces: what is read of each input.
        starts: where each begins along the node's axis of the output.
    """
    axis = request.node.integer("axis")
    launches = []
    for index, (piece, start) in enumerate(zip(pieces, starts, strict=True)):
        if piece.empty:
            continue
        layout = Layout.of(request.inputs[index].region)
        x, y, columns, rows = layout.place
        x -= {1: start // CHANNELS * columns, 3: start}.get(axis, 0)
        y -= {0: start * rows, 2: start}.get(axis, 0)
        low, high = piece.ranges[axis]
        box = piece.along(axis, start + low, start + high)
        launches.append(_map(request, box, [_Operand(Input(index), (x, y, columns, rows))], "", None))
    return KernelProgram(tuple(launches))


def _map(
    request: KernelRequest, box: Region, operands: Sequence[_Operand], kind: str, tail: Activation | None
) -> Launch:
    images = {f"{name}_IMAGE": operand.defines[0] for name, operand in zip("AB", operands, strict=False)}
    spread = {f"{name}_SPREAD": operand.defines[1] for name, operand in zip("AB", operands, strict=False)}
    defines = (("BINARY", BINARY_CODES[kind]), activation.define(tail), *images.items(), *spread.items())
    arguments = (
        Output(), *(operand.argument for operand in operands), *Layout.of(request.output.region).place,
        *start_of(box), box.shape[2], box.ranges[1][1], *(number for o in operands for number in o.arguments),
        *activation.parameters(tail),
    )  # fmt: skip
    return launch("image_map", defines, arguments, per_texel(box))


def _shape(request: KernelRequest) -> tuple[int, ...]:
    return request.graph.tensor(request.node.output).shape


def _key(value: str) -> str:
    return f"{value}/image"


def _packer(graph: Graph, value: str) -> Callable[[], np.ndarray]:
    def texels() -> np.ndarray:
        array = graph.constants[value]
        return pack(array.reshape((1,) * (4 - array.ndim) + array.shape))

    return texels
