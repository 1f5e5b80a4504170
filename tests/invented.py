"""An invented machine, described as a real one is: what its kernels, copies and waits take is a formula."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache

import numpy as np
import pytest

import codl.calibrate as calibrate
from codl.calibrate.measure import Samples
from codl.calibrate.network import probe_graph
from codl.calibrate.sequence import TOGETHER, Sequence
from codl.graph import Graph
from codl.ops import REGISTRY
from codl.ops.launch import DeviceTraits
from codl.ops.spec import Work
from codl.real.clock import ClockOffset
from codl.real.devices import Assignment, DeviceInfo
from codl.real.overheads import Overheads
from codl.tasks import HOST_LANE, PACKED, TaskKind

LANES = ("gpu", "cpu")
TEXELS = (16384, 16384)
CPU = DeviceInfo("pocl:0.1", "pocl:0", "some core", "PoCL", "3.0", "cpu", 1, 2e9, 1 << 30, 8, False, TEXELS, True)
ONE_MEMORY = Assignment(cpu=CPU, gpu=replace(CPU, id="pocl:0.0", kind="gpu"), why="for a test", shared_memory=True)
TWO_MEMORIES = Assignment(
    cpu=CPU, gpu=DeviceInfo("gpu:0", "gpu:0", "a GPU", "GPUs", "1", "gpu", 8, 1e9, 1 << 30, 1, True, TEXELS, False),
    why="for a test", shared_memory=False,
)  # fmt: skip
TRAITS = DeviceTraits(cpu=True, compute_units=1, max_work_group_size=4096, simd_width=8)


GAP = 10_000
"""Nanoseconds between a kernel and the next."""


def kernel_ns(work: Work) -> float:
    """100 GFLOP/s in blocks of 16 channels and 6 pixels, 10 GB/s, 20 us a launch."""
    padding = 1.0
    if work.kind in ("conv", "conv_transpose"):
        channels, pixels = work.out_channels / work.groups, work.batch * work.out_h * work.out_w
        padding = -(-channels // 16) * 16 / channels * -(-pixels // 6) * 6 / pixels
    return 20_000 + work.flops * padding / 100 + work.bytes / 10


def samples(graph: Graph, sequence: Sequence, jitter: float = 0.0, together: float = 1.2) -> Samples:
    """What measuring a sequence gives on it.

    Args:
        jitter: of kernels, from round to round: the deviation of the logarithm of their times.
        together: how much longer they take beside another processor's.
    """
    random = np.random.default_rng(2)
    made = Samples(rounds=5)
    for timed in sequence.timed:
        probe = timed.probe
        work = REGISTRY[probe.node].work(graph, probe.node, probe.region)
        ns = kernel_ns(work) - GAP
        ns *= together if timed.phase == TOGETHER else 3.0 if probe.data_type == "image" else 1.0
        made.tasks[timed.task] = [round(ns * random.lognormal(0, jitter)) for _ in range(5)]
    for task, nbytes in sequence.copies.items():
        packed = sequence.tasks.by_id[task].algorithm == PACKED
        made.tasks[task] = [round(90_000 + nbytes / 4 if packed else 30_000 + nbytes / 5)] * 5
    for task, nbytes in sequence.transforms.items():
        made.tasks[task] = [round(40_000 + nbytes / 8)] * 5
    for task in sequence.tasks.tasks:
        if task.kind is TaskKind.KERNEL:
            launches = 3 if task.algorithm == "fft" else 1
            made.enqueues[task.id] = [ns * launches for ns in (6500, 7000, 7000, 7500, 8000)]
    for lane, other in (LANES, LANES[::-1]):
        made.syncs[lane, other] = [30_000 if lane == "gpu" else 50_000]
        made.syncs[lane, HOST_LANE] = [60_000 if lane == "gpu" else 80_000]
        made.gaps[lane] = [GAP]
    return made


@cache
def _graph(quick: bool, large: bool = False) -> Graph:
    return probe_graph(quick, large)


def invent(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Replace the devices by the invented machine, once what this gives is called with the arguments of `samples`."""
    monkeypatch.setattr(calibrate, "probe_graph", _graph)  # made once
    monkeypatch.setattr(calibrate, "overheads", lambda device_id: Overheads(ClockOffset(5000, 200), 300.0))
    monkeypatch.setattr(calibrate, "machine", lambda: {"cpu": "invented", "cores": 2})

    def use(jitter: float = 0.0, **options: float) -> None:
        def of(device: DeviceInfo) -> DeviceTraits:
            return replace(TRAITS, cpu=not device.id.startswith("gpu"))

        def measured(
            graph: Graph, sequence: Sequence, devices: Assignment, rounds: tuple[int, int], step, _
        ) -> Samples:
            for _ in range(rounds[0]):
                step("timing kernels")
            return samples(graph, sequence, jitter, **options)

        monkeypatch.setattr(calibrate, "traits_of", of)
        monkeypatch.setattr(calibrate, "measure", measured)

    return use
