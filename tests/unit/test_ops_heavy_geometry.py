"""What parts of convolutions, poolings and matrix products read, and how much work they are, by hand."""

from __future__ import annotations

import numpy as np

from codl.ops import REGISTRY, Dimension
from codl.ops.window import GroupSpan, group_spans
from codl.region import Region
from tests.heavy_reference import conv, one_node


def test_halo_of_rows() -> None:
    graph, node = conv(np.random.default_rng(0), (1, 4, 20, 20), 8, stride=(2, 2))  # output 10 x 10
    spec = REGISTRY[node]
    upper = Region(((0, 1), (0, 8), (0, 5), (0, 10)))
    lower = Region(((0, 1), (0, 8), (5, 10), (0, 10)))
    assert spec.input_regions(graph, node, upper) == (Region(((0, 1), (0, 4), (0, 10), (0, 20))),)
    assert spec.input_regions(graph, node, lower) == (Region(((0, 1), (0, 4), (9, 20), (0, 20))),)


def test_halo_of_dilated_rows() -> None:
    graph, node = conv(np.random.default_rng(0), (1, 4, 20, 20), 8, dilation=(3, 1), pads=(3, 1, 3, 1))
    (read,) = REGISTRY[node].input_regions(graph, node, Region(((0, 1), (0, 8), (7, 8), (0, 20))))
    assert read.ranges[2] == (4, 11)


def test_rows_in_padding_read_nothing() -> None:
    graph, node = conv(np.random.default_rng(0), (1, 4, 6, 6), 8, pads=(5, 1, 0, 1))
    (read,) = REGISTRY[node].input_regions(graph, node, Region(((0, 1), (0, 8), (0, 2), (0, 6))))
    assert read.ranges[2] == (0, 0)
    assert read.empty


def test_channels_of_groups() -> None:
    graph, node = conv(np.random.default_rng(0), (1, 12, 6, 6), 8, group=4)
    (read,) = REGISTRY[node].input_regions(graph, node, Region(((0, 1), (3, 5), (0, 6), (0, 6))))
    assert read.ranges[1] == (3, 9)
    assert group_spans((3, 8), 2) == [GroupSpan(1, 1, 1, 2), GroupSpan(2, 2, 0, 2)]
    assert group_spans((4, 7), 2) == [GroupSpan(2, 1, 0, 2), GroupSpan(3, 1, 0, 1)]


def test_work_of_a_part() -> None:
    graph, node = conv(np.random.default_rng(0), (1, 16, 10, 10), 8)
    work = REGISTRY[node].work(graph, node, Region(((0, 1), (2, 8), (0, 4), (0, 10))))
    assert (work.kind, work.out_channels, work.in_channels, work.in_h, work.in_w) == ("conv", 6, 16, 5, 10)
    assert work.flops == 2 * 6 * 4 * 10 * 16 * 9
    assert work.input_bytes == 16 * 5 * 10 * 4
    assert work.weight_bytes == 6 * (16 * 9 + 1) * 4
    assert work.output_bytes == 6 * 4 * 10 * 4


def test_a_range_of_channels_lies_in_a_piece_a_pixel() -> None:
    """Of operators that read no other channels; whole pixels follow each other in memory."""
    rng, rows = np.random.default_rng(0), Region(((0, 1), (0, 8), (2, 4), (0, 10)))
    pool = one_node(
        "pool", (1, 8, 20, 20), (1, 8, 10, 10), mode="max", kernel=(2, 2), stride=(2, 2), pads=(0,) * 4,
        dilation=(1, 1), count_include_pad=0,
    )  # fmt: skip
    for graph, node in (pool, conv(rng, (1, 8, 20, 20), 8, stride=(2, 2), group=8)):
        spec = REGISTRY[node]
        part = spec.work(graph, node, rows.along(1, 2, 5))
        assert part.scattered == part.in_h * part.in_w > 0
        assert spec.work(graph, node, rows).scattered == 0
    graph, node = conv(rng, (1, 8, 20, 20), 8, stride=(2, 2))
    assert REGISTRY[node].work(graph, node, rows.along(1, 2, 5)).scattered == 0


def test_transposed_rows() -> None:
    weights = np.ones((4, 8, 3, 3))
    graph, node = one_node(
        "conv_transpose", (1, 4, 5, 5), (1, 8, 10, 10), [weights],
        kernel=(3, 3), stride=(2, 2), pads=(1, 1, 1, 1), dilation=(1, 1), group=1, output_padding=(1, 1),
    )  # fmt: skip
    spec = REGISTRY[node]
    outs = [Region(((0, 1), (0, 8), (row, row + 1), (0, 10))) for row in (0, 1, 9)]
    rows = [spec.input_regions(graph, node, out)[0].ranges[2] for out in outs]
    assert rows == [(0, 1), (0, 2), (4, 5)]  # even outputs have one source, odd ones two, the last one's is outside


def test_matrix_product_is_split_by_columns() -> None:
    graph, node = one_node("gemm", (3, 10), (3, 20), [np.ones((10, 20)), np.ones(20)])
    spec = REGISTRY[node]
    assert spec.dimensions(graph, node) == {Dimension.OUTPUT_CHANNEL: 1}
    part = Region(((0, 3), (5, 9)))
    assert spec.input_regions(graph, node, part) == (Region(((0, 3), (0, 10))),)
    work = spec.work(graph, node, part)
    assert (work.kind, work.flops, work.weight_bytes) == ("fc", 2.0 * 3 * 4 * 10, 4 * 11 * 4)
