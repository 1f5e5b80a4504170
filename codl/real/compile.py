"""From a task graph to steps: buffers allocated, weights uploaded, kernels built and bound, every wait resolved."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from codl.errors import PlanError
from codl.graph import Graph, Node
from codl.ops import REGISTRY
from codl.ops.launch import KernelProgram, KernelRequest, View
from codl.real.clock import host_ns
from codl.real.fallback import FallbackOperator
from codl.real.images import allocate_image, check_cuts, transform
from codl.real.lanes import Lane, Lanes
from codl.real.liveness import shared_blocks
from codl.real.maps import Maps, plan_maps
from codl.real.memory import Allocation, Memory
from codl.real.moves import Piece, copy, in_order
from codl.real.opencl import usable_cores
from codl.real.steps import HOST, Issue, Place, Schedule, Waits
from codl.tasks import COMMANDS, HOST_LANE, PACKED, SHARED, Task, TaskGraph, TaskKind

FLOATS = "float32"
"""Whatever bytes such a buffer holds before it is written, no kernel takes them for an index."""


class Compiler:
    """Compiles one task graph for the devices that play its lanes.

    After construction: `schedule`, `storage` (by buffer name), `fallbacks` (by operator), `maps`.

    Args:
        given: storage, by buffer name, of what other task graphs on these lanes read and leave behind.

    Raises:
        PlanError: the task graph is for another model, cuts texels, or wants shared memory that is not there.
        DeviceError, BuildError: no memory, or a kernel that does not build.
        ModelError: ONNX Runtime refuses an operator that has no kernel of ours.
    """

    def __init__(
        self, graph: Graph, tasks: TaskGraph, lanes: Lanes, given: Mapping[str, Allocation] = MappingProxyType({})
    ) -> None:  # fmt: skip
        self.graph = graph
        self.tasks = tasks
        self.lanes = lanes
        self._given = given
        check(graph, tasks)
        self._map_plan = plan_maps(tasks)
        self.storage = self._allocated()
        self.fallbacks: dict[str, FallbackOperator] = {}
        self._scratch: dict[tuple[str, int], Any] = {}
        self.maps: Maps | None = None
        self.premapped: tuple[str, ...] = ()
        if self._map_plan.buffers:
            root = next(iter(lanes.by_name.values())).device.root
            lanes.shared_memory()
            self.maps = Maps(lanes.transfer[root], self.storage)
            self.premapped = self._map_plan.before
        self.schedule = Schedule()
        last = {task.lane: index for index, task in enumerate(tasks.tasks) if task.kind in COMMANDS}
        for index, task in enumerate(tasks.tasks):
            self._add(task, more=index < last.get(task.lane, -1))
        self.schedule.close()

    def _memory(self, space: str) -> Memory:
        return self.lanes.shared_memory() if space == SHARED else self.lanes.by_name[space].memory

    def _allocated(self) -> dict[str, Allocation]:
        """Storage for every buffer. Intermediate values of numbers that kernels make and read share blocks; what the
        caller writes or reads, and what is mapped, has memory of its own."""
        tasks, graph = self.tasks, self.graph
        outside = {name for names in tasks.inputs.values() for name in names} | set(tasks.outputs.values())
        own = set(outside)
        own.update(name for names in (*self._map_plan.buffers.values(), self._map_plan.before) for name in names)
        reached = self._reached_from_elsewhere()
        own.update(reached)
        dtype_of = {name: graph.tensors[buffer.tensor].dtype for name, buffer in tasks.buffers.items()}
        numbers = shared_blocks(
            tasks,
            [
                name
                for name, buffer in tasks.buffers.items()
                if name not in own and dtype_of[name] == FLOATS and buffer.data_type == "buffer"
            ],
        )
        sizes: dict[int, int] = {}
        for name, number in numbers.items():
            sizes[number] = max(sizes.get(number, 0), tasks.buffers[name].nbytes)
        blocks: dict[int, Allocation] = {}
        storage: dict[str, Allocation] = {}
        for name, buffer in tasks.buffers.items():
            memory = self._memory(buffer.space)
            if name in outside and name in self._given:
                storage[name] = self._given[name]
                continue
            if buffer.data_type == "image":
                storage[name] = allocate_image(memory, name, buffer.region)
                continue
            if name not in numbers:
                storage[name] = memory.allocate(name, buffer.region, dtype_of[name], reached.get(name))
                continue
            number = numbers[name]
            if number not in blocks:
                blocks[number] = memory.block(f"intermediate values {number}", sizes[number])
            storage[name] = memory.place(name, buffer.region, dtype_of[name], blocks[number])
        return storage

    def _reached_from_elsewhere(self) -> dict[str, Memory]:
        """Buffers in the host's memory that a device with a memory of its own copies from or to, with that memory."""
        found: dict[str, Memory] = {}
        for task in self.tasks.tasks:
            if task.kind is TaskKind.COPY:
                for read, write in zip(task.reads, task.writes, strict=True):
                    for here, there in ((read.buffer, write.buffer), (write.buffer, read.buffer)):
                        mine, other = (self._memory(self.tasks.buffers[name].space) for name in (here, there))
                        if mine.in_host and not other.in_host:
                            found[here] = other
        return found

    # -- tasks to steps ----------------------------------------------------------------------------------------------

    def _add(self, task: Task, more: bool) -> None:
        """`more`: the task's lane has another command after it."""
        if task.kind is TaskKind.ENQUEUE:
            return
        if task.kind is TaskKind.SYNC:
            if task.lane == HOST_LANE:
                self.schedule.host_wait(task, _host_wait)
            else:
                self.schedule.sync(task, None if more else self._marker(task.lane))
            return
        enqueue = next(d for d in task.deps if self.tasks.by_id[d].kind is TaskKind.ENQUEUE)
        self.schedule.command(task, enqueue, self._command(task, self.lanes.by_name[task.lane]))

    def _command(self, task: Task, lane: Lane) -> list[tuple[Place, Issue]]:
        if task.kind is TaskKind.KERNEL:
            return [self._kernel(task, lane)]
        if task.kind is TaskKind.TRANSFORM:
            return [self._transform(task, lane)]
        if task.kind is TaskKind.COPY:
            pairs = zip(task.reads, task.writes, strict=True)
            pieces = [Piece(self.storage[r.buffer], self.storage[w.buffer], w.region) for r, w in pairs]
            return copy(pieces, lane, self.lanes, task.algorithm == PACKED)
        assert self.maps is not None
        place = Place(self.maps.queue, lane.memory.context, lane.device.root)
        names = self._map_plan.buffers[task.id]
        return [(place, self.maps.map(names) if task.kind is TaskKind.MAP else self.maps.unmap(names))]

    def _transform(self, task: Task, lane: Lane) -> tuple[Place, Issue]:
        enqueues = []
        for read, write in zip(task.reads, task.writes, strict=True):
            source, target = self.storage[read.buffer], self.storage[write.buffer]
            program = transform(task, source, target, write.region)
            commands = lane.launcher.prepare(program, [source.device], target.device, {}, {})
            enqueues += [lane.launcher.bound(command) for command in commands]
        return _place(lane), in_order(enqueues, lane.queue)

    def _marker(self, lane: str) -> tuple[Place, Issue]:
        own = self.lanes.by_name[lane]
        return _place(own), in_order((), own.queue)

    # -- kernels -----------------------------------------------------------------------------------------------------

    def _kernel(self, task: Task, lane: Lane) -> tuple[Place, Issue]:
        node = self.graph.by_name[task.op]
        inputs = [self.storage[access.buffer] for access in task.reads]
        out = task.writes[0]
        program = KernelProgram()
        if not out.region.empty:
            program = self._program(task, node, lane, inputs)
        if program.host:
            return HOST, self._fallback(task, node, lane, inputs)
        target = self.storage[out.buffer].device
        constants = {key: lane.memory.constant(key, program.constants) for key in program.constants}
        scratch = self._working_memory(program.scratch, lane)
        commands = lane.launcher.prepare(program, [storage.device for storage in inputs], target, constants, scratch)
        return _place(lane), in_order([lane.launcher.bound(command) for command in commands], lane.queue)

    def _program(self, task: Task, node: Node, lane: Lane, inputs: list[Allocation]) -> KernelProgram:
        spec = REGISTRY[node]
        known = spec.variants(self.graph, node, task.data_type)
        if not known:
            raise PlanError(
                f"{node.name} ({node.onnx_op or node.op}): codl has no kernel on images for it; plan with "
                "--data-type buffer, or let the plan's data_types give this operator buffers"
            )
        if task.algorithm and task.algorithm not in known:
            raise PlanError(
                f"{node.name}: the plan chose the kernel variant {task.algorithm!r} of another kernel library; "
                f"codl's own are: {', '.join(known)}"
            )
        output = self.storage[task.writes[0].buffer]
        request = KernelRequest(
            graph=self.graph,
            node=node,
            out=task.writes[0].region,
            inputs=tuple(View.of(storage.region) for storage in inputs),
            output=View.of(output.region),
            algorithm=task.algorithm or known[0],
            device=lane.launcher.traits,
        )
        return spec.image_program(request) if task.data_type == "image" else spec.program(request)

    def _working_memory(self, wanted: Mapping[str, int], lane: Lane) -> dict[str, Any]:
        """Buffers by key. A lane runs one task at a time, so its tasks share them: the largest goes to the largest."""
        table = {}
        for slot, (key, nbytes) in enumerate(sorted(wanted.items(), key=lambda item: -item[1])):
            buffer = self._scratch.get((lane.name, slot))
            if buffer is None or buffer.size < nbytes:
                buffer = self._scratch[lane.name, slot] = lane.memory.scratch(nbytes)
            table[key] = buffer
        return table

    def _fallback(self, task: Task, node: Node, lane: Lane, inputs: list[Allocation]) -> Issue:
        names = [self.tasks.buffers[access.buffer].tensor for access in task.reads]
        outputs = {self.tasks.buffers[access.buffer].tensor: self.storage[access.buffer] for access in task.writes}
        threads = lane.device.compute_units if lane.device.kind == "cpu" else usable_cores()
        operator = FallbackOperator(self.graph, node, dict(zip(names, inputs, strict=True)), outputs, threads)
        self.fallbacks[node.name] = operator

        def issue(waits: Waits) -> tuple[int, int]:
            start = host_ns()
            operator.run()
            return start, host_ns()

        return issue


def check(graph: Graph, tasks: TaskGraph) -> None:
    """Raise `PlanError` unless the task graph is for this model and for what the executor can do."""
    if not graph.executable:
        raise PlanError(f"{graph.name} is an operator list: it can be planned and simulated, not executed")
    if tasks.model != graph.digest:
        raise PlanError(
            f"the plan was made for another model (digest {tasks.model}), not for {graph.name} ({graph.digest})"
        )
    check_cuts(tasks)


def _place(lane: Lane) -> Place:
    return Place(lane.queue, lane.memory.context, lane.device.root)


def _host_wait(waits: Waits) -> tuple[int, int]:
    now = host_ns()
    return now, now
