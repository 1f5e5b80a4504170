"""Costs of kernels and of every other task: which kernel is taken, what it costs, what is refused."""

from __future__ import annotations

import pytest

from codl import hardware as hw
from codl.cost import CostModel
from codl.cost.features import FORMS, form
from codl.errors import SchemaError, UncalibratedError
from codl.region import Region
from codl.tasks import Access, Task, TaskKind
from tests.processors import conv_graph, kernel, load


def test_mace_picks_winograd_gemm_and_direct() -> None:
    hardware = load("sd855")
    for channels, size, taps, expected in [
        ((64, 64), 66, 3, "winograd6"),
        ((64, 64), 15, 3, "winograd2"),
        ((3, 64), 66, 3, "direct"),
        ((64, 6), 66, 3, "direct"),
        ((64, 64), 66, 1, "gemm"),
        ((64, 64), 66, 7, "direct"),
    ]:
        graph, node = conv_graph(*channels, size, taps)
        cost = CostModel(hardware, graph)
        whole = Region.full(graph.tensor("y").shape)
        assert cost.algorithm(node, whole, "cpu") == expected
        assert cost.algorithm(node, whole, "gpu") == "direct"


def test_a_part_may_take_another_algorithm_than_the_whole() -> None:
    graph, node = conv_graph(size=28)
    cost = CostModel(load("sd855"), graph)
    whole = Region.full((1, 64, 26, 26))
    assert cost.algorithm(node, whole, "cpu") == "winograd6"
    assert cost.algorithm(node, whole.along(2, 0, 13), "cpu") == "winograd2"


def test_an_algorithm_can_be_asked_for() -> None:
    graph, node = conv_graph()
    cost = CostModel(load("sd855"), graph)
    whole = Region.full((1, 64, 64, 64))
    assert cost.kernel(node, whole, "cpu", "direct").ns > cost.kernel(node, whole, "cpu").ns
    with pytest.raises(
        UncalibratedError, match=r"sd855: processor 'cpu' .* not calibrated for algorithm 'fft' of conv"
    ):
        cost.kernel(node, whole, "cpu", "fft")


def test_conditions_name_their_fields() -> None:
    hardware = load("sd855")
    library = hardware.libraries["mace"]
    wrong = (kernel(when={"colour": 3}, compute={"multiply": "1 ps/flop"}),)
    broken = hardware.model_copy(
        update={"libraries": {"mace": library.model_copy(update={"kernels": {"cpu": {"buffer": wrong}}})}}
    )
    graph, _ = conv_graph()
    with pytest.raises(SchemaError, match=r"when.colour: unknown field"):
        CostModel(broken, graph)


def test_formulas_name_their_units() -> None:
    with pytest.raises(SchemaError, match=r"unknown formula 'strassen'; known: direct"):
        form(kernel(form="strassen"))
    with pytest.raises(SchemaError, match=r"formula direct has no such unit; it has multiply"):
        form(kernel(compute={"transform": "1 ps/flop"}))


def test_kernel_cost_is_quantity_times_unit_time() -> None:
    graph, node = conv_graph()
    hardware = load("sd855")
    whole = Region.full((1, 64, 64, 64))
    cost = CostModel(hardware, graph).kernel(node, whole, "gpu")
    of = next(k for k in hardware.kernels("gpu", "image") if k.name == "conv3x3")
    work = CostModel(hardware, graph).work(node, whole)
    amounts = FORMS["direct"].quantities(work, of, hardware.processors["gpu"])
    units = {**of.compute, **of.memory, **of.fixed}
    assert cost.ns == pytest.approx(sum(amounts[unit] * time for unit, time in units.items()) * 1e9)
    assert cost.nbytes == work.bytes
    watts = hardware.processors["gpu"].active_power
    assert 1.0 < watts < 4.0
    assert cost.joules == pytest.approx(cost.ns * 1e-9 * watts + cost.nbytes * 60e-12)


def test_less_bandwidth_bounds_a_kernel_from_below() -> None:
    graph, node = conv_graph()
    whole = Region.full((1, 64, 64, 64))
    slow = hw.overrides(load("sd855"), ["memory.bandwidth=0.1 GB/s"])
    cost = CostModel(slow, graph).kernel(node, whole, "gpu")
    assert cost.ns == pytest.approx(cost.nbytes / 0.1e9 * 1e9)


def test_half_the_clock_doubles_compute_but_not_the_launch() -> None:
    graph, node = conv_graph()
    whole = Region.full((1, 64, 64, 64))
    nominal = load("sd855")
    half = hw.overrides(nominal, ["gpu.frequency=292.5 MHz"])
    before, after = (CostModel(h, graph).kernel(node, whole, "gpu").ns for h in (nominal, half))
    of = next(k for k in nominal.kernels("gpu", "image") if k.name == "conv3x3")
    kept = (of.fixed["launch"] + of.memory["weights"] * 4 * 64 * 64 * 9) * 1e9
    assert after - kept == pytest.approx(2 * (before - kept))


def test_data_types_are_different_kernels() -> None:
    graph, node = conv_graph()
    whole = Region.full((1, 64, 64, 64))
    hardware = load("sd855")
    image = CostModel(hardware, graph).kernel(node, whole, "gpu").ns
    buffer = CostModel(hardware, graph, {"gpu": "buffer"}).kernel(node, whole, "gpu").ns
    assert buffer > 2 * image
    with pytest.raises(UncalibratedError, match="no processor 'npu'; it has gpu, cpu"):
        CostModel(hardware, graph, {"npu": "buffer"})


def test_an_empty_region_costs_nothing() -> None:
    graph, node = conv_graph()
    cost = CostModel(load("sd855"), graph).kernel(node, Region.full((1, 64, 64, 64)).along(2, 5, 5), "gpu")
    assert (cost.ns, cost.nbytes, cost.joules) == (0.0, 0.0, 0.0)


def test_sharing_costs_of_every_kind_of_task() -> None:
    graph, node = conv_graph()
    hardware = load("sd855")
    cost = CostModel(hardware, graph)
    size = 4_000_000  # a million float32: figure 14's slopes
    assert cost.transform_ns("gpu", size) == pytest.approx(0.333e6)
    assert cost.map_ns(size) == pytest.approx(0.235e6)
    assert cost.sync_ns("gpu", "cpu", bound=True) == pytest.approx(1e6)
    assert 0.2e6 <= cost.sync_ns("gpu", "cpu") <= 0.9e6
    assert cost.sync_ns("cpu", "cpu") == 0
    region = Region.full((1, 64, 64, 64))
    tasks = {
        TaskKind.TRANSFORM: cost.transform_ns("gpu", size),
        TaskKind.MAP: cost.map_ns(size),
        TaskKind.UNMAP: cost.unmap_ns(size),
        TaskKind.SYNC: cost.sync_ns("cpu", "gpu"),
        TaskKind.COPY: cost.copy_ns("cpu", "gpu", size),
    }
    for kind, ns in tasks.items():
        assert cost.task(Task("t", kind, "gpu", nbytes=size, source="cpu")).duration_ns == round(ns)
    whole = cost.task(Task("k", TaskKind.KERNEL, "gpu", "conv", writes=(Access("y", region),)))
    assert whole.duration_ns == round(cost.kernel(node, region, "gpu").ns)
    enqueue = cost.task(Task("c0/conv/enqueue@gpu", TaskKind.ENQUEUE, "host", "conv", source="gpu"))
    assert enqueue.duration_ns == 15_000


def test_every_launch_of_a_kernel_is_handed_over_by_itself() -> None:
    graph, _ = conv_graph()
    hardware = load("sd855")
    whole = Region.full(graph.tensors["y"].shape)
    kernels = (
        kernel(name="one", form="tiled-gpu", fixed={"launch": "1 us"}),
        kernel(name="three", algorithm="winograd4", form="tiled-gpu-winograd", tile=4, fixed={"launch": "1 us"}),
    )
    gpu = hardware.processors["gpu"].model_copy(update={"compute_units": 1})
    library = hardware.libraries[hardware.library]
    own = library.model_copy(update={"kernels": {**library.kernels, "gpu": {"buffer": kernels}}})
    changed = hardware.model_copy(
        update={"processors": {**hardware.processors, "gpu": gpu}, "libraries": {hardware.library: own}}
    )
    cost = CostModel(changed, graph, {"gpu": "buffer", "cpu": "buffer"})
    enqueue = Task("c0/conv/enqueue@gpu", TaskKind.ENQUEUE, "host", "conv", source="gpu")

    def ns(region: Region, algorithm: str) -> int:
        command = Task("k", TaskKind.KERNEL, "gpu", "conv", writes=(Access("y", region),), algorithm=algorithm)
        return cost.task(enqueue, command).duration_ns

    assert cost.task(enqueue).duration_ns == 15_000
    assert ns(whole, "direct") == 15_000
    assert ns(whole, "winograd4") == 45_000
    assert ns(whole.along(2, 3, 3), "winograd4") == 15_000  # a marker


def test_the_host_waits_for_each_processor_as_long_as_its_description_says() -> None:
    graph, _ = conv_graph()
    hardware = load("sd855")
    sharing = hardware.sharing.model_copy(update={"host_wait": {"cpu": 70e-6}})
    cost = CostModel(hardware.model_copy(update={"sharing": sharing}), graph)
    assert cost.sync_ns("cpu", "host") == pytest.approx(70_000)
    assert cost.sync_ns("gpu", "host") == cost.sync_ns("gpu", "cpu")
    wait = Task("end/wait@host", TaskKind.SYNC, "host", source="cpu", why="the end")
    assert cost.task(wait).duration_ns == 70_000
    assert cost.origin(wait).constants == "sharing.host_wait.cpu"
