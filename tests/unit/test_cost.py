"""Costs: hand-worked quantities, choice of kernels, tasks, what is refused, and fits that find known unit times."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codl import hardware as hw
from codl.cost import CostModel
from codl.cost.blocks import rounds
from codl.cost.features import FORMS, form, traffic
from codl.cost.fit import Prior, fit_units, maximum_a_posteriori
from codl.cost.groups import RULES, Sizes, group_waves
from codl.cost.table_fit import fit_table
from codl.cost.tables import conv_work, predict_table, predict_works, read_works, write_table
from codl.documents import validate
from codl.errors import FileError, InputError, SchemaError, UncalibratedError
from codl.graph import Graph, Node, Tensor
from codl.hardware import Kernel, Processor
from codl.ops.spec import Work
from codl.ops.tile.gpu import tilings
from codl.region import Region
from codl.tasks import Access, Task, TaskKind

CPU = validate(
    Processor,
    {
        "kind": "cpu",
        "clusters": [{"name": "big", "cores": 4, "frequency": "2 GHz"}],
        "bandwidth": "20 GB/s",
        "active_power": "4 W",
        "cache": "1 MB",
    },
    "test",
)
GPU = validate(
    Processor,
    {
        "kind": "gpu",
        "compute_units": 2,
        "wave_size": 64,
        "concurrent_waves": 4,
        "bandwidth": "20 GB/s",
        "active_power": "2 W",
    },
    "test",
)


load = cache(hw.load)


def kernel(**fields: Any) -> Kernel:
    return validate(Kernel, {"name": "k", "algorithm": "direct", "form": "direct", **fields}, "test")


def conv_graph(inputs: int = 64, outputs: int = 64, size: int = 66, taps: int = 3) -> tuple[Graph, Node]:
    side = size - taps + 1
    tensors = [
        Tensor("x", (1, inputs, size, size)),
        Tensor("w", (outputs, inputs, taps, taps)),
        Tensor("y", (1, outputs, side, side)),
    ]
    attributes = {"kernel": (taps, taps), "stride": (1, 1), "pads": (0,) * 4, "dilation": (1, 1), "group": 1}
    node = Node("conv", "conv", ("x", "w"), ("y",), attributes)
    return Graph("one", (node,), {t.name: t for t in tensors}, {}, ("x",), ("y",), executable=False), node


# Quantities


def test_direct_convolution_by_hand() -> None:
    work = conv_work(10, 13, 6, 10, 3)  # 13 columns in blocks of 5 -> 15, 10 channels in blocks of 4 -> 12, 6 -> 8
    blocks = {"out_channels": 4, "out_w": 5, "in_channels": 4}
    amounts = FORMS["direct"].quantities(work, kernel(blocks=blocks, parallel=[]), GPU)
    assert amounts["multiply"] == 2 * 12 * 10 * 15 * 8 * 9
    assert amounts["weights"] == 4 * 10 * 6 * 9
    assert amounts["data"] == 4 * (12 * 15 * 6 + 10 * 13 * 10)


def test_blocks_are_dealt_to_threads_in_rounds() -> None:
    of = kernel(blocks={"out_channels": 4}, parallel=["out_channels"])
    assert rounds(conv_work(8, 8, 8, 64, 3), of, CPU) == 1.0  # 16 blocks, 4 threads
    assert rounds(conv_work(8, 8, 8, 36, 3), of, CPU) == pytest.approx(12 / 9)  # 9 blocks take 3 rounds
    assert rounds(conv_work(8, 8, 8, 3, 9), of, CPU) == 4.0  # one block: one thread works


def test_a_thread_pool_deals_pieces_of_several_blocks() -> None:
    of = kernel(blocks={"out_channels": 8}, parallel=["out_channels"], pieces=2)
    assert rounds(conv_work(8, 8, 8, 128, 1), of, CPU) == 1.0  # 16 blocks: 8 pieces of 2, two a thread
    assert rounds(conv_work(8, 8, 8, 56, 1), of, CPU) == pytest.approx(2 * 4 / 7)  # 7 pieces of 1
    assert rounds(conv_work(8, 8, 8, 136, 1), of, CPU) == pytest.approx(5 * 4 / 17)  # a ninth piece, of 1 block
    assert rounds(conv_work(8, 8, 8, 208, 1), of, CPU) == pytest.approx(8 * 4 / 26)  # a ninth piece, of 2 blocks


@pytest.mark.parametrize(
    "rule, items, taps, size",
    [
        ("mace_3x3", (16, 23, 56), 9, (4, 23, 8)),  # 585 in the cache / 92 -> 6, in fours
        ("mace_3x3", (16, 52, 256), 9, (4, 52, 4)),  # ... and at most 1,024 together
        ("mace_1x1", (32, 13, 52), 1, (8, 13, 9)),  # 682 / 104 / 2 -> 3 x 8, but 1,024 // 104
        ("mace_general", (8, 160, 480), 81, (2, 160, 3)),  # nothing fits: 8 rows, but 1,024 // 320
    ],
)
def test_work_groups_of_mace(rule: str, items: Sizes, taps: int, size: Sizes) -> None:
    silicon = GPU.model_copy(update={"cache": 131072.0, "max_work_group_size": 1024})
    assert RULES[rule](items, taps, silicon) == size
    groups, waves = group_waves(items, taps, rule, silicon)
    expected = [
        min(size[0], items[0] - a) * min(size[1], items[1] - b) * min(size[2], items[2] - c)
        for a in range(0, items[0], size[0])
        for b in range(0, items[1], size[1])
        for c in range(0, items[2], size[2])
    ]
    assert groups == len(expected)
    assert waves == sum(-(-count // 64) for count in expected)


def test_waves_are_dealt_to_compute_units_in_rounds() -> None:
    of = kernel(blocks={"out_channels": 4})
    full = conv_work(8, 64, 8, 4, 3)  # 512 work-items: 8 waves of 64 fill 2 x 4 slots
    assert rounds(full, of, GPU) == 1.0
    assert rounds(replace(full, out_h=9), of, GPU) == pytest.approx(16 / 9)
    assert rounds(full, of.model_copy(update={"slots": 16}), GPU) == 2.0


def test_winograd_counts_whole_tiles_and_every_pass_over_them() -> None:
    work = conv_work(7, 12, 8, 8, 3)  # 2 x 2 tiles of 6
    amounts = FORMS["winograd"].quantities(work, kernel(form="winograd", tile=6), CPU)
    assert amounts["multiply"] == 2 * 64 * 4 * 8 * 8
    assert amounts["transform"] == 3 * (4 * 64 * 4 * (8 + 8) + work.input_bytes + work.output_bytes)
    assert amounts["weights"] == 4 * 64 * 8 * 8


def test_winograd_scratch_counts_as_traffic_only_beyond_the_cache() -> None:
    small, large = conv_work(12, 12, 8, 8, 3), conv_work(120, 120, 64, 64, 3)
    of = kernel(form="winograd", tile=6)
    assert traffic(small, of, CPU) == small.bytes
    assert traffic(large, of, CPU) == large.bytes + 2 * 4 * 64 * 400 * 128


def test_work_items_and_rounds_of_a_gpu_library() -> None:
    of = kernel(form="waves", blocks={"out_channels": 8, "out_w": 2, "out_h": 2, "in_channels": 4}, group=8)
    work = conv_work(14, 14, 30, 64, 1)  # 7 x 7 x 8 work-items; columns padded to 8: 448 -> 7 waves
    amounts = FORMS["waves"].quantities(work, of, GPU)
    assert amounts["item"] == 2 * 32 * 8 * 4
    assert amounts["multiply"] == amounts["item"] * 7 * 7 * 8
    assert amounts["round"] == amounts["pair"] == amounts["item"]
    more = FORMS["waves"].quantities(replace(work, out_channels=80), of, GPU)  # 560: 9 waves, 2 rounds of 8
    assert (more["round"], more["pair"]) == (2 * amounts["item"], amounts["item"])


TILES = {"pixels": 6, "out_channels": 16, "item_pixels": 48, "item_channels": 128, "in_channels": 8}
ONE_CORE = CPU.model_copy(update={"clusters": (CPU.clusters[0].model_copy(update={"cores": 1}),)})


def test_tiles_and_work_items_of_a_cpu_kernel() -> None:
    work = conv_work(10, 10, 8, 140, 3)  # 10 x 10 pixels: 17 tiles of 6, 3 work-items; 9 blocks of 16, 2 work-items
    amounts = FORMS["tiled"].quantities(work, kernel(form="tiled", blocks=TILES), ONE_CORE)
    assert amounts["multiply"] == 2 * 102 * 144 * 72
    assert amounts["stage"] == 4 * 100 * 72 * 2
    assert amounts["stream"] == 4 * 72 * 144 * 3
    assert (amounts["weights"], amounts["launch"]) == (work.weight_bytes, 1)
    lone = FORMS["tiled"].quantities(conv_work(1, 1, 8, 140, 3), kernel(form="tiled", blocks=TILES), ONE_CORE)
    assert lone["multiply"] == 2 * 144 * 72


def test_channels_beyond_whole_vectors_are_counted_one_by_one() -> None:
    of = kernel(form="vector", blocks={"out_channels": 16})
    work = conv_work(5, 4, 8, 40, 1)
    amounts = FORMS["vector"].quantities(work, of, CPU)
    assert amounts["operate"] == pytest.approx(work.flops * 32 / 40)
    assert amounts["tail"] == pytest.approx(work.flops * 8 / 40 + 20 * 8)
    assert amounts["pixel"] == 20
    assert FORMS["vector"].quantities(conv_work(5, 4, 8, 32, 1), of, CPU)["tail"] == 0


def test_a_gpu_kernel_counts_the_rounds_of_the_tiles_that_it_really_takes() -> None:
    gpu = GPU.model_copy(update={"compute_units": 132})
    for work in (conv_work(52, 52, 128, 256, 3), conv_work(7, 7, 512, 512, 3), conv_work(13, 13, 1024, 1024, 1)):
        amounts = FORMS["tiled-gpu"].quantities(work, kernel(form="tiled-gpu"), gpu)
        pixels, depth = work.out_h * work.out_w, work.in_channels * work.kernel_h**2
        pm, pn, parts, k_part = tilings(pixels, work.out_channels, 1, depth, 132)
        groups = -(-pixels // (16 * pm)) * -(-work.out_channels // (16 * pn)) * parts
        tiles = {name: amount for name, amount in amounts.items() if name.startswith("tile") and amount}
        assert tiles == {f"tile{pm}x{pn}": 2 * 256 * pm * pn * k_part * -(-groups // 132)}
        assert amounts["launch"] == 1 + (parts > 1)
    assert FORMS["tiled-gpu"].quantities(conv_work(1, 1, 4096, 1000, 1), kernel(form="tiled-gpu"), gpu)["tile4x4"] == 0


def test_the_last_round_of_work_items_counts_whole() -> None:
    of = kernel(form="tiled", blocks=TILES)
    four = CPU.model_copy(update={"clusters": (CPU.clusters[0].model_copy(update={"cores": 4}),)})
    large = conv_work(24, 22, 8, 16, 3)  # 24 x 22 pixels: 11 work-items become 16, of smaller size: no core waits
    small = conv_work(3, 10, 8, 16, 3)  # 3 x 10 pixels: 5 register tiles, two rounds on four cores
    for work, slower in ((large, 1.0), (small, 8 / 5)):
        one, many = (FORMS["tiled"].quantities(work, of, silicon)["multiply"] for silicon in (ONE_CORE, four))
        assert many == pytest.approx(slower * one)


def test_a_fused_winograd_kernel_repeats_transforms_and_weights_by_work_item() -> None:
    of = kernel(form="tiled-winograd", tile=4, blocks={**TILES, "item_pixels": 24})
    work = conv_work(32, 32, 12, 140, 3)  # 64 tiles, 3 work-items
    amounts = FORMS["tiled-winograd"].quantities(work, of, ONE_CORE)
    assert amounts["multiply"] == 2 * 36 * 64 * 12 * 144
    few = FORMS["tiled-winograd"].quantities(conv_work(5, 7, 12, 140, 3), of, ONE_CORE)
    assert few["multiply"] == 2 * 36 * TILES["pixels"] * 12 * 144  # 4 tiles: no register tile is as small
    assert amounts["transform"] == 4 * 36 * 64 * 16 * 2
    assert amounts["inverse"] == 4 * 36 * 64 * 144
    assert amounts["stream"] == 3 * amounts["weights"] == 3 * 4 * 36 * 12 * 144
    large = conv_work(120, 120, 64, 64, 3)
    assert traffic(large, of, CPU) == large.bytes  # nothing spills
    halved = of.model_copy(update={"weight_bytes": 2})
    assert traffic(large, halved, CPU) == large.bytes - large.weight_bytes / 2


@settings(max_examples=60, deadline=None)
@given(
    form_name=st.sampled_from(sorted(FORMS)),
    h=st.integers(1, 40),
    w=st.integers(1, 40),
    channels=st.tuples(st.integers(1, 70), st.integers(1, 70)),
    silicon=st.sampled_from([CPU, GPU]),
)
def test_quantities_of_arrays_equal_those_of_each_piece(
    form_name: str, h: int, w: int, channels: tuple[int, int], silicon: Processor
) -> None:
    of = kernel(
        form=form_name,
        tile=4 if "winograd" in form_name else 0,
        blocks={"out_channels": 4, "out_w": 5, "pixels": 6},
        group=4,
    )
    works = [conv_work(h, w, *channels, 3), conv_work(h + 3, w + 1, channels[1], channels[0], 3)]
    both: Any = type(
        "Arrays", (), {f: np.array([getattr(x, f) for x in works]) for f in Work.__slots__ if f != "kind"}
    )()
    together = FORMS[form_name].quantities(both, of, silicon)
    for index, work in enumerate(works):
        alone = FORMS[form_name].quantities(work, of, silicon)
        for unit, value in alone.items():
            assert np.broadcast_to(together[unit], 2)[index] == pytest.approx(value)


@settings(max_examples=60, deadline=None)
@given(
    phone=st.sampled_from(["sd855", "kirin990", "pixel4"]),
    processor=st.sampled_from(["cpu", "gpu"]),
    rows=st.integers(16, 60),
    channels=st.integers(8, 40),
    taps=st.sampled_from([1, 3, 5]),
)
def test_more_channels_never_cost_less(phone: str, processor: str, rows: int, channels: int, taps: int) -> None:
    hardware = load(phone)
    few, many = conv_work(rows, 20, 16, 4 * channels, taps), conv_work(rows, 20, 16, 8 * channels, taps)
    if phone == "pixel4":  # larger blocks are other kernels: compare where both have the largest
        few, many = conv_work(4 * rows, 80, 16, 4 * channels, taps), conv_work(4 * rows, 80, 16, 8 * channels, taps)
    less, more = predict_works([few, many], hardware, processor)
    assert 0 < less <= more


# Choice


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
    with pytest.raises(SchemaError, match=r"unknown formula 'fft'; known: direct"):
        form(kernel(form="fft"))
    with pytest.raises(SchemaError, match=r"formula direct has no such unit; it has multiply"):
        form(kernel(compute={"transform": "1 ps/flop"}))


# The model


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


# Fitting


def test_least_squares_finds_known_unit_times_in_spite_of_outliers() -> None:
    known = kernel(compute={"multiply": "10 ps/flop"}, memory={"weights": "0.1 ns/byte"}, fixed={"launch": "50 us"})
    works = [conv_work(s, s, c, d, 3) for s in (7, 14, 28, 56) for c in (8, 32, 64) for d in (16, 32, 128)]
    units = {**known.compute, **known.memory, **known.fixed}
    seconds = []
    for work in works:
        amounts = FORMS["direct"].quantities(work, known, CPU)
        seconds.append(sum(float(amounts[unit]) * time for unit, time in units.items()))
    seconds[5] *= 4
    fitted = fit_units(known, CPU, works, seconds)
    found = {**fitted.compute, **fitted.memory, **fitted.fixed}
    for unit, time in units.items():
        assert found[unit] == pytest.approx(time, rel=0.02)
    assert fitted.residual is not None and fitted.residual < 0.01


def test_a_fit_needs_measurements_or_a_parent() -> None:
    with pytest.raises(UncalibratedError, match="kernel k: 1 pieces of work"):
        fit_units(kernel(), CPU, [conv_work(8, 8, 8, 8, 3)], [1e-3])
    assert fit_units(kernel(), CPU, [], [], {"multiply": 1e-11}).compute == {"multiply": 1e-11}


def test_the_posterior_lies_between_prior_and_measurement() -> None:
    def predict(values: Any) -> np.ndarray:
        return np.array([values["a"]])

    found = maximum_a_posteriori(
        predict, np.array([4.0]), np.array([0.3]), {"a": Prior(1.0, 0.3), "b": Prior(2.0, 0.2)}
    )
    assert found.values["a"] == pytest.approx(2.0)  # equally sure: the geometric mean
    assert found.values["b"] == pytest.approx(2.0)
    assert found.spread["a"] == pytest.approx(0.3 / 2**0.5, rel=1e-3)
    assert found.spread["b"] == pytest.approx(0.2, rel=1e-3)


# Tables

HEADER = "kind,in_h,in_w,in_channels,out_channels,kernel_h,kernel_w,stride_h,stride_w,pad,groups"


def test_a_table_of_operators_is_read(tmp_path: Path) -> None:
    path = tmp_path / "ops.csv"
    rows = [
        "conv,56,56,64,128,3,3,2,2,1,1",
        "conv,14,14,96,96,5,5,1,1,same,96",
        "fc,7,7,64,10,1,1,1,1,,",
        "pool,8,8,4,4,2,2,2,2,0,1",
    ]
    path.write_text("\n".join([HEADER, *rows]) + "\n")
    conv, depthwise, fc, pool = read_works(path)
    assert (conv.out_h, conv.out_w, conv.flops) == (28, 28, 2 * 28 * 28 * 128 * 64 * 9)
    assert (depthwise.kind, depthwise.out_h, depthwise.in_channels) == ("depthwise", 14, 1)
    assert (fc.in_channels, fc.out_channels, fc.weight_bytes) == (7 * 7 * 64, 10, 4 * 7 * 7 * 64 * 10)
    assert (pool.kind, pool.out_h, pool.weight_bytes) == ("pool", 4, 0)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("kind,in_h\nconv,3\n", "in_w, in_channels, .* missing"),
        (HEADER + "\n", "no operators"),
        (HEADER + "\nconv,x,5,3,3,3,3,1,1,0,1\n", "line 2, in_h: 'x' is not a number"),
        (HEADER + "\nconv,5,5,3,0,3,3,1,1,0,1\n", "line 2, out_channels: 0 is out of range"),
        (HEADER + "\nlstm,5,5,3,3,3,3,1,1,0,1\n", "line 2, kind: unknown 'lstm'; known: conv"),
        (HEADER + "\nconv,2,2,3,3,3,3,1,1,0,1\n", "a 3x3 kernel does not fit 2x2"),
    ],
)
def test_wrong_tables_are_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "ops.csv"
    path.write_text(text)
    with pytest.raises(SchemaError, match=message):
        read_works(path)


def test_a_missing_table_and_an_unknown_processor_are_named(tmp_path: Path) -> None:
    hardware = load("sd855")
    with pytest.raises(FileError):
        predict_table(tmp_path / "none.csv", hardware, "gpu")
    path = tmp_path / "ops.csv"
    path.write_text(HEADER + "\nconv,56,56,64,128,3,3,2,2,1,1\n")
    with pytest.raises(InputError, match="no processor 'npu'; it has gpu, cpu"):
        predict_table(path, hardware, "npu")
    with pytest.raises(SchemaError, match="latency_us"):
        fit_table(path, hardware, "gpu")


def test_fitting_to_predictions_gives_the_same_predictions(tmp_path: Path) -> None:
    hardware = load("sd865")
    path, copy = tmp_path / "ops.csv", tmp_path / "measured.csv"
    rows = [
        f"conv,{s},{s},{c},{d},{k},{k},1,1,0,1,m{(s + c + k) % 3}"
        for s in (20, 34, 60)
        for c in (8, 32, 96)
        for d in (16, 64, 160)
        for k in (1, 3, 7)
    ]
    path.write_text("\n".join([HEADER + ",model", *rows]) + "\n")
    truth = predict_table(path, hardware, "gpu")
    write_table([{**row, "latency_us": 2 * float(row["latency_us"])} for row in truth], copy)
    fitted = fit_table(copy, hardware, "gpu", cross_validate="model")
    everything = fitted.accuracy[-1]
    assert everything["operators"] == len(rows)
    assert everything["within_10_percent"] == everything["left_out_within_10_percent"] == 1.0
    again = predict_table(path, fitted.hardware, "gpu")
    ratio = np.array([float(b["latency_us"]) / float(a["latency_us"]) for a, b in zip(truth, again, strict=True)])
    assert ratio == pytest.approx(np.full(len(rows), 2.0), rel=0.02)
    entry = fitted.hardware.provenance("libraries.mace.gpu.image.conv3x3.multiply")
    assert entry is not None and "codl fit" in entry.method
    with pytest.raises(SchemaError, match="'family' to cross-validate by is missing"):
        fit_table(copy, hardware, "gpu", cross_validate="family")


def test_the_paper_s_microbenchmarks_are_reproduced() -> None:
    """Figures 2 and 4 of the CoDL paper (Snapdragon 855), within 20 %."""
    hardware = load("sd855")
    measured_ms = {(256, "gpu"): 21.4, (128, "gpu"): 5.6, (64, "gpu"): 1.7}
    for (size, processor), expected in measured_ms.items():
        seconds = predict_works([conv_work(size, size, 64, 64, 3)], hardware, processor)[0]
        assert seconds * 1e3 == pytest.approx(expected, rel=0.2)
    small = [conv_work(52, 52, 256, 128, 1)]
    assert predict_works(small, hardware, "cpu")[0] * 1e6 == pytest.approx(1505, rel=0.2)
    assert predict_works(small, hardware, "gpu")[0] * 1e6 == pytest.approx(1126, rel=0.2)


def test_pixel_4_operators_are_predicted() -> None:
    """A sample of mobile-ml-benchmark: most convolutions within 10 %, nearly all within 20 %."""
    hardware = load("pixel4")
    rows = predict_table(Path(__file__).parent.parent / "data" / "pixel4_convolutions.csv", hardware, "gpu")
    error = np.array([abs(row["latency_us"] / float(row["measured_us"]) - 1) for row in rows])
    assert len(error) > 70
    assert np.mean(error <= 0.1) >= 0.7
    assert np.mean(error <= 0.2) >= 0.9
