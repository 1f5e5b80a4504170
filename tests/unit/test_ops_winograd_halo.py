"""Winograd's tiles reach beyond the input box that a part needs; what lies there must not matter."""

from __future__ import annotations

import numpy as np
import pytest

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
