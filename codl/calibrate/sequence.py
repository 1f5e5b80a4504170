"""What calibration executes: task graphs of probes, in the same language as a plan's, for the same executor.

A `Sequence` has phases. In a phase of one lane its kernels run back to back, alone on the machine; in a phase of both
they run beside each other; in a phase of turns each waits for the other lane's. Between phases everybody waits.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from codl.calibrate.network import is_producer
from codl.calibrate.probes import Probe
from codl.graph import Graph
from codl.ops import REGISTRY
from codl.region import Region
from codl.tasks import HOST_LANE, PACKED, SHARED, Access, Buffer, Task, TaskGraph, TaskKind

TOGETHER = "both"
"""The phase in which every lane works."""
TURNS = "turn"
"""The phase in which each kernel waits for another lane's; its waits are measured."""
WAITS = "wait"
"""The phase in which the host waits for every command, as it does at the end of a run; its waits are measured."""


@dataclass(frozen=True, slots=True)
class Timed:
    """A task whose duration is wanted: what it does, on which lane, and in which phase."""

    task: str
    lane: str
    phase: str
    probe: Probe


@dataclass
class SequenceBuilder:
    """Builds one task graph out of probes.

    Args:
        graph: the probe network.
        lanes: the processors.
        shared: all of them work in one memory.
    """

    graph: Graph
    lanes: tuple[str, ...]
    shared: bool
    tasks: list[Task] = field(default_factory=list)
    timed: list[Timed] = field(default_factory=list)
    copies: list[tuple[str, int]] = field(default_factory=list)
    """Copy tasks, with the bytes that each moves."""
    transforms: list[tuple[str, int]] = field(default_factory=list)
    """Transform tasks likewise."""
    _buffers: dict[str, Buffer] = field(default_factory=dict)
    _inputs: dict[str, list[str]] = field(default_factory=dict)
    _last: dict[str, str] = field(default_factory=dict)
    _count: int = 0

    def probe(self, lane: str, phase: str, probe: Probe, after: str = "", between: Probe | None = None) -> str:
        """Append a probe to a lane, behind what makes its inputs; in phases that measure waits, its inputs are old
        ones.

        Args:
            after: a task of another lane that it waits for.
            between: what runs after each of the makers of its inputs, the last input's first: what a network's
                operator adds or concatenates was made before what it continues.
        """
        chain = f"{phase}{self._count:04d}"
        self._count += 1
        if after:
            self._wait(chain, lane, after)
        inputs = list(self.graph.variable_inputs(probe.node)) if phase not in (TURNS, WAITS) else []
        for _, tensor in reversed(inputs):
            maker = self.graph.producer[tensor.name]
            algorithm = REGISTRY[maker].algorithms(self.graph, maker)[0]
            self._kernel(chain, lane, Probe(maker, Region.full(tensor.shape), algorithm))
            if probe.data_type == "image":
                self._transform(chain, lane, tensor.name)
            if between is not None:
                self._kernel(f"{chain}/{tensor.name}", lane, between)
        task = self._kernel(chain, lane, probe)
        self.timed.append(Timed(task, lane, phase, probe))
        return task

    def _kernel(self, chain: str, lane: str, probe: Probe) -> str:
        node = probe.node
        boxes = REGISTRY[node].input_regions(self.graph, node, probe.region)
        variable = [tensor.name for _, tensor in self.graph.variable_inputs(node)]
        kind = probe.data_type
        reads = tuple(Access(self._buffer(value, lane, kind), box) for value, box in zip(variable, boxes, strict=True))
        enqueue = self._enqueue(chain, node.name, lane)
        task = Task(
            f"{chain}/{node.name}/kernel@{lane}", TaskKind.KERNEL, lane, node.name, chain, (enqueue,), reads,
            (Access(self._buffer(node.output, lane, kind), probe.region),), probe.algorithm, kind,
        )  # fmt: skip
        self._append(task)
        return task.id

    def _transform(self, chain: str, lane: str, value: str) -> None:
        """A produced value from a lane's buffer to its image."""
        maker, tensor = self.graph.producer[value].name, self.graph.tensors[value]
        whole = Region.full(tensor.shape)
        enqueue = self._enqueue(f"{chain}/{value}", maker, lane)
        task = Task(
            f"{chain}/{value}/transform@{lane}", TaskKind.TRANSFORM, lane, maker, chain, (enqueue,),
            (Access(self._buffer(value, lane), whole),), (Access(self._buffer(value, lane, "image"), whole),),
            nbytes=tensor.nbytes, source=lane, why="calibration",
        )  # fmt: skip
        self._append(task)
        self.transforms.append((task.id, tensor.nbytes))

    def copy(self, lane: str, source: str, value: str, packed: bool = False) -> str:
        """Append a copy of a produced value from another lane's memory to a lane's; `packed`: of half of its channels,
        which are many small pieces."""
        chain = f"copy{self._count:04d}"
        self._count += 1
        box = Region.full(self.graph.tensors[value].shape)
        if packed:
            box = box.along(1, 0, -(-box.shape[1] // 2))
        self._wait(chain, lane, self._last[source])
        maker = self.graph.producer[value].name
        enqueue = self._enqueue(chain, maker, lane)
        nbytes = self.graph.tensors[value].nbytes * box.size // self.graph.tensors[value].size
        task = Task(
            f"{chain}/{maker}/copy@{lane}", TaskKind.COPY, lane, maker, chain, (enqueue,),
            (Access(self._buffer(value, source), box),), (Access(self._buffer(value, lane), box),),
            algorithm=PACKED if packed else "", nbytes=nbytes, source=source, why="calibration",
        )  # fmt: skip
        self._append(task)
        self.copies.append((task.id, nbytes))
        return task.id

    def made(self) -> list[str]:
        """The values that every lane has made by now, by a producer of its own, in the graph's order."""
        written = {access.buffer for task in self.tasks for access in task.writes if task.kind is TaskKind.KERNEL}
        producers = (node.output for node in self.graph.nodes if is_producer(node))
        return [value for value in producers if all(f"{value}@{lane}" in written for lane in self.lanes)]

    def host_wait(self, after: str) -> None:
        """Let the host wait for a task before it hands over anything more."""
        chain = f"{WAITS}{self._count:04d}"
        self._count += 1
        source = after.rpartition("@")[2]
        self._append(
            Task(f"{chain}/wait@host", TaskKind.SYNC, HOST_LANE, "", chain, (after,), source=source, why="calibration")
        )

    def barrier(self) -> None:
        """Nothing that follows starts before everything so far has ended."""
        chain = f"barrier{self._count:04d}"
        self._count += 1
        first, *others = self.lanes
        ends = dict(self._last)
        for lane in others:
            if lane in ends:
                self._wait(chain, first, ends[lane])
        for lane in others:
            if first in self._last:
                self._wait(chain, lane, self._last[first])

    def build(self) -> TaskGraph:
        """The task graph, closed by a wait of the host for every lane."""
        ends, first = tuple(self._last.values()), self.lanes[0]
        self._append(Task("end/wait@host", TaskKind.SYNC, HOST_LANE, "", "end", ends, source=first, why="the end"))
        tasks = TaskGraph(
            model=self.graph.digest, plan="calibration", hardware="calibration", lanes=(HOST_LANE, *self.lanes),
            buffers=self._buffers, tasks=tuple(self.tasks),
            inputs={name: tuple(buffers) for name, buffers in self._inputs.items()}, outputs={},
            data_types=dict.fromkeys(self.lanes, "buffer"),
        )  # fmt: skip
        tasks.check(self.graph)
        return tasks

    def _append(self, task: Task) -> None:
        self.tasks.append(task)
        if task.lane != HOST_LANE:
            self._last[task.lane] = task.id

    def _enqueue(self, chain: str, op: str, lane: str) -> str:
        task = Task(f"{chain}/{op}/enqueue@{lane}", TaskKind.ENQUEUE, HOST_LANE, op, chain, source=lane)
        self._append(task)
        return task.id

    def _wait(self, chain: str, lane: str, after: str) -> None:
        source = after.rpartition("@")[2]
        suffix = f"-{source}" if any(task.id == f"{chain}/sync@{lane}" for task in self.tasks[-4:]) else ""
        self._append(
            Task(
                f"{chain}/sync{suffix}@{lane}",
                TaskKind.SYNC,
                lane,
                "",
                chain,
                (after,),
                source=source,
                why="calibration takes turns",
            )
        )

    def _buffer(self, value: str, lane: str, data_type: str = "buffer") -> str:
        """A lane's own buffer or image for a value; graph inputs are shared where the memory is."""
        given = value in self.graph.inputs
        name = value if given and self.shared else f"{value}@{lane}"
        name += ".image" if data_type == "image" else ""
        if name not in self._buffers:
            tensor = self.graph.tensors[value]
            space = SHARED if given and self.shared else lane
            self._buffers[name] = Buffer(name, value, Region.full(tensor.shape), space, tensor.nbytes, data_type)
            if given:
                self._inputs.setdefault(value, []).append(name)
        return name


@dataclass(frozen=True)
class Sequence:
    """A built sequence and what is to be read out of its trace."""

    tasks: TaskGraph
    timed: tuple[Timed, ...]
    copies: Mapping[str, int]
    transforms: Mapping[str, int] = field(default_factory=dict)


def interleave(probes: Iterable[Probe], reference: Probe, every: int) -> list[Probe]:
    """The probes with the reference before the first and after every few of them."""
    mixed = [reference]
    for index, probe in enumerate(probes, start=1):
        mixed.append(probe)
        if index % every == 0:
            mixed.append(reference)
    return mixed
