"""Winograd's algorithm: every number of tiles, what lies beyond the box that a part reads, and how exact it is."""

from __future__ import annotations

import numpy as np
import pytest

from codl.ops.winograd import MOST_TILES
from codl.region import Region
from tests.graphs import Builder
from tests.kernel_runner import run_node


@pytest.mark.parametrize("cpu", [True, False])
@pytest.mark.parametrize("algorithm", ["winograd2", "winograd4"])
@pytest.mark.parametrize("rows", [(0, 9), (9, 24), (5, 10), (3, 6)])
def test_rows_that_are_not_whole_tiles_read_nothing_outside_their_box(
    algorithm: str, rows: tuple[int, int], cpu: bool
) -> None:
    b = Builder((1, 16, 24, 22))
    b.conv("x", 24)
    graph = b.graph()
    (node,) = graph.nodes
    x = {"x": np.random.default_rng(0).standard_normal((1, 16, 24, 22)).astype(np.float32)}
    whole = run_node(graph, node, x, algorithm="direct")
    box = Region(((0, 1), (0, 24), rows, (2, 13)))
    part = run_node(graph, node, x, box, algorithm, cpu=cpu)  # NaN lies all around the input box
    expected = whole[:, :, slice(*rows), 2:13]
    assert np.abs(part - expected).max() < 1e-4 * np.abs(whole).max()


@pytest.mark.parametrize("simd", [8, 16])
@pytest.mark.parametrize(("algorithm", "side"), [("winograd2", 2), ("winograd4", 4)])
def test_every_number_of_tiles_of_a_work_item(algorithm: str, side: int, simd: int) -> None:
    """Register tiles of several sizes make up every count, the last of them partly filled."""
    for count in (*range(1, 30), MOST_TILES[side] - 1, MOST_TILES[side] + 3):
        b = Builder((1, 8, side, side * count))
        b.conv("x", 8)
        graph = b.graph()
        (node,) = graph.nodes
        x = {"x": np.random.default_rng(count).standard_normal((1, 8, side, side * count)).astype(np.float32)}
        expected, got = (run_node(graph, node, x, algorithm=name, simd=simd) for name in ("direct", algorithm))
        assert np.abs(got - expected).max() < 1e-5 * np.abs(expected).max(), count


def test_the_points_of_winograd4_keep_errors_small() -> None:
    """With the points 1, -1, 2 and -2 the root mean square error is twice this bound."""
    b = Builder((1, 256, 24, 24))
    b.conv("x", 32, relu=False)
    graph = b.graph()
    (node,) = graph.nodes
    x = np.random.default_rng(0).standard_normal((1, 256, 24, 24)).astype(np.float32)
    got = run_node(graph, node, {"x": x}, algorithm="winograd4").astype(np.float64)
    padded = np.pad(x.astype(np.float64), ((0, 0), (0, 0), (1, 1), (1, 1)))
    weights = graph.constants[node.inputs[1]].astype(np.float64)
    expected = graph.constants[node.inputs[2]].astype(np.float64)[:, None, None] + sum(
        np.einsum("nchw,oc->nohw", padded[:, :, i : i + 24, j : j + 24], weights[:, :, i, j], optimize=True)
        for i in range(3)
        for j in range(3)
    )
    error = ((got - expected) ** 2).mean() ** 0.5 / expected.std()
    assert error < 1.6e-6
