"""A machine and a cost model with numbers chosen by hand, and random task graphs, for the simulator's tests."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from hypothesis import strategies as st

from codl.graph import Graph, Node
from codl.hardware.schema import Hardware
from codl.ops import REGISTRY, Work
from codl.region import Region
from codl.tasks import COMMANDS, HOST_LANE, Task, TaskGraph, TaskKind

NOTHING = Graph("nothing", (), {}, {}, (), ())


def machine(
    bandwidth: float = 10e9, idle: float = 1.0, active: float = 2.0, contention: float = 1.0,
    lanes: tuple[str, ...] = ("gpu", "cpu"),
) -> Hardware:  # fmt: skip
    """`bandwidth` in bytes a second; powers in watts."""
    processor = {
        "kind": "gpu", "bandwidth": bandwidth, "active_power": active, "contention": contention,
    }  # fmt: skip
    return Hardware.model_validate(
        {
            "name": "bench top",
            "processors": dict.fromkeys(lanes, processor),
            "memory": {"bandwidth": bandwidth, "energy": 0.0},
            "sharing": {"kind": "unified", "pre_sync": 0.0, "post_sync": 0.0},
            "power": {"idle": idle},
            "library": "none",
            "libraries": {"none": {"kernels": {}}},
            "calibration": [{"constants": ["*"], "source": "chosen by hand", "method": "none", "date": "2024-01-01"}],
        }
    )


@dataclass(frozen=True)
class Price:
    duration_ns: int
    nbytes: int = 0
    joules: float = 0.0


@dataclass(frozen=True)
class Prices:
    """A cost model that looks prices up by task id; what is not listed is free."""

    prices: Mapping[str, Price]
    graph: Graph = field(default=NOTHING)

    def task(self, task: Task, handed_over: Task | None = None) -> Price:
        return self.prices.get(task.id, Price(0))

    def work(self, node: Node, out: Region) -> Work:
        return REGISTRY[node].work(self.graph, node, out)


def task_graph(*tasks: Task) -> TaskGraph:
    lanes = tuple(dict.fromkeys((HOST_LANE, *(task.lane for task in tasks))))
    return TaskGraph("model", "plan", "hardware", lanes, {}, tasks, {}, {})


def kernel(name: str, lane: str, *deps: str) -> Task:
    return Task(name, TaskKind.KERNEL, lane, deps=deps)


def waits(tasks: TaskGraph) -> dict[str, set[str]]:
    """By task, those whose end it waits for: its dependencies, the lane's previous task, and for a SYNC the enqueue of
    the lane's next command, unless the host waits for something in between."""
    found: dict[str, set[str]] = {}
    for index, task in enumerate(tasks.tasks):
        found[task.id] = {*task.deps, *[t.id for t in tasks.tasks[:index] if t.lane == task.lane][-1:]}
        after = [t for t in tasks.tasks[index + 1 :] if t.lane == task.lane and t.kind in COMMANDS]
        if task.kind is TaskKind.SYNC and task.lane != HOST_LANE and after:
            between = tasks.tasks[index + 1 : tasks.tasks.index(after[0])]
            enqueue = next((dep for dep in after[0].deps if tasks.by_id[dep].kind is TaskKind.ENQUEUE), None)
            if enqueue and not any(t.deps for t in between if t.lane == HOST_LANE):
                found[task.id].add(enqueue)
    return found


@st.composite
def workloads(draw: st.DrawFn, lanes: int = 3, most: int = 25) -> tuple[TaskGraph, Prices]:
    """Any task graph (of kernels, syncs and enqueues) with any prices."""
    tasks: list[Task] = []
    prices: dict[str, Price] = {}
    names = [HOST_LANE, *(f"p{i}" for i in range(draw(st.integers(1, lanes))))]
    for index in range(draw(st.integers(1, most))):
        lane = draw(st.sampled_from(names))
        deps = tuple(draw(st.sets(st.sampled_from([t.id for t in tasks]), max_size=3))) if tasks else ()
        deps = tuple(sorted(deps))
        if lane == HOST_LANE:
            kind = TaskKind.ENQUEUE
        else:
            kind = draw(st.sampled_from([TaskKind.KERNEL, TaskKind.KERNEL, TaskKind.SYNC]))
        task = Task(f"t{index:02d}@{lane}", kind, lane, deps=deps, why="because" if kind is TaskKind.SYNC else "")
        tasks.append(task)
        traffic = st.one_of(st.just(0), st.integers(0, 40_000)) if kind is TaskKind.KERNEL else st.just(0)
        duration = draw(st.one_of(st.just(0), st.integers(0, 2_000)))
        prices[task.id] = Price(duration, draw(traffic), draw(st.floats(0, 1e-3)))
    return task_graph(*tasks), Prices(prices)
