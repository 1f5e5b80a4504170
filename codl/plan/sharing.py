"""What it costs that processors see each other's results, in the terms that `codl.plan.lower` shares data in.

Sharing is counted per chain and reader: the boxes that a processor reads and that are not valid for it yet.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from codl.cost import CostModel
from codl.graph import Graph
from codl.plan.model import Sharing
from codl.region import Region
from codl.tasks import HOST_LANE, Task, TaskKind, subtract

_PROBE = 1_000_000
"""Bytes at which linear costs are probed for their slope."""


@dataclass(frozen=True, slots=True)
class Share:
    """Data-sharing time of one chain, in nanoseconds by kind, and its energy in joules above idle.

    `sync` is the wait itself; `move` is transforms and copies.
    """

    move: float = 0.0
    map: float = 0.0
    sync: float = 0.0
    joules: float = 0.0

    @property
    def ns(self) -> float:
        return self.move + self.map + self.sync

    def __add__(self, other: Share) -> Share:
        return Share(self.move + other.move, self.map + other.map, self.sync + other.sync, self.joules + other.joules)


@dataclass(frozen=True, slots=True)
class _Linear:
    """A command's time and energy: fixed + per_byte * bytes."""

    fixed: float = 0.0
    per_byte: float = 0.0
    joules: float = 0.0
    joules_per_byte: float = 0.0

    def __add__(self, other: _Linear) -> _Linear:
        return _Linear(
            self.fixed + other.fixed,
            self.per_byte + other.per_byte,
            self.joules + other.joules,
            self.joules_per_byte + other.joules_per_byte,
        )


@dataclass(frozen=True, slots=True)
class Fetch:
    """The linear cost for one processor to take over data that another made.

    `once` per chain in which anything is taken over, `value` per tensor of which something is; both times `per_byte`.
    """

    sync: float
    once: _Linear
    value: _Linear

    @property
    def per_byte(self) -> float:
        return self.once.per_byte + self.value.per_byte

    @property
    def joules_per_byte(self) -> float:
        return self.once.joules_per_byte + self.value.joules_per_byte


@dataclass(frozen=True)
class SharingModel:
    """Costs of sharing for a plan: who keeps what where.

    Args:
        used: processors that the plan uses, in dealing order.
        kinds: `cpu` or `gpu` of every processor.
        data_types: layout by processor.
        bound: count synchronisations at the bound that the paper's planner uses, not at their typical value.
    """

    cost: CostModel
    sharing: Sharing
    used: tuple[str, ...]
    kinds: Mapping[str, str]
    data_types: Mapping[str, str]
    home_wanted: str | None = None
    bound: bool = False
    _fetches: dict[tuple[str, str], Fetch] = field(default_factory=dict)

    @property
    def home(self) -> str | None:
        """The processor that takes in every co-executed result; none if the plan does not use it."""
        return self.home_wanted if self.home_wanted in self.used else None

    @property
    def host(self) -> str:
        """The processor next to the caller's memory."""
        return next((name for name, kind in self.kinds.items() if kind == "cpu"), self.used[-1])

    @property
    def plain(self) -> bool:
        """One memory, and every processor reads what another wrote as it is: sharing is nothing but waiting."""
        return self.sharing == "unified" and not self.images

    @property
    def images(self) -> bool:
        """Whether a processor that the plan uses works on images."""
        return any(self.data_types[name] == "image" for name in self.used)

    def readers_of_input(self) -> tuple[str, ...]:
        """The processors for which a graph input is valid from the start."""
        if self.sharing == "unified":
            return tuple(name for name in self.kinds if self.data_types[name] == "buffer") or ("",)
        return (self.home or (self.host if self.sharing == "copied" else self.used[0]),)

    def fetch(self, source: str, target: str) -> Fetch:
        """The cost for `target` to take over what `source` made."""
        key = (source, target)
        if key not in self._fetches:
            self._fetches[key] = self._fetch(source, target)
        return self._fetches[key]

    def _fetch(self, source: str, target: str) -> Fetch:
        sync = self.cost.sync_ns(source, target, self.bound)
        once = value = _Linear()
        if self.sharing == "mapped":
            cpu = target if self.kinds[target] == "cpu" else source
            once = self._linear(TaskKind.MAP if cpu == target else TaskKind.UNMAP, cpu, source)
            images = source if cpu == target else target
            if self.data_types[images] == "image":
                value = self._linear(TaskKind.TRANSFORM, images, source)
        else:
            if self.sharing == "copied":  # the host waits where the two memories' queues cannot wait for each other
                value = self._linear(TaskKind.COPY, target, source)
                after = self.cost.sync_ns(target, HOST_LANE)
                sync = sync + after if target == self.host else self.cost.sync_ns(source, HOST_LANE)
            for images in (source, target):
                if self.data_types.get(images) == "image":
                    value = value + self._linear(TaskKind.TRANSFORM, images, source)
        return Fetch(sync, once, value)

    def _linear(self, kind: TaskKind, lane: str, source: str) -> _Linear:
        cost = self.cost
        costs: dict[TaskKind, Callable[[float], float]] = {
            TaskKind.MAP: cost.map_ns,
            TaskKind.UNMAP: cost.unmap_ns,
            TaskKind.TRANSFORM: partial(cost.transform_ns, lane),
            TaskKind.COPY: partial(cost.copy_ns, source, lane),
        }
        ns = costs[kind]
        joules = [cost.task(Task("probe", kind, lane, nbytes=n, source=source)).joules for n in (0, _PROBE)]
        fixed = ns(0)
        return _Linear(fixed, (ns(_PROBE) - fixed) / _PROBE, joules[0], (joules[1] - joules[0]) / _PROBE)

    def together(self, shares: Sequence[Share]) -> Share:
        """The shares of several processors for the same chain: on one memory ordered by events, or between memories,
        they wait side by side; map and unmap hand over in turn."""
        total = Share()
        for share in shares:
            total = total + share
        if self.sharing != "mapped" and shares:
            return Share(total.move, total.map, max(share.sync for share in shares), total.joules)
        return total


class Ledger:
    """Which boxes of each boundary tensor are valid for which processor while a plan runs."""

    def __init__(self, graph: Graph, model: SharingModel) -> None:
        self.graph = graph
        self.model = model
        self.valid: dict[str, dict[str, list[Region]]] = {}
        """tensor -> processor -> disjoint boxes"""
        self.made: dict[str, list[tuple[str, Region]]] = {}
        """tensor -> (processor that made it, box)"""
        for value in graph.inputs:
            whole = Region.full(graph.tensors[value].shape)
            readers = model.readers_of_input()
            self.valid[value] = {name: [whole] for name in readers}
            self.made[value] = [(readers[0], whole)]

    def write(self, value: str, parts: Mapping[str, Region]) -> None:
        """Processors made their parts of a tensor."""
        self.valid[value] = {name: [box] for name, box in parts.items()}
        self.made[value] = list(parts.items())

    def forget(self, processor: str, values: Iterable[str]) -> None:
        """What a processor did not make of these tensors is not valid for it any more."""
        for value in values:
            self.valid[value][processor] = [box for maker, box in self.made[value] if maker == processor]

    def fetch(self, processor: str, needs: Mapping[str, Region]) -> Share:
        """Make boxes readable for a processor; what that costs.

        A graph input has no writer: where it needs no command to become readable there is nothing to wait for.
        """
        share = Share()
        sources: dict[str, Fetch] = {}
        synced = 0.0
        for value, need in needs.items():
            for source, missing in self._missing(processor, value, need).items():
                fetch = self.model.fetch(source, processor)
                size = sum(box.size for box in missing) * self._itemsize(value)
                once, each = fetch.once, fetch.value
                share = share + Share(
                    move=each.fixed + each.per_byte * size,
                    map=once.per_byte * size,
                    joules=each.joules + (each.joules_per_byte + once.joules_per_byte) * size,
                )
                sources[source] = fetch
                if value not in self.graph.inputs or self.model.data_types.get(source) == "image":
                    synced = max(synced, fetch.sync)
        for fetch in sources.values():
            share = share + Share(map=fetch.once.fixed, joules=fetch.once.joules)
        return share + Share(sync=synced)

    def _missing(self, processor: str, value: str, need: Region) -> dict[str, list[Region]]:
        """By maker, the boxes of `need` that are not valid for a processor yet; they are from now on."""
        own = self.valid[value].setdefault(processor, [])
        if any(box.contains(need) for box in own):
            return {}
        rest = [need]
        for box in own:
            rest = [part for piece in rest for part in subtract(piece, box)]
        found: dict[str, list[Region]] = {}
        for maker, box in self.made[value]:
            if maker == processor:
                continue
            taken = [piece.intersect(box) for piece in rest if piece.overlaps(box)]
            if taken:
                found.setdefault(maker, []).extend(taken)
                own.extend(taken)
                rest = [part for piece in rest for part in subtract(piece, box)]
        return found

    def _itemsize(self, value: str) -> int:
        return int(np.dtype(self.graph.tensors[value].dtype).itemsize)
