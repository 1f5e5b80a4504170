"""Lowering: a plan becomes the task graph that both the simulator and the executor interpret.

Where a boundary tensor (one that crosses chains) is kept decides what must be done to share it:

- `unified`: one buffer; whoever reads what another lane wrote waits for it (SYNC).
- `mapped`: one buffer that the CPU maps before it touches it and unmaps for the GPU; a GPU that works on images keeps
  its own copy, and TRANSFORM tasks on its lane go between the two.
- `copied`: one buffer a memory, and COPY tasks on the reader's lane.

Every wait between lanes is a SYNC that says why. A wait that an earlier one implies (vector clocks) is left out, and so
are maps, transforms and copies of what is there already.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from codl.graph import Graph
from codl.ops import REGISTRY
from codl.plan.model import Chain, Plan
from codl.plan.partition import chain_regions, exits, external_reads, output_parts
from codl.region import Region
from codl.tasks import HOST_LANE, SHARED, Access, Buffer, Task, TaskGraph, TaskKind, subtract


def lower(graph: Graph, plan: Plan) -> TaskGraph:
    """The task graph of a plan.

    Raises:
        PlanError: the plan is not legal for this graph.
    """
    plan.check(graph)
    tasks = _Lowering(graph, plan).run()
    tasks.check(graph)
    return tasks


@dataclass(frozen=True, slots=True)
class _Piece:
    """A box of a tensor that is valid in one buffer, and the task that put it there ('' for a graph input)."""

    buffer: str
    region: Region
    writer: str
    lane: str
    borrowed: bool = False
    """A copy for another processor than the home processor."""


class _Lowering:
    def __init__(self, graph: Graph, plan: Plan) -> None:
        self.graph = graph
        self.plan = plan
        used = {name for chain in plan.chains for name in chain.shares}
        self.processors = [name for name in plan.processors if name in used] or list(plan.processors)
        self.host_processor = next((n for n, use in plan.processors.items() if use.kind == "cpu"), self.processors[-1])
        self.home = plan.home if plan.home in used else None
        self.buffers: dict[str, Buffer] = {}
        self.tasks: list[Task] = []
        self.pieces: dict[str, list[_Piece]] = {}
        self.mapped_by_cpu: set[str] = set()
        self.syncs: dict[str, tuple[str, ...]] = {}
        self.clock: dict[str, dict[str, int]] = {lane: {} for lane in (HOST_LANE, *plan.processors)}
        self.stamp: dict[str, dict[str, int]] = {}

    def run(self) -> TaskGraph:
        inputs = {name: (self._place_input(name),) for name in self.graph.inputs}
        for index, chain in enumerate(self.plan.chains):
            self._chain(f"c{index:02d}", chain)
        outputs = self._finish()
        lanes = (HOST_LANE, *(p for p in self.plan.processors if any(t.lane == p for t in self.tasks)))
        return TaskGraph(
            model=self.graph.digest,
            plan=self.plan.digest,
            hardware=self.plan.hardware.digest,
            lanes=lanes,
            buffers=self.buffers,
            tasks=tuple(self.tasks),
            inputs=inputs,
            outputs=outputs,
            data_types={lane: self.plan.processors[lane].data_type for lane in lanes[1:]},
        )

    # -- storage -----------------------------------------------------------------------------------------------------

    def _storage(self, processor: str, value: str) -> str:
        """The buffer in which a processor keeps a boundary tensor; made at first use."""
        own = self.plan.sharing == "copied" or (
            self.plan.sharing == "mapped" and self.plan.processors[processor].data_type == "image"
        )
        whole = Region.full(self.graph.tensors[value].shape)
        return self._buffer(f"{value}@{processor}" if own else value, value, whole, processor if own else SHARED)

    def _buffer(self, name: str, value: str, region: Region, space: str) -> str:
        if name not in self.buffers:
            nbytes = region.size * np.dtype(self.graph.tensors[value].dtype).itemsize
            self.buffers[name] = Buffer(name, value, region, space, nbytes)
        return name

    def _nbytes(self, value: str, regions: Iterable[Region]) -> int:
        return sum(r.size for r in regions) * np.dtype(self.graph.tensors[value].dtype).itemsize

    def _place_input(self, value: str) -> str:
        """A graph input begins where the caller's memory is: with the home processor, else with the host's."""
        owner = self.home or (self.host_processor if self.plan.sharing == "copied" else self.processors[0])
        name = self._storage(owner, value)
        lane = HOST_LANE if self.plan.sharing == "unified" else owner
        self.pieces[value] = [_Piece(name, Region.full(self.graph.tensors[value].shape), "", lane)]
        return name

    def _valid(self, value: str, buffer: str, region: Region) -> list[_Piece]:
        return [p for p in self.pieces[value] if p.buffer == buffer and p.region.overlaps(region)]

    def _missing(self, value: str, buffer: str, region: Region) -> list[Region]:
        rest = [region]
        for piece in self._valid(value, buffer, region):
            rest = [part for box in rest for part in subtract(box, piece.region)]
        return rest

    # -- emitting ----------------------------------------------------------------------------------------------------

    def _emit(self, task: Task) -> str:
        clock = self.clock[task.lane]
        for dep in task.deps:
            for lane, count in self.stamp[dep].items():
                clock[lane] = max(clock.get(lane, 0), count)
        clock[task.lane] = clock.get(task.lane, 0) + 1
        self.stamp[task.id] = dict(clock)
        self.tasks.append(task)
        return task.id

    def _command(self, kind: TaskKind, chain: str, label: str, op: str, lane: str, **fields: object) -> str:
        """A command and, before it, the host time to enqueue it. `label` (the operator, the tensor moved, or the phase
        of sharing) makes their ids unique in the chain."""
        suffix = "" if kind is TaskKind.KERNEL else f"/{kind.value}"
        enqueue = Task(f"{chain}/{label}{suffix}/enqueue@{lane}", TaskKind.ENQUEUE, HOST_LANE, op, chain, source=lane)
        self._emit(enqueue)
        task_id = f"{chain}/{label}/{kind.value}@{lane}"
        return self._emit(Task(task_id, kind, lane, op, chain, (enqueue.id,), **fields))  # type: ignore[arg-type]

    def _unordered(self, lane: str, writers: Iterable[str]) -> tuple[str, ...]:
        """The writers on other lanes that nothing orders before this lane's next task; the latest of each lane."""
        latest: dict[str, tuple[int, str]] = {}
        for writer in writers:
            source = writer.rpartition("@")[2]
            count = self.stamp[writer][source]
            if source != lane and self.clock[lane].get(source, 0) < count:
                latest[source] = max(latest.get(source, (0, "")), (count, writer))
        return tuple(writer for _, writer in latest.values())

    def _sync(self, chain: str, phase: str, lane: str, writers: Iterable[str], why: str) -> None:
        deps = self._unordered(lane, writers)
        if deps:
            source = deps[0].rpartition("@")[2]
            task = Task(f"{chain}/{phase}@{lane}", TaskKind.SYNC, lane, "", chain, deps, source=source, why=why)
            self.syncs[self._emit(task)] = deps

    # -- chains ------------------------------------------------------------------------------------------------------

    def _chain(self, chain_id: str, chain: Chain) -> None:
        shares = {name: chain.shares[name] for name in self.plan.processors if name in chain.shares}
        alignment = self.plan.alignment.get(chain.dimension, 1) if chain.dimension else 1
        last_parts = output_parts(self.graph, chain.operators[-1], chain.dimension, shares, alignment)
        regions = chain_regions(self.graph, chain.operators, last_parts)
        leaving = set(exits(self.graph, chain.operators))
        inside = {value for name in chain.operators for value in self.graph.by_name[name].outputs}
        needs = {p: external_reads(self.graph, own, inside) for p, own in regions.items()}
        # The GPU's transforms for the CPU must not queue up behind the GPU's kernels, so all sharing comes first.
        for processor in reversed(list(regions)):
            self._fetch(chain_id, processor, needs[processor])
        if self.home and len(regions) > 1:
            self._host_waits(chain_id, regions)
        for processor, own in regions.items():
            for name, region in own.items():
                self._kernel(chain_id, processor, name, region, own, leaving, inside)
        if self.home and len(regions) > 1:
            whole = {value: Region.full(self.graph.tensors[value].shape) for value in leaving}
            self._fetch(chain_id, self.home, whole, phase="post-sync")
            self._hand_over(whole, {value for own in needs.values() for value in own}, self.home)

    def _host_waits(self, chain: str, processors: Iterable[str]) -> None:
        """MACE's host thread waits for what the CPU waits for before it enqueues kernels: both parts begin together."""
        deps = [
            dep for name in processors if name != self.home for dep in self.syncs.get(f"{chain}/pre-sync@{name}", ())
        ]
        self._sync(chain, "pre-sync", HOST_LANE, deps, "the host enqueues kernels when the CPU can read")

    def _hand_over(self, values: Iterable[str], needs: Iterable[str], home: str) -> None:
        """After a co-executed chain everything is the home processor's alone: other processors made and read their
        parts in buffers of the moment, and share anew what they need next.

        Args:
            values: made by the chain.
            needs: read by it.
        """
        for value in values:
            buffer = self._storage(home, value)
            self.pieces[value] = [replace(piece, lane=home) for piece in self.pieces[value] if piece.buffer == buffer]
        for value in needs:
            self.pieces[value] = [piece for piece in self.pieces[value] if not piece.borrowed]
        self.mapped_by_cpu.clear()

    def _kernel(
        self, chain: str, processor: str, name: str, region: Region, own: dict[str, Region],
        leaving: set[str], inside: set[str],
    ) -> None:  # fmt: skip
        node = self.graph.by_name[name]
        spec = REGISTRY[node]
        reads = []
        boxes = spec.input_regions(self.graph, node, region)
        for (_, tensor), box in zip(self.graph.variable_inputs(node), boxes, strict=True):
            private = tensor.name in inside and tensor.name not in leaving
            buffer = f"{tensor.name}@{processor}" if private else self._storage(processor, tensor.name)
            if buffer not in self.buffers:  # nothing of this input is read here (an empty box of a Concat)
                buffer = self._buffer(buffer, tensor.name, box, processor)
            reads.append(Access(buffer, box))
        writes = []
        for value in (v for v in node.outputs if v):
            box = region if value == node.output else Region.full(self.graph.tensors[value].shape)
            buffer = (
                self._storage(processor, value)
                if value in leaving
                else self._buffer(f"{value}@{processor}", value, box, processor)
            )
            writes.append(Access(buffer, box))
        algorithm = self.plan.algorithms.get(name, {}).get(processor, "") or spec.algorithms(self.graph, node)[0]
        task = self._command(
            TaskKind.KERNEL, chain, name, name, processor, reads=tuple(reads), writes=tuple(writes),
            algorithm=algorithm, data_type=self.plan.processors[processor].data_type,
        )  # fmt: skip
        for access in writes:
            value = self.buffers[access.buffer].tensor
            self.pieces.setdefault(value, []).append(_Piece(access.buffer, access.region, task, processor))

    # -- sharing -----------------------------------------------------------------------------------------------------

    def _fetch(self, chain: str, processor: str, needs: dict[str, Region], phase: str = "pre-sync") -> None:
        """Make boxes of boundary tensors readable by a processor, by the means that the plan's sharing allows."""
        if self.plan.sharing == "unified":
            writers = [p.writer for v, r in needs.items() for p in self._valid(v, v, r) if p.writer]
            self._sync(chain, phase, processor, writers, _why(processor, needs))
        elif self.plan.sharing == "mapped":
            self._fetch_mapped(chain, processor, needs, phase)
        else:
            self._fetch_copied(chain, processor, needs, phase)

    def _fetch_copied(self, chain: str, processor: str, needs: dict[str, Region], phase: str) -> None:
        moves = self._moves(processor, needs)
        writers = [piece.writer for _, piece, _ in moves if piece.writer]
        self._sync(chain, phase, processor, writers, _why(processor, needs))
        for value in dict.fromkeys(value for value, _, _ in moves):
            mine = [(piece, box) for moved, piece, box in moves if moved == value]
            self._move(TaskKind.COPY, chain, value, processor, processor, mine, "the two memories are not shared")

    def _fetch_mapped(self, chain: str, processor: str, needs: dict[str, Region], phase: str) -> None:
        moves = self._moves(processor, needs)
        values = list(dict.fromkeys(value for value, _, _ in moves))
        foreign = [
            (value, piece, piece.region.intersect(region))
            for value, region in needs.items()
            for piece in self._valid(value, self._storage(processor, value), region)
            if piece.lane not in (processor, HOST_LANE)
        ]
        if self.plan.processors[processor].kind == "cpu":
            for value in values:
                mine = [(piece, box) for moved, piece, box in moves if moved == value]
                lane = mine[0][0].lane
                foreign += self._move(TaskKind.TRANSFORM, chain, value, lane, processor, mine, "the CPU reads buffers")
            fresh = [entry for entry in foreign if f"{entry[0]}{entry[2]}" not in self.mapped_by_cpu]
            if fresh:
                nbytes = sum(self._nbytes(value, [box]) for value, _, box in fresh)
                self._command(TaskKind.MAP, chain, phase, "", processor, nbytes=nbytes, why=_why(processor, needs))
                self.mapped_by_cpu |= {f"{value}{box}" for value, _, box in fresh}
            self._sync(chain, phase, processor, [p.writer for _, p, _ in foreign if p.writer], _why(processor, needs))
            return
        unmaps = []
        others_made = [(v, p, b) for v, p, b in (*foreign, *moves) if p.writer and p.lane != processor]
        for lane in dict.fromkeys(piece.lane for _, piece, _ in others_made):
            theirs = [(value, piece, box) for value, piece, box in others_made if piece.lane == lane]
            if self._unordered(processor, [piece.writer for _, piece, _ in theirs]):
                nbytes = sum(self._nbytes(value, [box]) for value, _, box in theirs)
                why = f"{processor} takes it over"
                unmaps.append(self._command(TaskKind.UNMAP, chain, phase, "", lane, nbytes=nbytes, why=why))
        self._sync(chain, phase, processor, unmaps, _why(processor, needs))
        for value in values:
            mine = [(piece, box) for moved, piece, box in moves if moved == value]
            self._move(TaskKind.TRANSFORM, chain, value, processor, processor, mine, "this processor reads images")

    def _moves(self, processor: str, needs: dict[str, Region]) -> list[tuple[str, _Piece, Region]]:
        """(value, piece, box) for every box that a processor needs and that is valid only in another's buffer."""
        moves = []
        for value, region in needs.items():
            missing = self._missing(value, self._storage(processor, value), region)
            for box in missing:
                rest = [box]
                for piece in self.pieces[value]:
                    common = [part.intersect(piece.region) for part in rest]
                    moves += [(value, piece, part) for part in common if not part.empty]
                    rest = [cut for part in rest for cut in subtract(part, piece.region)]
        return moves

    def _move(
        self, kind: TaskKind, chain: str, value: str, lane: str, target: str,
        pieces: Sequence[tuple[_Piece, Region]], why: str,
    ) -> list[tuple[str, _Piece, Region]]:  # fmt: skip
        """One COPY or TRANSFORM of all boxes of a value into `target`'s buffer; the pieces that are valid there now."""
        buffer = self._storage(target, value)
        maker = self.graph.producer.get(value)
        task = self._command(
            kind, chain, value if target == lane else f"{value}-for-{target}", maker.name if maker else value, lane,
            reads=tuple(Access(piece.buffer, box) for piece, box in pieces),
            writes=tuple(Access(buffer, box) for _, box in pieces),
            nbytes=self._nbytes(value, [box for _, box in pieces]), source=pieces[0][0].lane, why=why,
        )  # fmt: skip
        borrowed = self.home is not None and target != self.home
        made = [_Piece(buffer, box, task, lane, borrowed) for _, box in pieces]
        self.pieces[value].extend(made)
        return [(value, piece, piece.region) for piece in made]

    def _finish(self) -> dict[str, str]:
        """Bring every output whole into one buffer and let the host wait for it."""
        wholes = {
            v: Region.full(self.graph.tensors[v].shape) for v in self.graph.outputs if v not in self.graph.weights
        }
        scattered = {v: box for v, box in wholes.items() if self.plan.sharing == "copied" or not self._complete(v, box)}
        self._fetch("end", self.host_processor, scattered)
        outputs = {
            value: self._storage(self.host_processor, value) if value in scattered else self._complete(value, box)[0]
            for value, box in wholes.items()
        }
        writers = [p.writer for v, name in outputs.items() for p in self.pieces[v] if p.buffer == name and p.writer]
        self._sync("end", "wait", HOST_LANE, writers, "the caller reads the outputs")
        return outputs

    def _complete(self, value: str, whole: Region) -> list[str]:
        """The buffers that hold all of a value."""
        holders = dict.fromkeys(piece.buffer for piece in self.pieces[value])
        return [name for name in holders if not self._missing(value, name, whole)]


def _why(processor: str, needs: dict[str, Region]) -> str:
    names = ", ".join(list(needs)[:3]) + (", ..." if len(needs) > 3 else "")
    return f"{processor} reads {names}"
