"""Lowering: a plan becomes the task graph that both the simulator and the executor interpret.

Where a boundary tensor (one that crosses chains) is kept decides what must be done to share it:

- `unified`: one buffer; whoever reads what another lane wrote waits for it (SYNC).
- `mapped`: one buffer that the CPU maps before it touches it and unmaps for the GPU; a GPU that works on images keeps
  its own copy, and TRANSFORM tasks on its lane go between the two.
- `copied`: one buffer a memory, and COPY tasks on the reader's lane.

Every wait between lanes is a SYNC that says why (`codl.plan.commands`). A wait that an earlier one implies is left out,
and so are maps, transforms and copies of what is there already.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest

from codl.graph import Graph
from codl.ops import REGISTRY
from codl.plan.commands import Commands
from codl.plan.evaluate import Boxes, chain_boxes
from codl.plan.model import Chain, Plan
from codl.plan.partition import exits, external_reads
from codl.plan.storage import Piece, Storage
from codl.region import Region
from codl.tasks import HOST_LANE, Access, TaskGraph, TaskKind, subtract


@dataclass(frozen=True, slots=True)
class Segment:
    """Some of a plan's chains that follow each other, between points at which another plan may take over.

    What crosses such a point lies where every plan for this hardware looks for it (`_Lowering.owner`).

    Args:
        name: begins the ids of its chains; '' for a whole plan.
        first, end: the chains of the plan.
        arriving: values that it reads and does not make.
        leaving: values that it makes for later segments.
        last: whether no segment follows.
    """

    name: str
    first: int
    end: int
    arriving: tuple[str, ...]
    leaving: tuple[str, ...]
    last: bool = True


def lower(graph: Graph, plan: Plan, segment: Segment | None = None) -> TaskGraph:
    """The task graph of a plan, or of one segment of it (`codl.plan.segments`).

    Raises:
        PlanError: the plan is not legal for this graph.
    """
    plan.check(graph)
    tasks = _Lowering(graph, plan, segment).run()
    tasks.check(graph)
    return tasks


class _Lowering:
    def __init__(self, graph: Graph, plan: Plan, segment: Segment | None = None) -> None:
        self.graph = graph
        self.plan = plan
        self.segment = segment or Segment("", 0, len(plan.chains), graph.inputs, ())
        used = {name for chain in plan.chains for name in chain.shares}
        self.processors = [name for name in plan.processors if name in used] or list(plan.processors)
        self.host_processor = next((n for n, use in plan.processors.items() if use.kind == "cpu"), self.processors[-1])
        self.home = plan.home if plan.home in used else None
        self.storage = Storage(graph, plan)
        self.commands = Commands(plan.processors)
        self.mapped_by_cpu: set[str] = set()

    def run(self) -> TaskGraph:
        segment = self.segment
        inputs = {name: (self._place_input(name),) for name in segment.arriving}
        for index in range(segment.first, segment.end):
            self._chain(f"{segment.name}c{index:02d}", self.plan.chains[index])
        outputs = self._finish()
        tasks = tuple(self.commands.tasks)
        lanes = (HOST_LANE, *(p for p in self.plan.processors if any(t.lane == p for t in tasks)))
        return TaskGraph(
            model=self.graph.digest,
            plan=self.plan.digest,
            hardware=self.plan.hardware.digest,
            lanes=lanes,
            buffers=self.storage.buffers,
            tasks=tasks,
            inputs=inputs,
            outputs=outputs,
            data_types={lane: self.plan.processors[lane].data_type for lane in lanes[1:]},
        )

    @property
    def owner(self) -> str:
        """With whom a graph input begins, where the caller's memory is: the home processor, else the host's. Values
        that cross from one segment to another are with whom all plans agree on, whichever processors they use."""
        if self.segment.name:
            home = self.plan.home or (None if self.plan.sharing == "copied" else next(iter(self.plan.processors)))
        else:
            home = self.home or (None if self.plan.sharing == "copied" else self.processors[0])
        return home or self.host_processor

    def _place_input(self, value: str) -> str:
        owner = self.owner
        name = self.storage.of(owner, value)
        lane = HOST_LANE if self.plan.sharing == "unified" else owner
        self.storage.pieces[value] = [Piece(name, Region.full(self.graph.tensors[value].shape), "", lane)]
        return name

    # -- chains ------------------------------------------------------------------------------------------------------

    def _chain(self, chain_id: str, chain: Chain) -> None:
        regions = chain_boxes(self.graph, chain, self.plan.alignment, self.plan.processors)
        leaving = set(exits(self.graph, chain.operators))
        inside = {value for name in chain.operators for value in self.graph.by_name[name].outputs}
        needs = {p: external_reads(self.graph, own, inside) for p, own in regions.items()}
        # The GPU's transforms for the CPU must not queue up behind the GPU's kernels, so all sharing comes first.
        for processor in reversed(list(regions)):
            self._fetch(chain_id, processor, needs[processor])
        if self.home and len(regions) > 1:
            self._host_waits(chain_id, regions)
        for processor, name in _enqueued(chain, regions):
            self._kernel(chain_id, processor, name, regions[processor][name], leaving, inside)
        if self.home and len(regions) > 1:
            whole = {value: Region.full(self.graph.tensors[value].shape) for value in leaving}
            self._fetch(chain_id, self.home, whole, phase="post-sync")
            self._hand_over(whole, {value for own in needs.values() for value in own}, self.home)

    def _host_waits(self, chain: str, processors: Iterable[str]) -> None:
        """MACE's host thread waits for what the CPU waits for before it enqueues kernels: both parts begin together."""
        deps = [
            dep
            for name in processors
            if name != self.home
            for dep in self.commands.syncs.get(f"{chain}/pre-sync@{name}", ())
        ]
        self.commands.sync(chain, "pre-sync", HOST_LANE, deps, "the host enqueues kernels when the CPU can read")

    def _hand_over(self, values: Iterable[str], needs: Iterable[str], home: str) -> None:
        """After a co-executed chain everything is the home processor's alone: other processors made and read their
        parts in buffers of the moment, and share anew what they need next.

        Args:
            values: made by the chain.
            needs: read by it.
        """
        for value in values:
            buffer = self.storage.of(home, value)
            self.storage.pieces[value] = [
                replace(piece, lane=home) for piece in self.storage.pieces[value] if piece.buffer == buffer
            ]
        for value in needs:
            self.storage.pieces[value] = [piece for piece in self.storage.pieces[value] if not piece.borrowed]
        self.mapped_by_cpu.clear()

    def _kernel(
        self, chain: str, processor: str, name: str, region: Region, leaving: set[str], inside: set[str]
    ) -> None:  # fmt: skip
        node = self.graph.by_name[name]
        spec = REGISTRY[node]
        reads = []
        boxes = spec.input_regions(self.graph, node, region)
        for (_, tensor), box in zip(self.graph.variable_inputs(node), boxes, strict=True):
            private = tensor.name in inside and tensor.name not in leaving
            buffer = f"{tensor.name}@{processor}" if private else self.storage.of(processor, tensor.name)
            if buffer not in self.storage.buffers:  # nothing of this input is read here (an empty box of a Concat)
                buffer = self.storage.buffer(buffer, tensor.name, box, processor)
            reads.append(Access(buffer, box))
        writes = []
        for value in (v for v in node.outputs if v):
            box = region if value == node.output else Region.full(self.graph.tensors[value].shape)
            buffer = (
                self.storage.of(processor, value)
                if value in leaving
                else self.storage.buffer(f"{value}@{processor}", value, box, processor)
            )
            writes.append(Access(buffer, box))
        algorithm = self.plan.algorithms.get(name, {}).get(processor, "") or spec.algorithms(self.graph, node)[0]
        task = self.commands.add(
            TaskKind.KERNEL, chain, name, name, processor, reads=tuple(reads), writes=tuple(writes),
            algorithm=algorithm, data_type=self.plan.processors[processor].data_type,
        )  # fmt: skip
        for access in writes:
            value = self.storage.buffers[access.buffer].tensor
            self.storage.pieces.setdefault(value, []).append(Piece(access.buffer, access.region, task, processor))

    # -- sharing -----------------------------------------------------------------------------------------------------

    def _fetch(self, chain: str, processor: str, needs: dict[str, Region], phase: str = "pre-sync") -> None:
        """Make boxes of boundary tensors readable by a processor, by the means that the plan's sharing allows."""
        if self.plan.sharing == "unified":
            writers = [p.writer for v, r in needs.items() for p in self.storage.valid(v, v, r) if p.writer]
            self.commands.sync(chain, phase, processor, writers, _why(processor, needs))
        elif self.plan.sharing == "mapped":
            self._fetch_mapped(chain, processor, needs, phase)
        else:
            self._fetch_copied(chain, processor, needs, phase)

    def _fetch_copied(self, chain: str, processor: str, needs: dict[str, Region], phase: str) -> None:
        moves = self._moves(processor, needs)
        writers = [piece.writer for _, piece, _ in moves if piece.writer]
        self.commands.sync(chain, phase, processor, writers, _why(processor, needs))
        for value in dict.fromkeys(value for value, _, _ in moves):
            mine = [(piece, box) for moved, piece, box in moves if moved == value]
            self._move(TaskKind.COPY, chain, value, processor, processor, mine, "the two memories are not shared")

    def _fetch_mapped(self, chain: str, processor: str, needs: dict[str, Region], phase: str) -> None:
        moves = self._moves(processor, needs)
        values = list(dict.fromkeys(value for value, _, _ in moves))
        foreign = [
            (value, piece, piece.region.intersect(region))
            for value, region in needs.items()
            for piece in self.storage.valid(value, self.storage.of(processor, value), region)
            if piece.lane not in (processor, HOST_LANE)
        ]
        if self.plan.processors[processor].kind == "cpu":
            for value in values:
                mine = [(piece, box) for moved, piece, box in moves if moved == value]
                lane = mine[0][0].lane
                foreign += self._move(TaskKind.TRANSFORM, chain, value, lane, processor, mine, "the CPU reads buffers")
            fresh = [entry for entry in foreign if f"{entry[0]}{entry[2]}" not in self.mapped_by_cpu]
            if fresh:
                nbytes = sum(self.storage.nbytes(value, [box]) for value, _, box in fresh)
                self.commands.add(TaskKind.MAP, chain, phase, "", processor, nbytes=nbytes, why=_why(processor, needs))
                self.mapped_by_cpu |= {f"{value}{box}" for value, _, box in fresh}
            self.commands.sync(
                chain, phase, processor, [p.writer for _, p, _ in foreign if p.writer], _why(processor, needs)
            )
            return
        unmaps = []
        others_made = [(v, p, b) for v, p, b in (*foreign, *moves) if p.writer and p.lane != processor]
        for lane in dict.fromkeys(piece.lane for _, piece, _ in others_made):
            theirs = [(value, piece, box) for value, piece, box in others_made if piece.lane == lane]
            if self.commands.unordered(processor, [piece.writer for _, piece, _ in theirs]):
                nbytes = sum(self.storage.nbytes(value, [box]) for value, _, box in theirs)
                why = f"{processor} takes it over"
                unmaps.append(self.commands.add(TaskKind.UNMAP, chain, phase, "", lane, nbytes=nbytes, why=why))
        self.commands.sync(chain, phase, processor, unmaps, _why(processor, needs))
        for value in values:
            mine = [(piece, box) for moved, piece, box in moves if moved == value]
            self._move(TaskKind.TRANSFORM, chain, value, processor, processor, mine, "this processor reads images")

    def _moves(self, processor: str, needs: dict[str, Region]) -> list[tuple[str, Piece, Region]]:
        """(value, piece, box) for every box that a processor needs and that is valid only in another's buffer."""
        moves = []
        for value, region in needs.items():
            missing = self.storage.missing(value, self.storage.of(processor, value), region)
            for box in missing:
                rest = [box]
                for piece in self.storage.pieces[value]:
                    common = [part.intersect(piece.region) for part in rest]
                    moves += [(value, piece, part) for part in common if not part.empty]
                    rest = [cut for part in rest for cut in subtract(part, piece.region)]
        return moves

    def _move(
        self, kind: TaskKind, chain: str, value: str, lane: str, target: str,
        pieces: Sequence[tuple[Piece, Region]], why: str,
    ) -> list[tuple[str, Piece, Region]]:  # fmt: skip
        """One COPY or TRANSFORM of all boxes of a value into `target`'s buffer; the pieces that are valid there now."""
        buffer = self.storage.of(target, value)
        maker = self.graph.producer.get(value)
        task = self.commands.add(
            kind, chain, value if target == lane else f"{value}-for-{target}", maker.name if maker else value, lane,
            reads=tuple(Access(piece.buffer, box) for piece, box in pieces),
            writes=tuple(Access(buffer, box) for _, box in pieces),
            nbytes=self.storage.nbytes(value, [box for _, box in pieces]), source=pieces[0][0].lane, why=why,
        )  # fmt: skip
        borrowed = self.home is not None and target != self.home
        made = [Piece(buffer, box, task, lane, borrowed) for _, box in pieces]
        self.storage.pieces[value].extend(made)
        return [(value, piece, piece.region) for piece in made]

    def _finish(self) -> dict[str, str]:
        """Bring every output whole into one buffer and let the host wait for it."""
        segment, end = self.segment, f"{self.segment.name}end"
        wholes = {
            v: Region.full(self.graph.tensors[v].shape)
            for v in self.graph.outputs
            if v not in self.graph.weights
            and v not in segment.leaving
            and (v in self.storage.pieces or not segment.name)
        }
        scattered = {
            v: box for v, box in wholes.items() if self.plan.sharing == "copied" or not self.storage.holders(v, box)
        }
        self._fetch(end, self.host_processor, scattered)
        outputs = {
            value: self.storage.of(self.host_processor, value)
            if value in scattered
            else self.storage.holders(value, box)[0]
            for value, box in wholes.items()
        }
        if not segment.last:
            return outputs | self._hand_on(end)
        writers = [
            p.writer for v, name in outputs.items() for p in self.storage.pieces[v] if p.buffer == name and p.writer
        ]
        self.commands.sync(end, "wait", HOST_LANE, writers, "the caller reads the outputs")
        return outputs

    def _hand_on(self, end: str) -> dict[str, str]:
        """Bring what later segments read to where every plan looks for it, and let the host wait for all lanes: only
        then is it decided whose commands come next."""
        leaving = self.segment.leaving
        if self.plan.sharing != "unified":
            wholes = {value: Region.full(self.graph.tensors[value].shape) for value in leaving}
            self._fetch(end, self.owner, wholes, phase="hand-over")
        last = {task.lane: task.id for task in self.commands.tasks if task.lane != HOST_LANE}
        self.commands.sync(end, "switch", HOST_LANE, last.values(), "the next segment's plan is chosen")
        return {value: self.storage.of(self.owner, value) for value in leaving}


def _enqueued(chain: Chain, regions: Boxes) -> Iterator[tuple[str, str]]:
    """(processor, operator) in the order in which the host enqueues kernels: a processor's share of a chain at a time;
    of branches that run side by side in turn, so that none waits until the host is done with another."""
    if not chain.branches:
        yield from ((processor, name) for processor, own in regions.items() for name in own)
        return
    for turn in zip_longest(*([(processor, name) for name in own] for processor, own in regions.items())):
        yield from (each for each in turn if each is not None)


def _why(processor: str, needs: dict[str, Region]) -> str:
    names = ", ".join(list(needs)[:3]) + (", ..." if len(needs) > 3 else "")
    return f"{processor} reads {names}"
