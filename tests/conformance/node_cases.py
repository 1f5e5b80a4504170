"""The onnx package's backend node tests, as models whose parameters are constants.

The package gives every operand of an operator as a run-time input: weights, shapes, axes, scales. Networks have these
as constants, and codl's kernels want them so. Each case therefore comes `as given`, where its shapes do not depend on
data, and `frozen`: with all inputs but the first as initialisers, for operators that have parameters.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

ELEMENTWISE = ("Add", "Mul", "Sub", "Div")
OPERATORS = (
    "Conv", "MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool", "Gemm", "MatMul", *ELEMENTWISE, "Relu",
    "LeakyRelu", "PRelu", "Clip", "Sigmoid", "Tanh", "HardSwish", "HardSigmoid", "Concat", "Pad", "Resize", "Upsample",
    "Flatten", "Reshape", "Transpose", "Squeeze", "Unsqueeze", "Softmax", "ConvTranspose", "ReduceMean", "Slice",
    "Identity", "Dropout", "Swish", "Gelu", "Elu", "Selu", "Softplus", "Mish", "Exp", "Log", "Sqrt", "Reciprocal",
    "Abs", "Neg", "Erf", "Floor", "Ceil", "Sin", "Cos", "Pow", "Max", "Min", "Sum", "ReduceSum", "ReduceMax",
    "ReduceMin", "ReduceL1", "ReduceL2", "ReduceSumSquare", "InstanceNormalization", "LayerNormalization",
    "GroupNormalization", "Expand", "Tile", "Gather", "DepthToSpace", "SpaceToDepth", "Split",
)  # fmt: skip
SHAPE_PARAMETERS = (
    "Pad", "Resize", "Upsample", "Reshape", "Squeeze", "Unsqueeze", "ReduceMean", "Slice", "ReduceSum", "ReduceMax",
    "ReduceMin", "ReduceL1", "ReduceL2", "ReduceSumSquare", "Expand", "Tile", "Split",
)  # fmt: skip
"""Their further inputs decide the output's shape, so that these must be constants for any model with static shapes."""


@dataclass(frozen=True)
class Case:
    """One node test: a model, inputs by name, expected outputs in the model's order."""

    name: str
    frozen: bool
    model: onnx.ModelProto
    inputs: dict[str, np.ndarray]
    expected: list[Any]
    rtol: float
    atol: float

    def __str__(self) -> str:
        return f"{self.name} ({'frozen' if self.frozen else 'as given'})"


@cache
def _collected() -> dict[str, list[Any]]:
    """The package's single-node cases by operator type. Making them takes seconds."""
    from onnx.backend.test.case.node import collect_testcases

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        cases = collect_testcases(None)
    table: dict[str, list[Any]] = {operator: [] for operator in OPERATORS}
    for case in cases:
        nodes = case.model.graph.node
        if len(nodes) == 1 and nodes[0].domain == "" and nodes[0].op_type in table:
            table[nodes[0].op_type].append(case)
    return table


def names(operator: str) -> list[str]:
    """All node tests of an operator."""
    return [case.name for case in _collected()[operator]]


def cases(operator: str) -> Iterator[Case]:
    """The node tests of an operator, but those in `EXCEPTIONS`."""
    for case in _collected()[operator]:
        if case.name in EXCEPTIONS:
            continue
        values, expected = case.data_sets[0]
        given = dict(zip([i.name for i in case.model.graph.input], map(_array, values), strict=False))
        wanted = [_array(value) for value in expected]
        if operator not in SHAPE_PARAMETERS or len(given) == 1:
            yield Case(case.name, False, case.model, given, wanted, case.rtol, case.atol)
        if len(given) > 1 and operator != "Concat":
            model, rest = _freeze(case.model, given)
            yield Case(case.name, True, model, rest, wanted, case.rtol, case.atol)


def _array(value: Any) -> Any:
    return numpy_helper.to_array(value) if isinstance(value, onnx.TensorProto) else np.asarray(value)


def _freeze(model: onnx.ModelProto, given: dict[str, np.ndarray]) -> tuple[onnx.ModelProto, dict[str, np.ndarray]]:
    frozen = onnx.ModelProto()
    frozen.CopyFrom(model)
    first, *others = given
    for name in others:
        frozen.graph.initializer.append(numpy_helper.from_array(given[name], name))
    kept = [entry for entry in frozen.graph.input if entry.name == first]
    del frozen.graph.input[:]
    if frozen.graph.node[0].op_type == "LayerNormalization":  # no network asks for its mean and deviation
        del frozen.graph.output[1:], frozen.graph.node[0].output[1:]
    frozen.graph.input.extend(kept)
    return frozen, {first: given[first]}


_RANDOM = "drops random elements; no two implementations drop the same (it runs, through the fallback)"
_CORNERS = (
    "maps corners with the output size before rounding; ONNX Runtime, the project's reference, does it with the "
    "rounded size, and so do codl's kernels"
)

_NOWHERE = "a number format that neither codl nor ONNX Runtime computes with"

EXCEPTIONS = {
    **dict.fromkeys(("test_pow_types_float32_uint64", "test_pow_types_float32_uint32"), _NOWHERE),
    **dict.fromkeys(("test_max_int16", "test_max_uint16", "test_min_int16", "test_min_uint16"), _NOWHERE),
    "test_reduce_max_empty_set_bool": "ONNX Runtime, which runs it, says that the largest of nothing is not defined",
    "test_identity_sequence": "a sequence is no tensor; no value of a codl graph can hold it",
    "test_identity_opt": "an optional sequence is no tensor",
    "test_training_dropout": _RANDOM,
    "test_training_dropout_mask": _RANDOM,
    "test_training_dropout_default": _RANDOM,
    "test_training_dropout_default_mask": _RANDOM,
    "test_resize_downsample_scales_linear_align_corners": _CORNERS,
    "test_resize_downsample_scales_cubic_align_corners": _CORNERS,
}
"""Node tests that codl does not pass, each with the reason."""
