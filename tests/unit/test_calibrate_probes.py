"""What is measured of a machine: the probe network, its task graphs, and times read from traces."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest

from codl import models
from codl.calibrate import phases
from codl.calibrate.fallback import single_node_model
from codl.calibrate.measure import Samples, noise, occupancy
from codl.calibrate.network import is_large, is_producer, probe_graph
from codl.calibrate.probes import image_probes, probes
from codl.calibrate.sequence import TOGETHER, TURNS, Sequence, Timed
from codl.graph import Graph
from codl.models.zoo import NETWORKS
from codl.ops import REGISTRY
from codl.ops.image import Layout
from codl.ops.spec import Work
from codl.real.devices import Assignment
from codl.region import Region
from codl.tasks import Task, TaskGraph, TaskKind
from codl.trace import Span, Trace
from tests.invented import CPU, LANES, ONE_MEMORY, TEXELS, TWO_MEMORIES, samples
from tests.zoo import skeleton


@pytest.fixture(scope="module")
def graph() -> Graph:
    return probe_graph(quick=True)


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


def _known(name: str) -> Graph:
    return skeleton(name) if name in NETWORKS else models.load(name)


def test_no_operator_of_any_known_network_is_among_the_probes() -> None:
    networks = (probe_graph(quick=True), probe_graph(large=True))
    mine = {_shape(work) for each in networks for work in _works(each)}
    assert len(mine) > 100
    for name in models.names():
        theirs = {_shape(work) for work in _works(_known(name)) if work.flops}
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


def test_only_wide_processors_are_asked_to_run_what_fills_them() -> None:
    graph = probe_graph(large=True)
    large = {node.name for node in graph.nodes if is_large(node)}
    assert not large & {node.name for node in probe_graph().nodes}
    assert {graph.by_name[name].op for name in large} == {"conv", "conv_transpose", "pool"}
    assert large <= {probe.node.name for probe in probes(graph, host=True, large=("conv", "conv_transpose", "pool"))}
    asked = {
        probe.node.name for probe in probes(graph, host=False, large=phases.large_families(ONE_MEMORY.gpu))
    } & large
    assert {graph.by_name[name].op for name in asked} == {"conv", "conv_transpose"}
    assert not large & {probe.node.name for probe in probes(graph, host=False)}
    many = replace(ONE_MEMORY, cpu=replace(CPU, compute_units=16))
    few = replace(ONE_MEMORY, gpu=replace(ONE_MEMORY.gpu, kind="cpu"))
    apart = replace(TWO_MEMORIES, cpu=replace(TWO_MEMORIES.cpu, compute_units=16))  # copies what both have made only
    for devices, wide in ((few, set()), (ONE_MEMORY, {"gpu"}), (many, {"gpu", "cpu"}), (apart, {"gpu", "cpu"})):
        sequence = phases.build_sequence(graph, devices, LANES)
        timed = {(t.lane, t.phase) for t in sequence.timed if is_large(t.probe.node)}
        assert timed == {(lane, phases.alone(lane)) for lane in wide}
        assert not any(is_large(t.probe.node) for t in sequence.timed if t.probe.data_type == "image")


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
    played = devices.for_lanes(LANES)
    for lane in LANES:
        timed = {t.probe for t in sequence.timed if t.phase == phases.alone(lane)}
        images = set(image_probes(graph, TEXELS)) if lane == "gpu" else set()
        assert timed == set(probes(graph, host=lane == "cpu", cpu=played[lane].kind == "cpu")) | images
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
    small, large = probe_graph(quick=True), probe_graph(quick=False)
    for graph, limits in ((small, TEXELS), (large, (8192, 8192)), (large, (2048, 512)), (small, (0, 0))):
        devices = replace(ONE_MEMORY, gpu=replace(ONE_MEMORY.gpu, image_limits=limits))
        sequence = phases.build_sequence(graph, devices, LANES)
        images = [Layout.of(b.region) for b in sequence.tasks.buffers.values() if b.data_type == "image"]
        assert all(one.width <= limits[0] and one.height <= limits[1] for one in images)
        assert bool(images) is (limits != (0, 0))


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
    """Large ones are made before a kernel in between, the last one first; but for the reference kernel, which is that
    kernel. Small ones have just been made."""
    sequence = phases.build_sequence(graph, ONE_MEMORY, LANES)
    kernels = [task for task in sequence.tasks.tasks if task.kind is TaskKind.KERNEL and task.lane == "gpu"]
    place = {task.id: index for index, task in enumerate(kernels)}
    seen = set()
    for timed in sequence.timed:
        if timed.lane == "gpu" and timed.phase == phases.alone("gpu"):
            tensors = [tensor for _, tensor in graph.variable_inputs(timed.probe.node)]
            values, large = [tensor.name for tensor in tensors], sum(tensor.nbytes for tensor in tensors) > 768 * 1024
            old = large and timed.probe.node is not phases.reference_probe(graph).node
            step = 2 if old else 1
            index = place[timed.task]
            before = [task.op for task in kernels[index - step * len(values) : index]]
            assert [graph.by_name[maker].output for maker in before[::step]] == values[::-1]
            assert not old or set(before[1::2]) == {phases.reference_probe(graph).node.name}
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


def test_a_probes_time_is_its_span_and_launches_are_gaps_after_short_commands(graph: Graph) -> None:
    probe = next(probes(graph, host=False))
    names = ("a", "b", "c")
    tasks = [task for name in names for task in _kernel_task(name, "gpu")]
    program = TaskGraph("m", "p", "h", ("host", "gpu"), {}, tuple(tasks), {}, {})
    spans = [
        Span(f"{name}/enqueue", "host", "enqueue", "", "", n, n, n + 1) for n, name in enumerate(names)
    ] + [
        Span("a", "gpu", "kernel", "", "", 0, 10, 300_000),
        Span("b", "gpu", "kernel", "", "", 0, 320_000, 9_000_000),  # 20 us after a short one
        Span("c", "gpu", "kernel", "", "", 0, 9_070_000, 9_100_000),  # 70 us after a long one
    ]  # fmt: skip
    made = Samples()
    timed = tuple(Timed(name, "gpu", phases.alone("gpu"), probe) for name in names)
    made.add(Trace("measured", tuple(spans), {}), Sequence(program, timed, {}))
    assert made.tasks == {"a": [299_990], "b": [8_680_000], "c": [30_000]}
    assert made.gaps == {"gpu": [20_000]}


def test_noise_is_half_the_interquartile_range_over_the_median() -> None:
    assert noise(np.array([100.0, 100.0, 100.0, 100.0])) == 0
    assert noise(np.array([80.0, 90.0, 100.0, 110.0, 120.0])) == pytest.approx(0.1)


def test_an_interrupted_calibration_goes_on_where_it_was(graph: Graph, tmp_path: Path) -> None:
    sequence = phases.build_sequence(graph, ONE_MEMORY, LANES)
    made, path = samples(graph, sequence), tmp_path / "host.partial.json"
    made.write(path, sequence.tasks.digest)
    again = Samples.resumed(path, sequence.tasks.digest)
    assert (again.rounds, again.tasks, again.syncs) == (made.rounds, made.tasks, made.syncs)
    assert Samples.resumed(path, "another sequence").rounds == 0
    assert Samples.resumed(tmp_path / "missing.json", sequence.tasks.digest).rounds == 0
    os.utime(path, (0, 0))
    assert Samples.resumed(path, sequence.tasks.digest).rounds == 0  # of another day
    path.write_text("[half a fi")
    assert Samples.resumed(path, sequence.tasks.digest).rounds == 0
