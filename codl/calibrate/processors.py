"""Each processor of a machine: silicon from what its device says, the rest from what was measured."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from codl.calibrate.fit import Fitted
from codl.calibrate.phases import alone, reference_probe
from codl.calibrate.provenance import GPU_WATTS, WATTS_PER_CORE
from codl.calibrate.results import Results, median, significant
from codl.cost.choice import matcher
from codl.cost.features import launches, traffic
from codl.hardware import Cluster, Processor
from codl.real.devices import DeviceInfo
from codl.tasks import TaskKind

_SIMD_PIPES = 2  # multiply-add units of a core: nominal
_UNKNOWN_CLOCK = 1e9
_WAVE = 32
_COMPUTE_BOUND = 20.0
"""FLOPs a byte from which a kernel counts as bound by arithmetic; below a tenth of it, by memory."""


def silicon(lane: str, results: Results) -> Processor:
    """What the device says of itself; bandwidth is filled in later."""
    device, traits = results.device(lane), results.traits[lane]
    clock = device.clock_hz or _UNKNOWN_CLOCK
    per_cycle = 2 * _SIMD_PIPES * max(1, device.vector_width)
    common: dict[str, Any] = {
        "description": device.name,
        "cache": float(_last_level_cache()) if traits.cpu else 0.0,
        "bandwidth": 1.0,
    }
    if lane.startswith("cpu"):
        cores = Cluster(name="cores", cores=device.compute_units, frequency=clock, flops_per_cycle=per_cycle)
        return Processor(kind="cpu", clusters=(cores,), active_power=_watts(device), **common)
    return Processor(
        kind="gpu", frequency=clock, flops_per_cycle=per_cycle * device.compute_units,
        compute_units=device.compute_units, wave_size=1 if traits.cpu else _WAVE,
        max_work_group_size=traits.max_work_group_size, active_power=_watts(device), **common,
    )  # fmt: skip


def _watts(device: DeviceInfo) -> float:
    return WATTS_PER_CORE * device.compute_units if device.kind == "cpu" else GPU_WATTS


def _last_level_cache() -> int:
    """Bytes, of the first core's largest cache as Linux tells it; 0 where it does not."""
    sizes = [0]
    for path in Path("/sys/devices/system/cpu/cpu0/cache").glob("index*/size"):
        match = re.fullmatch(r"(\d+)([KM]?)\s*", path.read_text())
        if match:
            sizes.append(int(match.group(1)) * {"": 1, "K": 2**10, "M": 2**20}[match.group(2)])
    return max(sizes)


def bandwidth(processor: Processor, fitted: Sequence[Fitted]) -> float:
    """The highest rate at which any kernel moved its data. It bounds predictions from below, so what a cache delivered
    counts too."""
    rates = [
        float(traffic(timing.work, one.kernel, processor)) / timing.seconds for one in fitted for timing in one.timings
    ]
    return significant(max(rates) * 1.001)  # never below the fastest, however it is rounded


def memory_bandwidth(results: Results, processors: Mapping[str, Processor]) -> float:
    """Bandwidth of the memory: of all processors together, less what they lose beside each other."""
    bandwidths = [processor.bandwidth for processor in processors.values()]
    lost = max(_stream_slowdown(results, lane) for lane in results.lanes)
    return significant(max(sum(bandwidths) / lost, *bandwidths))


def contention(results: Results, lane: str) -> float:
    """How much longer kernels that are bound by arithmetic take beside another processor's."""
    ratios = [ratio for work, ratio in results.slowdowns(lane) if work.flops > _COMPUTE_BOUND * work.bytes]
    return max(1.0, round(median(ratios), 4)) if ratios else 1.0


def _stream_slowdown(results: Results, lane: str) -> float:
    """How much longer kernels that are bound by memory take, beyond that."""
    ratios = [ratio for work, ratio in results.slowdowns(lane) if work.flops < _COMPUTE_BOUND / 10 * work.bytes]
    return max(1.0, median(ratios) / contention(results, lane)) if ratios else 1.0


def handing_over(results: Results, lane: str, fitted: Sequence[Fitted], processor: Processor) -> list[float]:
    """Nanoseconds of the host for one launch, by round: while the processor works alone, all of that time over all
    launches. What a driver does for one command it may do in the call for the next."""
    kernels = [(one.kernel, matcher(one.kernel)) for one in fitted]
    probes = {timed.task: timed.probe for timed in results.program.timed if timed.phase == alone(lane)}
    reference = reference_probe(results.graph)
    count, spent = 0.0, np.zeros(results.samples.rounds)
    for task in results.program.tasks.tasks:
        if task.kind is not TaskKind.KERNEL or not task.chain.startswith(alone(lane)):
            continue
        probe = probes.get(task.id, reference if task.op == reference.node.name else None)
        if probe is None or probe.data_type == "image":  # makes an input, or is one launch
            count += 1
        else:
            work = results.work(probe)
            kernel = next(k for k, takes in kernels if k.algorithm == probe.algorithm and takes(work))
            count += launches(work, kernel, processor)
        spent += results.samples.enqueues[task.id]
    return [float(ns) for ns in spent / count]
