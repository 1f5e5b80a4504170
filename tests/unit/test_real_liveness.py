"""Intermediate buffers that take turns in one block of memory."""

from __future__ import annotations

from codl.real.liveness import shared_blocks
from codl.region import Region
from codl.tasks import Access, Buffer, Task, TaskGraph, TaskKind

BOX = Region(((0, 4),))


def graph(*tasks: Task, sizes: dict[str, int] | None = None, space: str = "shared") -> TaskGraph:
    names = dict.fromkeys(access.buffer for task in tasks for access in (*task.reads, *task.writes))
    buffers = {name: Buffer(name, name, BOX, space, (sizes or {}).get(name, 16)) for name in names}
    return TaskGraph("m", "p", "h", ("gpu", "cpu", "host"), buffers, tasks, {}, {})


def kernel(name: str, reads: str, writes: str, lane: str = "gpu", deps: tuple[str, ...] = ()) -> Task:
    def accesses(names: str) -> tuple[Access, ...]:
        return tuple(Access(n, BOX) for n in names.split())

    return Task(name, TaskKind.KERNEL, lane, deps=deps, reads=accesses(reads), writes=accesses(writes))


def test_a_chain_needs_two_blocks() -> None:
    tasks = graph(kernel("1", "", "a"), kernel("2", "a", "b"), kernel("3", "b", "c"), kernel("4", "c", "d"))
    blocks = shared_blocks(tasks, "abcd")
    assert blocks["a"] == blocks["c"] != blocks["b"] == blocks["d"]


def test_a_value_that_is_read_again_keeps_its_block() -> None:
    tasks = graph(kernel("1", "", "a"), kernel("2", "a", "b"), kernel("3", "b", "c"), kernel("4", "a c", "d"))
    blocks = shared_blocks(tasks, "abcd")
    assert len({blocks["a"], blocks["b"], blocks["c"]}) == 3
    assert blocks["d"] == blocks["b"]


def test_lanes_that_do_not_wait_for_each_other_share_nothing() -> None:
    first = kernel("1", "", "a")
    apart = graph(first, kernel("2", "", "b", "cpu"))
    ordered = graph(first, kernel("2", "", "b", "cpu", deps=("1",)))
    assert len(set(shared_blocks(apart, "ab").values())) == 2
    assert len(set(shared_blocks(ordered, "ab").values())) == 1


def test_a_buffer_that_two_lanes_fill_waits_for_both() -> None:
    tasks = graph(
        kernel("1", "", "a"), kernel("2", "a", "b"), kernel("3", "", "c", "cpu", deps=("2",)), kernel("4", "b", "c")
    )
    assert shared_blocks(tasks, "ac")["a"] == shared_blocks(tasks, "ac")["c"]
    early = graph(kernel("1", "", "a"), kernel("2", "a", "b"), kernel("3", "", "c", "cpu"), kernel("4", "b", "c"))
    assert shared_blocks(early, "ac")["a"] != shared_blocks(early, "ac")["c"]


def test_memories_are_not_mixed_and_only_candidates_are_placed() -> None:
    mixed = graph(kernel("1", "", "a"), kernel("2", "a", "b"), kernel("3", "b", "c"))
    buffers = {**mixed.buffers, "c": Buffer("c", "c", BOX, "cpu", 16)}
    tasks = TaskGraph("m", "p", "h", mixed.lanes, buffers, mixed.tasks, {}, {})
    blocks = shared_blocks(tasks, "ac")
    assert set(blocks) == {"a", "c"}
    assert blocks["a"] != blocks["c"]
