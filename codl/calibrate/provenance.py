"""Where every constant of a description comes from, and how sure it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from codl.calibrate.fit import Fitted
from codl.calibrate.network import is_producer
from codl.calibrate.results import Results
from codl.hardware import Calibration
from codl.tasks import HOST_LANE

LIBRARY = "codl"
"""Name of the kernel library that is measured."""

# What is assumed, since no device tells it; `provenance` says so.
WATTS_PER_CORE = 5.0
GPU_WATTS = 150.0
IDLE_WATTS = 10.0
JOULES_PER_BYTE = 60e-12


def provenance(
    results: Results,
    fitted: Mapping[str, Sequence[Fitted]],
    images: Mapping[str, Sequence[Fitted]],
    handing: Mapping[str, Sequence[float]],
    date: str,
) -> list[Calibration]:
    """Where every constant comes from, the particular before the general."""
    samples = results.samples
    rounds = f"median of {samples.rounds} interleaved rounds"
    entries = [
        Calibration(
            constants=(f"libraries.{LIBRARY}.{lane}.{kind}.{one.kernel.name}.*",), source="measured", date=date,
            method=f"non-negative least squares on relative errors of probes, {rounds}", residual=one.accuracy,
        )
        for kind, of_kind in (("buffer", fitted), ("image", images))
        for lane, kernels in of_kind.items()
        for one in kernels
    ]  # fmt: skip
    noises = (f"noise of the reference kernel on {lane} {results.noise(lane):.1%}" for lane in results.lanes)
    timed = tuple(node.name for node in results.graph.nodes if not is_producer(node))
    entries.append(
        Calibration(
            constants=(f"libraries.{LIBRARY}.*",), source="measured", method="the probe network", date=date,
            residual="; ".join(noises), shapes=timed,
        )
    )  # fmt: skip
    entries += _machine_provenance(results, handing, rounds, date)
    watts = f"{WATTS_PER_CORE:g} W a core, {GPU_WATTS:g} W a GPU, {IDLE_WATTS:g} W idle"
    joules = f"{JOULES_PER_BYTE * 1e12:g} pJ a byte"
    entries.append(
        Calibration(
            constants=("processors.*.active_power", "power.*", "memory.energy"), source="assumed", date=date,
            method=f"not measured: {watts} and {joules} are round figures; energies on this machine are no claim",
        )
    )  # fmt: skip
    said = "what the OpenCL driver and the operating system say; operations a cycle are nominal"
    entries.append(Calibration(constants=("*",), source="device", method=said, date=date))
    return entries


def _machine_provenance(
    results: Results, handing: Mapping[str, Sequence[float]], rounds: str, date: str
) -> list[Calibration]:
    gpu, cpu = results.lanes
    syncs = results.samples.syncs
    until = f"end of a command to the start of the next on the other lane, less the launch latency, {rounds}"
    measured = (
        ("processors.*.enqueue", f"host time of one launch, {rounds}",
         "; ".join(_range(lane, handing[lane]) for lane in results.lanes)),
        ("sharing.pre_sync", until, _range(f"{gpu} to {cpu}", syncs[gpu, cpu])),
        ("sharing.post_sync", until, _range(f"{cpu} to {gpu}", syncs[cpu, gpu])),
        ("sharing.host_wait.*", f"end of a command to the host's going on, {rounds}",
         "; ".join(_range(f"{lane} to host", syncs[lane, HOST_LANE]) for lane in results.lanes
                   if (lane, HOST_LANE) in syncs)),
        ("sharing.transform.*", f"feature maps from buffers to images, {rounds}", ""),
        ("sharing.copy.*", f"copies of feature maps both ways, {rounds}", ""),
        ("sharing.packed_copy.*", f"copies of half of feature maps' channels both ways, {rounds}", ""),
        ("processors.*.bandwidth", "highest rate at which any probe moved its data, caches included", ""),
        ("processors.*.contention", "kernels bound by arithmetic: beside the other processor's, over alone", ""),
        ("memory.bandwidth", "the processors' bandwidths over the slowdown of memory-bound kernels together", ""),
    )  # fmt: skip
    return [
        Calibration(constants=(constant,), source="measured", method=method, date=date, residual=residual)
        for constant, method, residual in measured
    ]


def _range(label: str, times_ns: Sequence[float]) -> str:
    """The middle of a distribution, in words."""
    low, high = np.percentile(times_ns, [10, 90]) / 1e3 if len(times_ns) else (0.0, 0.0)
    return f"{label} {low:.0f} to {high:.0f} us (10th to 90th percentile)"
