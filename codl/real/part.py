"""A task graph compiled for open lanes, and what one execution of it leaves behind.

An executor has one part; an adaptive one has several plans, each cut into segments, on the same lanes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from codl.errors import CodlError
from codl.graph import Graph
from codl.real.clock import ClockOffset, host_ns
from codl.real.compile import Compiler
from codl.real.lanes import Lanes
from codl.real.memory import Allocation
from codl.real.timeline import Record, end_ns, spans
from codl.tasks import TaskGraph
from codl.trace import Span


class Part:
    """One task graph, ready to run on these lanes.

    Args:
        given: storage, by buffer name, of what other parts on these lanes read and leave behind.

    Raises:
        PlanError, DeviceError, BuildError, ModelError: as `codl.real.compile.Compiler`.
    """

    def __init__(self, graph: Graph, tasks: TaskGraph, lanes: Lanes, given: Mapping[str, Allocation]) -> None:
        compiled = Compiler(graph, tasks, lanes, given)
        self.tasks = tasks
        self.schedule = compiled.schedule
        self.storage = compiled.storage
        self.fallbacks = compiled.fallbacks
        self._maps = compiled.maps
        self._premapped = compiled.premapped
        waited = {index for step in self.schedule.steps for index in step.host_waits}
        self._ends = tuple(index for index in self.schedule.ends if index not in waited)

    def execute(self, record: Record, strict: bool) -> None:
        """Issue every step and wait for the last ones. Without `strict`, operators that fail in ONNX Runtime (fed
        with zeros at warm-up) are passed over.

        Args:
            record: empty; what is known so far while it runs, all of it in the end.
        """
        done, handed = record.done, record.handed
        if self._maps is not None:
            self._maps.begin(self._premapped)
        for step in self.schedule.steps:
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
                step.place.queue.flush()  # type: ignore[union-attr]  # flush is set where there is a queue
        for index in self._ends:
            done[index][1].wait()
        if self._maps is not None:
            self._maps.end()

    def clear(self) -> None:
        """Let go of all buffers."""
        self.schedule.steps.clear()
        self.storage.clear()


@dataclass(frozen=True, slots=True)
class Done:
    """A part that was executed."""

    part: Part
    record: Record

    def begin_ns(self) -> int | None:
        """When its first command was enqueued, on the host clock; None if it has none."""
        return self.record.handed[0][0] if self.record.handed else None

    def end_ns(self, clocks: Mapping[str, ClockOffset]) -> int | None:
        """When its last command ended, on the host clock."""
        return end_ns(self.part.schedule, self.record, clocks)


def makespan_ns(done: Sequence[Done], clocks: Mapping[str, ClockOffset]) -> int:
    """From the first enqueue to the last end of parts that were executed one after another."""
    begins = [begin for each in done if (begin := each.begin_ns()) is not None]
    ends = [end for each in done if (end := each.end_ns(clocks)) is not None]
    return max(ends) - min(begins) if ends else 0


def all_spans(done: Iterable[Done], clocks: Mapping[str, ClockOffset]) -> tuple[Span, ...]:
    """One span for each task of the parts that were executed, from the first enqueue on."""
    parts = list(done)
    origin = min((begin for each in parts if (begin := each.begin_ns()) is not None), default=0)
    found: list[Any] = []
    for each in parts:
        found += spans(each.part.tasks, each.part.schedule, each.record, clocks, origin)
    return tuple(found)
