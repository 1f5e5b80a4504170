"""Quantities worked out by hand: blocks, rounds, waves, tiles and groups of every formula."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codl.cost.blocks import rounds
from codl.cost.features import FORMS, traffic
from codl.cost.groups import RULES, Sizes, group_waves
from codl.cost.tables import conv_work, predict_works
from codl.hardware import Processor
from codl.ops.spec import Work
from codl.ops.tile.gpu import tilings
from tests.processors import CPU, GPU, kernel, load


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
    assert amounts["scalar"] == 100 * 4
    few = FORMS["tiled"].quantities(conv_work(10, 10, 3, 6, 3), kernel(form="tiled", blocks=TILES), ONE_CORE)
    assert few["multiply"] == 2 * 102 * 8 * 27  # one vector of the two
    assert (few["stage"], few["scalar"]) == (4 * 100 * 3 * 16, 100 * 6)  # 9 inputs a row of taps: two vectors
    lone = FORMS["tiled"].quantities(conv_work(1, 1, 8, 140, 3), kernel(form="tiled", blocks=TILES), ONE_CORE)
    assert lone["multiply"] == 2 * 144 * 72


def test_inputs_beyond_whole_vectors_of_a_narrow_kernel_are_counted_one_by_one() -> None:
    of = kernel(form="narrow", blocks={"in_channels": 16})
    work = conv_work(6, 10, 40, 3, 3)  # 2 vectors and 8 channels; 6 rows on 4 cores as 8; 3 sets of 4 neighbours
    amounts = FORMS["narrow"].quantities(work, of, CPU)
    assert amounts["multiply"] == 2 * 8 * 10 * 3 * 9 * 32
    assert amounts["tail"] == 2 * 8 * 10 * 3 * 9 * 8
    assert (amounts["stage"], amounts["stream"]) == (4 * 8 * 10 * 9 * 32, 4 * 8 * 3 * 3 * 9 * 32)
    assert FORMS["narrow"].quantities(conv_work(6, 10, 48, 3, 3), of, CPU)["tail"] == 0


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


def test_fourier_transforms_by_hand() -> None:
    """28 x 30 outputs of 7 x 7 taps in tiles of 10 x 10, 390 points each, whole blocks of channels, 390 points on four
    threads in 98 rounds; more than 96 tiles in sets, each with three launches and all weights."""
    of = kernel(form="fft", blocks={"out_channels": 16})
    work = conv_work(28, 30, 20, 40, 7)
    amounts = FORMS["fft"].quantities(work, of, CPU)
    assert CPU.slots == 4
    assert amounts["multiply"] == pytest.approx(2 * 390 * 9 * 20 * 48 * 392 / 390)
    assert amounts["transform"] == 4 * 390 * 9 * (32 + 48)
    assert amounts["weights"] == 4 * 390 * 20 * 48
    assert amounts["launch"] == 3
    large = FORMS["fft"].quantities(conv_work(100, 100, 20, 40, 7), of, CPU)
    assert large["weights"] == 2 * amounts["weights"]
    assert large["launch"] == 6
    assert traffic(work, of, CPU) == work.input_bytes + work.output_bytes + amounts["weights"]


@pytest.mark.parametrize("form_name", ["tiled", "tiled-winograd"])
def test_bytes_of_maps_are_told_apart_by_what_is_done_with_them(form_name: str) -> None:
    of = kernel(form=form_name, tile=4, blocks={**TILES, "item_pixels": 24})
    plain = conv_work(30, 30, 64, 64, 3)
    added = replace(plain, input_bytes=plain.input_bytes + plain.output_bytes, added_bytes=plain.output_bytes)
    without, with_it = (FORMS[form_name].quantities(work, of, ONE_CORE) for work in (plain, added))
    assert without["read"] == plain.input_bytes
    assert without["write"] == plain.output_bytes
    assert with_it == without | {"added": plain.output_bytes}


@pytest.mark.parametrize(("form_name", "grows"), [
    ("winograd", {"multiply", "weights"}),
    ("tiled-winograd", {"multiply", "transform", "stream", "weights"}),
    ("tiled-gpu-winograd", {"weights"}),
])  # fmt: skip
def test_a_winograd_kernel_multiplies_once_for_every_part_of_the_taps(form_name: str, grows: set[str]) -> None:
    """4 x 4 taps are one part of F(3, 4), 7 x 7 taps four."""
    of = kernel(form=form_name, tile=3, blocks={**TILES, "item_pixels": 24} if "tiled" in form_name else {})
    one, four = (FORMS[form_name].quantities(conv_work(30, 30, 64, 64, taps), of, ONE_CORE) for taps in (4, 7))
    assert one["weights"] == 4 * 36 * 64 * 64
    assert all(four[unit] == 4 * one[unit] for unit in grows)


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
