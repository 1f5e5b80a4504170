"""Every operator that codl has kernels for passes the onnx package's node tests on the executor, whole and split."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from codl import onnx_reader
from codl.graph import Graph
from codl.ops import REGISTRY, Dimension
from codl.plan.lower import lower
from codl.plan.model import Plan
from codl.real.devices import Assignment
from codl.real.executor import Executor
from tests.conformance.node_cases import ELEMENTWISE, EXCEPTIONS, OPERATORS, Case, cases, names
from tests.opencl import halves, native_halves
from tests.plans import placed, split

HEIGHT, WIDTH, CHANNEL = Dimension.HEIGHT, Dimension.WIDTH, Dimension.OUTPUT_CHANNEL
SPLITS = {
    **dict.fromkeys(("Conv", "MaxPool", "AveragePool", "ConvTranspose", "Pad"), (HEIGHT, WIDTH, CHANNEL)),
    **dict.fromkeys(("GlobalAveragePool", "GlobalMaxPool"), (HEIGHT, WIDTH, CHANNEL)),
    **dict.fromkeys(("Resize", "Upsample"), (HEIGHT, WIDTH)),
    **dict.fromkeys(("Gemm", "MatMul"), (CHANNEL,)),
}
"""Dimensions along which at least one case of an operator must have been split (other operators' cases have no feature
maps; tests/property cuts those)."""


@pytest.fixture(scope="module", params=["opencl", "native"])
def devices(request: pytest.FixtureRequest) -> Assignment:
    return halves() if request.param == "opencl" else native_halves()


def plans(graph: Graph) -> dict[str, Plan]:
    """Unsplit on the CPU, and halved along every dimension that an operator of the graph allows."""
    allowed = {dimension for node in graph.nodes for dimension in REGISTRY[node].dimensions(graph, node)}
    return {"cpu": placed(graph, "cpu")} | {d.value: split(graph, d) for d in sorted(allowed)}


def check(case: Case, outputs: dict[str, np.ndarray]) -> None:
    """As the node tests do; differences below 1e-6 of the largest magnitude also pass, since sums may cancel."""
    for (name, ours), expected in zip(outputs.items(), case.expected, strict=False):
        assert (ours.shape, ours.dtype) == (expected.shape, expected.dtype), name
        if expected.dtype.kind not in "fV":  # V: bfloat16
            np.testing.assert_array_equal(ours, expected)
            continue
        wide = expected.astype(np.float64)
        scale = np.max(np.abs(wide), initial=0.0, where=np.isfinite(wide))
        np.testing.assert_allclose(ours.astype(np.float64), wide, rtol=case.rtol, atol=case.atol + 1e-6 * scale)


@pytest.mark.parametrize("operator", OPERATORS)
def test_node_cases(operator: str, devices: Assignment) -> None:
    ran: Counter[str] = Counter()
    failures = []
    for case in cases(operator):
        graph = onnx_reader.read(case.model)
        for label, plan in plans(graph).items():
            with Executor(graph, lower(graph, plan), devices) as executor:
                outputs, _ = executor.run(case.inputs)
                ran[label] += 1
                ran["own kernels"] += not executor.fallbacks
            try:
                check(case, outputs)
            except AssertionError as error:
                failures.append(f"{case}, {label}: {error}")
    assert not failures, "\n".join(failures)
    assert ran["cpu"] >= len([name for name in names(operator) if name not in EXCEPTIONS]) > 0
    assert ran["own kernels"] > 0, "every case went through the fallback"
    missing = {dimension.value for dimension in SPLITS.get(operator, ())} - set(ran)
    assert not missing, f"no case was split along {missing}"


def test_all_operators_are_covered() -> None:
    """An operator type with a family of its own is tested here, and the exceptions are tests that exist."""
    assert set(ELEMENTWISE) <= set(OPERATORS)
    assert set(REGISTRY.onnx_types) <= set(OPERATORS)
    known = {name for operator in OPERATORS for name in names(operator)}
    assert set(EXCEPTIONS) <= known
