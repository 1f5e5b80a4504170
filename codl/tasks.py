"""The seam: the command language that the simulator and the executor both interpret.

A plan is lowered once (`codl.plan.lower`) to a `TaskGraph`. Neither interpreter sees the plan: what is to be done,
in which order and where is all here.

Rules, the same for both interpreters:

- A *lane* executes its tasks one at a time, in the order of `TaskGraph.tasks` (an in-order queue). Every processor
  has a lane, and `host` is the thread that enqueues.
- A task starts when the lane's previous task has ended and all of `deps` have ended.
- An `ENQUEUE` task on the host lane precedes each command; the command depends on it. Its span is host time.
- A `SYNC` makes a lane wait for another lane's task: its span runs from the moment when everything it waits for is
  done to the moment when the waiting lane goes on. `why` says what is waited for. It is part of the lane's next command
  (a wait list, not a command of its own), so it starts no earlier than that command has been handed over: a late host
  is the host's time, not the synchronisation's.
- A `SYNC` on the host lane keeps the host's thread waiting: nothing after it is handed over before.
- `TRANSFORM` changes the data type (layout) of a part of a tensor, `MAP`/`UNMAP` hand a part of a tensor to the host
  processor and back without copying it, `COPY` moves it between memories that are not shared.

Longer than other modules: the language, and the rules that make a task graph legal (`TaskGraph.check`), stand together.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from functools import cached_property
from types import MappingProxyType

from codl.errors import PlanError
from codl.graph import Graph
from codl.region import Range, Region

HOST_LANE = "host"


class TaskKind(str, Enum):
    ENQUEUE = "enqueue"
    KERNEL = "kernel"
    TRANSFORM = "transform"
    MAP = "map"
    UNMAP = "unmap"
    SYNC = "sync"
    COPY = "copy"


COMMANDS = frozenset({TaskKind.KERNEL, TaskKind.TRANSFORM, TaskKind.MAP, TaskKind.UNMAP, TaskKind.COPY})
"""Kinds that the host enqueues; each has its `ENQUEUE` task."""


@dataclass(frozen=True, slots=True)
class Buffer:
    """Storage for a box of one tensor.

    Args:
        name: unique; `conv1` for a tensor shared by all, `conv1@gpu` for a private one.
        tensor: the value that it holds (a part of).
        region: the box of that value which it holds, in logical axes.
        space: `shared` for memory that every lane reads and writes, else the lane that owns it.
        nbytes: of its elements, without what images pad.
        data_type: `buffer`, or `image`: four channels a texel (docs/data-types.md).
    """

    name: str
    tensor: str
    region: Region
    space: str
    nbytes: int
    data_type: str = "buffer"


SHARED = "shared"
PACKED = "packed"
"""The algorithm of copies of many small pieces."""


@dataclass(frozen=True, slots=True)
class Access:
    """A box of a buffer, in the logical coordinates of its tensor (not relative to the buffer's own box)."""

    buffer: str
    region: Region


@dataclass(frozen=True, slots=True)
class Task:
    """One command. `id` is readable and stable: `c03/conv2_1/kernel@gpu`.

    Args:
        op: name of the node whose result is made or moved, or of the graph input moved; empty where it is none.
        chain: id of the operator chain (`c03`).
        deps: ids of tasks on other lanes (and the enqueue) that must have ended; lane order is implied.
        reads, writes: what it touches. A kernel's reads are its variable inputs, in the order of the node's inputs.
        algorithm: for kernels, the variant that the plan chose (`direct`, `gemm`, `winograd`, ...); for copies `packed`
            where the boxes are packed into one piece of memory, moved, and unpacked.
        data_type: for kernels, `buffer` or `image`: what they read and write.
        nbytes: for transform, map, unmap, copy: size of the part handled.
        source: for copies and syncs, the lane that the data comes from.
        why: for syncs (and copies, transforms, maps) the reason, in words.
    """

    id: str
    kind: TaskKind
    lane: str
    op: str = ""
    chain: str = ""
    deps: tuple[str, ...] = ()
    reads: tuple[Access, ...] = ()
    writes: tuple[Access, ...] = ()
    algorithm: str = ""
    data_type: str = "buffer"
    nbytes: int = 0
    source: str = ""
    why: str = ""


@dataclass(frozen=True)
class TaskGraph:
    """Tasks in enqueue order, which is a topological order.

    `plan`, `model` and `hardware` are digests. `outputs` names the buffer that holds each graph output and `inputs`
    the buffers (one per memory space that needs it) that each graph input is written to before the first task.
    """

    model: str
    plan: str
    hardware: str
    lanes: tuple[str, ...]
    buffers: Mapping[str, Buffer]
    tasks: tuple[Task, ...]
    inputs: Mapping[str, tuple[str, ...]]
    outputs: Mapping[str, str]
    data_types: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("buffers", "inputs", "outputs", "data_types"):
            object.__setattr__(self, name, MappingProxyType(dict(getattr(self, name))))

    @cached_property
    def by_id(self) -> Mapping[str, Task]:
        return {task.id: task for task in self.tasks}

    @cached_property
    def handed_over(self) -> Mapping[str, Task]:
        """The command that each ENQUEUE task hands over, by the latter's id."""
        by_id = self.by_id
        return {
            dep: task
            for task in self.tasks
            if task.kind in COMMANDS
            for dep in task.deps
            if by_id[dep].kind is TaskKind.ENQUEUE
        }

    @cached_property
    def digest(self) -> str:
        # Tuples of plain values, spelled out: walking the dataclasses generically takes ten times longer.
        buffers = sorted((b.name, b.tensor, b.region.ranges, b.space, b.nbytes) for b in self.buffers.values())
        tasks = [
            (t.id, t.kind.value, t.lane, t.op, t.chain, t.deps, _plain(t.reads), _plain(t.writes), t.algorithm,
             t.data_type, t.nbytes, t.source, t.why)
            for t in self.tasks
        ]  # fmt: skip
        values: list[object] = [self.lanes, buffers, tasks, dict(self.inputs), dict(self.outputs)]
        if images := sorted(b.name for b in self.buffers.values() if b.data_type == "image"):
            values.append(images)
        text = json.dumps(values, sort_keys=True, default=int)  # a bound may be one of numpy's integers
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def check(self, graph: Graph) -> None:
        """Raise `PlanError`, naming the task, unless every rule of the language holds.

        Checked: unique ids, known lanes and buffers, dependencies that come earlier, one enqueue per command, accesses
        inside their buffers, a reason at every sync, reads covered by earlier writes on the same memory, and graph
        outputs written once and whole.
        """
        for rule in (_ids, _order, _enqueued, _accesses, _reasons, _data_flow, _outputs):
            rule(self, graph)


def joined(parts: Sequence[TaskGraph], outputs: Sequence[str]) -> TaskGraph:
    """One task graph that does what several do one after another: segments of an inference, each of which ends with the
    host waiting for all lanes, so that the order of the lanes is all that holds them together.

    Args:
        outputs: what the caller reads in the end; other outputs of the parts are only handed on.
    """
    if len(parts) == 1:
        return parts[0]
    made: dict[str, str] = {}
    inputs: dict[str, tuple[str, ...]] = {}
    for part in parts:
        inputs |= {value: buffers for value, buffers in part.inputs.items() if value not in made}
        made |= part.outputs
    plans = "+".join(part.plan for part in parts)
    return TaskGraph(
        model=parts[0].model,
        plan=hashlib.sha256(plans.encode()).hexdigest()[:16],
        hardware=parts[0].hardware,
        lanes=tuple(dict.fromkeys(lane for part in parts for lane in part.lanes)),
        buffers={name: buffer for part in parts for name, buffer in part.buffers.items()},
        tasks=tuple(task for part in parts for task in part.tasks),
        inputs=inputs,
        outputs={value: made[value] for value in outputs if value in made},
        data_types={lane: kind for part in parts for lane, kind in part.data_types.items()},
    )


def _plain(accesses: tuple[Access, ...]) -> list[tuple[str, tuple[Range, ...]]]:
    return [(access.buffer, access.region.ranges) for access in accesses]


def _fail(task: Task | str, problem: str) -> None:
    raise PlanError(f"task {task.id if isinstance(task, Task) else task}: {problem}")


def _ids(tasks: TaskGraph, graph: Graph) -> None:
    seen: set[str] = set()
    for task in tasks.tasks:
        if task.id in seen:
            _fail(task, "this id is used twice")
        seen.add(task.id)
        if task.lane not in tasks.lanes:
            _fail(task, f"unknown lane {task.lane!r}; known: {', '.join(tasks.lanes)}")
        if task.op and task.op not in graph.by_name and task.op not in graph.inputs:
            _fail(task, f"the model has no operator {task.op!r}")


def _order(tasks: TaskGraph, graph: Graph) -> None:
    seen: set[str] = set()
    for task in tasks.tasks:
        for dep in task.deps:
            if dep not in seen:
                _fail(task, f"depends on {dep!r}, which does not come before it")
        seen.add(task.id)


def _enqueued(tasks: TaskGraph, graph: Graph) -> None:
    for task in tasks.tasks:
        enqueues = [dep for dep in task.deps if tasks.by_id[dep].kind is TaskKind.ENQUEUE]
        if task.kind in COMMANDS and len(enqueues) != 1:
            _fail(task, f"needs one enqueue task, has {len(enqueues)}")


def _accesses(tasks: TaskGraph, graph: Graph) -> None:
    for task in tasks.tasks:
        for access in (*task.reads, *task.writes):
            buffer = tasks.buffers.get(access.buffer)
            if buffer is None:
                raise PlanError(f"task {task.id}: unknown buffer {access.buffer!r}")
            if not buffer.region.contains(access.region):
                _fail(task, f"touches {access.region} of {buffer.name}, which holds {buffer.region}")
            if buffer.space != SHARED and task.lane != buffer.space and task.kind is TaskKind.KERNEL:
                _fail(task, f"touches {buffer.name}, which only {buffer.space} can")


def _reasons(tasks: TaskGraph, graph: Graph) -> None:
    for task in tasks.tasks:
        if task.kind is TaskKind.SYNC and not task.why:
            _fail(task, "a synchronisation must say why it exists")


def _data_flow(tasks: TaskGraph, graph: Graph) -> None:
    """Every element read was written before, and whoever wrote it is ordered before the reader."""
    bit = {task.id: 1 << index for index, task in enumerate(tasks.tasks)}
    before: dict[str, int] = {}  # everything ordered before a task, as a bit set
    last: dict[str, str] = {}
    written: dict[str, list[tuple[Region, str]]] = {name: [] for name in tasks.buffers}
    for names in tasks.inputs.values():
        for name in names:
            written[name].append((tasks.buffers[name].region, ""))
    for task in tasks.tasks:
        ancestors = 0
        for dep in (*task.deps, *((last[task.lane],) if task.lane in last else ())):
            ancestors |= before[dep] | bit[dep]
        before[task.id] = ancestors
        last[task.lane] = task.id
        for access in task.reads:
            pieces = []
            for region, writer in written[access.buffer]:
                if region.overlaps(access.region):
                    if writer and not bit[writer] & ancestors:
                        _fail(task, f"reads {access.buffer} without waiting for {writer}")
                    pieces.append(region)
            if not covers(pieces, access.region):
                _fail(task, f"reads {access.region} of {access.buffer}, not all of which is written")
        for access in task.writes:
            written[access.buffer].append((access.region, task.id))


def _outputs(tasks: TaskGraph, graph: Graph) -> None:
    for name, buffer in tasks.outputs.items():
        pieces = [a.region for t in tasks.tasks for a in t.writes if a.buffer == buffer]
        whole = Region.full(graph.tensors[name].shape)
        if buffer in tasks.inputs.get(name, ()):
            continue
        if not covers(pieces, whole):
            _fail(name, "this output is not written whole")


def covers(pieces: list[Region], whole: Region) -> bool:
    """Whether the union of the boxes holds all of `whole`. Exact, by cutting `whole` at the boxes' edges."""
    rest = [whole] if not whole.empty else []
    for piece in pieces:
        rest = [part for box in rest for part in subtract(box, piece)]
        if not rest:
            return True
    return not rest


def subtract(box: Region, hole: Region) -> list[Region]:
    """The parts of `box` outside `hole`, as disjoint boxes."""
    common = box.intersect(hole)
    if common.empty:
        return [box]
    parts = []
    for axis, ((lo, hi), (start, stop)) in enumerate(zip(box.ranges, common.ranges, strict=True)):
        if lo < start:
            parts.append(box.along(axis, lo, start))
        if stop < hi:
            parts.append(box.along(axis, stop, hi))
        box = box.along(axis, start, stop)
    return parts
