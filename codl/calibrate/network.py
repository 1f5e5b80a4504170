"""The probe network: operators of many shapes, side by side, that calibration runs to learn what kernels cost.

Nothing reads an operator's output, so that any of them can run on any processor, whole or in part, in any order. What
it reads is made by a producer, a kernel that only writes: it runs before the operator (how long before, says
`codl.calibrate.phases`), which so finds its input where a network's operator finds it, while weights, which a network
does not use twice, come from memory. The shapes are designed, not taken from any network: maps of 9 to 150 rows and
channels that are not powers of two, so that predictions for real networks interpolate between them (a test checks that
no operator of the zoo is among them).
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from codl.calibrate.fallback import single_node_model
from codl.graph import Activation, Attribute, Graph, Node, Tensor
from codl.ops.residual import BEFORE

Shape = tuple[int, ...]
_PRODUCER = "make "


# Convolutions: height, width, input channels, output channels, kernel, stride, group (0: depthwise).
_CONVOLUTIONS = (
    (150, 140, 3, 24, 3, 1, 1), (150, 140, 24, 40, 3, 1, 1), (90, 91, 40, 72, 3, 1, 1), (68, 66, 72, 144, 3, 1, 1),
    (45, 45, 96, 208, 3, 1, 1), (34, 35, 144, 272, 3, 1, 1), (22, 23, 272, 272, 3, 1, 1), (17, 17, 384, 544, 3, 1, 1),
    (11, 11, 704, 704, 3, 1, 1), (15, 15, 176, 88, 3, 1, 1), (27, 29, 24, 24, 3, 1, 1), (9, 9, 480, 1040, 3, 1, 1),
    (10, 11, 24, 40, 3, 1, 1), (10, 11, 24, 40, 1, 1, 1), (11, 11, 24, 40, 3, 2, 1),
    (150, 140, 72, 296, 1, 1, 1), (100, 102, 136, 272, 1, 1, 1), (76, 74, 136, 528, 1, 1, 1),
    (150, 140, 24, 40, 1, 1, 1), (90, 91, 40, 72, 1, 1, 1), (68, 66, 72, 144, 1, 1, 1), (45, 45, 208, 96, 1, 1, 1),
    (34, 35, 144, 272, 1, 1, 1), (22, 23, 272, 816, 1, 1, 1), (17, 17, 544, 272, 1, 1, 1), (11, 11, 704, 1408, 1, 1, 1),
    (9, 9, 1040, 480, 1, 1, 1), (27, 29, 24, 24, 1, 1, 1), (15, 15, 320, 45, 1, 1, 1),
    (45, 45, 96, 13, 1, 1, 1), (34, 35, 208, 27, 1, 1, 1),
    (130, 134, 3, 80, 3, 1, 1), (180, 170, 3, 48, 3, 1, 1), (150, 140, 3, 80, 7, 2, 1), (140, 150, 3, 48, 3, 2, 1),
    (30, 31, 528, 528, 3, 1, 1), (44, 46, 136, 6, 3, 1, 1), (22, 23, 272, 11, 3, 1, 1),
    (150, 140, 3, 40, 7, 2, 1), (150, 140, 3, 24, 3, 2, 1), (90, 91, 40, 72, 3, 2, 1), (45, 45, 96, 208, 3, 2, 1),
    (23, 23, 272, 272, 3, 2, 1), (17, 17, 384, 384, 3, 2, 1), (68, 66, 72, 144, 1, 2, 1), (45, 45, 208, 416, 1, 2, 1),
    (23, 23, 544, 1040, 1, 2, 1), (100, 102, 3, 24, 9, 1, 1), (45, 45, 24, 48, 5, 1, 1), (22, 23, 72, 72, 5, 1, 1),
    (34, 35, 48, 48, 7, 1, 1), (22, 23, 144, 136, 7, 1, 1), (27, 29, 72, 88, 7, 1, 1), (46, 44, 40, 24, 7, 1, 1),
    (17, 17, 208, 96, 5, 1, 1), (34, 35, 40, 48, 9, 1, 1), (44, 46, 96, 136, 7, 1, 1), (25, 24, 144, 88, 9, 1, 1),
    (58, 60, 48, 40, 7, 1, 1), (29, 31, 40, 104, 11, 1, 1),
    (45, 45, 96, 96, 3, 1, 4), (22, 23, 288, 288, 3, 1, 6), (30, 31, 160, 160, 3, 1, 2),
    (17, 17, 272, 272, 3, 2, 8),
    (100, 102, 24, 3, 9, 1, 1), (68, 66, 48, 3, 7, 1, 1), (90, 91, 40, 2, 5, 1, 1), (45, 45, 76, 4, 3, 1, 1),
    (34, 35, 144, 1, 3, 1, 1), (60, 61, 24, 4, 5, 2, 1),
    (150, 140, 24, 24, 3, 1, 0), (90, 91, 40, 40, 3, 1, 0), (68, 66, 72, 72, 3, 1, 0), (45, 45, 144, 144, 3, 1, 0),
    (34, 35, 272, 272, 3, 1, 0), (22, 23, 384, 384, 3, 1, 0), (11, 11, 704, 704, 3, 1, 0), (150, 140, 24, 24, 3, 2, 0),
    (90, 91, 72, 72, 3, 2, 0), (45, 45, 144, 144, 3, 2, 0), (23, 23, 272, 272, 3, 2, 0), (45, 45, 96, 96, 5, 1, 0),
    (22, 23, 272, 272, 5, 1, 0), (12, 12, 544, 544, 3, 2, 0), (10, 11, 48, 48, 3, 1, 0),
)  # fmt: skip
_QUICK_CONVOLUTIONS = (
    (10, 11, 24, 40, 3, 1, 1), (10, 11, 24, 40, 1, 1, 1), (10, 11, 48, 48, 3, 1, 0),
    (90, 91, 40, 72, 3, 1, 1), (68, 66, 72, 96, 3, 1, 1), (34, 35, 144, 144, 3, 1, 1), (17, 17, 272, 272, 3, 1, 1),
    (27, 29, 24, 24, 3, 1, 1), (11, 11, 352, 480, 3, 1, 1), (68, 66, 72, 144, 1, 1, 1), (34, 35, 144, 272, 1, 1, 1),
    (17, 17, 544, 272, 1, 1, 1), (27, 29, 24, 24, 1, 1, 1), (90, 91, 3, 40, 7, 2, 1), (90, 91, 40, 72, 3, 2, 1),
    (23, 23, 144, 144, 3, 2, 1), (45, 45, 96, 208, 1, 2, 1), (45, 45, 96, 96, 3, 1, 4), (22, 23, 144, 144, 3, 1, 2),
    (27, 29, 24, 40, 7, 1, 1), (17, 17, 72, 48, 7, 1, 1),
    (17, 17, 272, 272, 3, 2, 8), (90, 91, 40, 40, 3, 1, 0), (45, 45, 144, 144, 3, 1, 0),
    (22, 23, 384, 384, 3, 1, 0), (45, 45, 144, 144, 3, 2, 0),
    (45, 45, 72, 4, 3, 1, 1), (34, 35, 24, 3, 5, 1, 1), (22, 23, 144, 2, 3, 1, 1),
)  # fmt: skip
# Convolutions to whose sums another map is added: height, width, input channels, output channels, kernel.
_RESIDUAL = (
    (68, 66, 72, 272, 1), (150, 140, 40, 144, 1), (76, 74, 144, 528, 1), (34, 35, 144, 544, 1), (22, 23, 272, 1072, 1),
    (90, 91, 72, 72, 3), (27, 29, 96, 24, 1),
)  # fmt: skip
_QUICK_RESIDUAL = ((45, 45, 40, 144, 1), (34, 35, 72, 72, 3))
# Transposed convolutions: height, width, input channels, output channels, kernel, stride.
_TRANSPOSED = ((45, 45, 48, 24, 2, 2), (22, 23, 144, 72, 4, 2), (11, 11, 272, 144, 4, 2), (34, 35, 72, 40, 3, 2))
# Pools: height, width, channels, kernel (0: the whole map), stride, mode.
_POOLS = (
    (150, 140, 24, 2, 2, "max"), (90, 91, 72, 2, 2, "max"), (45, 45, 144, 2, 2, "max"), (22, 23, 272, 2, 2, "max"),
    (90, 91, 40, 3, 2, "max"), (45, 45, 144, 3, 2, "max"), (22, 23, 144, 3, 1, "average"), (45, 45, 96, 5, 1, "max"),
    (150, 142, 32, 2, 2, "max"), (92, 90, 64, 2, 2, "max"), (54, 50, 240, 2, 2, "max"), (28, 30, 496, 2, 2, "max"),
    (30, 26, 336, 2, 2, "max"), (76, 74, 112, 3, 2, "max"),
    (11, 11, 704, 0, 1, "average"), (17, 17, 272, 0, 1, "average"), (34, 35, 144, 0, 1, "average"),
)  # fmt: skip
# Matrix products: rows, depth, columns.
_PRODUCTS = (
    (1, 3000, 1500), (1, 9000, 1800), (1, 1100, 900), (1, 500, 90), (1, 5600, 2800), (12, 700, 300), (40, 1300, 450),
    (1, 280, 1100), (6, 900, 700), (3, 2100, 330),
)  # fmt: skip
# Products of two tensors, as in attention: batch, rows, depth, columns.
_ATTENTION = ((4, 60, 24, 60), (3, 210, 40, 210), (6, 90, 90, 40), (2, 330, 48, 330), (1, 500, 270, 210))
_MAPS = (
    (1, 24, 150, 140), (1, 72, 68, 66), (1, 144, 34, 35), (1, 544, 17, 17), (1, 48, 11, 11), (1, 40, 270, 270),
    (1, 240, 54, 58), (1, 496, 29, 31), (1, 80, 262, 258),
)  # fmt: skip
"""Feature maps for element-wise operators, layout changes and pools of memory: 23 KB to 22 MB; channels both in whole
vectors, as most networks have them, and not."""


# The same once more for wide processors: large enough to fill a GPU of a hundred compute units, or many cores.
_LARGE_CONVOLUTIONS = (
    (250, 240, 24, 48, 3, 1, 1), (130, 124, 136, 136, 3, 1, 1), (66, 70, 272, 272, 3, 1, 1),
    (36, 38, 544, 544, 3, 1, 1), (20, 22, 1040, 1040, 3, 1, 1),
    (250, 240, 48, 72, 1, 1, 1), (130, 124, 136, 272, 1, 1, 1), (66, 70, 272, 544, 1, 1, 1),
    (36, 38, 1040, 544, 1, 1, 1), (20, 22, 2080, 1040, 1, 1, 1),
    (250, 242, 48, 96, 3, 2, 1), (130, 126, 136, 272, 3, 2, 1), (66, 70, 272, 544, 3, 2, 1),
    (66, 70, 544, 1040, 1, 2, 1),
    (300, 290, 3, 40, 9, 1, 1), (262, 250, 3, 72, 3, 1, 1), (300, 290, 3, 40, 7, 2, 1), (300, 290, 40, 3, 9, 1, 1),
    (66, 70, 136, 136, 3, 1, 4), (130, 124, 136, 136, 3, 1, 0), (66, 70, 544, 544, 3, 2, 0),
)  # fmt: skip
_LARGE_TRANSPOSED = ((136, 140, 72, 40, 3, 2), (68, 70, 144, 72, 4, 2), (250, 240, 72, 40, 2, 2))
_LARGE_POOLS = (
    (400, 396, 40, 2, 2, "max"), (204, 196, 72, 2, 2, "max"), (102, 106, 136, 2, 2, "max"), (220, 212, 48, 3, 2, "max"),
)  # fmt: skip


@dataclass
class _Builder:
    """Collects operators; inputs are shared by shape, weights are seeded and small."""

    nodes: list[Node] = field(default_factory=list)
    tensors: dict[str, Tensor] = field(default_factory=dict)
    constants: dict[str, np.ndarray] = field(default_factory=dict)
    inputs: list[str] = field(default_factory=list)
    random: np.random.Generator = field(default_factory=lambda: np.random.default_rng(0))

    def input(self, shape: Shape, copy: int = 0) -> str:
        """A value of this shape, made by a producer: a vector and a map, both small, added with broadcasting."""
        name = _PRODUCER + "x".join(map(str, shape)) + "'" * copy
        if name not in self.tensors:
            channels, rest = (1, shape[1], *(1 for _ in shape[2:])), (shape[0], 1, *shape[2:])
            plane = "map " + "x".join(map(str, rest))
            if plane not in self.tensors:
                self.tensors[plane] = Tensor(plane, rest)
                self.inputs.append(plane)
            self.add("binary", name, (plane, self.constant(channels)), shape, kind="add")
        return name

    def constant(self, shape: Shape, fan_in: int = 1) -> str:
        name = f"w{len(self.constants)}"
        self.constants[name] = self.random.standard_normal(shape, dtype=np.float32) / np.float32(fan_in**0.5)
        self.tensors[name] = Tensor(name, shape)
        return name

    def add(
        self, op: str, name: str, inputs: tuple[str, ...], shape: Shape, activation: Activation | None = None,
        **attributes: Attribute,
    ) -> None:  # fmt: skip
        self.tensors[name] = Tensor(name, shape)
        self.nodes.append(Node(name, op, inputs, (name,), attributes, activation))

    def graph(self) -> Graph:
        return Graph("probes", tuple(self.nodes), self.tensors, self.constants, tuple(self.inputs), ())


def _convolution_name(h: int, w: int, ic: int, oc: int, kernel: int, stride: int, group: int) -> str:
    return f"conv {h}x{w}x{ic}->{oc} k{kernel} s{stride}" + (f" g{group}" if group > 1 else "")


def _convolution(
    b: _Builder, h: int, w: int, ic: int, oc: int, kernel: int, stride: int, group: int, residual: bool = False
) -> None:
    group = group or ic
    pad = kernel // 2
    out = (1, oc, *((extent + 2 * pad - kernel) // stride + 1 for extent in (h, w)))
    depth = ic // group
    name = _convolution_name(h, w, ic, oc, kernel, stride, group)
    weights = b.constant((oc, depth, kernel, kernel), depth * kernel * kernel)
    inputs: tuple[str, ...] = (b.input((1, ic, h, w)), weights, b.constant((oc,)))
    added: dict[str, Attribute] = {}
    if residual:
        name, inputs, added = f"{name} residual", (*inputs, b.input(out, 1)), {"residual": BEFORE}
    b.add(
        "conv", name, inputs, out, Activation("relu"), kernel=(kernel, kernel), stride=(stride, stride),
        pads=(pad,) * 4, dilation=(1, 1), group=group, **added,
    )  # fmt: skip


def _transposed_name(h: int, w: int, ic: int, oc: int, kernel: int, stride: int) -> str:
    return f"conv_transpose {h}x{w}x{ic}->{oc} k{kernel} s{stride}"


def _transposed(b: _Builder, h: int, w: int, ic: int, oc: int, kernel: int, stride: int) -> None:
    pad = (kernel - stride) // 2
    out = tuple((extent - 1) * stride + kernel - 2 * pad for extent in (h, w))
    weights = b.constant((ic, oc, kernel, kernel), ic * kernel * kernel)
    b.add(
        "conv_transpose", _transposed_name(h, w, ic, oc, kernel, stride),
        (b.input((1, ic, h, w)), weights, b.constant((oc,))), (1, oc, *out), kernel=(kernel, kernel),
        stride=(stride, stride), pads=(pad,) * 4, dilation=(1, 1), group=1, output_padding=(0, 0),
    )  # fmt: skip


def _pool_name(h: int, w: int, channels: int, kernel: int, stride: int, mode: str) -> str:
    return f"pool {mode} {h}x{w}x{channels} k{kernel or 'all'} s{stride}"


def _pool(b: _Builder, h: int, w: int, channels: int, kernel: int, stride: int, mode: str) -> None:
    kernels = (kernel, kernel) if kernel else (h, w)
    pad = kernel // 2 if kernel > 2 else 0
    out = tuple((extent + 2 * pad - k) // stride + 1 for extent, k in zip((h, w), kernels, strict=True))
    b.add(
        "pool", _pool_name(h, w, channels, kernel, stride, mode), (b.input((1, channels, h, w)),),
        (1, channels, *out), mode=mode, kernel=kernels, stride=(stride, stride), pads=(pad,) * 4, dilation=(1, 1),
        count_include_pad=0,
    )  # fmt: skip


def _product(b: _Builder, rows: int, depth: int, columns: int) -> None:
    inputs = (b.input((rows, depth)), b.constant((depth, columns), depth), b.constant((columns,)))
    b.add("gemm", f"gemm {rows}x{depth}->{columns}", inputs, (rows, columns))


def _attention(b: _Builder, batch: int, rows: int, depth: int, columns: int) -> None:
    inputs = (b.input((batch, rows, depth)), b.input((batch, depth, columns)))
    b.add("matmul", f"matmul {batch}x{rows}x{depth}->{columns}", inputs, (batch, rows, columns))


def _elementwise(b: _Builder, shape: Shape) -> None:
    x, label = b.input(shape), "x".join(map(str, shape))
    _, channels, *_ = shape
    b.add("binary", f"add {label}", (x, b.input(shape, 1)), shape, Activation("relu"), kind="add")
    b.add("binary", f"scale {label}", (x, b.constant((1, channels, 1, 1))), shape, kind="mul")
    for kind, params in (("relu", ()), ("leaky_relu", (0.1,)), ("sigmoid", ()), ("hard_swish", ())):
        b.add("unary", f"{kind} {label}", (x,), shape, kind=kind, params=params)
    b.add("softmax", f"softmax {label}", (x,), shape, axis=1, last_axis=2)
    affine = (b.constant((channels, 1, 1)), b.constant((channels, 1, 1)))
    b.add("normalize", f"normalize {label}", (x, *affine), shape, axes=(2, 3), epsilon=1e-5)
    b.add("reduce", f"mean {label}", (x,), (1, channels, 1, 1), kind="mean", axes=(2, 3), keepdims=1)


def _layout(b: _Builder, shape: Shape) -> None:
    x, label = b.input(shape), "x".join(map(str, shape))
    n, channels, h, w = shape
    b.add("concat", f"concat {label}", (x, b.input(shape, 1)), (n, 2 * channels, h, w), axis=1)
    b.add("reshape", f"flatten {label}", (x,), (n, channels * h * w))
    b.add("transpose", f"transpose {label}", (x,), (n, h, w, channels), perm=(0, 2, 3, 1))
    b.add(
        "pad", f"pad {label}", (x,), (n, channels, h + 3, w + 4), begin=(0, 0, 1, 2), end=(0, 0, 2, 2), mode="constant",
        value=0.0,
    )  # fmt: skip
    half = channels // 2
    b.add("slice", f"slice {label}", (x,), (n, half, h - 1, w), starts=(0, half, 1, 0), steps=(1,) * 4)
    shuffled = tuple(channel for first in range(4) for channel in range(first, channels, 4))
    b.add("take", f"shuffle {label}", (x,), shape, axis=1, indices=shuffled)
    if h * w * channels > 1_000_000:
        return
    for mode, coordinate in (("nearest", "asymmetric"), ("linear", "half_pixel")):
        b.add(
            "resize", f"resize {mode} {label}", (x,), (n, channels, 2 * h, 2 * w), mode=mode,
            scales=(1.0, 1.0, 2.0, 2.0), coordinate=coordinate, rounding="floor",
        )  # fmt: skip


def _fallback(b: _Builder, shape: Shape) -> None:
    x, name = b.input(shape), "fallback erf " + "x".join(map(str, shape))
    b.add("onnx", name, (x,), shape, model=single_node_model("Erf", x, name, shape))


def probe_graph(quick: bool = False, large: bool = False) -> Graph:
    """The probe network.

    Args:
        quick: fewer and smaller operators of every family.
        large: and such as only wide processors are asked to run (see `is_large`).
    """
    b = _Builder()
    for convolution in _QUICK_CONVOLUTIONS if quick else _CONVOLUTIONS:
        _convolution(b, *convolution)
    for h, w, ic, oc, kernel in _QUICK_RESIDUAL if quick else _RESIDUAL:
        _convolution(b, h, w, ic, oc, kernel, stride=1, group=1, residual=True)
    for transposed in _TRANSPOSED[1:] if quick else _TRANSPOSED:
        _transposed(b, *transposed)
    for pool in _POOLS[1::2] if quick else _POOLS:
        _pool(b, *pool)
    for product in _PRODUCTS[2:] if quick else _PRODUCTS:
        _product(b, *product)
    for attention in _ATTENTION[:3] if quick else _ATTENTION:
        _attention(b, *attention)
    for shape in _MAPS[1:4] if quick else _MAPS:
        _elementwise(b, shape)
        _layout(b, shape)
        _fallback(b, shape)
    if large:
        for convolution in _LARGE_CONVOLUTIONS:
            _convolution(b, *convolution)
        for transposed in _LARGE_TRANSPOSED:
            _transposed(b, *transposed)
        for pool in _LARGE_POOLS:
            _pool(b, *pool)
    return b.graph()


def graph_of(name: str) -> Graph:
    """A probe network of one convolution, and of what makes its input; without nodes where no probe has that name."""
    b = _Builder()
    for convolution in (*_CONVOLUTIONS, *_QUICK_CONVOLUTIONS):
        if _convolution_name(*convolution) == name and not b.nodes:
            _convolution(b, *convolution)
    return b.graph()


def is_producer(node: Node) -> bool:
    """Whether a node makes other nodes' inputs, and is none to be timed itself."""
    return node.name.startswith(_PRODUCER)


_LARGE = frozenset(
    [_convolution_name(*each) for each in _LARGE_CONVOLUTIONS]
    + [_transposed_name(*each) for each in _LARGE_TRANSPOSED]
    + [_pool_name(*each) for each in _LARGE_POOLS]
)


def is_large(node: Node) -> bool:
    """Whether a node is there to be timed on wide processors only."""
    return node.name in _LARGE
