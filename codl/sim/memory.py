"""Peak memory of a simulated run: tensors while they live, packed weights for as long as the model is loaded."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from codl.graph import Graph, Node
from codl.ops import Work
from codl.region import Region
from codl.tasks import TaskGraph, TaskKind


def tensor_bytes(tasks: TaskGraph, starts: Sequence[int], ends: Sequence[int]) -> list[tuple[int, int]]:
    """What all tensors' buffers take over time, as (time_ns, bytes) at every change.

    A buffer lives from the start of the first task that writes it to the end of the last that reads (or writes) it;
    inputs live from the beginning and outputs to the end.

    Args:
        starts, ends: times of the tasks, by index.
    """
    born: dict[str, int] = {}
    died: dict[str, int] = {}
    for index, task in enumerate(tasks.tasks):
        for access in task.writes:
            born[access.buffer] = min(starts[index], born.get(access.buffer, starts[index]))
        for access in (*task.reads, *task.writes):
            died[access.buffer] = max(ends[index], died.get(access.buffer, 0))
    last = max(ends, default=0)
    for names in tasks.inputs.values():
        born.update(dict.fromkeys(names, 0))
    died.update(dict.fromkeys(tasks.outputs.values(), last))
    changes: list[tuple[int, int]] = []
    for name, buffer in tasks.buffers.items():
        if name in born:
            changes += [(born[name], buffer.nbytes), (died.get(name, last), -buffer.nbytes)]
    live = 0
    steps = []
    for time, change in sorted(changes):  # at one time, what dies makes room first
        live += change
        steps.append((time, live))
    return steps


def peak_tensor_bytes(tasks: TaskGraph, starts: Sequence[int], ends: Sequence[int]) -> int:
    """The most that all tensors' buffers take at one time (see `tensor_bytes`)."""
    return max((live for _, live in tensor_bytes(tasks, starts, ends)), default=0)


def weight_bytes(tasks: TaskGraph, graph: Graph, work: Callable[[Node, Region], Work]) -> int:
    """Weights packed for each processor that uses them: a height split needs all of them twice, a channel split each
    part once.

    Args:
        work: the work of a region of an operator.
    """
    total = 0
    seen: set[tuple[str, str, Region]] = set()
    for task in tasks.tasks:
        if task.kind is not TaskKind.KERNEL or not task.writes:
            continue
        region = task.writes[0].region
        key = (task.lane, task.op, region)
        if key not in seen:
            seen.add(key)
            total += work(graph.by_name[task.op], region).weight_bytes
    return total
