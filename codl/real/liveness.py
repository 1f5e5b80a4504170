"""Which intermediate buffers may lie in the same memory: those of which one is done with before the other begins.

Besides taking less memory, a value then is written where another one lay a moment ago: in the caches.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from codl.tasks import Buffer, TaskGraph


def shared_blocks(tasks: TaskGraph, candidates: Iterable[str]) -> Mapping[str, int]:
    """The number of the block that holds each candidate; candidates with one number take turns in one block.

    Two buffers share a block if every task that touches one is ordered before every task that touches the other, by
    dependencies and the lanes' order, and if their memory spaces are the same. Large buffers are placed first.
    """
    before, at = _ancestors(tasks)
    touching: dict[str, int] = {}  # tasks by buffer, as a bit set
    needed: dict[str, int] = {}  # what is ordered before all of them
    for task in tasks.tasks:
        for access in (*task.reads, *task.writes):
            touching[access.buffer] = touching.get(access.buffer, 0) | 1 << at[task.id]
            needed[access.buffer] = needed.get(access.buffer, before[task.id]) & before[task.id]

    def apart(one: Buffer, other: Buffer) -> bool:
        """Whether one is done with before the other begins."""
        a, b = one.name, other.name
        return one.space == other.space and (not touching[a] & ~needed[b] or not touching[b] & ~needed[a])

    blocks: list[list[Buffer]] = []
    chosen: dict[str, int] = {}
    used = (tasks.buffers[name] for name in candidates if name in touching)
    for buffer in sorted(used, key=lambda b: (-b.nbytes, b.name)):
        fitting = (n for n, tenants in enumerate(blocks) if all(apart(buffer, other) for other in tenants))
        number = next(fitting, len(blocks))
        if number == len(blocks):
            blocks.append([])
        blocks[number].append(buffer)
        chosen[buffer.name] = number
    return chosen


def _ancestors(tasks: TaskGraph) -> tuple[Mapping[str, int], Mapping[str, int]]:
    """What is ordered before each task, as a bit set, and each task's bit."""
    at = {task.id: index for index, task in enumerate(tasks.tasks)}
    before: dict[str, int] = {}
    last: dict[str, str] = {}
    for task in tasks.tasks:
        known = 0
        for earlier in (*task.deps, *((last[task.lane],) if task.lane in last else ())):
            known |= before[earlier] | 1 << at[earlier]
        before[task.id] = known
        last[task.lane] = task.id
    return before, at
