"""Plans with a home processor, MACE's habit: every co-executed result is taken in there, and shared anew from there."""

import pytest

from codl.graph import Graph
from codl.models.operator_list import list_graph, parse_rows
from codl.ops import REGISTRY, Dimension
from codl.plan.evaluate import plan_latency
from codl.plan.lower import lower
from codl.plan.model import Chain, Plan
from codl.region import Region
from codl.tasks import HOST_LANE, TaskKind
from tests.fake_cost import FakeCost, hardware
from tests.graphs import Builder
from tests.plans import plan_of

HALF = {"gpu": 0.5, "cpu": 0.5}


def line() -> Graph:
    b = Builder()
    return b.graph(b.conv(b.conv(b.conv("x", 8), 8), 8))


def branches() -> Graph:
    """Two convolutions of one tensor."""
    b = Builder()
    trunk = b.conv("x", 8)
    return b.graph(b.conv(trunk, 8), b.conv(trunk, 8))


def halved(graph: Graph, home: str | None) -> Plan:
    chains = [Chain(operators=(node.name,), dimension=Dimension.HEIGHT, shares=HALF) for node in graph.nodes]
    return plan_of(graph, chains, "mapped", True, home=home)


@pytest.mark.parametrize("home", [None, "gpu"])
def test_what_the_other_processor_made_is_shared_anew(home: str | None) -> None:
    """Of its own half, the CPU needs only the halo without a home, and everything with one."""
    graph = line()
    for_cpu = [
        task
        for task in lower(graph, halved(graph, home)).tasks
        if task.kind is TaskKind.TRANSFORM and "for-cpu" in task.id
    ]
    moved = [sum(task.nbytes for task in for_cpu if task.chain == chain) for chain in ("c01", "c02")]
    halves = [graph.tensors[node.inputs[0]].nbytes / 2 for node in graph.nodes[1:3]]
    for nbytes, half in zip(moved, halves, strict=True):
        assert (nbytes >= half) == (home == "gpu")


def test_what_a_co_executed_chain_read_is_not_kept() -> None:
    """Two operators that read one tensor share it twice."""
    graph = branches()
    with_home = plan_latency(graph, halved(graph, "gpu"), FakeCost(hardware("mapped", "gpu", image=True), graph))
    shares = {chain.operators[0]: chain.share for chain in with_home.chains}
    readers = [node for node in graph.nodes if node.inputs[0] == graph.nodes[0].output]
    assert len(readers) == 2
    assert all(shares[node.name].sync > 0 and shares[node.name].move > 0 for node in readers)


def test_both_parts_begin_when_the_host_has_waited() -> None:
    graph = line()
    tasks = lower(graph, halved(graph, "gpu"))
    for chain in {task.chain for task in tasks.tasks if task.kind is TaskKind.KERNEL}:
        order = [task for task in tasks.tasks if task.chain == chain]
        wait = next(i for i, task in enumerate(order) if task.kind is TaskKind.SYNC and task.lane == HOST_LANE)
        assert all(order.index(task) > wait for task in order if task.kind is TaskKind.KERNEL)


def test_a_listed_operator_reads_as_many_rows_at_the_border_as_elsewhere() -> None:
    text = "op,kind,in_h_padded,in_w_padded,in_channels,out_channels,kernel_h,kernel_w,stride_h,stride_w\n"
    graph = list_graph(parse_rows(text + "0,conv,16,16,8,8,3,3,1,1\n1,conv,16,16,8,8,3,3,1,1\n", "test"), "two")
    node = graph.nodes[1]  # reads 14 rows and 2 of padding
    spec = REGISTRY[node]

    def rows(start: int, stop: int) -> tuple[int, int]:
        out = Region.full(graph.tensors[node.output].shape).along(2, start, stop)
        return spec.input_regions(graph, node, out)[0].ranges[2]

    assert rows(0, 7) == (0, 9)
    assert rows(3, 7) == (2, 8)
    assert rows(7, 14) == (5, 14)
    assert rows(0, 14) == (0, 14)
