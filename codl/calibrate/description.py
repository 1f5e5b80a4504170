"""From times to a hardware description: silicon from what the devices say, everything else from measurements.

Longer than other modules: what each constant is measured by, and what its provenance says of that, stand together.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from scipy.optimize import nnls

from codl.calibrate.fit import Fitted, Timing, fit_library
from codl.calibrate.geometry import block_channels
from codl.calibrate.measure import Samples, noise
from codl.calibrate.network import Probe, is_producer
from codl.calibrate.phases import alone, reference_probe
from codl.calibrate.sequence import TOGETHER
from codl.calibrate.sequence import Sequence as Program
from codl.cost.choice import matcher
from codl.cost.features import launches, traffic
from codl.cost.model import WORK_FIELDS
from codl.graph import Graph
from codl.hardware import (
    Calibration,
    Cluster,
    Hardware,
    Kernel,
    Library,
    Linear,
    Observed,
    Processor,
    Sharing,
    Spread,
)
from codl.ops import REGISTRY
from codl.ops.launch import DeviceTraits
from codl.ops.spec import Work
from codl.real.devices import Assignment, DeviceInfo
from codl.real.overheads import Overheads
from codl.tasks import HOST_LANE, TaskKind

LIBRARY = "codl"
NS = 1e-9
_SIMD_PIPES = 2  # multiply-add units of a core: nominal
_UNKNOWN_CLOCK = 1e9
_WAVE = 32
_WATTS_PER_CORE = 5.0
_GPU_WATTS = 150.0
_IDLE_WATTS = 10.0
_JOULES_PER_BYTE = 60e-12
_COMPUTE_BOUND = 20.0
"""FLOPs a byte from which a kernel counts as bound by arithmetic; below a tenth of it, by memory."""


@dataclass(frozen=True)
class Results:
    """Everything measured, with what it was measured on."""

    graph: Graph
    program: Program
    samples: Samples
    devices: Assignment
    traits: Mapping[str, DeviceTraits]
    """By lane."""
    overheads: Mapping[str, Overheads] = field(default_factory=dict)
    """By lane."""

    @property
    def lanes(self) -> tuple[str, ...]:
        return tuple(self.traits)

    def device(self, lane: str) -> DeviceInfo:
        return self.devices.for_lanes([lane])[lane]

    def work(self, probe: Probe) -> Work:
        return REGISTRY[probe.node].work(self.graph, probe.node, probe.region)

    def timings(self, lane: str, data_type: str = "buffer") -> list[Timing]:
        """What a processor took alone, by kernels of a data type; the reference kernel, which ran many times, once."""
        times: dict[Probe, list[float]] = {}
        for timed in self.program.timed:
            if timed.phase == alone(lane) and timed.probe.data_type == data_type:
                times.setdefault(timed.probe, []).append(self.samples.median_ns(timed.task) * NS)
        return [
            Timing(self.work(probe), probe.algorithm, probe.node.name, float(np.median(seconds)))
            for probe, seconds in times.items()
        ]

    def noise(self, lane: str) -> float:
        """Relative spread of the reference kernel on a processor that works alone, over places and rounds."""
        return noise(np.array(self.reference(lane), dtype=float))

    def reference(self, lane: str) -> list[int]:
        """Nanoseconds of the reference kernel on a processor that works alone, over places and rounds."""
        reference = reference_probe(self.graph)
        return [
            ns
            for timed in self.program.timed
            if timed.phase == alone(lane) and timed.probe == reference
            for ns in self.samples.tasks[timed.task]
        ]

    def slowdowns(self, lane: str) -> list[tuple[Work, float]]:
        """(work, time together / time alone) of kernels that ran while the other processors worked too.

        Of undisturbed times: handing over many small probes keeps the host's thread busy, on a core that one of the
        processors may be, as a network's larger kernels do not.
        """
        by_probe = {timed.probe: timed.task for timed in self.program.timed if timed.phase == alone(lane)}
        found = []
        for timed in self.program.timed:
            if timed.phase == TOGETHER and timed.lane == lane and self.samples.tasks[timed.task]:
                task, twin = timed.task, by_probe[timed.probe]
                ratio = self.samples.undisturbed_ns(task) / self.samples.undisturbed_ns(twin)
                found.append((self.work(timed.probe), ratio))
        return found


def describe(results: Results, name: str, fingerprint: str, date: str) -> Hardware:
    """The description of the machine on which the results were measured."""
    silicon = {lane: _silicon(lane, results) for lane in results.lanes}
    fitted = {lane: fit_library(results.timings(lane), silicon[lane], results.traits[lane]) for lane in results.lanes}
    images = {lane: _on_images(results, lane, silicon[lane]) for lane in results.lanes}
    handing = {lane: _handing_over(results, lane, fitted[lane], silicon[lane]) for lane in results.lanes}
    processors = {
        lane: processor.model_copy(
            update={
                "bandwidth": _bandwidth(processor, [*fitted[lane], *images[lane]]),
                "contention": _contention(results, lane),
                "enqueue": _significant(_median(handing[lane]) * NS),
            }
        )
        for lane, processor in silicon.items()
    }
    kernels = {lane: {"buffer": tuple(_rounded(one.kernel) for one in fitted[lane])} for lane in results.lanes}
    for lane in results.lanes:
        if images[lane]:
            kernels[lane]["image"] = tuple(_rounded(one.kernel) for one in images[lane])
            processors[lane] = processors[lane].model_copy(update={"data_types": ("buffer", "image")})
    return Hardware.model_validate(
        {
            "name": name,
            "description": f"{_title(results.devices)}; {results.devices.why}",
            "processors": processors,
            "memory": {"bandwidth": _capacity(results, processors), "energy": _JOULES_PER_BYTE},
            "sharing": _sharing(results),
            "power": {"idle": _IDLE_WATTS},
            "library": LIBRARY,
            "libraries": {LIBRARY: Library.model_validate({"choice": "fastest", "kernels": kernels})},
            "alignment": {"output_channel": max(block_channels(traits) for traits in results.traits.values())},
            "fingerprint": fingerprint,
            "observed": _observed(results, handing),
            "calibration": tuple(_provenance(results, fitted, images, handing, date)),
        }
    )


def _on_images(results: Results, lane: str, processor: Processor) -> list[Fitted]:
    """The kernels on images of a processor; none where its device has no images."""
    timings = results.timings(lane, "image")
    return fit_library(timings, processor, results.traits[lane], "image") if timings else []


def _significant(value: float) -> float:
    """Four significant digits: what a measurement can tell, and what a person can read."""
    return float(f"{value:.4g}")


def _rounded(kernel: Kernel) -> Kernel:
    return kernel.model_copy(
        update={
            section: {unit: _significant(time) for unit, time in getattr(kernel, section).items()}
            for section in ("compute", "memory", "fixed")
        }
    )


# -- processors --------------------------------------------------------------------------------------------------------


def _silicon(lane: str, results: Results) -> Processor:
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
    return _WATTS_PER_CORE * device.compute_units if device.kind == "cpu" else _GPU_WATTS


def _last_level_cache() -> int:
    """Bytes, of the first core's largest cache as Linux tells it; 0 where it does not."""
    sizes = [0]
    for path in Path("/sys/devices/system/cpu/cpu0/cache").glob("index*/size"):
        match = re.fullmatch(r"(\d+)([KM]?)\s*", path.read_text())
        if match:
            sizes.append(int(match.group(1)) * {"": 1, "K": 2**10, "M": 2**20}[match.group(2)])
    return max(sizes)


def _bandwidth(processor: Processor, fitted: Sequence[Fitted]) -> float:
    """The highest rate at which any kernel moved its data. It bounds predictions from below, so what a cache delivered
    counts too."""
    rates = [
        float(traffic(timing.work, one.kernel, processor)) / timing.seconds for one in fitted for timing in one.timings
    ]
    return _significant(max(rates) * 1.001)  # never below the fastest, however it is rounded


def _capacity(results: Results, processors: Mapping[str, Processor]) -> float:
    """Bandwidth of the memory: of all processors together, less what they lose beside each other."""
    bandwidths = [processor.bandwidth for processor in processors.values()]
    lost = max(_stream_slowdown(results, lane) for lane in results.lanes)
    return _significant(max(sum(bandwidths) / lost, *bandwidths))


def _contention(results: Results, lane: str) -> float:
    """How much longer kernels that are bound by arithmetic take beside another processor's."""
    ratios = [ratio for work, ratio in results.slowdowns(lane) if work.flops > _COMPUTE_BOUND * work.bytes]
    return max(1.0, round(_median(ratios), 4)) if ratios else 1.0


def _stream_slowdown(results: Results, lane: str) -> float:
    """How much longer kernels that are bound by memory take, beyond that."""
    ratios = [ratio for work, ratio in results.slowdowns(lane) if work.flops < _COMPUTE_BOUND / 10 * work.bytes]
    return max(1.0, _median(ratios) / _contention(results, lane)) if ratios else 1.0


def _handing_over(results: Results, lane: str, fitted: Sequence[Fitted], processor: Processor) -> list[float]:
    """Nanoseconds of the host for one launch, by round: while the processor works alone, all of that time over all
    launches. What a driver does for one command it may do in the call for the next."""
    kernels = [(one.kernel, matcher(one.kernel, WORK_FIELDS)) for one in fitted]
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


# -- sharing -----------------------------------------------------------------------------------------------------------


def _sharing(results: Results) -> Sharing:
    gpu, cpu = results.lanes
    return Sharing(
        kind="unified" if results.devices.shared_memory else "copied",
        copy_=_linear_cost(results.samples, results.program.copies),
        transform=_linear_cost(results.samples, results.program.transforms),
        pre_sync=_sync(results.samples, gpu, cpu),
        post_sync=_sync(results.samples, cpu, gpu),
        host_wait={
            lane: _significant(_median(times) * NS)
            for lane in results.lanes
            if (times := results.samples.syncs.get((lane, HOST_LANE)))
        },
    )


def _sync(samples: Samples, source: str, target: str) -> float:
    """Seconds until a processor goes on after another one is done, less the launch latency: a kernel that waited has
    no gap before it, and its predicted time, which is that of kernels back to back, includes one."""
    return _significant(max(0.0, _median(samples.syncs[source, target]) - _median(samples.gaps[target])) * NS)


def _linear_cost(samples: Samples, nbytes: Mapping[str, int]) -> Linear:
    """Time of copies or transforms, with their bytes, as a fixed part and one that grows with size, by least squares on
    relative errors."""
    if not nbytes:
        return Linear()
    sizes = np.array(list(nbytes.values()), dtype=float)
    seconds = np.array([samples.median_ns(task) for task in nbytes]) * NS
    fixed, per_byte = nnls(np.stack([1 / seconds, sizes / seconds], axis=1), np.ones(len(sizes)))[0]
    return Linear(fixed=_significant(fixed), per_byte=_significant(per_byte))


def _observed(results: Results, handing: Mapping[str, Sequence[float]]) -> Observed:
    """Costs as distributions, and what measuring them cost."""
    gpu, cpu = results.lanes
    samples = results.samples
    times: dict[str, Sequence[float]] = {f"processors.{lane}.enqueue": row for lane, row in handing.items()}
    times |= {"sharing.pre_sync": samples.syncs[gpu, cpu], "sharing.post_sync": samples.syncs[cpu, gpu]}
    times |= {f"sharing.host_wait.{lane}": samples.syncs.get((lane, HOST_LANE), []) for lane in results.lanes}
    times |= {f"launch.{lane}": samples.gaps[lane] for lane in results.lanes}
    return Observed(
        spreads={path: _spread(row) for path, row in times.items() if row},
        clock_offset={lane: each.clock.offset_ns * NS for lane, each in results.overheads.items()},
        clock_uncertainty={lane: each.clock.uncertainty_ns * NS for lane, each in results.overheads.items()},
        profiling={lane: _significant(each.profiling_ns * NS) for lane, each in results.overheads.items()},
        reference_kernel=reference_probe(results.graph).node.name,
        reference={lane: _significant(_median(results.reference(lane)) * NS) for lane in results.lanes},
    )


def _spread(times_ns: Sequence[float]) -> Spread:
    low, median, high = (_significant(float(edge) * NS) for edge in np.percentile(times_ns, [10, 50, 90]))
    return Spread(low=low, median=median, high=high, samples=len(times_ns))


# -- provenance --------------------------------------------------------------------------------------------------------


def _provenance(
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
    watts = f"{_WATTS_PER_CORE:g} W a core, {_GPU_WATTS:g} W a GPU, {_IDLE_WATTS:g} W idle"
    joules = f"{_JOULES_PER_BYTE * 1e12:g} pJ a byte"
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


def _title(devices: Assignment) -> str:
    names = dict.fromkeys((devices.gpu.name, devices.cpu.name))
    return " and ".join(names)


def _median(values: Sequence[float]) -> float:
    return float(np.median(values)) if len(values) else 0.0
