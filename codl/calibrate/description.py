"""From what was measured to a hardware description: unit times of kernels, costs of sharing, what each processor is."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

import numpy as np
from scipy.optimize import nnls

from codl.calibrate.fit import Fitted, fit_library
from codl.calibrate.geometry import block_channels
from codl.calibrate.measure import Samples
from codl.calibrate.phases import PACE_TOGETHER, pace_alone, reference_probe
from codl.calibrate.processors import bandwidth, contention, handing_over, memory_bandwidth, silicon
from codl.calibrate.provenance import IDLE_WATTS, JOULES_PER_BYTE, LIBRARY, provenance
from codl.calibrate.results import NS, Results, median, significant
from codl.hardware import Hardware, Kernel, Library, Linear, Observed, Processor, Sharing, Spread
from codl.real.devices import Assignment
from codl.tasks import HOST_LANE, PACKED
from codl.trace import typical


def describe(results: Results, name: str, fingerprint: str, date: str) -> Hardware:
    """The description of the machine on which the results were measured."""
    chips = {lane: silicon(lane, results) for lane in results.lanes}
    fitted = {lane: fit_library(results.timings(lane), chips[lane], results.traits[lane]) for lane in results.lanes}
    images = {lane: _on_images(results, lane, chips[lane]) for lane in results.lanes}
    handing = {lane: handing_over(results, lane, fitted[lane], chips[lane]) for lane in results.lanes}
    processors = {
        lane: processor.model_copy(
            update={
                "bandwidth": bandwidth(processor, [*fitted[lane], *images[lane]]),
                "contention": contention(results, lane),
                "enqueue": significant(median(handing[lane]) * NS),
            }
        )
        for lane, processor in chips.items()
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
            "memory": {"bandwidth": memory_bandwidth(results, processors), "energy": JOULES_PER_BYTE},
            "sharing": _sharing(results),
            "power": {"idle": IDLE_WATTS},
            "library": LIBRARY,
            "libraries": {LIBRARY: Library.model_validate({"choice": "fastest", "kernels": kernels})},
            "alignment": {"output_channel": max(block_channels(traits) for traits in results.traits.values())},
            "fingerprint": fingerprint,
            "observed": _observed(results, handing),
            "calibration": tuple(provenance(results, fitted, images, handing, date)),
        }
    )


def _on_images(results: Results, lane: str, processor: Processor) -> list[Fitted]:
    """The kernels on images of a processor; none where its device has no images."""
    timings = results.timings(lane, "image")
    return fit_library(timings, processor, results.traits[lane], "image") if timings else []


def _rounded(kernel: Kernel) -> Kernel:
    return kernel.model_copy(
        update={
            section: {unit: significant(time) for unit, time in getattr(kernel, section).items()}
            for section in ("compute", "memory", "fixed")
        }
    )


def _sharing(results: Results) -> Sharing:
    gpu, cpu = results.lanes
    copies, by_id = results.program.copies, results.program.tasks.by_id
    packed = {task: nbytes for task, nbytes in copies.items() if by_id[task].algorithm == PACKED}
    plain = {task: nbytes for task, nbytes in copies.items() if task not in packed}
    return Sharing(
        kind="unified" if results.devices.shared_memory else "copied",
        copy_=_linear_cost(results.samples, plain),
        packed_copy=_linear_cost(results.samples, packed) if packed else None,
        transform=_linear_cost(results.samples, results.program.transforms),
        pre_sync=_sync(results.samples, gpu, cpu),
        post_sync=_sync(results.samples, cpu, gpu),
        host_wait={
            lane: significant(median(times) * NS)
            for lane in results.lanes
            if (times := results.samples.syncs.get((lane, HOST_LANE)))
        },
    )


def _sync(samples: Samples, source: str, target: str) -> float:
    """Seconds until a processor goes on after another one is done, less the launch latency: a kernel that waited has
    no gap before it, and its predicted time, which is that of kernels back to back, includes one."""
    return significant(max(0.0, median(samples.syncs[source, target]) - median(samples.gaps[target])) * NS)


def _linear_cost(samples: Samples, nbytes: Mapping[str, int]) -> Linear:
    """Time of copies or transforms, with their bytes, as a fixed part and one that grows with size, by least squares on
    relative errors of the median of each size."""
    if not nbytes:
        return Linear()
    of_size: dict[int, list[float]] = defaultdict(list)
    for task, size in nbytes.items():
        of_size[size].append(samples.median_ns(task))
    sizes = np.array(list(of_size), dtype=float)
    seconds = np.array([np.median(times) for times in of_size.values()]) * NS
    fixed, per_byte = nnls(np.stack([1 / seconds, sizes / seconds], axis=1), np.ones(len(sizes)))[0]
    return Linear(fixed=significant(fixed), per_byte=significant(per_byte))


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
        profiling={lane: significant(each.profiling_ns * NS) for lane, each in results.overheads.items()},
        reference_kernel=reference_probe(results.graph).node.name,
        reference={lane: significant(typical(results.pace(lane, pace_alone(lane))) * NS) for lane in results.lanes},
        reference_together={
            lane: significant(typical(row) * NS) for lane in results.lanes if (row := results.pace(lane, PACE_TOGETHER))
        },
    )


def _spread(times_ns: Sequence[float]) -> Spread:
    low, median, high = (significant(float(edge) * NS) for edge in np.percentile(times_ns, [10, 50, 90]))
    return Spread(low=low, median=median, high=high, samples=len(times_ns))


def _title(devices: Assignment) -> str:
    names = dict.fromkeys((devices.gpu.name, devices.cpu.name))
    return " and ".join(names)
