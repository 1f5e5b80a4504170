"""Matrix products of which neither factor needs to be constant, such as those of attention: `cl/matmul.cl`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod

from codl.graph import Graph, Node
from codl.ops.geometry import feature_map_dimensions
from codl.ops.launch import DeviceTraits, KernelProgram, KernelRequest, Launch, Scratch
from codl.ops.spec import Dimension, OpSpec, Work
from codl.ops.strided import Loop, Operand, constants, elementwise, operand_view, output_operand, simd_lanes
from codl.ops.window import FLOAT, ceil_div
from codl.region import Region

TILE_ROWS = 6
"""Rows of a CPU work-item's tile: with two vectors of columns 12 sums, and 3 more registers of AVX2's 16."""
BATCH_AXES = 2
"""Axes of the batch that one launch loops over."""


class MatMul(OpSpec):
    """a (..., M, K) times b (..., K, N), leading axes broadcast as in numpy; either may be constant. The output can be
    cut by its rows, its columns and, if it has rank 4, its second axis (the heads)."""

    family = "matmul"

    def dimensions(self, graph: Graph, node: Node) -> Mapping[Dimension, int]:
        shape = graph.tensor(node.output).shape
        if len(shape) == 4:
            return feature_map_dimensions(shape)
        return {Dimension.OUTPUT_CHANNEL: len(shape) - 1} if shape[-1] > 1 else {}

    def input_regions(self, graph: Graph, node: Node, out: Region) -> tuple[Region, ...]:
        boxes = _boxes(graph, node, out)
        return tuple(boxes[position] for position, _ in graph.variable_inputs(node))

    def work(self, graph: Graph, node: Node, out: Region) -> Work:
        a, b = _boxes(graph, node, out)
        rows = prod(out.shape[:-1])
        depth = a.shape[-1]
        return Work(
            kind="fc",
            batch=rows,
            out_h=1,
            out_w=1,
            out_channels=out.shape[-1],
            in_h=1,
            in_w=1,
            in_channels=depth,
            flops=2.0 * out.size * depth,
            input_bytes=a.size * FLOAT,
            output_bytes=out.size * FLOAT,
            weight_bytes=b.size * FLOAT,
        )

    def algorithms(self, graph: Graph, node: Node) -> tuple[str, ...]:
        return ("matmul",)

    def program(self, request: KernelRequest) -> KernelProgram:
        """Rows of b and of the output must be contiguous: where they are not (in feature maps channels are), they are
        copied to, or from, working memory."""
        if request.out.empty:
            return KernelProgram()
        batch, (rows, columns) = request.out.shape[:-2], request.out.shape[-2:]
        a, b = (_operand(request, position) for position in (0, 1))
        out = output_operand(request)
        depth = _boxes(request.graph, request.node, request.out)[0].shape[-1]
        before: tuple[Launch, ...] = ()
        after: tuple[Launch, ...] = ()
        scratch: dict[str, int] = {}
        if b.strides[-1] != 1 and columns > 1:
            shape = tuple(
                extent if stride else 1 for extent, stride in zip((*batch, depth, columns), b.strides, strict=True)
            )
            packed = _row_major(Scratch("b"), shape)
            before = elementwise(Loop(shape, (packed, b)), request.device)
            scratch["b"], b = prod(shape) * FLOAT, packed
        target = out
        if out.strides[-1] != 1 and columns > 1:
            target = _row_major(Scratch("out"), request.out.shape)
            after = elementwise(Loop(request.out.shape, (out, target)), request.device)
            scratch["out"] = request.out.size * FLOAT
        launches = _launches(batch, (rows, columns, depth), (target, a, b), request.device)
        return KernelProgram((*before, *launches, *after), constants(request), scratch)


def _boxes(graph: Graph, node: Node, out: Region) -> tuple[Region, Region]:
    """What of each factor is read for a box of the output."""
    a, b = (graph.tensor(value).shape for value in node.inputs)
    *batch, rows, columns = out.ranges
    whole = (0, a[-1]) if not out.empty else (0, 0)
    return (
        Region((*_broadcast(a[:-2], batch), rows, whole)),
        Region((*_broadcast(b[:-2], batch), whole, columns)),
    )


def _broadcast(shape: Sequence[int], batch: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    offset = len(batch) - len(shape)
    return [(0, 1) if extent == 1 else batch[offset + axis] for axis, extent in enumerate(shape)]


def _operand(request: KernelRequest, position: int) -> Operand:
    """A factor as an operand of a loop over (batch, its rows, its columns): stride 0 on axes that are broadcast."""
    box = _boxes(request.graph, request.node, request.out)[position]
    own = Operand.of(*operand_view(request, position), box)
    shape = request.graph.tensor(request.node.inputs[position]).shape
    strides = [
        0 if extent == 1 and axis < len(shape) - 2 else stride
        for axis, (extent, stride) in enumerate(zip(shape, own.strides, strict=True))
    ]
    missing = len(request.out.ranges) - len(shape)
    return Operand(own.argument, own.offset, (*(0,) * missing, *strides))


def _row_major(argument: Scratch, shape: Sequence[int]) -> Operand:
    """Working memory of this shape; an extent of 1 stands for any index."""
    strides = [0 if extent == 1 else prod(shape[axis + 1 :]) for axis, extent in enumerate(shape)]
    return Operand(argument, 0, (*strides[:-1], 1))


def _launches(
    batch: Sequence[int], sizes: tuple[int, int, int], operands: tuple[Operand, ...], device: DeviceTraits
) -> tuple[Launch, ...]:
    """Args: operands: output, a, b, each over (batch, rows, columns) of its own."""
    rows, columns, depth = sizes
    leading = tuple(Operand(o.argument, o.offset, o.strides[:-2]) for o in operands)
    out, a, b = operands
    defines: tuple[tuple[str, int], ...]
    if device.cpu:
        lanes = simd_lanes(device)
        defines = (("CPU", 1), ("LANES", lanes), ("TILE", TILE_ROWS))
        tiles, local = (ceil_div(columns, 2 * lanes) if columns >= lanes else 1, ceil_div(rows, TILE_ROWS)), (1, 1, 1)
    else:
        side = 16 if device.max_work_group_size >= 256 else 8
        defines = (("CPU", 0), ("SIDE", side))
        tiles, local = (ceil_div(columns, side) * side, ceil_div(rows, side) * side), (side, side, 1)
    launches = []
    for part in Loop(tuple(batch), leading).merged().unrolled(BATCH_AXES):
        n1, n0 = part.extents
        launches.append(
            Launch(
                source="cl/matmul.cl",
                entry="matmul",
                defines=defines,
                arguments=(
                    *(operand.argument for operand in part.operands),
                    *(operand.offset for operand in part.operands),
                    rows, columns, depth, n0,
                    *(stride for operand in part.operands for stride in reversed(operand.strides)),
                    out.strides[-2], a.strides[-2], a.strides[-1], b.strides[-2],
                ),
                global_size=(*tiles, n0 * n1),
                local_size=local,
            )
        )  # fmt: skip
    return tuple(launches)
