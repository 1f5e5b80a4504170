"""Lowering: a plan becomes the task graph that both the simulator and the executor interpret.

Where a boundary tensor (one that crosses chains) is kept decides what must be done to share it:

- `unified`: one buffer; whoever reads what another lane wrote waits for it (SYNC). A processor that works on images
  keeps its own, and TRANSFORM tasks on its lane go between the two.
- `mapped`: one buffer that the CPU maps before it touches it and unmaps for the GPU; a GPU that works on images keeps
  its own copy, and TRANSFORM tasks on its lane go between the two.
- `copied`: one buffer a memory, and COPY tasks on the reader's lane; images as above. Queues of two memories cannot
  wait for each other, so the host waits: for what a copy reads before it hands the copy to a queue of another memory,
  for a copy in many small pieces (`PACKED`) before it hands over anything else, and around one into its own memory for
  that lane's commands before it, and for it before that lane's next.

An operator whose kernel works on buffers while its processor works on images (`Plan.data_types`) reads and writes
buffers; between it and neighbours of the other data type are TRANSFORM tasks, and none between neighbours that agree.

Every wait between lanes is a SYNC that says why (`codl.plan.commands`). A wait that an earlier one implies is left out,
and so are maps, transforms and copies of what is there already.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import zip_longest

from codl.graph import Graph
from codl.ops import REGISTRY
from codl.plan.commands import Commands
from codl.plan.evaluate import Boxes, pieces_of
from codl.plan.fetching import Fetching
from codl.plan.model import Chain, Plan
from codl.plan.partition import exits, external_reads
from codl.plan.storage import Piece, Storage
from codl.region import Region
from codl.tasks import HOST_LANE, Access, TaskGraph, TaskKind


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
        self.fetching = Fetching(self.storage, self.commands, self.host_processor, self.home)

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
        unified, owner = self.plan.sharing == "unified", self.owner
        name = self.storage.boundary(owner, value, self._kept(owner))
        lane = HOST_LANE if unified else owner
        self.storage.pieces[value] = [Piece(name, Region.full(self.graph.tensors[value].shape), "", lane)]
        return name

    def _kept(self, processor: str) -> str:
        """The data type of what is handed to a processor from outside or kept for later segments."""
        return "buffer" if self.plan.sharing == "unified" else self.plan.processors[processor].data_type

    # -- chains ------------------------------------------------------------------------------------------------------

    def _chain(self, chain_id: str, chain: Chain) -> None:
        pieces = pieces_of(self.graph, chain, self.plan.alignment, self.plan.processors)
        regions = {processor: piece.boxes for processor, piece in pieces.items()}
        leaving = set(exits(self.graph, chain.operators))
        inside = {value for name in chain.operators for value in self.graph.by_name[name].outputs}
        # The GPU's transforms for the CPU must not queue up behind the GPU's kernels, so all sharing comes first.
        for processor in reversed(list(regions)):
            for data_type, own in self._by_data_type(processor, regions[processor]).items():
                read = external_reads(self.graph, own, inside)
                self.fetching.fetch(chain_id, processor, read, data_type)
        if self.home and len(regions) > 1:
            self._host_waits(chain_id, regions)
        for processor, name in _enqueued(chain, regions):
            self._kernel(chain_id, processor, name, regions[processor][name], leaving, inside)
        if self.home and len(regions) > 1:
            whole = {value: Region.full(self.graph.tensors[value].shape) for value in leaving}
            for data_type in ("image", "buffer"):
                made = {value: box for value, box in whole.items() if self._data_type_at_home(value) == data_type}
                if made:
                    self.fetching.fetch(chain_id, self.home, made, data_type, phase="post-sync")
            self._hand_over(whole, {value for piece in pieces.values() for value in piece.reads}, self.home)

    def _by_data_type(self, processor: str, own: dict[str, Region]) -> dict[str, dict[str, Region]]:
        """The operators that a processor computes, by the data type of their kernels; the processor's own first."""
        table: dict[str, dict[str, Region]] = {self.plan.processors[processor].data_type: {}}
        for name, region in own.items():
            table.setdefault(self.plan.data_type(name, processor), {})[name] = region
        return table

    def _data_type_at_home(self, value: str) -> str:
        assert self.home is not None
        return self.plan.data_type(self.graph.producer[value].name, self.home)

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
            buffer = self.storage.boundary(home, value, self._data_type_at_home(value))
            self.storage.pieces[value] = [
                replace(piece, lane=home) for piece in self.storage.pieces[value] if piece.buffer == buffer
            ]
        for value in needs:
            self.storage.pieces[value] = [piece for piece in self.storage.pieces[value] if not piece.borrowed]
        self.fetching.mapped_by_cpu.clear()

    def _kernel(
        self, chain: str, processor: str, name: str, region: Region, leaving: set[str], inside: set[str]
    ) -> None:  # fmt: skip
        node, storage = self.graph.by_name[name], self.storage
        spec, data_type = REGISTRY[node], self.plan.data_type(name, processor)
        reads = []
        boxes = spec.input_regions(self.graph, node, region)
        for (_, tensor), box in zip(self.graph.variable_inputs(node), boxes, strict=True):
            value = tensor.name
            if value in inside and value not in leaving:
                buffer = storage.private(processor, value, box, data_type)
            else:
                buffer = storage.boundary(processor, value, data_type)
            if value in inside and not box.empty:
                self.fetching.convert(chain, processor, name, value, buffer, box)
            reads.append(Access(buffer, box))
        writes = []
        for value in (v for v in node.outputs if v):
            box = region if value == node.output else Region.full(self.graph.tensors[value].shape)
            buffer = (
                storage.boundary(processor, value, data_type)
                if value in leaving
                else storage.private(processor, value, box, data_type)
            )
            writes.append(Access(buffer, box))
        known = (*spec.variants(self.graph, node, data_type), *spec.algorithms(self.graph, node))
        algorithm = self.plan.algorithms.get(name, {}).get(processor, "") or known[0]
        task = self.commands.add(
            TaskKind.KERNEL, chain, name, name, processor, reads=tuple(reads), writes=tuple(writes),
            algorithm=algorithm, data_type=data_type,
        )  # fmt: skip
        for access in writes:
            value = self.storage.buffers[access.buffer].tensor
            self.storage.pieces.setdefault(value, []).append(Piece(access.buffer, access.region, task, processor))

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
        data_type = self.plan.processors[self.host_processor].data_type
        self.fetching.fetch(end, self.host_processor, scattered, data_type)
        outputs = {
            value: self.storage.boundary(self.host_processor, value, data_type)
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
        leaving, owner, data_type = self.segment.leaving, self.owner, self._kept(self.owner)
        if self.plan.sharing != "unified" or any(self.storage.works_on_images(name) for name in self.plan.processors):
            wholes = {value: Region.full(self.graph.tensors[value].shape) for value in leaving}
            self.fetching.fetch(end, owner, wholes, data_type, phase="hand-over")
        last = {task.lane: task.id for task in self.commands.tasks if task.lane != HOST_LANE}
        self.commands.sync(end, "switch", HOST_LANE, last.values(), "the next segment's plan is chosen", implied=True)
        return {value: self.storage.boundary(owner, value, data_type) for value in leaving}


def _enqueued(chain: Chain, regions: Boxes) -> Iterator[tuple[str, str]]:
    """(processor, operator) in the order in which the host enqueues kernels: a processor's share of a chain at a time;
    of branches that run side by side in turn, so that none waits until the host is done with another."""
    if not chain.branches:
        yield from ((processor, name) for processor, own in regions.items() for name in own)
        return
    for turn in zip_longest(*([(processor, name) for name in own] for processor, own in regions.items())):
        yield from (each for each in turn if each is not None)
