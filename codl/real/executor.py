"""The executor: a task graph, compiled once for this machine's devices, run any number of times.

What a run's makespan covers: from the first enqueue to the last end. Writing the caller's inputs into the devices'
memory before, and reading the outputs after, are outside.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Self

import numpy as np

from codl.errors import DeviceError, InputError
from codl.graph import Graph, Tensor
from codl.real.clock import host_ns
from codl.real.compile import check
from codl.real.devices import Assignment, DeviceInfo
from codl.real.environment import fingerprint
from codl.real.lanes import Lanes
from codl.real.memory import Allocation, host_only
from codl.real.opencl import device_errors, opencl
from codl.real.part import Done, Part, all_spans, makespan_ns
from codl.real.timeline import Record
from codl.real.worker import Worker
from codl.tasks import HOST_LANE, TaskGraph, joined
from codl.trace import Scalar, Trace


@dataclass(frozen=True)
class Run:
    """One inference. `makespan_ns` runs from the first enqueue to the last end; `wall_ns` also covers writing the
    inputs and reading the outputs."""

    outputs: dict[str, np.ndarray]
    makespan_ns: int
    wall_ns: int
    trace: Trace | None


@dataclass(frozen=True, slots=True)
class _Taken:
    """What an input must be. `text`: numpy has several formats for it."""

    shape: tuple[int, ...]
    dtype: np.dtype
    text: bool

    @staticmethod
    def of(tensor: Tensor) -> _Taken:
        return _Taken(tensor.shape, np.dtype(tensor.dtype), host_only(tensor.dtype))


class Executor:
    """Runs one task graph. May be used from several threads; runs follow each other.

    Args:
        graph: the model.
        tasks: what to do, lowered for this model.
        devices: who plays the processors, or the device of each lane.
        timeout_s: a device that makes no progress for so long is given up.

    Raises:
        PlanError: the task graph is for another model, cuts texels, or wants memory that the devices do not share.
        DeviceError, BuildError: a device fails, or a kernel does not build.
        ModelError: ONNX Runtime refuses an operator that has no kernel of ours.
    """

    def __init__(
        self,
        graph: Graph,
        tasks: TaskGraph,
        devices: Assignment | Mapping[str, DeviceInfo],
        timeout_s: float = 60.0,
    ) -> None:
        self._open(graph, [tasks], devices, timeout_s)

    def _open(
        self, graph: Graph, wanted: Sequence[TaskGraph], devices: Assignment | Mapping[str, DeviceInfo],
        timeout_s: float,
    ) -> None:  # fmt: skip
        """Open the devices and compile all task graphs for them. The first one names the lanes' digests."""
        for tasks in wanted:
            check(graph, tasks)
        self.graph = graph
        self.tasks = wanted[0]
        self.timeout_s = timeout_s
        self.devices = _by_lane([lane for tasks in wanted for lane in tasks.lanes], devices)
        self._taken = {name: _Taken.of(graph.tensors[name]) for name in graph.inputs}
        self._lock = threading.Lock()
        label = ", ".join(dict.fromkeys(device.id for device in self.devices.values()))
        self._outside: dict[str, Allocation] = {}
        """Storage of what parts take in and leave behind, by buffer name."""
        self.parts: list[Part] = []
        with device_errors(label):
            self._lanes = Lanes.open(self.devices)
            for tasks in wanted:
                part = Part(graph, tasks, self._lanes, self._outside)
                self.parts.append(part)
                names = [*(name for names in tasks.inputs.values() for name in names), *tasks.outputs.values()]
                self._outside |= {name: part.storage[name] for name in names}
        self._fallbacks = tuple(dict.fromkeys(name for part in self.parts for name in part.fallbacks))
        self._records: list[Record] = []
        self._worker = Worker(label)
        for part in self.parts:  # first launches compile
            self._call(partial(self._execute, part, strict=False))

    # -- what it is --------------------------------------------------------------------------------------------------

    @property
    def fallbacks(self) -> tuple[str, ...]:
        """Names of the operators that run whole through ONNX Runtime."""
        return self._fallbacks

    def fallback_share(self, trace: Trace) -> float:
        """The share of a run's makespan during which such operators ran."""
        names = set(self._fallbacks)
        busy = sum(s.duration_ns for s in trace.spans if s.kind == "kernel" and s.op in names)
        return busy / trace.makespan_ns if trace.makespan_ns else 0.0

    @property
    def memory_bytes(self) -> int:
        """Bytes allocated on the devices: tensors, weights and working memory. Nothing is freed before `close`."""
        return self._lanes.nbytes

    # -- running -----------------------------------------------------------------------------------------------------

    def run(self, inputs: Mapping[str, np.ndarray], trace: bool = False) -> tuple[dict[str, np.ndarray], Trace | None]:
        """One inference: outputs by name, in the order of the graph, and the measured trace if asked for.

        Raises:
            InputError: an input is missing, unknown, or of another shape or dtype.
            DeviceError: a device fails or does not answer.
            ModelError: an operator fails in ONNX Runtime.
        """
        result = self._run(inputs, trace, timed=False)
        return result.outputs, result.trace

    def infer(self, inputs: Mapping[str, np.ndarray], trace: bool = False) -> Run:
        """As `run`, with the makespan."""
        return self._run(inputs, trace, timed=True)

    def _run(self, inputs: Mapping[str, np.ndarray], trace: bool, timed: bool) -> Run:
        arrays = self._checked(inputs)
        with self._lock:
            spent, self._records = self._records, []
            result: Run = self._call(lambda: self._infer(arrays, trace, timed), meanwhile=spent.clear)
            return result

    def close(self) -> None:
        """Free all buffers and end the executor's threads."""
        with self._lock:
            self._worker.close()
            for part in self.parts:
                part.clear()
            self._outside.clear()
            self._records = []
            self._lanes.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _checked(self, inputs: Mapping[str, Any]) -> dict[str, np.ndarray]:
        for name in inputs:
            if name not in self._taken:
                raise InputError(f"unknown input {name!r}; {self.graph.name} takes: {self._listed()}")
        arrays = {}
        for name, taken in self._taken.items():
            if name not in inputs:
                raise InputError(f"input {name!r} is missing; {self.graph.name} takes: {self._listed()}")
            array = np.asarray(inputs[name])
            if array.shape != taken.shape:
                raise InputError(f"input {name!r} has shape {list(array.shape)}; {list(taken.shape)} is needed")
            if array.dtype != taken.dtype and not (taken.text and array.dtype.kind in "OUS"):
                raise InputError(f"input {name!r} has dtype {array.dtype}; {self.graph.tensors[name].dtype} is needed")
            arrays[name] = array
        return arrays

    def _listed(self) -> str:
        """What it takes, for messages."""
        needed = [self.graph.tensors[name] for name in self._taken]
        return ", ".join(f"{t.name} {t.dtype}{list(t.shape)}" for t in needed) or "none"

    # -- on the worker's thread --------------------------------------------------------------------------------------

    def _call(self, job: Any, meanwhile: Callable[[], None] | None = None) -> Any:
        with device_errors(self._worker.label):
            return self._worker.call(job, self.timeout_s, self._progress, meanwhile)

    def _progress(self) -> int:
        """Grows as long as the devices get anything done. Asked only when a wait has lasted suspiciously long."""
        records, complete = list(self._records), opencl().command_execution_status.COMPLETE
        steps = [done for record in records for done in list(record.done)]
        events = [done[1] for done in steps if not isinstance(done[1], int)]
        return len(steps) + sum(1 for event in events if event.command_execution_status == complete)

    def _infer(self, arrays: Mapping[str, np.ndarray], trace: bool, timed: bool) -> Run:
        """One inference. `timed`: with its makespan, for which events are asked."""
        if trace:
            self._lanes.measure_clocks(drifting_only=True)
        before = host_ns()
        self._write(arrays)
        done = self._segments()
        outputs = {name: self._output(name, done) for name in self.graph.outputs}
        wall = host_ns() - before
        makespan = makespan_ns(done, self._lanes.clocks) if timed else 0
        return Run(outputs, makespan, wall, self._trace(done) if trace else None)

    def _write(self, arrays: Mapping[str, np.ndarray]) -> None:
        written: set[str] = set()
        for part in self.parts:
            for name, array in arrays.items():
                for buffer in part.tasks.inputs.get(name, ()):
                    if buffer not in written:
                        part.storage[buffer].write(array)
                        written.add(buffer)

    def _segments(self) -> list[Done]:
        """What one inference executes, one part after another."""
        return [self._execute(self.parts[0], strict=True)]

    def _execute(self, part: Part, strict: bool) -> Done:
        record = Record([], [])
        self._records.append(record)
        part.execute(record, strict)
        return Done(part, record)

    def _output(self, name: str, done: Sequence[Done]) -> np.ndarray:
        for each in reversed(done):
            if name in each.part.tasks.outputs:
                return each.part.storage[each.part.tasks.outputs[name]].read()
        return np.array(self.graph.constants[name])  # folded to a constant

    def _trace(self, done: Sequence[Done]) -> Trace:
        tasks = joined([each.part.tasks for each in done], self.graph.outputs)
        environment: dict[str, Scalar] = dict(fingerprint())
        for lane, device in self.devices.items():
            environment[f"lane {lane}"] = device.id
            environment[f"clock uncertainty {lane} ns"] = self._lanes.clocks[device.root].uncertainty_ns
        fallbacks = [name for name in self._fallbacks if any(s.op == name for s in tasks.tasks)]
        if fallbacks:
            environment["fallbacks"] = ", ".join(fallbacks)
        digests = {"model": tasks.model, "plan": tasks.plan, "hardware": tasks.hardware, "tasks": tasks.digest}
        trace = Trace("measured", all_spans(done, self._lanes.clocks), digests, environment)
        trace.validate()
        return trace


def _by_lane(lanes: Sequence[str], devices: Assignment | Mapping[str, DeviceInfo]) -> dict[str, DeviceInfo]:
    """The device of each lane. A network without operators has no lanes, but its inputs and outputs need a memory."""
    names = [lane for lane in dict.fromkeys(lanes) if lane != HOST_LANE]
    if isinstance(devices, Assignment):
        return devices.for_lanes(names or ["cpu"])
    missing = [name for name in names if name not in devices]
    if missing:
        raise DeviceError(f"no device plays the processor {missing[0]!r}; given: {', '.join(devices)}")
    return {name: devices[name] for name in names or list(devices)[:1]}
