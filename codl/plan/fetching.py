"""Making boxes of tensors readable by a processor's kernels: waits, maps, copies and changes of the data type.

What each kind of sharing asks for is in `codl.plan.lower`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from codl.ops.launch import stretches
from codl.plan.commands import Commands
from codl.plan.storage import Move, Piece, Storage
from codl.region import Region
from codl.tasks import HOST_LANE, PACKED, SHARED, Access, TaskKind

_FEW_STRETCHES = 16
"""Copies of more pieces of memory than this are packed first: a piece costs a GPU's driver about as much as packing
them all."""


class Fetching:
    """Emits what makes data readable; knows what the CPU has mapped.

    Args:
        host: the processor next to the caller's memory.
        home: see `Plan.home`; None if the plan does not use it.
    """

    def __init__(self, storage: Storage, commands: Commands, host: str, home: str | None) -> None:
        self.storage = storage
        self.plan = storage.plan
        self.commands = commands
        self.host = host
        self.home = home
        self.mapped_by_cpu: set[str] = set()

    def fetch(
        self, chain: str, processor: str, needs: dict[str, Region], data_type: str, phase: str = "pre-sync"
    ) -> None:
        """Make boxes of boundary tensors readable by a processor's kernels of a data type, by the means that the plan's
        sharing allows."""
        if data_type != self.plan.processors[processor].data_type:
            phase = f"{phase}-{data_type}"
        if self.plan.sharing == "mapped":
            self._fetch_mapped(chain, processor, needs, data_type, phase)
        else:
            self._fetch_ordered(chain, processor, needs, data_type, phase)

    def _fetch_ordered(self, chain: str, processor: str, needs: dict[str, Region], data_type: str, phase: str) -> None:
        """`unified` and `copied`: others' images become buffers where they are, buffers of other memories are copied,
        and what is to be an image is made one."""
        storage = self.storage
        moves = self._out_of_images(chain, processor, storage.moves(processor, needs, data_type), data_type)
        valid = [
            piece
            for value, region in needs.items()
            for piece in storage.valid(value, storage.boundary(processor, value, data_type), region)
        ]
        wanted = [*valid, *(piece for _, piece, _ in moves)]
        writers = [piece.writer for piece in wanted if piece.writer and piece.lane != processor]
        if self.plan.sharing == "copied":
            self._wait_apart(chain, processor, phase, writers, _why(processor, needs))
            moves = self._copied(chain, processor, moves, data_type)
        else:
            self.commands.sync(chain, phase, processor, writers, _why(processor, needs))
        for value, mine in _by_value(moves).items():
            target = storage.boundary(processor, value, data_type)
            pieces = [(piece, box) for piece, box in mine if piece.buffer != target]
            if pieces:
                label = value if data_type == "image" else f"{value}-as-buffer"
                why = f"{processor} reads {data_type}s here"
                self._move(TaskKind.TRANSFORM, chain, label, value, processor, target, pieces, why)

    def _wait_apart(self, chain: str, processor: str, phase: str, writers: list[str], why: str) -> None:
        """Wait for what another memory's processor wrote. A processor of a memory of its own copies by its own queue,
        which cannot wait for the host's: the host does. Into the host's memory the other's queue copies, which cannot
        wait for what the host's processor did before."""
        if processor != self.host:
            self.commands.sync(chain, f"{phase}-{processor}", HOST_LANE, writers, why)
            return
        if writers and processor in self.commands.last:
            before, said = [self.commands.last[processor]], "another memory's queue copies into this one"
            self.commands.sync(chain, f"{phase}-{processor}", HOST_LANE, before, said)
        self.commands.sync(chain, phase, processor, writers, why)

    def _out_of_images(self, chain: str, processor: str, moves: Sequence[Move], data_type: str) -> list[Move]:
        """The same boxes with those that other processors hold in images only transformed to buffers, there."""
        suffix = self._suffix(processor, data_type)
        found: list[Move] = []
        for value, mine in _by_value(moves).items():
            images: dict[str, list[tuple[Piece, Region]]] = {}
            for piece, box in mine:
                if self.storage.in_image(piece) and piece.lane != processor:
                    images.setdefault(piece.lane, []).append((piece, box))
                else:
                    found.append((value, piece, box))
            for lane, pieces in images.items():
                target = self.storage.boundary(lane, value, "buffer")
                label, why = f"{value}-for-{processor}{suffix}", f"{processor} reads buffers"
                found += self._move(TaskKind.TRANSFORM, chain, label, value, lane, target, pieces, why)
        return found

    def _copied(self, chain: str, processor: str, moves: Sequence[Move], data_type: str) -> list[Move]:
        """The same boxes with those of other memories copied into the processor's own."""
        suffix = self._suffix(processor, data_type)
        found: list[Move] = []
        for value, mine in _by_value(moves).items():
            here = [(p, box) for p, box in mine if self.storage.buffers[p.buffer].space == processor]
            there = [(p, box) for p, box in mine if self.storage.buffers[p.buffer].space != processor]
            found += [(value, piece, box) for piece, box in here]
            if there:
                target, why = self.storage.boundary(processor, value, "buffer"), "the two memories are not shared"
                whole = self.storage.buffers[target].region
                packed = sum(stretches(box, whole) for _, box in there) > _FEW_STRETCHES
                algorithm = PACKED if packed else ""
                made = self._move(
                    TaskKind.COPY, chain, f"{value}{suffix}", value, processor, target, there, why, algorithm
                )
                found += made
                copy = made[0][1].writer
                if packed:  # the host carries it from one memory's queue to the other's
                    self.commands.host_sync(chain, copy)
                elif processor == self.host:  # a queue of the other memory fills this one
                    self.commands.host_sync_later(copy)
        return found

    def _suffix(self, processor: str, data_type: str) -> str:
        """What tells apart the moves of one value that kernels of both data types ask for: nothing for the processor's
        own."""
        return "" if data_type == self.plan.processors[processor].data_type else f"-as-{data_type}"

    def _fetch_mapped(self, chain: str, processor: str, needs: dict[str, Region], data_type: str, phase: str) -> None:
        storage = self.storage
        moves = storage.moves(processor, needs, data_type)
        foreign = [
            (value, piece, piece.region.intersect(region))
            for value, region in needs.items()
            for piece in storage.valid(value, storage.boundary(processor, value, data_type), region)
            if piece.lane not in (processor, HOST_LANE)
        ]
        if self.plan.processors[processor].kind == "cpu":
            for value, mine in _by_value(moves).items():
                lane, target = mine[0][0].lane, storage.boundary(processor, value, data_type)
                label, why = f"{value}-for-{processor}", "the CPU reads buffers"
                foreign += self._move(TaskKind.TRANSFORM, chain, label, value, lane, target, mine, why)
            fresh = [entry for entry in foreign if f"{entry[0]}{entry[2]}" not in self.mapped_by_cpu]
            if fresh:
                nbytes = sum(storage.nbytes(value, [box]) for value, _, box in fresh)
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
                nbytes = sum(storage.nbytes(value, [box]) for value, _, box in theirs)
                why = f"{processor} takes it over"
                unmaps.append(self.commands.add(TaskKind.UNMAP, chain, phase, "", lane, nbytes=nbytes, why=why))
        self.commands.sync(chain, phase, processor, unmaps, _why(processor, needs))
        for value, mine in _by_value(moves).items():
            label = value if data_type == "image" else f"{value}-as-buffer"
            target, why = storage.boundary(processor, value, data_type), f"this processor reads {data_type}s"
            self._move(TaskKind.TRANSFORM, chain, label, value, processor, target, mine, why)

    def convert(self, chain: str, processor: str, reader: str, value: str, buffer: str, box: Region) -> None:
        """Make what a chain's earlier operator made in one data type readable for a kernel of the other."""
        rest = self.storage.missing(value, buffer, box)
        if not rest:
            return
        mine = [p for p in self.storage.pieces[value] if p.lane == processor and p.buffer != buffer]
        pieces = [(p, part.intersect(p.region)) for part in rest for p in mine if part.overlaps(p.region)]
        data_type = self.storage.buffers[buffer].data_type
        label = f"{value}-as-{data_type}-for-{reader}"
        self._move(TaskKind.TRANSFORM, chain, label, value, processor, buffer, pieces, f"{reader} reads {data_type}s")

    def _move(
        self, kind: TaskKind, chain: str, label: str, value: str, lane: str, target: str,
        pieces: Sequence[tuple[Piece, Region]], why: str, algorithm: str = "",
    ) -> list[Move]:  # fmt: skip
        """One COPY or TRANSFORM of all boxes of a value into the buffer `target`; what is valid there now."""
        maker = self.storage.graph.producer.get(value)
        task = self.commands.add(
            kind, chain, label, maker.name if maker else value, lane,
            reads=tuple(Access(piece.buffer, box) for piece, box in pieces),
            writes=tuple(Access(target, box) for _, box in pieces),
            nbytes=self.storage.nbytes(value, [box for _, box in pieces]), source=pieces[0][0].lane, why=why,
            algorithm=algorithm,
        )  # fmt: skip
        space = self.storage.buffers[target].space
        reader = self.host if space == SHARED else space
        borrowed = self.home is not None and reader != self.home
        made = [Piece(target, box, task, lane, borrowed) for _, box in pieces]
        self.storage.pieces[value].extend(made)
        return [(value, piece, piece.region) for piece in made]


def _by_value(moves: Iterable[Move]) -> dict[str, list[tuple[Piece, Region]]]:
    table: dict[str, list[tuple[Piece, Region]]] = {}
    for value, piece, box in moves:
        table.setdefault(value, []).append((piece, box))
    return table


def _why(processor: str, needs: dict[str, Region]) -> str:
    names = ", ".join(list(needs)[:3]) + (", ..." if len(needs) > 3 else "")
    return f"{processor} reads {names}"
