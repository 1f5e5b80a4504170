"""Work-items that end at the same time on all cores of a CPU device."""

from __future__ import annotations

import numpy as np
import pytest

from codl.ops import REGISTRY
from codl.ops.depthwise import rows_per_item
from codl.ops.launch import DeviceTraits, KernelRequest, Launch, View
from codl.ops.tile.dealing import makespan
from codl.region import Region
from tests.heavy_reference import conv, one_node, reference, relative_error
from tests.kernel_runner import run_node


@pytest.mark.parametrize(
    ("items", "cores", "expected"),
    [
        ([1.0] * 8, 2, 4.0),
        ([1.0] * 5, 2, 3.0),
        ([3.0, 1.0, 1.0, 1.0], 2, 4.0),  # the first core takes two at once
        ([1.0] * 7, 1, 7.0),
        ([1.0] * 12, 4, 3.0),
        ([1.0] * 1000, 2, 500.0),
        ([], 2, 0.0),
    ],
)
def test_a_core_that_is_free_takes_its_share_of_the_rest(items: list[float], cores: int, expected: float) -> None:
    assert makespan(items, cores) == expected


def launch_of(side: int, depth: int, channels: int, units: int) -> Launch:
    """Of a 1x1 convolution."""
    graph, node = conv(np.random.default_rng(0), (1, depth, side, side), channels, kernel=(1, 1), pads=(0,) * 4)
    out = Region.full((1, channels, side, side))
    device = DeviceTraits(cpu=True, compute_units=units, max_work_group_size=1, simd_width=8)
    views = View.of(Region.full((1, depth, side, side))), View.of(out)
    (launch,) = REGISTRY[node].program(KernelRequest(graph, node, out, views[:1], views[1], "gemm", device)).launches
    return launch


@pytest.mark.parametrize("units", [2, 4, 7])
@pytest.mark.parametrize(
    ("side", "depth", "channels"), [(14, 384, 96), (14, 96, 576), (20, 128, 128), (10, 512, 256), (28, 144, 32)]
)
def test_cores_end_together(side: int, depth: int, channels: int, units: int) -> None:
    """However few work-items there are: by register tiles and blocks that each computes."""
    launch = launch_of(side, depth, channels, units)
    tiles, blocks = -(-(side**2) // 6), -(-channels // 16)
    across, along, _ = launch.global_size
    a, b = -(-tiles // across), -(-blocks // along)
    costs = [min(a, tiles - x * a) * min(b, blocks - y * b) for y in range(along) for x in range(across)]
    assert sum(costs) == tiles * blocks
    assert makespan(costs, units) < 1.25 * tiles * blocks / units


@pytest.mark.parametrize("units", [1, 2])
@pytest.mark.parametrize(("side", "depth", "channels"), [(1, 300, 500), (1, 1, 1), (3, 8, 8), (200, 4, 8)])
def test_any_size_has_work_items(side: int, depth: int, channels: int, units: int) -> None:
    assert min(launch_of(side, depth, channels, units).global_size) > 0


def test_sums_of_nothing_have_work_items() -> None:
    """As in a transposed convolution that spreads its inputs wider than its kernel."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((1, 8, 5, 4)).astype(np.float32)
    graph, node = one_node(
        "conv_transpose", x.shape, (1, 8, 13, 10), [rng.standard_normal((8, 8, 1, 1)).astype(np.float32)],
        kernel=(1, 1), stride=(3, 3), pads=(0, 0, 0, 0), dilation=(1, 1), group=1, output_padding=(0, 0),
    )  # fmt: skip
    got = run_node(graph, node, {"x": x}, Region.full((1, 8, 13, 10)))
    assert relative_error(got, reference(graph, node, x=x)) < 1e-5


def test_rows_of_a_work_item() -> None:
    assert rows_per_item(14, 50_000) == 8  # one core: as large as may be
    assert rows_per_item(14, 50_000, cores=2) == 7
    assert rows_per_item(7, 60_000, cores=2, together=2) == 4
    assert rows_per_item(100, 10**7, cores=2, together=2) == 2  # as many as are computed at once, whatever they cost
    assert rows_per_item(1, 10, cores=2, together=2) == 1
    assert rows_per_item(14, 50_000, cores=2, images=100) == 8  # enough of them
