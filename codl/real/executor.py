"""The executor: a task graph, compiled once for this machine's devices, run any number of times.

What a run's makespan covers: from the first enqueue to the last end. Writing the caller's inputs into the devices'
memory before, and reading the outputs after, are outside.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from codl.errors import CodlError, DeviceError, InputError
from codl.graph import Graph
from codl.real.clock import host_ns
from codl.real.compile import Compiler, check
from codl.real.devices import Assignment, DeviceInfo
from codl.real.environment import fingerprint
from codl.real.lanes import Lanes
from codl.real.memory import host_only
from codl.real.opencl import device_errors, opencl
from codl.real.timeline import Record, makespan_ns, spans
from codl.real.worker import Worker
from codl.tasks import HOST_LANE, TaskGraph
from codl.trace import Scalar, Trace


@dataclass(frozen=True)
class Run:
    """One inference. `makespan_ns` runs from the first enqueue to the last end; `wall_ns` also covers writing the
    inputs and reading the outputs."""

    outputs: dict[str, np.ndarray]
    makespan_ns: int
    wall_ns: int
    trace: Trace | None


class Executor:
    """Runs one task graph. May be used from several threads; runs follow each other.

    Args:
        graph: the model.
        tasks: what to do, lowered for this model.
        devices: who plays the processors, or the device of each lane.
        timeout_s: a device that makes no progress for so long is given up.

    Raises:
        PlanError: the task graph is for another model, for images, or for memory that the devices do not share.
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
        check(graph, tasks)
        self.devices = _by_lane(tasks, devices)
        self.graph = graph
        self.tasks = tasks
        self.timeout_s = timeout_s
        self._lock = threading.Lock()
        label = ", ".join(dict.fromkeys(device.id for device in self.devices.values()))
        with device_errors(label):
            self._lanes = Lanes.open(self.devices)
            compiled = Compiler(graph, tasks, self._lanes)
        self._schedule = compiled.schedule
        self._storage = compiled.storage
        self._maps = compiled.maps
        self._premapped = compiled.premapped
        self._fallbacks = compiled.fallbacks
        self._record = Record([], [])
        self._worker = Worker(label)
        self._call(lambda: self._execute(strict=False))  # first launches compile

    # -- what it is --------------------------------------------------------------------------------------------------

    @property
    def fallbacks(self) -> tuple[str, ...]:
        """Names of the operators that run whole through ONNX Runtime."""
        return tuple(self._fallbacks)

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
        result = self.infer(inputs, trace)
        return result.outputs, result.trace

    def infer(self, inputs: Mapping[str, np.ndarray], trace: bool = False) -> Run:
        """As `run`, with the makespan."""
        arrays = self._checked(inputs)
        with self._lock:
            result: Run = self._call(lambda: self._infer(arrays, trace))
            return result

    def close(self) -> None:
        """Free all buffers and end the executor's thread."""
        with self._lock:
            self._worker.close()
            self._schedule.steps.clear()
            self._storage.clear()
            self._record = Record([], [])

    def __enter__(self) -> Executor:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _checked(self, inputs: Mapping[str, Any]) -> dict[str, np.ndarray]:
        needed = {name: self.graph.tensors[name] for name in self.graph.inputs}
        listed = ", ".join(f"{t.name} {t.dtype}{list(t.shape)}" for t in needed.values()) or "none"
        for name in inputs:
            if name not in needed:
                raise InputError(f"unknown input {name!r}; {self.graph.name} takes: {listed}")
        arrays = {}
        for name, tensor in needed.items():
            if name not in inputs:
                raise InputError(f"input {name!r} is missing; {self.graph.name} takes: {listed}")
            array = np.asarray(inputs[name])
            if array.shape != tensor.shape:
                raise InputError(f"input {name!r} has shape {list(array.shape)}; {list(tensor.shape)} is needed")
            if array.dtype != np.dtype(tensor.dtype) and not (host_only(tensor.dtype) and array.dtype.kind in "OUS"):
                raise InputError(f"input {name!r} has dtype {array.dtype}; {tensor.dtype} is needed")
            arrays[name] = array
        return arrays

    # -- on the worker's thread --------------------------------------------------------------------------------------

    def _call(self, job: Any) -> Any:
        with device_errors(self._worker.label):
            return self._worker.call(job, self.timeout_s, self._progress)

    def _progress(self) -> int:
        """Grows as long as the devices get anything done. Asked only when a wait has lasted suspiciously long."""
        record, complete = self._record, opencl().command_execution_status.COMPLETE
        events = [done[1] for done in list(record.done) if not isinstance(done[1], int)]
        return len(record.done) + sum(1 for event in events if event.command_execution_status == complete)

    def _infer(self, arrays: Mapping[str, np.ndarray], trace: bool) -> Run:
        if trace:
            self._lanes.measure_clocks(drifting_only=True)
        before = host_ns()
        for name, array in arrays.items():
            for buffer in self.tasks.inputs.get(name, ()):
                self._storage[buffer].write(array)
        record = self._execute(strict=True)
        outputs = {name: self._output(name) for name in self.graph.outputs}
        wall = host_ns() - before
        makespan = makespan_ns(self._schedule, record, self._lanes.clocks)
        return Run(outputs, makespan, wall, self._trace(record) if trace else None)

    def _output(self, name: str) -> np.ndarray:
        if name in self.tasks.outputs:
            return self._storage[self.tasks.outputs[name]].read()
        return np.array(self.graph.constants[name])  # folded to a constant

    def _execute(self, strict: bool) -> Record:
        """Issue every step and wait for the last ones. Without `strict`, operators that fail in ONNX Runtime (fed
        with zeros at warm-up) are passed over."""
        record = self._record = Record([], [])
        done, handed = record.done, record.handed
        if self._maps is not None:
            self._maps.begin(self._premapped)
        for step in self._schedule.steps:
            for index in step.host_waits:
                done[index][1].wait()
            before = host_ns()
            try:
                done.append(step.issue([done[index][1] for index in step.waits] if step.waits else None))
            except CodlError:
                if strict:
                    raise
                done.append((before, before))
            handed.append((before, host_ns()))
            if step.flush:
                step.place.queue.flush()  # type: ignore[union-attr]
        for index in self._schedule.ends:
            done[index][1].wait()
        if self._maps is not None:
            self._maps.end()
        return record

    def _trace(self, record: Record) -> Trace:
        environment: dict[str, Scalar] = dict(fingerprint())
        for lane, device in self.devices.items():
            environment[f"lane {lane}"] = device.id
            environment[f"clock uncertainty {lane} ns"] = self._lanes.clocks[device.root].uncertainty_ns
        fallbacks = [name for name in self._fallbacks if any(s.op == name for s in self.tasks.tasks)]
        if fallbacks:
            environment["fallbacks"] = ", ".join(fallbacks)
        digests = {
            "model": self.tasks.model,
            "plan": self.tasks.plan,
            "hardware": self.tasks.hardware,
            "tasks": self.tasks.digest,
        }
        measured = spans(self.tasks, self._schedule, record, self._lanes.clocks)
        trace = Trace("measured", measured, digests, environment)
        trace.validate()
        return trace


def _by_lane(tasks: TaskGraph, devices: Assignment | Mapping[str, DeviceInfo]) -> dict[str, DeviceInfo]:
    """The device of each lane. A network without operators has no lanes, but its inputs and outputs need a memory."""
    names = [lane for lane in tasks.lanes if lane != HOST_LANE]
    if isinstance(devices, Assignment):
        return devices.for_lanes(names or ["cpu"])
    missing = [name for name in names if name not in devices]
    if missing:
        raise DeviceError(f"no device plays the processor {missing[0]!r}; given: {', '.join(devices)}")
    return {name: devices[name] for name in names or list(devices)[:1]}
