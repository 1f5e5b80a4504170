"""Transformed convolution: every number of tiles, what lies beyond the box that a part reads, and how exact it is."""

from __future__ import annotations

import numpy as np
import pytest

from codl.ops import REGISTRY
from codl.ops.fft import FREQUENCIES, transformed_weights
from codl.ops.fft import MOST_TILES as MOST_FFT_TILES
from codl.ops.tile.dealing import makespan
from codl.ops.winograd import MOST_TILES, balanced_sizes, costs
from codl.region import Region
from tests.graphs import Builder
from tests.heavy_reference import conv
from tests.kernel_runner import run_node


@pytest.mark.parametrize("cpu", [True, False])
@pytest.mark.parametrize(
    ("algorithm", "kernel"),
    [("winograd2", 3), ("winograd4", 3), ("winograd4", 5), ("winograd3", 7), ("winograd4", 9), ("fft", 6), ("fft", 11)],
)
@pytest.mark.parametrize("rows", [(0, 9), (9, 24), (5, 10), (3, 6)])
def test_rows_that_are_not_whole_tiles_read_nothing_outside_their_box(
    algorithm: str, kernel: int, rows: tuple[int, int], cpu: bool
) -> None:
    b = Builder((1, 16, 24, 22))
    b.conv("x", 24, kernel)
    graph = b.graph()
    (node,) = graph.nodes
    x = {"x": np.random.default_rng(0).standard_normal((1, 16, 24, 22)).astype(np.float32)}
    whole = run_node(graph, node, x, algorithm="direct")
    box = Region(((0, 1), (0, 24), rows, (2, 13)))
    part = run_node(graph, node, x, box, algorithm, cpu=cpu)  # NaN lies all around the input box
    expected = whole[:, :, slice(*rows), 2:13]
    assert np.abs(part - expected).max() < 1e-4 * np.abs(whole).max()


@pytest.mark.parametrize("simd", [8, 16])
@pytest.mark.parametrize(
    ("algorithm", "side", "kernel"), [("winograd2", 2, 3), ("winograd4", 4, 3), ("winograd3", 3, 7)]
)
def test_every_number_of_tiles_of_a_work_item(algorithm: str, side: int, kernel: int, simd: int) -> None:
    """Register tiles of several sizes make up every count, the last of them partly filled."""
    for count in (*range(1, 30), MOST_TILES[side] - 1, MOST_TILES[side] + 3):
        b = Builder((1, 8, side, side * count))
        b.conv("x", 8, kernel)
        graph = b.graph()
        (node,) = graph.nodes
        x = {"x": np.random.default_rng(count).standard_normal((1, 8, side, side * count)).astype(np.float32)}
        expected, got = (run_node(graph, node, x, algorithm=name, simd=simd) for name in ("direct", algorithm))
        assert np.abs(got - expected).max() < 1e-5 * np.abs(expected).max(), count


@pytest.mark.parametrize(
    ("algorithm", "kernel", "bound"), [("winograd4", 3, 1.6e-6), ("winograd3", 7, 2.6e-6), ("fft", 7, 4e-7)]
)
def test_errors_are_small(algorithm: str, kernel: int, bound: float) -> None:
    """With the points 1, -1, 2 and -2 the root mean square error of Winograd's 3 x 3 taps is twice this bound."""
    b = Builder((1, 256, 24, 24))
    b.conv("x", 32, kernel, relu=False)
    graph = b.graph()
    (node,) = graph.nodes
    x = np.random.default_rng(0).standard_normal((1, 256, 24, 24)).astype(np.float32)
    got = run_node(graph, node, {"x": x}, algorithm=algorithm).astype(np.float64)
    padded = np.pad(x.astype(np.float64), ((0, 0), (0, 0), *((kernel // 2,) * 2,) * 2))
    weights = graph.constants[node.inputs[1]].astype(np.float64)
    expected = graph.constants[node.inputs[2]].astype(np.float64)[:, None, None] + sum(
        np.einsum("nchw,oc->nohw", padded[:, :, i : i + 24, j : j + 24], weights[:, :, i, j], optimize=True)
        for i in range(kernel)
        for j in range(kernel)
    )
    error = ((got - expected) ** 2).mean() ** 0.5 / expected.std()
    assert error < bound


@pytest.mark.parametrize("cores", [2, 3, 16])
@pytest.mark.parametrize(("side", "channels"), [(56, 256), (28, 512), (13, 1024), (112, 64)])
def test_cores_end_together(side: int, channels: int, cores: int) -> None:
    """Work-items of one size, dealt as PoCL does: no core computes much more tiles and channels than the others."""
    tiles = (-(-side // 4)) ** 2
    at_once, blocks = balanced_sizes(4, (tiles, channels // 16), (24, 16), 16, channels, cores)
    assert at_once <= 24
    assert blocks <= 16
    along = [min(blocks, channels // 16 - at) for at in range(0, channels // 16, blocks)]
    items = [float(a * b) for b in along for a in (min(at_once, tiles - at) for at in range(0, tiles, at_once))]
    assert makespan(items, cores) < 1.25 * sum(items) / cores


@pytest.mark.parametrize(
    ("kernel", "expected"),
    [((3, 3), {"winograd2", "winograd4"}), ((4, 4), {"winograd3"}), ((5, 5), {"winograd4"}), ((7, 7), {"winograd3"}),
     ((8, 7), {"winograd3"}), ((9, 9), {"winograd4"}), ((3, 5), {"winograd4"})],
)  # fmt: skip
def test_larger_kernels_are_divided_as_multiplies_least(kernel: tuple[int, int], expected: set[str]) -> None:
    assert set(costs((1, 128, 32, 32), 128, kernel)) == expected | {"direct"}


@pytest.mark.parametrize("simd", [4, 8, 16])
@pytest.mark.parametrize("count", [1, 2, 5, 7, 13, 15, 29, MOST_FFT_TILES + 1])
def test_every_number_of_tiles_by_fourier_transforms(count: int, simd: int) -> None:
    """Of a narrow map: register tiles of every size, and more tiles than are transformed at once."""
    b = Builder((1, 11, 11 * count, 8))
    b.conv("x", 21, 6)
    graph = b.graph()
    (node,) = graph.nodes
    x = {"x": np.random.default_rng(count).standard_normal((1, 11, 11 * count, 8)).astype(np.float32)}
    expected, got = (run_node(graph, node, x, algorithm=name, simd=simd) for name in ("direct", "fft"))
    assert np.abs(got - expected).max() < 1e-5 * np.abs(expected).max()


def test_the_points_of_weights_are_those_of_their_transform() -> None:
    weights = np.random.default_rng(0).standard_normal((3, 2, 7, 6)).astype(np.float32)
    c, rest, total = transformed_weights(weights).reshape(-1, 3, 3, 2).transpose(1, 0, 2, 3).astype(np.float64)
    for (row, column), real, imaginary in zip(FREQUENCIES, c, total - c, strict=True):
        waves = np.exp(2j * np.pi * (row * np.arange(7)[:, None] + column * np.arange(6)) / 16) / 256
        assert np.allclose(real + 1j * imaginary, (weights * waves).sum((2, 3)), atol=1e-7)
    assert np.allclose(rest, total - 2 * c, atol=1e-7)


@pytest.mark.parametrize(
    ("kernel", "side", "first"),
    [
        ((7, 7), 32, "fft"),
        ((7, 7), 4, "direct"),
        ((5, 5), 56, "winograd4"),
        ((11, 11), 30, "fft"),
        ((6, 12), 30, "direct"),
    ],
)
def test_large_maps_of_large_kernels_are_computed_by_fourier_transforms(
    kernel: tuple[int, int], side: int, first: str
) -> None:
    shape = (1, 64, side, side)
    graph, node = conv(np.random.default_rng(0), shape, 64, kernel=kernel, pads=(kernel[0] // 2, kernel[1] // 2) * 2)
    assert REGISTRY[node].algorithms(graph, node)[0] == first


def test_a_device_without_its_kernels_runs_another_algorithm() -> None:
    b = Builder((1, 16, 20, 20))
    b.conv("x", 16, 7)
    graph = b.graph()
    (node,) = graph.nodes
    x = {"x": np.random.default_rng(0).standard_normal((1, 16, 20, 20)).astype(np.float32)}
    expected, got = (run_node(graph, node, x, algorithm=name, cpu=False) for name in ("winograd3", "fft"))
    assert np.array_equal(expected, got)
