"""Fits: unit times found again, differences noticed, errors stated of what was left out, sizes of the kernels."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from codl.calibrate import fit, geometry
from codl.calibrate.network import probe_graph
from codl.calibrate.phases import build_sequence
from codl.calibrate.results import Results
from codl.cost.choice import matcher
from codl.hardware import Cluster, Kernel, Processor
from codl.ops import REGISTRY
from codl.ops.launch import KernelRequest, View
from codl.ops.spec import Work
from codl.ops.winograd import ALGORITHMS
from codl.region import Region
from tests.invented import GAP, LANES, ONE_MEMORY, TRAITS, kernel_ns, samples

PROCESSOR = Processor(
    kind="cpu", clusters=(Cluster(name="core", cores=1, frequency=2e9),), bandwidth=1e10, active_power=1.0
)


def _convolution_timings(seconds: Callable[[Work], float], count: int = 40) -> list[fit.Timing]:
    random = np.random.default_rng(5)
    timings = []
    for index in range(count):
        side, ic, oc = (int(random.integers(low, high)) for low, high in ((8, 90), (8, 200), (8, 300)))
        kernel, stride = int(random.choice([1, 3, 5])), int(random.choice([1, 2]))
        out = -(-side // stride)
        work = Work(
            "conv", 1, out, out, oc, side, side, ic, kernel, kernel, stride, stride,
            flops=2.0 * out * out * oc * ic * kernel * kernel, input_bytes=4 * side * side * ic,
            output_bytes=4 * out * out * oc, weight_bytes=4 * ic * oc * kernel * kernel,
        )  # fmt: skip
        timings.append(fit.Timing(work, "direct", f"conv{index}", seconds(work)))
    return timings


def _by_formula(**units: float) -> Callable[[Work], float]:
    times = {"multiply": 1e-11, "read": 3e-11, "write": 1e-10, "weights": 8e-11, "launch": 2e-5, **units}
    kernel = Kernel(
        name="true", algorithm="direct", form="tiled", blocks=geometry.blocks("direct", TRAITS), parallel=(),
        compute={"multiply": times["multiply"]},
        memory={unit: times[unit] for unit in ("read", "write", "weights")},
        fixed={"launch": times["launch"]},
    )  # fmt: skip
    return lambda work: float(fit.predict(kernel, PROCESSOR, [work])[0])


def test_unit_times_that_made_the_timings_are_found_again() -> None:
    (found,) = fit.fit_library(_convolution_timings(_by_formula()), PROCESSOR, TRAITS)
    assert found.kernel.form == "tiled"
    assert found.kernel.compute["multiply"] == pytest.approx(1e-11, rel=1e-3)
    assert found.kernel.fixed["launch"] == pytest.approx(2e-5, rel=1e-2)
    assert found.errors.max() < 1e-3


def test_a_difference_between_strides_is_noticed_and_one_that_is_not_there_is_not() -> None:
    one, two = _by_formula(), _by_formula(multiply=3e-11, read=3e-10)
    found = fit.fit_library(_convolution_timings(lambda w: (one if w.stride_w == 1 else two)(w)), PROCESSOR, TRAITS)
    assert {kernel.kernel.name for kernel in found} == {"conv-direct-stride-1", "conv-direct-stride-from-2"}
    assert max(kernel.errors.max() for kernel in found) < 1e-2
    same = fit.fit_library(_convolution_timings(one), PROCESSOR, TRAITS)
    assert [kernel.kernel.name for kernel in same] == ["conv-direct"]


def test_the_error_stated_is_of_operators_left_out() -> None:
    """Times that follow no formula can be fitted, but not predicted, and the description must say the latter."""
    random = np.random.default_rng(3)
    timings = _convolution_timings(lambda work: float(random.lognormal(-7, 1.0)), count=12)
    (found, *_) = fit.fit_library(timings, PROCESSOR, TRAITS)
    assert np.median(found.errors) > 0.3


@pytest.mark.parametrize("kind", sorted(fit._DISTINCTIONS))
def test_kernels_of_one_kind_exclude_each_other_and_cover_everything(kind: str) -> None:
    shapes = [
        Work(kind, batch, height, 9, 32, 9, 9, channels, kernel, kernel, stride, stride, groups=groups)
        for batch in (1, 2) for height in (1, 9) for channels in (3, 8, 40) for kernel in (1, 3, 5, 7, 9)
        for stride in (1, 2, 4) for groups in (1, 4)
    ]  # fmt: skip
    for conditions in fit._DISTINCTIONS[kind]:
        tests = [
            matcher(Kernel(name="k", algorithm="a", form="direct", when=dict(condition))) for condition in conditions
        ]
        for work in shapes:
            assert sum(test(work) for test in tests) == 1, (conditions, work)


def test_sizes_of_tiles_and_work_items_are_those_of_the_kernels() -> None:
    """The launch of any convolution has as many work-items as the sizes, read from a large one, say."""
    found = geometry.blocks("winograd4", TRAITS)
    assert found == {"out_channels": 16, "pixels": 4, "item_pixels": 24, "item_channels": 256, "in_channels": 8}
    graph = probe_graph()
    for node in graph.nodes:
        if node.op != "conv" or "direct" not in (variants := REGISTRY[node].algorithms(graph, node)):
            continue
        out = Region.full(graph.tensors[node.output].shape)
        for algorithm in set(variants) - {"depthwise", "narrow", "fft"}:
            sizes = geometry.blocks(algorithm, TRAITS)
            inputs = tuple(View.of(Region.full(tensor.shape)) for _, tensor in graph.variable_inputs(node))
            request = KernelRequest(graph, node, out, inputs, View.of(out), algorithm, TRAITS)
            work = REGISTRY[node].work(graph, node, out)
            side = ALGORITHMS.get(algorithm, 1)
            pixels = -(-work.out_h // side) * -(-work.out_w // side)
            items = -(-pixels // sizes["item_pixels"]) * work.groups
            items *= -(-(work.out_channels // work.groups) // sizes["item_channels"])
            (launch,) = REGISTRY[node].program(request).launches
            assert np.prod(launch.global_size) == items, (node.name, algorithm)


def test_kernels_of_a_core_with_two_paces_are_told_apart() -> None:
    """Somebody else's work on a core slows each run of a kernel or does not; on average all lose the same."""
    graph = probe_graph(quick=True)
    program = build_sequence(graph, ONE_MEMORY, LANES, images=False)
    measured = samples(graph, program)
    random = np.random.default_rng(3)
    for task in measured.tasks:
        slowed = np.where(random.random(21) < 0.5, 1.35, 1.0)
        measured.tasks[task] = [round(measured.tasks[task][0] * factor) for factor in slowed]
    results = Results(graph, program, measured, ONE_MEMORY, dict.fromkeys(LANES, TRAITS))
    ratios = [(timing.seconds * 1e9 - GAP) / (kernel_ns(timing.work) - GAP) for timing in results.timings("cpu")]
    assert max(ratios) < 1.01 * min(ratios)
    assert 1.12 < ratios[0] < 1.23
    middle = [np.median(measured.tasks[timed.task]) for timed in program.timed]
    lowest = [min(measured.tasks[timed.task]) for timed in program.timed]
    assert np.ptp(np.array(middle) / lowest) > 0.3  # medians are either pace
