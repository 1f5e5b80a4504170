"""Calibration without devices: probe network, task graphs, fits, and the description of an invented machine."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest

import codl.calibrate as calibrate
from codl import models
from codl.calibrate import fit, geometry, phases
from codl.calibrate.fallback import single_node_model
from codl.calibrate.measure import Samples, noise, occupancy
from codl.calibrate.network import image_probes, is_producer, probe_graph, probes
from codl.calibrate.sequence import TOGETHER, TURNS, Sequence
from codl.cost import CostModel
from codl.errors import InputError
from codl.graph import Graph
from codl.hardware import Cluster, Kernel, Processor, read, write
from codl.ops import REGISTRY, Dimension
from codl.ops.image import Layout
from codl.ops.launch import DeviceTraits, KernelRequest, View
from codl.ops.spec import Work
from codl.plan.planners import make_plan
from codl.real.clock import ClockOffset
from codl.real.devices import Assignment, DeviceInfo
from codl.real.overheads import Overheads
from codl.region import Region
from codl.tasks import HOST_LANE, Task, TaskGraph, TaskKind
from codl.trace import Span, Trace
from tests.graphs import residual
from tests.opencl import halves

LANES = ("gpu", "cpu")
TEXELS = (16384, 16384)
CPU = DeviceInfo("pocl:0.1", "pocl:0", "some core", "PoCL", "3.0", "cpu", 1, 2e9, 1 << 30, 8, False, TEXELS, True)
ONE_MEMORY = Assignment(cpu=CPU, gpu=replace(CPU, id="pocl:0.0", kind="gpu"), why="for a test", shared_memory=True)
TWO_MEMORIES = Assignment(
    cpu=CPU, gpu=DeviceInfo("gpu:0", "gpu:0", "a GPU", "GPUs", "1", "gpu", 8, 1e9, 1 << 30, 1, True, TEXELS, False),
    why="for a test", shared_memory=False,
)  # fmt: skip
PROCESSOR = Processor(
    kind="cpu", clusters=(Cluster(name="core", cores=1, frequency=2e9),), bandwidth=1e10, active_power=1.0
)
TRAITS = DeviceTraits(cpu=True, compute_units=1, max_work_group_size=4096, local_memory_bytes=1 << 15, simd_width=8)


@pytest.fixture(scope="module")
def graph() -> Graph:
    return probe_graph(quick=True)


# -- the probe network -------------------------------------------------------------------------------------------------


def _shape(work: Work) -> tuple[object, ...]:
    """What makes two operators the same to a predictor."""
    return (
        work.kind, work.in_h, work.in_w, work.in_channels, work.out_h, work.out_w, work.out_channels, work.kernel_h,
        work.kernel_w, work.stride_h, work.stride_w, work.groups,
    )  # fmt: skip


def _works(graph: Graph) -> list[Work]:
    return [
        REGISTRY[node].work(graph, node, Region.full(graph.tensors[node.output].shape))
        for node in graph.nodes
        if not is_producer(node)
    ]


def test_no_operator_of_any_known_network_is_among_the_probes() -> None:
    mine = {_shape(work) for quick in (True, False) for work in _works(probe_graph(quick))}
    assert len(mine) > 100
    for name in models.names():
        theirs = {_shape(work) for work in _works(models.load(name)) if work.flops}
        assert theirs, name
        assert not mine & theirs, f"{name}: {mine & theirs}"


def test_every_family_is_probed_by_every_kernel_variant_and_in_parts(graph: Graph) -> None:
    found = list(probes(graph, host=True))
    assert {probe.node.op for probe in found} == set(REGISTRY.families)
    for node in graph.nodes:
        mine = [probe for probe in found if probe.node is node]
        if is_producer(node):
            assert not mine
            continue
        assert {probe.algorithm for probe in mine} == set(REGISTRY[node].algorithms(graph, node))
        whole = Region.full(graph.tensors[node.output].shape)
        assert whole in {probe.region for probe in mine}
        assert all(whole.contains(probe.region) and not probe.region.empty for probe in mine)
    convolutions = [probe for probe in found if probe.node.op == "conv"]
    for axis in (2, 1):
        full = {p.region.ranges[axis] == (0, graph.tensors[p.node.output].shape[axis]) for p in convolutions}
        assert full == {True, False}


def test_a_processor_that_is_not_the_host_is_not_asked_to_run_the_fallback(graph: Graph) -> None:
    assert not any(REGISTRY[probe.node].host_only for probe in probes(graph, host=False))
    assert any(REGISTRY[probe.node].host_only for probe in probes(graph, host=True))


def test_the_fallback_model_is_valid_onnx() -> None:
    model = onnx.load_from_string(single_node_model("Erf", "a", "b", (1, 300, 7)))
    onnx.checker.check_model(model, full_check=True)
    assert [d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim] == [1, 300, 7]


# -- sequences ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("devices", [ONE_MEMORY, TWO_MEMORIES], ids=["one memory", "two memories"])
def test_a_sequence_is_a_legal_task_graph_with_every_probe_alone(graph: Graph, devices: Assignment) -> None:
    sequence = phases.build_sequence(graph, devices, LANES)  # checks the task graph
    for lane in LANES:
        timed = {t.probe for t in sequence.timed if t.phase == phases.alone(lane)}
        images = set(image_probes(graph, TEXELS)) if lane == "gpu" else set()
        assert timed == set(probes(graph, host=lane == "cpu")) | images
    assert bool(sequence.copies) is not devices.shared_memory
    assert any(t.phase == TOGETHER for t in sequence.timed) is devices.shared_memory
    turns = [t.lane for t in sequence.timed if t.phase == TURNS]
    assert turns[:4] == ["gpu", "cpu", "gpu", "cpu"]


def test_kernels_on_images_are_timed_where_the_device_has_images(graph: Graph) -> None:
    """Of every family that has some, what they read transformed right before them."""
    found = set(image_probes(graph, TEXELS))
    assert {probe.node.op for probe in found} == {"conv", "pool", "binary", "unary", "concat"}
    assert {probe.algorithm for probe in found if probe.node.op == "conv"} == {"direct", "depthwise"}
    sequence = phases.build_sequence(graph, ONE_MEMORY, LANES)
    assert all(t.lane == "gpu" for t in sequence.timed if t.probe.data_type == "image")
    read = sum(len(list(graph.variable_inputs(probe.node))) for probe in found)
    assert len(sequence.transforms) == read
    assert not phases.build_sequence(graph, ONE_MEMORY, LANES, images=False).transforms


def test_no_image_is_larger_than_the_device_allows() -> None:
    """PoCL's limit, for one, depends on the machine's memory."""
    graph = probe_graph(quick=False)
    for limits in (TEXELS, (8192, 8192), (2048, 512), (0, 0)):
        sequence = phases.build_sequence(
            graph, replace(ONE_MEMORY, gpu=replace(ONE_MEMORY.gpu, image_limits=limits)), LANES
        )
        images = [Layout.of(b.region) for b in sequence.tasks.buffers.values() if b.data_type == "image"]
        assert all(one.width <= limits[0] and one.height <= limits[1] for one in images)
        assert bool(images) is (limits != (0, 0))


def test_kernels_on_images_are_timed_on_a_gpu_and_elsewhere_when_asked(invented: Callable[..., None]) -> None:
    invented()
    core = replace(ONE_MEMORY, gpu=replace(ONE_MEMORY.gpu, kind="cpu"))
    for thorough in (False, True):
        found = calibrate.calibrate(core, quick=True, thorough=thorough)
        assert ("image" in found.processors["gpu"].data_types) is thorough


def test_processors_work_alone_in_their_own_phases(graph: Graph) -> None:
    """Everything of one phase is ordered before everything of the next: no kernel can overlap another phase's."""
    sequence = phases.build_sequence(graph, ONE_MEMORY, LANES)
    before: dict[str, set[str]] = {}
    last: dict[str, str] = {}
    for task in sequence.tasks.tasks:
        closure: set[str] = set()
        for dep in (*task.deps, *([last[task.lane]] if task.lane in last else [])):
            closure |= before[dep] | {dep}
        before[task.id], last[task.lane] = closure, task.id
    gpu = [t.task for t in sequence.timed if t.phase == phases.alone("gpu")]
    cpu = [t.task for t in sequence.timed if t.phase == phases.alone("cpu")]
    both = [t.task for t in sequence.timed if t.phase == TOGETHER]
    assert all(set(gpu) <= before[task] for task in cpu)
    assert all(set(cpu) <= before[task] for task in both)


def test_an_operator_finds_its_inputs_as_old_as_a_networks(graph: Graph) -> None:
    """Right before it where it computes much, before a kernel in between where it rather reads and writes."""
    sequence = phases.build_sequence(graph, ONE_MEMORY, LANES)
    kernels = [task for task in sequence.tasks.tasks if task.kind is TaskKind.KERNEL and task.lane == "gpu"]
    place = {task.id: index for index, task in enumerate(kernels)}
    seen = set()
    for timed in sequence.timed:
        if timed.lane == "gpu" and timed.phase == phases.alone("gpu"):
            values = [tensor.name for _, tensor in graph.variable_inputs(timed.probe.node)]
            work = REGISTRY[timed.probe.node].work(graph, timed.probe.node, timed.probe.region)
            old = work.flops < 60 * work.bytes
            index = place[timed.task] - old
            assert not old or kernels[index].op == phases.reference_probe(graph).node.name
            made = [graph.by_name[task.op].output for task in kernels[index - len(values) : index]]
            assert made == values
            seen.add(old)
    assert seen == {False, True}


# -- reading traces ----------------------------------------------------------------------------------------------------


def _kernel_task(name: str, lane: str) -> tuple[Task, Task]:
    enqueue = Task(f"{name}/enqueue", TaskKind.ENQUEUE, "host", source=lane)
    return enqueue, Task(name, TaskKind.KERNEL, lane, deps=(enqueue.id,))


def test_occupancy_is_a_span_with_the_gap_before_it() -> None:
    tasks = [task for name in ("a", "b", "c") for task in _kernel_task(name, "gpu")]
    program = TaskGraph("m", "p", "h", ("host", "gpu"), {}, tuple(tasks), {}, {})
    spans = (
        Span("a/enqueue", "host", "enqueue", "", "", 0, 0, 10), Span("a", "gpu", "kernel", "", "", 0, 30, 100),
        Span("b/enqueue", "host", "enqueue", "", "", 10, 10, 20), Span("b", "gpu", "kernel", "", "", 10, 105, 200),
        Span("c/enqueue", "host", "enqueue", "", "", 20, 300, 310), Span("c", "gpu", "kernel", "", "", 300, 305, 400),
    )  # fmt: skip
    found = occupancy(Trace("measured", spans, {}), program)
    assert found == {"a": 90, "b": 100, "c": 95}  # from hand-over; from the end of `a`; started while being handed over


def test_noise_is_half_the_interquartile_range_over_the_median() -> None:
    assert noise(np.array([100.0, 100.0, 100.0, 100.0])) == 0
    assert noise(np.array([80.0, 90.0, 100.0, 110.0, 120.0])) == pytest.approx(0.1)


# -- fits --------------------------------------------------------------------------------------------------------------


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
    times = {"multiply": 1e-11, "data": 5e-11, "weights": 8e-11, "launch": 2e-5, **units}
    kernel = Kernel(
        name="true", algorithm="direct", form="tiled", blocks=geometry.blocks("direct", TRAITS), parallel=(),
        compute={"multiply": times["multiply"]}, memory={"data": times["data"], "weights": times["weights"]},
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
    one, two = _by_formula(), _by_formula(multiply=3e-11, data=3e-10)
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
    from codl.cost.choice import matcher

    shapes = [
        Work(kind, batch, height, 9, 32, 9, 9, channels, kernel, kernel, stride, stride, groups=groups)
        for batch in (1, 2) for height in (1, 9) for channels in (3, 8, 40) for kernel in (1, 3, 5, 7, 9)
        for stride in (1, 2, 4) for groups in (1, 4)
    ]  # fmt: skip
    for conditions in fit._DISTINCTIONS[kind]:
        tests = [
            matcher(Kernel(name="k", algorithm="a", form="direct", when=dict(condition)), fit._FIELDS)
            for condition in conditions
        ]
        for work in shapes:
            assert sum(test(work) for test in tests) == 1, (conditions, work)


# -- the description ---------------------------------------------------------------------------------------------------


def _invented_ns(work: Work) -> float:
    """100 GFLOP/s in blocks of 16 channels and 6 pixels, 10 GB/s, 20 us a launch."""
    padding = 1.0
    if work.kind in ("conv", "conv_transpose"):
        channels, pixels = work.out_channels / work.groups, work.batch * work.out_h * work.out_w
        padding = -(-channels // 16) * 16 / channels * -(-pixels // 6) * 6 / pixels
    return 20_000 + work.flops * padding / 100 + work.bytes / 10


def _samples(graph: Graph, sequence: Sequence, jitter: float = 0.0, together: float = 1.2) -> Samples:
    random = np.random.default_rng(2)
    samples = Samples(rounds=5)
    for timed in sequence.timed:
        probe = timed.probe
        work = REGISTRY[probe.node].work(graph, probe.node, probe.region)
        ns = _invented_ns(work)
        ns *= together if timed.phase == TOGETHER else 3.0 if probe.data_type == "image" else 1.0
        samples.tasks[timed.task] = [round(ns * random.lognormal(0, jitter)) for _ in range(5)]
    for task, nbytes in sequence.copies.items():
        samples.tasks[task] = [round(30_000 + nbytes / 5)] * 5
    for task, nbytes in sequence.transforms.items():
        samples.tasks[task] = [round(40_000 + nbytes / 8)] * 5
    for task in sequence.tasks.tasks:
        if task.kind is TaskKind.KERNEL:
            samples.enqueues[task.id] = [6500, 7000, 7000, 7500, 8000]
    for lane, other in (LANES, LANES[::-1]):
        samples.syncs[lane, other] = [30_000 if lane == "gpu" else 50_000]
        samples.syncs[lane, HOST_LANE] = [60_000 if lane == "gpu" else 80_000]
        samples.gaps[lane] = [10_000]
    return samples


@pytest.fixture
def invented(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Replaces the devices by the invented machine."""
    monkeypatch.setattr(calibrate, "open_device", lambda device_id: device_id)
    monkeypatch.setattr(calibrate, "overheads", lambda device_id: Overheads(ClockOffset(5000, 200), 300.0))
    monkeypatch.setattr(calibrate, "machine", lambda: {"cpu": "invented", "cores": 2})

    def use(jitter: float = 0.0, **options: float) -> None:
        def of(device_id: str) -> DeviceTraits:
            return replace(TRAITS, cpu=not device_id.startswith("gpu"))

        def measured(
            graph: Graph, sequence: Sequence, devices: Assignment, rounds: tuple[int, int], step, _
        ) -> Samples:
            for _ in range(rounds[0]):
                step("timing kernels")
            return _samples(graph, sequence, jitter, **options)

        monkeypatch.setattr(calibrate, "traits", of)
        monkeypatch.setattr(calibrate, "measure", measured)

    return use


class Ticker:
    def __init__(self) -> None:
        self.steps = 0
        self.totals: list[int] = []
        self.notes: list[str] = []

    def total(self, steps: int) -> None:
        self.totals.append(steps)

    def step(self, what: str) -> None:
        assert self.totals and what
        self.steps += 1

    def note(self, what: str) -> None:
        self.notes.append(what)


def test_an_invented_machine_is_described_as_it_is(invented: Callable[..., None]) -> None:
    invented()
    ticker = Ticker()
    found = calibrate.calibrate(ONE_MEMORY, report=ticker, quick=True)
    assert 0 < ticker.steps <= ticker.totals[0]
    assert list(found.processors) == ["gpu", "cpu"]
    assert found.sharing.kind == "unified"
    assert found.sharing.pre_sync == pytest.approx(20e-6)
    assert found.sharing.post_sync == pytest.approx(40e-6)
    assert found.sharing.host_wait == pytest.approx({"gpu": 60e-6, "cpu": 80e-6})
    assert found.processors["cpu"].enqueue == pytest.approx(7e-6)
    assert found.processors["cpu"].contention == pytest.approx(1.2)
    assert found.alignment == {"output_channel": 16}
    assert found.libraries["codl"].choice == "fastest"
    assert found.processors["gpu"].data_types == ("buffer", "image")
    assert found.processors["cpu"].data_types == ("buffer",)
    assert found.sharing.transform.fixed == pytest.approx(40e-6, rel=1e-2)
    assert found.sharing.transform.per_byte == pytest.approx(0.125e-9, rel=1e-2)
    seen = found.observed
    assert seen is not None
    assert (seen.clock_offset["gpu"], seen.profiling["cpu"]) == (pytest.approx(5e-6), pytest.approx(300e-9))
    assert set(seen.spreads) >= {"processors.cpu.enqueue", "sharing.pre_sync", "sharing.post_sync", "launch.gpu"}
    assert seen.spreads["processors.cpu.enqueue"].low < seen.spreads["processors.cpu.enqueue"].high
    entries = {entry.source for entry in found.calibration}
    assert entries == {"measured", "assumed", "device"}
    # its source is asked for
    assert found.provenance("processors.cpu.active_power").source == "assumed"  # type: ignore[union-attr]
    assert any("conv 34x35x144->144 k3 s1" in entry.shapes for entry in found.calibration)


def test_a_description_predicts_other_networks_on_the_invented_machine(invented: Callable[..., None]) -> None:
    invented()
    hardware = calibrate.calibrate(ONE_MEMORY, quick=True)
    graph = residual()
    cost = CostModel(hardware, graph)
    for node in graph.nodes:
        whole = Region.full(graph.tensors[node.output].shape)
        expected = _invented_ns(REGISTRY[node].work(graph, node, whole))
        for algorithm in REGISTRY[node].algorithms(graph, node):
            # The invented machine multiplies as often as the direct kernels of convolutions do.
            if not algorithm.startswith("winograd") and (node.attributes.get("group", 1) == 1 or algorithm != "direct"):
                assert cost.kernel(node, whole, "cpu", algorithm).ns == pytest.approx(expected, rel=0.15)


def test_kernels_on_images_cost_what_they_took(invented: Callable[..., None]) -> None:
    """On the invented machine three times as much as on buffers: a plan with a free choice takes buffers, and images
    where it is told to and there are kernels on them."""
    invented()
    hardware = calibrate.calibrate(ONE_MEMORY, quick=True)
    graph = residual()
    cost = CostModel(hardware, graph, {"gpu": "image"})
    for node in graph.nodes:
        whole = Region.full(graph.tensors[node.output].shape)
        for algorithm in REGISTRY[node].image_algorithms(graph, node):
            expected = 3 * _invented_ns(REGISTRY[node].work(graph, node, whole))
            assert cost.kernel(node, whole, "gpu", algorithm).ns == pytest.approx(expected, rel=0.3)
    free = make_plan(graph, hardware, CostModel(hardware, graph), "gpu")
    assert free.processors["gpu"].data_type == "buffer" and not free.data_types
    told = make_plan(graph, hardware, CostModel(hardware, graph), "gpu", data_type="image")
    assert told.processors["gpu"].data_type == "image"
    assert {graph.by_name[name].op for name in told.data_types} == {"reshape", "gemm"}


def test_separate_memories_have_a_cost_of_copies(invented: Callable[..., None]) -> None:
    invented()
    found = calibrate.calibrate(TWO_MEMORIES, quick=True)
    assert found.sharing.kind == "copied"
    assert found.sharing.copy_.fixed == pytest.approx(30e-6, rel=1e-2)
    assert found.sharing.copy_.per_byte == pytest.approx(0.2e-9, rel=1e-2)
    assert found.processors["cpu"].contention == 1
    assert found.alignment == {"output_channel": 64}


def test_a_description_survives_its_file(invented: Callable[..., None], tmp_path: Path) -> None:
    invented()
    made = calibrate.calibrate(ONE_MEMORY, quick=True)
    write(made, tmp_path / "host.yaml")
    again = read(tmp_path / "host.yaml")
    assert again == made
    assert again.digest == made.digest


def test_a_noisy_machine_is_refused_with_its_numbers(invented: Callable[..., None]) -> None:
    invented(jitter=0.8)
    with pytest.raises(calibrate.TooNoisyError, match=r"too noisy.*pocl:0.* spread by \d+% \(allowed: 25%\)"):
        calibrate.calibrate(ONE_MEMORY, quick=True)
    assert calibrate.calibrate(ONE_MEMORY, quick=True, noise_limit=9.0).name == "host"


def test_a_description_made_in_noise_is_used_with_a_note_and_not_kept(
    invented: Callable[..., None], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    invented(jitter=0.8)
    monkeypatch.setenv("CODL_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(calibrate, "choose", lambda cpu, gpu: ONE_MEMORY)
    ticker = Ticker()
    assert calibrate.load_or_calibrate(report=ticker).name == "host"
    (note,) = ticker.notes
    assert "too noisy" in note and "not kept" in note
    assert not list(tmp_path.rglob("*.yaml"))


def test_a_machine_is_described_once(
    invented: Callable[..., None], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    invented()
    monkeypatch.setenv("CODL_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(calibrate, "choose", lambda cpu, gpu: TWO_MEMORIES if gpu else ONE_MEMORY)
    made = 0

    def counted(assignment: Assignment, **options) -> calibrate.Hardware:
        nonlocal made
        made += 1
        print_of = calibrate.fingerprint(assignment, options["storage"])
        return described.model_copy(update={"fingerprint": print_of})

    described = calibrate.calibrate(ONE_MEMORY, quick=True)
    monkeypatch.setattr(calibrate, "calibrate", counted)
    first = calibrate.load_or_calibrate()
    assert (made, calibrate.load_or_calibrate()) == (1, first)
    other = calibrate.load_or_calibrate(gpu="gpu:0")  # other devices: another description
    assert made == 2 and other.fingerprint != first.fingerprint
    monkeypatch.setattr(calibrate, "machine", lambda: {"cpu": "another", "cores": 2})
    assert calibrate.load_or_calibrate().fingerprint != first.fingerprint
    assert made == 3
    for file in tmp_path.rglob("*.yaml"):
        file.write_text("schema: codl.hardware/0\n")  # of an older version: made anew, not an error
    calibrate.load_or_calibrate()
    assert made == 4
    smaller = calibrate.load_or_calibrate(storage="float16")
    assert (made, calibrate.load_or_calibrate(storage="float16")) == (5, smaller)
    with pytest.raises(InputError, match="storage 'float8': allowed are float32 and float16"):
        calibrate.load_or_calibrate(storage="float8")


def test_kernels_that_store_weights_as_float16_are_fitted_as_such(invented: Callable[..., None]) -> None:
    invented()
    for storage, sizes in (("float32", {4}), ("float16", {2, 4})):
        (library,) = calibrate.calibrate(ONE_MEMORY, quick=True, storage=storage).libraries.values()
        kernels = library.kernels["cpu"]["buffer"]
        assert {kernel.weight_bytes for kernel in kernels} == sizes
        assert all((kernel.weight_bytes == 2) == kernel.algorithm.endswith("-float16") for kernel in kernels)


def test_alignment_is_what_the_kernels_pack(invented: Callable[..., None]) -> None:
    """Parts that a plan cuts are whole blocks of the convolution kernels."""
    assert geometry.block_channels(replace(TRAITS, simd_width=16)) == 32
    assert geometry.block_channels(replace(TRAITS, cpu=False)) == 64
    invented()
    assert Dimension.OUTPUT_CHANNEL.value in calibrate.calibrate(ONE_MEMORY, quick=True).alignment


def test_sizes_of_tiles_and_work_items_are_those_of_the_kernels() -> None:
    """The launch of any convolution has as many work-items as the sizes, read from a large one, say."""
    found = geometry.blocks("winograd4", TRAITS)
    assert found == {"out_channels": 16, "pixels": 4, "item_pixels": 24, "item_channels": 256, "in_channels": 8}
    graph = probe_graph()
    for node in graph.nodes:
        if node.op != "conv" or "direct" not in (variants := REGISTRY[node].algorithms(graph, node)):
            continue
        out = Region.full(graph.tensors[node.output].shape)
        for algorithm in set(variants) - {"depthwise", "narrow"}:
            sizes = geometry.blocks(algorithm, TRAITS)
            views = View.of(Region.full(graph.tensors[node.inputs[0]].shape)), View.of(out)
            request = KernelRequest(graph, node, out, views[:1], views[1], algorithm, TRAITS)
            work = REGISTRY[node].work(graph, node, out)
            side = int(algorithm.removeprefix("winograd")) if algorithm.startswith("winograd") else 1
            pixels = -(-work.out_h // side) * -(-work.out_w // side)
            items = -(-pixels // sizes["item_pixels"]) * work.groups
            items *= -(-(work.out_channels // work.groups) // sizes["item_channels"])
            (launch,) = REGISTRY[node].program(request).launches
            assert np.prod(launch.global_size) == items, (node.name, algorithm)


def test_an_interrupted_calibration_goes_on_where_it_was(graph: Graph, tmp_path: Path) -> None:
    sequence = phases.build_sequence(graph, ONE_MEMORY, LANES)
    made, path = _samples(graph, sequence), tmp_path / "host.partial.json"
    made.write(path, sequence.tasks.digest)
    again = Samples.resumed(path, sequence.tasks.digest)
    assert (again.rounds, again.tasks, again.syncs) == (made.rounds, made.tasks, made.syncs)
    assert Samples.resumed(path, "another sequence").rounds == 0
    assert Samples.resumed(tmp_path / "missing.json", sequence.tasks.digest).rounds == 0
    os.utime(path, (0, 0))
    assert Samples.resumed(path, sequence.tasks.digest).rounds == 0  # of another day
    path.write_text("[half a fi")
    assert Samples.resumed(path, sequence.tasks.digest).rounds == 0


# -- pace --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("reference", "slower"), [(1000.0, False), (1e-9, True)])
def test_the_pace_is_the_reference_kernels_time_over_what_it_was(
    invented: Callable[..., None], reference: float, slower: bool
) -> None:
    invented()
    described = calibrate.calibrate(ONE_MEMORY, quick=True)
    assert described.observed is not None
    assert described.observed.reference_kernel == "conv 34x35x144->144 k3 s1"
    assert described.observed.reference["cpu"] > 0
    observed = described.observed.model_copy(update={"reference": dict.fromkeys(LANES, reference)})
    with calibrate.PaceMeter(described.model_copy(update={"observed": observed}), halves()) as meter:
        pace = meter()
    assert pace is not None
    assert (pace > 1) is slower


def test_a_description_without_a_reference_knows_no_pace(invented: Callable[..., None]) -> None:
    invented()
    described = calibrate.calibrate(ONE_MEMORY, quick=True)
    # calibrated above: it was observed
    for observed in (None, described.observed.model_copy(update={"reference_kernel": "conv of nobody"})):  # type: ignore[union-attr]
        with calibrate.PaceMeter(described.model_copy(update={"observed": observed}), halves()) as meter:
            assert meter() is None
