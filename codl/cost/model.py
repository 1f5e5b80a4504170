"""What every task costs on a hardware description: time alone on the machine, memory traffic, energy.

Longer than other modules: the one answer to "what does it cost", for every kind of task.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from codl.cost.choice import matcher
from codl.cost.features import form, launches, traffic
from codl.errors import UncalibratedError
from codl.graph import Graph, Node
from codl.hardware import Hardware, Kernel, as_predicted
from codl.ops import REGISTRY
from codl.ops.spec import Work
from codl.region import Region
from codl.tasks import HOST_LANE, PACKED, Task, TaskKind

NS = 1e9


@dataclass(frozen=True, slots=True)
class KernelCost:
    """One kernel, alone on the machine: nanoseconds with its launch, bytes over the memory bus, joules above idle."""

    ns: float
    nbytes: float
    joules: float


@dataclass(frozen=True, slots=True)
class TaskCost:
    """One task, alone on the machine."""

    duration_ns: int
    nbytes: int
    joules: float


@dataclass(frozen=True, slots=True)
class Origin:
    """What a task's cost comes from: the constants' dotted path as in hardware files, and the nanoseconds that each of
    them accounts for, alone on the machine."""

    constants: str
    parts: Mapping[str, float] = field(default_factory=dict)

    def __str__(self) -> str:
        total = sum(self.parts.values())
        shares = [
            f"{ns / total:.0%} {name}" for name, ns in sorted(self.parts.items(), key=lambda part: -part[1]) if ns > 0
        ]
        return self.constants + (f" ({', '.join(shares)})" if len(self.parts) > 1 and total else "")


_Question = tuple[int, Region, str, str, str]
"""What a region of an operator, by what it is alike to (`Graph.alike`), takes: (number, region, processor, data type,
algorithm)."""


@dataclass(frozen=True)
class _Candidate:
    """A kernel ready to be evaluated: seconds and bytes of a piece of work."""

    kernel: Kernel
    matches: Callable[[Work], bool]
    predict: Callable[[Work], tuple[float, float]]


class CostModel:
    """Costs of one graph on one hardware description. Pure and memoised; not thread-safe.

    Args:
        data_types: layout by processor; a processor that is left out uses its preferred one.
        operators: by operator and processor, the data types of those whose kernels work on another one.

    Raises:
        UncalibratedError: an unknown processor or data type; later, by any method, a constant that is missing.
    """

    def __init__(
        self, hardware: Hardware, graph: Graph, data_types: Mapping[str, str] | None = None,
        operators: Mapping[str, Mapping[str, str]] | None = None,
    ) -> None:  # fmt: skip
        self.hardware = hardware
        self.graph = graph
        given = dict(data_types or {})
        for name in given:
            if name not in hardware.processors:
                raise UncalibratedError(
                    f"{hardware.name}: no processor {name!r}; it has {', '.join(hardware.processors)}"
                )
        self.data_types: Mapping[str, str] = {
            name: given.get(name, processor.data_types[0]) for name, processor in hardware.processors.items()
        }
        self.operators: Mapping[str, Mapping[str, str]] = operators or {}
        self._candidates = {
            (name, data_type): self._prepare(name, data_type) for name, data_type in self.data_types.items()
        }
        self._chosen: dict[_Question, _Candidate] = {}
        self._kernels: dict[_Question, KernelCost] = {}
        self._work: dict[tuple[int, Region], Work] = {}
        self._variants: dict[tuple[int, str], tuple[str, ...]] = {}

    def _prepare(self, processor: str, data_type: str) -> tuple[_Candidate, ...]:
        kernels = self.hardware.kernels(processor, data_type)
        return tuple(
            _Candidate(kernel, matcher(kernel), predictor(kernel, self.hardware, processor)) for kernel in kernels
        )

    def with_data_types(
        self, data_types: Mapping[str, str], operators: Mapping[str, Mapping[str, str]] | None = None
    ) -> CostModel:
        """The costs of the same graph on the same hardware with other layouts."""
        return self._on(self.hardware, data_types, operators)

    def as_predicted(self) -> CostModel:
        """What a planner counts with that decides by latency predictors: this model, or where the hardware says that
        predictors know less, one that does."""
        seen = as_predicted(self.hardware)
        return self if seen is self.hardware else self._on(seen, self.data_types, self.operators)

    def _on(
        self, hardware: Hardware, data_types: Mapping[str, str], operators: Mapping[str, Mapping[str, str]] | None
    ) -> CostModel:
        return CostModel(hardware, self.graph, data_types, operators)

    def data_type(self, node: Node, processor: str) -> str:
        """What an operator's kernels on a processor read and write.

        Raises:
            UncalibratedError: no such processor.
        """
        if processor not in self.data_types:
            raise UncalibratedError(
                f"{self.hardware.name}: no processor {processor!r}; it has {', '.join(self.hardware.processors)}"
            )
        own = self.operators.get(node.name)
        return own.get(processor, self.data_types[processor]) if own else self.data_types[processor]

    def choices(self, processor: str) -> tuple[str, ...]:
        """The data types that a planner may choose among, operator by operator: all that were measured where the
        library takes the fastest kernel, else the preferred one alone."""
        types = self.hardware.processors[processor].data_types
        return types if self.hardware.libraries[self.hardware.library].choice == "fastest" else types[:1]

    def able(self, node: Node, processor: str) -> bool:
        """Whether the hardware's library has a kernel for an operator."""
        work = self.work(node, Region.full(self.graph.tensors[node.output].shape))
        return any(True for _ in self._able(node, work, processor))

    # Kernels

    def work(self, node: Node, out: Region) -> Work:
        """The work of one region of one operator."""
        key = (self.graph.alike[node.name], out)
        found = self._work.get(key)
        if found is None:
            found = self._work[key] = REGISTRY[node].work(self.graph, node, out)
        return found

    def algorithm(self, node: Node, out: Region, processor: str) -> str:
        """The kernel variant that the hardware's library picks for a region: its rules, or the fastest."""
        return self._select(node, out, processor, "").kernel.algorithm

    def library_kernel(self, node: Node, out: Region, processor: str, algorithm: str = "") -> Kernel:
        """The kernel of the hardware file that `kernel` costs a region by."""
        return self._select(node, out, processor, algorithm).kernel

    def kernel(self, node: Node, out: Region, processor: str, algorithm: str = "") -> KernelCost:
        """The cost of computing a region of a node's output on a processor.

        Args:
            algorithm: the kernel variant; empty for the library's choice.
        """
        key = self._question(node, out, processor, algorithm)
        found = self._kernels.get(key)
        if found is None:
            found = self._kernels[key] = self._kernel(node, out, processor, algorithm)
        return found

    def _kernel(self, node: Node, out: Region, processor: str, algorithm: str) -> KernelCost:
        if out.empty:
            return KernelCost(0.0, 0.0, 0.0)
        seconds, nbytes = self._select(node, out, processor, algorithm).predict(self.work(node, out))
        seconds *= self.bias(node, processor)
        return KernelCost(seconds * NS, nbytes, self._joules(processor, seconds, nbytes))

    def bias(self, node: Node, processor: str) -> float:
        """The factor by which kernel times are off: 1, except in models that err on purpose (`codl.cost.erring`)."""
        return 1.0

    def _question(self, node: Node, out: Region, processor: str, algorithm: str) -> _Question:
        return self.graph.alike[node.name], out, processor, self.data_type(node, processor), algorithm

    def _select(self, node: Node, out: Region, processor: str, algorithm: str) -> _Candidate:
        key = self._question(node, out, processor, algorithm)
        found = self._chosen.get(key)
        if found is None:
            found = self._chosen[key] = self._search(node, self.work(node, out), processor, algorithm)
        return found

    def _search(self, node: Node, work: Work, processor: str, algorithm: str) -> _Candidate:
        candidates = self._able(node, work, processor, algorithm)
        if self.hardware.libraries[self.hardware.library].choice == "fastest":
            found = min(candidates, key=lambda candidate: candidate.predict(work)[0], default=None)
        else:
            found = next(candidates, None)
        if found is None:
            what = f"algorithm {algorithm!r}" if algorithm else "any kernel"
            raise UncalibratedError(
                f"{self.hardware.name}: processor {processor!r} (library {self.hardware.library}, data type "
                f"{self.data_type(node, processor)}) is not calibrated for {what} of {node.name} ({describe(work)})"
            )
        return found

    def _able(self, node: Node, work: Work, processor: str, algorithm: str = "") -> Iterator[_Candidate]:
        """The kernels that compute a piece of work."""
        data_type = self.data_type(node, processor)
        wanted: Container[str] | None = (algorithm,) if algorithm else None
        if not algorithm and self.hardware.libraries[self.hardware.library].choice == "fastest":
            key = (self.graph.alike[node.name], data_type)
            if key not in self._variants:
                self._variants[key] = REGISTRY[node].variants(self.graph, node, data_type)
            wanted = self._variants[key]
        for candidate in self._of(processor, data_type):
            if (wanted is None or candidate.kernel.algorithm in wanted) and candidate.matches(work):
                yield candidate

    def _of(self, processor: str, data_type: str) -> tuple[_Candidate, ...]:
        if (processor, data_type) not in self._candidates:
            self._candidates[processor, data_type] = self._prepare(processor, data_type)
        return self._candidates[processor, data_type]

    def _joules(self, processor: str, seconds: float, nbytes: float) -> float:
        active = self.hardware.processors[processor].active_power
        return float(seconds * active + nbytes * self.hardware.memory.energy)

    # Sharing

    def enqueue_ns(self, processor: str, command: Task | None = None) -> float:
        """Host time of one command for a processor; of a kernel, for each of its launches."""
        launches = self._launches(command) if command is not None and command.kind is TaskKind.KERNEL else 1.0
        return float(self.hardware.processors[processor].enqueue * launches * NS)

    def _launches(self, task: Task) -> float:
        """Launches that a kernel task consists of, as its formula counts them."""
        node, out = self._computed(task)
        if out.empty:
            return 1.0  # a marker
        kernel = self._select(node, out, task.lane, task.algorithm).kernel
        return launches(self.work(node, out), kernel, self.hardware.processors[task.lane])

    def sync_ns(self, source: str, target: str, bound: bool = False) -> float:
        """From the end of a command on `source` until `target` goes on.

        Args:
            bound: the value that a planner should count with instead of the typical one, where the hardware has it.
        """
        if source == target:
            return 0.0
        sharing = self.hardware.sharing
        if target == HOST_LANE and source in sharing.host_wait:
            return float(sharing.host_wait[source] * NS)
        if target in self.hardware.processors and self.hardware.processors[target].kind == "gpu":
            return float(sharing.post_sync * NS)
        if bound and sharing.pre_sync_bound is not None:
            return float(sharing.pre_sync_bound * NS)
        return float(sharing.pre_sync * NS)

    def transform_ns(self, processor: str, nbytes: float) -> float:
        """Changing the data type of `nbytes` bytes of a tensor."""
        return self.hardware.sharing.transform.seconds(nbytes) / self.hardware.processors[processor].clock_scale * NS

    def map_ns(self, nbytes: float) -> float:
        return self.hardware.sharing.map.seconds(nbytes) * NS

    def unmap_ns(self, nbytes: float) -> float:
        return self.hardware.sharing.unmap.seconds(nbytes) * NS

    def copy_ns(self, source: str, target: str, nbytes: float, packed: bool = False) -> float:
        """Moving `nbytes` bytes between memories that are not shared; `packed`: in many pieces."""
        sharing = self.hardware.sharing
        cost = sharing.packed_copy if packed and sharing.packed_copy is not None else sharing.copy_
        return 0.0 if source == target else cost.seconds(nbytes) * NS

    # Tasks

    def task(self, task: Task, handed_over: Task | None = None) -> TaskCost:
        """The cost of one task of a task graph, alone on the machine. An empty task costs nothing.

        Args:
            handed_over: of an ENQUEUE task, the command.
        """
        if task.kind is TaskKind.KERNEL:
            node, out = self._computed(task)
            cost = self.kernel(node, out, task.lane, task.algorithm)
            return TaskCost(round(cost.ns), round(cost.nbytes), cost.joules)
        if task.kind is TaskKind.ENQUEUE:
            return TaskCost(round(self.enqueue_ns(self._target(task), handed_over)), 0, 0.0)
        if task.kind is TaskKind.SYNC:
            return TaskCost(round(self.sync_ns(task.source, task.lane)), 0, 0.0)
        if task.kind is TaskKind.TRANSFORM:
            ns, moved = self.transform_ns(task.lane, task.nbytes), 2 * task.nbytes
        elif task.kind is TaskKind.COPY:
            packed = task.algorithm == PACKED
            ns, moved = self.copy_ns(task.source, task.lane, task.nbytes, packed), 2 * task.nbytes
        else:
            ns, moved = (self.map_ns if task.kind is TaskKind.MAP else self.unmap_ns)(task.nbytes), 0
        return TaskCost(round(ns), moved, self._joules(task.lane, ns / NS, moved))

    def origin(self, task: Task) -> Origin:
        """Which constants predict a task, so that an error can be traced back to them."""
        if task.kind is TaskKind.ENQUEUE:
            return Origin(f"processors.{self._target(task)}.enqueue")
        if task.kind is TaskKind.SYNC:
            target = self.hardware.processors.get(task.lane)
            if task.lane == HOST_LANE and task.source in self.hardware.sharing.host_wait:
                return Origin(f"sharing.host_wait.{task.source}")
            return Origin("sharing.post_sync" if target and target.kind == "gpu" else "sharing.pre_sync")
        if task.kind is TaskKind.COPY and task.algorithm == PACKED and self.hardware.sharing.packed_copy is not None:
            return Origin("sharing.packed_copy")
        if task.kind is not TaskKind.KERNEL:
            return Origin(f"sharing.{task.kind.value}")
        node, out = self._computed(task)
        if out.empty:
            return Origin(f"processors.{task.lane}")
        work = self.work(node, out)
        candidate = self._select(node, out, task.lane, task.algorithm)
        kernel, silicon = candidate.kernel, self.hardware.processors[task.lane]
        path = f"{self.hardware.library_path(task.lane)}.{self.data_type(node, task.lane)}.{kernel.name}"
        amounts = form(kernel).quantities(work, kernel, silicon)
        parts = {name: float(amounts[name]) * time * NS / silicon.clock_scale for name, time in kernel.compute.items()}
        parts |= {
            name: float(amounts[name]) * time * NS for name, time in (*kernel.memory.items(), *kernel.fixed.items())
        }
        if candidate.predict(work)[0] * NS > sum(parts.values()) * (1 + 1e-9) + self.hardware.dispatch(task.lane) * NS:
            return Origin(f"processors.{task.lane}.bandwidth")
        return Origin(path, parts)

    def _computed(self, task: Task) -> tuple[Node, Region]:
        """The operator of a kernel task, and what it computes of the first output."""
        node = self.graph.by_name[task.op]
        return node, next((a.region for a in task.writes), Region.full(self.graph.tensors[node.output].shape))

    def _target(self, task: Task) -> str:
        """The processor that an enqueue is for: its `source` or the lane named at the end of its id."""
        for name in (task.source, task.id.rpartition("@")[2], *self.hardware.processors):
            if name in self.hardware.processors:
                return name
        raise UncalibratedError(f"{self.hardware.name}: no processor for task {task.id}")


def predictor(
    kernel: Kernel, hardware: Hardware, processor: str, queued: bool = True
) -> Callable[[Any], tuple[Any, Any]]:
    """A function from work (scalars or arrays) to (seconds, bytes over the memory bus) for one kernel.

    The linear model is bounded below by the traffic over the bandwidth that the processor can use.

    Args:
        queued: add the library's dispatch time: what a kernel in a queue takes, rather than what profiling it shows.
    """
    silicon = hardware.processors[processor]
    quantities = form(kernel).quantities
    units = [(name, time / silicon.clock_scale) for name, time in kernel.compute.items()]
    units += [*kernel.memory.items(), *kernel.fixed.items()]
    if not units:
        raise UncalibratedError(f"{hardware.name}: kernel {kernel.name} of {processor!r} has no unit times")
    bandwidth = min(silicon.bandwidth, hardware.memory.bandwidth)
    dispatch = hardware.dispatch(processor) if queued else 0.0

    def predict(work: Any) -> tuple[Any, Any]:
        amounts = quantities(work, kernel, silicon)
        seconds = sum(amounts[name] * time for name, time in units) + dispatch
        nbytes = traffic(work, kernel, silicon)
        floor = nbytes / bandwidth
        if isinstance(seconds, float) and isinstance(floor, float):
            return max(seconds, floor), nbytes
        return np.maximum(seconds, floor), nbytes

    return predict


def describe(work: Work) -> str:
    """A piece of work in a few words, for messages."""
    kernel = f"{work.kernel_h}x{work.kernel_w} stride {work.stride_h}, "
    return f"{work.kind} {kernel}{work.in_channels} -> {work.out_channels}x{work.out_h}x{work.out_w}"
