"""Which probes run when: each processor alone, both together, and turns between them."""

from __future__ import annotations

from collections.abc import Sequence as Series

import numpy as np

from codl.calibrate.probes import Probe, image_probes, probes
from codl.calibrate.sequence import TOGETHER, TURNS, WAITS, Sequence, SequenceBuilder, interleave
from codl.graph import Graph
from codl.real.devices import Assignment, DeviceInfo

_TURNS = 24
_TOGETHER = 48
"""Most probes that run on every processor at once."""
_HOST_WAITS = 6
_PACE_REPEATS = 6
"""Of the reference kernel, each time that it is asked for the machine's pace: some 50 ms."""
PACE_TOGETHER = "pace-all"
"""The phase in which every processor runs the reference kernel at once."""
_REFERENCE_EVERY = 12
_COPIES = 2
_STAYS = 768 * 1024
"""Bytes of maps that are still in the caches when the next kernel reads them."""
_WIDE = 8
"""Cores from which on a CPU is wide."""


def reference_probe(graph: Graph) -> Probe:
    """The kernel whose repetitions tell how noisy the machine is: a convolution of middling size."""
    return next(probe for probe in probes(graph, host=False) if probe.node.name.startswith("conv 34x35x144"))


def large_families(device: DeviceInfo) -> tuple[str, ...]:
    """The families of which a device is to be timed on large operators as well, since small ones leave much of it idle.
    A GPU's bandwidth, which is all that pools tell, is known from the small ones."""
    if device.kind == "gpu":
        return ("conv", "conv_transpose")
    return ("conv", "conv_transpose", "pool") if device.compute_units >= _WIDE else ()


def alone(lane: str) -> str:
    """The phase in which a processor works alone."""
    return f"{lane}-alone"


def pace_alone(lane: str) -> str:
    """The phase in which a processor alone runs the reference kernel."""
    return f"pace-{lane}"


def add_pace(builder: SequenceBuilder, lanes: tuple[str, ...], shared: bool, probe: Probe) -> None:
    """What tells the machine's pace (`codl.calibrate.pace`), the same in calibration and whenever it is asked again:
    the reference kernel several times in a row, which keeps its weights in the caches."""
    for lane in lanes:
        for _ in range(_PACE_REPEATS):
            builder.probe(lane, pace_alone(lane), probe)
        builder.barrier()
    if shared:
        for _ in range(_PACE_REPEATS):
            for lane in lanes:
                builder.probe(lane, PACE_TOGETHER, probe)


def build_sequence(
    graph: Graph, devices: Assignment, lanes: tuple[str, ...], float16: bool = False, images: bool = True
) -> Sequence:
    """Everything that one round runs, in an order that is random but always the same.

    Args:
        lanes: the GPU's and the CPU's, the GPU's first.
        float16: time variants that store weights as float16, too.
        images: time kernels on images, too, where the GPU has them.
    """
    builder = SequenceBuilder(graph, lanes, devices.shared_memory)
    played = devices.for_lanes(lanes)
    reference = reference_probe(graph)
    random = np.random.default_rng(7)
    for lane in lanes:
        device = played[lane]
        mine = list(probes(graph, lane == lanes[-1], float16, large_families(device), device.kind == "cpu"))
        if lane == lanes[0] and images:
            mine += image_probes(graph, devices.gpu.image_limits)
        mixed = [mine[index] for index in random.permutation(len(mine))]
        for probe in interleave(mixed, reference, _REFERENCE_EVERY):
            own = probe.node is reference.node
            builder.probe(lane, alone(lane), probe, between=reference if not own and _ages(graph, probe) else None)
        builder.barrier()
    if devices.shared_memory:
        cpus = all(device.kind == "cpu" for device in played.values())
        common = list(probes(graph, host=False, cpu=cpus))
        chosen = [common[index] for index in random.permutation(len(common))[:_TOGETHER]]
        _together(builder, lanes, chosen)
        builder.barrier()
    _turns(builder, lanes, [reference, *_short(graph)])
    if not devices.shared_memory:
        _copies(builder, lanes, graph)
    builder.barrier()
    _host_waits(builder, lanes, graph, devices.shared_memory)
    builder.barrier()
    add_pace(builder, lanes, devices.shared_memory, reference)
    return Sequence(builder.build(), tuple(builder.timed), dict(builder.copies), dict(builder.transforms))


def _ages(graph: Graph, probe: Probe) -> bool:
    """Whether a probe's input should be older than what a kernel just wrote: in a network a large map takes
    milliseconds to be made, and by then much of it has left the caches. Small maps have small neighbours, and stay."""
    return sum(tensor.nbytes for _, tensor in graph.variable_inputs(probe.node)) > _STAYS


def _together(builder: SequenceBuilder, lanes: tuple[str, ...], chosen: Series[Probe]) -> None:
    """The same probes on every lane, each lane from another place in the list on."""
    for position in range(len(chosen)):
        for index, lane in enumerate(lanes):
            shift = index * len(chosen) // len(lanes)
            builder.probe(lane, TOGETHER, chosen[(position + shift) % len(chosen)])


def _short(graph: Graph) -> list[Probe]:
    """Kernels that take little time, as the small operators of a network do."""
    return [probe for probe in probes(graph, host=False) if probe.node.op == "pool"][:2]


def _turns(builder: SequenceBuilder, lanes: tuple[str, ...], kernels: Series[Probe]) -> None:
    """Kernels of one lane after another, each waiting for the one before it."""
    last = ""
    for turn in range(_TURNS):
        lane = lanes[turn % len(lanes)]
        last = builder.probe(lane, TURNS, kernels[turn // len(lanes) % len(kernels)], after=last)


def _host_waits(builder: SequenceBuilder, lanes: tuple[str, ...], graph: Graph, shared: bool) -> None:
    """What the host waits for at the end of a run: a kernel, or what was copied into its memory."""
    kernels = [reference_probe(graph), *_short(graph)]
    value = min(builder.made(), key=lambda name: graph.tensors[name].nbytes)
    for turn in range(_HOST_WAITS):
        for lane in lanes:
            last = builder.probe(lane, WAITS, kernels[turn % len(kernels)])
            if not shared:
                target = lanes[-1] if lane == lanes[0] else lanes[0]
                last = builder.copy(target, lane, value)
            builder.host_wait(last)


def _copies(builder: SequenceBuilder, lanes: tuple[str, ...], graph: Graph) -> None:
    """Feature maps of all sizes from memory to memory, whole and by channel, in both directions."""
    values = sorted(builder.made(), key=lambda name: graph.tensors[name].nbytes)[::2]
    for _ in range(_COPIES):
        for source, target in (lanes, lanes[::-1]):
            for value in values:
                builder.copy(target, source, value)
                builder.copy(target, source, value, packed=True)
            builder.barrier()
