"""Operators that are no matrix products, drawn at random, and what ONNX Runtime computes for them.

Longer than other modules: one strategy and one ONNX node for each family, which tests draw from together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
import onnxruntime
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from codl.graph import Activation, Graph, Node, Tensor
from codl.ops.activation import CODES

OPSET = 20
UNARY = {
    "relu": ("Relu", ()),
    "leaky_relu": ("LeakyRelu", ("alpha",)),
    "clip": ("Clip", ()),
    "sigmoid": ("Sigmoid", ()),
    "tanh": ("Tanh", ()),
    "hard_swish": ("HardSwish", ()),
    "hard_sigmoid": ("HardSigmoid", ("alpha", "beta")),
    "gelu": ("Gelu", ()),
    "elu": ("Elu", ("alpha",)),
    "selu": ("Selu", ("alpha", "gamma")),
    "softplus": ("Softplus", ()),
    "mish": ("Mish", ()),
    "exp": ("Exp", ()),
    "log": ("Log", ()),
    "sqrt": ("Sqrt", ()),
    "reciprocal": ("Reciprocal", ()),
    "abs": ("Abs", ()),
    "neg": ("Neg", ()),
    "erf": ("Erf", ()),
    "floor": ("Floor", ()),
    "ceil": ("Ceil", ()),
    "sin": ("Sin", ()),
    "cos": ("Cos", ()),
}
BINARY = {
    "add": "Add", "sub": "Sub", "mul": "Mul", "div": "Div", "prelu": "PRelu", "pow": "Pow", "max": "Max", "min": "Min",
}  # fmt: skip
PARAMS = {
    "leaky_relu": (0.1,), "clip": (-0.5, 0.75), "hard_sigmoid": (0.3, 0.4), "elu": (0.8,),
    "selu": (1.6732632, 1.05070098), "silu": (1.2,),
}  # fmt: skip


@dataclass(frozen=True)
class Case:
    """One operator: values of all its inputs, the constant ones among them, and its output's shape."""

    op: str
    arrays: tuple[np.ndarray, ...]
    shape: tuple[int, ...]
    attributes: dict[str, Any]
    constant: tuple[int, ...] = ()
    activation: Activation | None = None

    def __repr__(self) -> str:  # hypothesis prints failing cases
        tail = f", {self.activation.kind}" if self.activation else ""
        shapes = ", ".join(str(array.shape) for array in self.arrays)
        return f"{self.op}({shapes}; constant {self.constant}{tail}) -> {self.shape} {self.attributes}"

    @property
    def graph(self) -> Graph:
        names = [f"i{k}" for k in range(len(self.arrays))]
        tensors = {name: Tensor(name, array.shape) for name, array in zip(names, self.arrays, strict=True)}
        node = Node("node", self.op, tuple(names), ("y",), self.attributes, self.activation)
        constants = {names[k]: self.arrays[k] for k in self.constant}
        variable = tuple(name for name in names if name not in constants)
        return Graph("one", (node,), {**tensors, "y": Tensor("y", self.shape)}, constants, variable, ("y",))

    @property
    def inputs(self) -> dict[str, np.ndarray]:
        return {f"i{k}": array for k, array in enumerate(self.arrays) if k not in self.constant}

    def expected(self, *arrays: np.ndarray) -> np.ndarray:
        """ONNX Runtime's result, for other inputs if given."""
        arrays = arrays or self.arrays
        if self.op == "resize" and self.attributes["mode"] == "linear" and self.attributes["scales"][:-2] != (1.0, 1.0):
            return _linear_by_axis(self, arrays[0])
        if self.op == "normalize":
            return _normalised(self, *arrays)
        if self.op == "take":
            return np.take(arrays[0], self.attributes["indices"], self.attributes["axis"])
        match self.attributes.get("kind"):
            case "silu":
                (alpha,) = self.attributes["params"]
                gate = _run("Sigmoid", {}, {}, [("x", np.float32(alpha) * arrays[0])])
                with np.errstate(invalid="ignore"):  # infinity times 0
                    return np.asarray(arrays[0] * gate)
            case "square":
                return np.asarray(arrays[0] * arrays[0])
        operands = [(f"i{k}", array) for k, array in enumerate(arrays)]
        y = _run(*_onnx_node(self), operands)
        if self.activation is not None:
            kind = self.activation.kind
            tail = Case("unary", (y,), y.shape, {"kind": kind, "params": self.activation.params})
            y = tail.expected()
        return y


Constants = dict[str, np.ndarray]


def _onnx_node(case: Case) -> tuple[str, dict[str, Any], Constants]:
    """ONNX operator type, its attributes, and further inputs in order."""
    given = case.attributes
    rank = len(case.arrays[0].shape)
    integers = lambda values: np.array(values, np.int64)  # noqa: E731  # one line of a table of lambdas
    match case.op:
        case "unary":
            if given["kind"] == "gelu_tanh":
                return "Gelu", {"approximate": "tanh"}, {}
            name, keys = UNARY[given["kind"]]
            if given["kind"] == "clip":
                low, high = (np.array(value, np.float32) for value in given["params"])
                return name, {}, {"low": low, "high": high}
            return name, dict(zip(keys, given["params"], strict=True)), {}
        case "binary":
            return BINARY[given["kind"]], {}, {}
        case "matmul":
            return "MatMul", {}, {}
        case "concat":
            return "Concat", {"axis": given["axis"]}, {}
        case "pad":
            pads = integers([*given["begin"], *given["end"]])
            return "Pad", {"mode": given["mode"]}, {"pads": pads, "value": np.array(given["value"], np.float32)}
        case "resize":
            return (
                "Resize",
                {
                    "mode": given["mode"],
                    "coordinate_transformation_mode": given["coordinate"],
                    "nearest_mode": given["rounding"],
                },
                {"roi": np.zeros(0, np.float32), "scales": np.array(given["scales"], np.float32)},
            )
        case "reshape":
            return "Reshape", {}, {"shape": integers(case.shape)}
        case "transpose":
            return "Transpose", {"perm": given["perm"]}, {}
        case "softmax":
            return "Softmax", {"axis": given["axis"]}, {}
        case "reduce":
            return (
                f"Reduce{given['kind'].capitalize()}",
                {"keepdims": given["keepdims"]},
                {"axes": integers(given["axes"])},
            )
        case "slice":
            ends = [s + (n - 1) * k + 1 for s, n, k in zip(given["starts"], case.shape, given["steps"], strict=True)]
            further = (given["starts"], ends, tuple(range(rank)), given["steps"])
            return "Slice", {}, {f"s{k}": integers(values) for k, values in enumerate(further)}
    raise AssertionError(case.op)


def _run(
    onnx_type: str, attributes: dict[str, Any], constants: Constants, operands: Sequence[tuple[str, np.ndarray]]
) -> np.ndarray:
    node = helper.make_node(onnx_type, [*(name for name, _ in operands), *constants], ["y"], **attributes)
    graph = helper.make_graph(
        [node],
        "reference",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, array.shape) for name, array in operands],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=9)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    (y,) = session.run(["y"], dict(operands))
    return np.asarray(y)


def _linear_by_axis(case: Case, x: np.ndarray) -> np.ndarray:
    """Linear interpolation along any axes, of which ONNX Runtime has few cases: one axis after another as a width."""
    for axis, scale in enumerate(case.attributes["scales"]):
        moved = np.moveaxis(x, axis, -1)
        flat = np.ascontiguousarray(moved).reshape(1, 1, -1, moved.shape[-1])
        attributes = {**case.attributes, "scales": (1.0, 1.0, 1.0, scale)}
        one = Case("resize", (flat,), (*flat.shape[:-1], case.shape[axis]), attributes).expected()
        x = np.moveaxis(one.reshape(*moved.shape[:-1], case.shape[axis]), -1, axis)
    return x


def _normalised(case: Case, x: np.ndarray, scale: np.ndarray, shift: np.ndarray) -> np.ndarray:
    """ONNX's definition, with the axes normalised moved to the end."""
    kept = [axis for axis in range(x.ndim) if axis not in case.attributes["axes"]]
    order = [*kept, *case.attributes["axes"]]
    moved = np.ascontiguousarray(x.transpose(order))
    flat = moved.reshape(prod(x.shape[axis] for axis in kept), -1)
    ones = {"s": np.ones(flat.shape[1], np.float32)}
    y = _run("LayerNormalization", {"axis": 1, "epsilon": case.attributes["epsilon"]}, ones, [("x", flat)])
    return np.asarray(y.reshape(moved.shape).transpose(np.argsort(order)) * scale + shift)


# ---- strategies ---------------------------------------------------------------------------------------------------

CHANNELS = st.sampled_from([1, 2, 3, 7, 8, 16, 19, 33])
EXTENTS = st.integers(1, 6)


@st.composite
def shapes(draw: st.DrawFn, low: int = 1, high: int = 6) -> tuple[int, ...]:
    """Mostly feature maps, with channels above and below vector widths; otherwise any rank."""
    if low <= 4 <= high and draw(st.integers(0, 2)):
        return draw(st.integers(1, 2)), draw(CHANNELS), draw(EXTENTS), draw(EXTENTS)
    rank = draw(st.integers(low, high))
    return (*(draw(st.integers(1, 4)) for _ in range(rank - 1)), draw(CHANNELS)) if rank else ()


def values(draw: st.DrawFn, shape: tuple[int, ...]) -> np.ndarray:
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    return np.asarray(rng.standard_normal(shape), np.float32)


@st.composite
def unaries(draw: st.DrawFn) -> Case:
    shape = draw(shapes(0))
    kind = draw(st.sampled_from(sorted(CODES)[1:]))
    return Case("unary", (values(draw, shape),), shape, {"kind": kind, "params": PARAMS.get(kind, ())})


@st.composite
def binaries(draw: st.DrawFn) -> Case:
    shape = draw(shapes())
    kind = draw(st.sampled_from(sorted(BINARY)))
    a = values(draw, shape if kind == "prelu" else _broadcastable(draw, shape))
    b = values(draw, _broadcastable(draw, shape))
    if kind == "div":
        b = np.where(b < 0, b - 0.5, b + 0.5).astype(np.float32)
    out = np.broadcast_shapes(a.shape, b.shape)
    tail = draw(st.sampled_from([None, "relu", "leaky_relu"]))
    activation = Activation(tail, PARAMS.get(tail, ())) if tail else None
    constant = draw(st.sampled_from([(), (1,)] if kind == "prelu" else [(), (0,), (1,)]))
    return Case("binary", (a, b), out, {"kind": kind}, constant, activation)


def _broadcastable(draw: st.DrawFn, shape: tuple[int, ...]) -> tuple[int, ...]:
    """This shape, or one of fewer axes or with extents 1 that broadcasts to it; half of the time per channel."""
    way = draw(st.integers(0, 3))
    if way < 2:
        return shape
    if way == 2 and len(shape) == 4:
        return draw(st.sampled_from([(shape[1], 1, 1), (1, shape[1], 1, 1), (shape[0], shape[1], 1, 1)]))
    cut = shape[draw(st.integers(0, len(shape))) :]
    return tuple(draw(st.sampled_from([extent, 1])) for extent in cut)


@st.composite
def concats(draw: st.DrawFn) -> Case:
    shape = draw(shapes())
    axis = draw(st.integers(0, len(shape) - 1))
    extents = draw(st.lists(st.integers(1, 17), min_size=1, max_size=4))
    arrays = tuple(values(draw, (*shape[:axis], extent, *shape[axis + 1 :])) for extent in extents)
    constant = (0,) if len(arrays) > 1 and draw(st.booleans()) else ()
    return Case("concat", arrays, (*shape[:axis], sum(extents), *shape[axis + 1 :]), {"axis": axis}, constant)


@st.composite
def pads(draw: st.DrawFn) -> Case:
    shape = draw(shapes())
    mode = draw(st.sampled_from(["constant", "edge", "reflect"]))
    begin, end = [], []
    for extent in shape:
        most = 4 if mode != "reflect" else extent - 1
        begin.append(draw(st.integers(0, min(most, 4))) if draw(st.booleans()) else 0)
        end.append(draw(st.integers(0, min(most, 4))) if draw(st.booleans()) else 0)
    out = tuple(b + extent + e for b, extent, e in zip(begin, shape, end, strict=True))
    attributes = {"begin": tuple(begin), "end": tuple(end), "mode": mode, "value": draw(st.sampled_from([0.0, -1.5]))}
    return Case("pad", (values(draw, shape),), out, attributes)


COORDINATES = ["half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric"]
ROUNDINGS = ["round_prefer_floor", "round_prefer_ceil", "floor", "ceil"]
SCALES = st.sampled_from([0.4, 0.5, 0.75, 1.0, 1.3, 1.5, 2.0, 2.0, 2.7, 3.0])


@st.composite
def resizes(draw: st.DrawFn) -> Case:
    mode = draw(st.sampled_from(["nearest", "linear"]))
    shape = draw(shapes(2, 5))
    maps = len(shape) == 4 and draw(st.integers(0, 3)) > 0
    scales = []
    for axis, extent in enumerate(shape):
        scale = 1.0 if maps and axis < 2 else draw(SCALES)
        size = int(np.float32(extent) * np.float32(scale))
        if size < 1 or (size == extent and not maps):  # `_linear_by_axis` cannot tell what an unchanged extent does
            scale = 1.0
        scales.append(float(np.float32(scale)))
    out = tuple(int(np.float32(extent) * np.float32(scale)) for extent, scale in zip(shape, scales, strict=True))
    attributes = {
        "mode": mode,
        "scales": tuple(scales),
        "coordinate": draw(st.sampled_from(COORDINATES)),
        "rounding": draw(st.sampled_from(ROUNDINGS)),
    }
    return Case("resize", (values(draw, shape),), out, attributes)


@st.composite
def reshapes(draw: st.DrawFn) -> Case:
    shape = draw(shapes())
    rest, out = prod(shape), []
    for _ in range(draw(st.integers(0, 4))):
        out.append(draw(st.sampled_from([n for n in range(1, rest + 1) if rest % n == 0])))
        rest //= out[-1]
    out.insert(draw(st.integers(0, len(out))), rest)
    return Case("reshape", (values(draw, shape),), tuple(out), {})


@st.composite
def transposes(draw: st.DrawFn) -> Case:
    shape = draw(shapes())
    perm = tuple(draw(st.permutations(range(len(shape)))))
    return Case("transpose", (values(draw, shape),), tuple(shape[axis] for axis in perm), {"perm": perm})


@st.composite
def softmaxes(draw: st.DrawFn) -> Case:
    shape = draw(shapes())
    axis = draw(st.integers(0, len(shape) - 1))
    return Case("softmax", (3 * values(draw, shape),), shape, {"axis": axis, "last_axis": axis + 1})


@st.composite
def reductions(draw: st.DrawFn) -> Case:
    shape = draw(shapes())
    axes = tuple(sorted(draw(st.sets(st.integers(0, len(shape) - 1), min_size=1))))
    keepdims = draw(st.integers(0, 1))
    out = tuple(1 if axis in axes else extent for axis, extent in enumerate(shape) if keepdims or axis not in axes)
    kind = draw(st.sampled_from(["mean", "sum", "max", "min"]))
    return Case("reduce", (values(draw, shape),), out, {"kind": kind, "axes": axes, "keepdims": keepdims})


@st.composite
def normalisations(draw: st.DrawFn) -> Case:
    """Over all axes from one on, as LayerNormalization: the witness; each scale and shift along its own axes."""
    shape = draw(shapes())
    axes = tuple(sorted(draw(st.sets(st.integers(0, len(shape) - 1), min_size=1))))
    affine = [1 + values(draw, _broadcastable_within(draw, shape)) / 4 for _ in range(2)]
    attributes = {"axes": axes, "epsilon": draw(st.sampled_from([1e-5, 1e-2]))}
    return Case("normalize", (values(draw, shape), *affine), shape, attributes, (1, 2))


def _broadcastable_within(draw: st.DrawFn, shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(draw(st.sampled_from([extent, 1])) for extent in shape[draw(st.integers(0, len(shape))) :])


@st.composite
def products(draw: st.DrawFn) -> Case:
    """Of two tensors, one of which may be constant; leading axes may be broadcast."""
    shape = draw(shapes(2))
    depth = draw(CHANNELS)
    a, b = (*shape[:-1], depth), (*shape[:-2], depth, shape[-1])
    way = draw(st.integers(0, 3))
    if way == 1 and len(shape) > 2:
        b = (1, *b[1:])
    elif way == 2:
        a = a[draw(st.integers(0, len(a) - 2)) :]
    constant = draw(st.sampled_from([(), (), (0,), (1,)]))
    return Case("matmul", (values(draw, a), values(draw, b) / np.float32(depth**0.5)), shape, {}, constant)


@st.composite
def takes(draw: st.DrawFn) -> Case:
    shape = draw(shapes())
    axis = draw(st.integers(0, len(shape) - 1))
    indices = tuple(draw(st.lists(st.integers(0, shape[axis] - 1), min_size=1, max_size=9)))
    out = (*shape[:axis], len(indices), *shape[axis + 1 :])
    return Case("take", (values(draw, shape),), out, {"axis": axis, "indices": indices})


@st.composite
def slices(draw: st.DrawFn) -> Case:
    shape = draw(shapes())
    starts = tuple(draw(st.integers(0, extent - 1)) for extent in shape)
    steps = tuple(draw(st.sampled_from([1, 1, 2, 3])) for _ in shape)
    out = tuple(
        draw(st.integers(1, (extent - start - 1) // step + 1))
        for extent, start, step in zip(shape, starts, steps, strict=True)
    )
    return Case("slice", (values(draw, shape),), out, {"starts": starts, "steps": steps})


FAMILIES = {
    "unary": unaries(),
    "binary": binaries(),
    "concat": concats(),
    "pad": pads(),
    "resize": resizes(),
    "reshape": reshapes(),
    "transpose": transposes(),
    "softmax": softmaxes(),
    "reduce": reductions(),
    "slice": slices(),
    "normalize": normalisations(),
    "matmul": products(),
    "take": takes(),
}
