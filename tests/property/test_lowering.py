"""Any legal plan of any network lowers to a task graph that obeys the rules of the command language."""

from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from codl.graph import Graph
from codl.ops.launch import View, stretches
from codl.plan.lower import lower
from codl.plan.partition import chain_regions, output_parts, parts
from codl.real.rectangles import rectangles
from codl.region import Region
from codl.tasks import COMMANDS, HOST_LANE, PACKED, TaskKind, covers
from tests.graphs import networks
from tests.plans import plans


@given(st.integers(1, 200), st.lists(st.floats(0.01, 1), min_size=1, max_size=4), st.sampled_from([1, 2, 4, 32]))
def test_parts_cover_each_row_once_and_cut_at_blocks(extent: int, weights: list[float], alignment: int) -> None:
    shares = {f"p{i}": w / sum(weights) for i, w in enumerate(weights)}
    dealt = list(parts(extent, shares, alignment).values())
    assert dealt[0][0] == 0 and dealt[-1][1] == extent
    for (_, stop), (start, _) in pairwise(dealt):
        assert stop == start and stop % alignment == 0


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_every_plan_lowers_to_a_legal_task_graph(data: st.DataObject) -> None:
    graph = data.draw(networks())
    plan = data.draw(plans(graph, mixed=True))
    tasks = lower(graph, plan)  # lower() checks order, data flow, accesses and outputs
    assert len(tasks.tasks) == len({t.id for t in tasks.tasks})
    _each_output_once(graph, tasks)
    enqueued = [t for t in tasks.tasks if t.kind is TaskKind.ENQUEUE]
    assert len(enqueued) == sum(t.kind in COMMANDS for t in tasks.tasks)
    if plan.sharing == "unified" and plan.processors["gpu"].data_type == "buffer":
        assert {t.kind for t in tasks.tasks} <= {TaskKind.ENQUEUE, TaskKind.KERNEL, TaskKind.SYNC}
    used = {name for chain in plan.chains for name in chain.shares}
    if len(used) == 1 and plan.sharing != "copied":
        waits = [t for t in tasks.tasks if t.kind is TaskKind.SYNC]
        assert [t.lane for t in waits] == ["host"], "one processor alone has nobody to wait for"


def _each_output_once(graph: Graph, tasks) -> None:
    """The parts of a boundary tensor that kernels write are disjoint and cover it."""
    for value in graph.outputs:
        boxes = [
            a.region
            for t in tasks.tasks
            if t.kind is TaskKind.KERNEL
            for a in t.writes
            if tasks.buffers[a.buffer].tensor == value
        ]
        assert covers(boxes, Region.full(graph.tensors[value].shape))
        assert sum(box.size for box in boxes) == graph.tensors[value].size


@given(st.data())
@settings(max_examples=100, deadline=None)
def test_chain_regions_hold_what_later_operators_read(data: st.DataObject) -> None:
    from codl.ops import REGISTRY

    graph = data.draw(networks())
    plan = data.draw(plans(graph))
    for chain in plan.chains:
        dealt = output_parts(graph, chain.operators[-1], chain.dimension, chain.shares)
        for own in chain_regions(graph, chain.operators, dealt).values():
            for name, region in own.items():
                node = graph.by_name[name]
                reads = REGISTRY[node].input_regions(graph, node, region)
                for (_, tensor), box in zip(graph.variable_inputs(node), reads, strict=True):
                    maker = graph.producer.get(tensor.name)
                    if maker is not None and maker.name in chain.operators and not box.empty:
                        assert own[maker.name].contains(box)


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_the_host_waits_where_queues_of_two_memories_cannot(data: st.DataObject) -> None:
    """For a copy in many pieces before it goes on; for one into the host's memory before that lane's next command, and
    for that lane's last one before the copy."""
    graph = data.draw(networks())
    tasks = lower(graph, data.draw(plans(graph)).model_copy(update={"sharing": "copied", "home": None}))
    positions = {task.id: index for index, task in enumerate(tasks.tasks)}
    waits = [t for t in tasks.tasks if t.kind is TaskKind.SYNC and t.lane == HOST_LANE]
    waited = {dep: positions[t.id] for t in reversed(waits) for dep in t.deps}
    for copy in (t for t in tasks.tasks if t.kind is TaskKind.COPY):
        here = positions[copy.id]
        before = [t.id for t in tasks.tasks[:here] if t.kind in COMMANDS and t.lane == copy.lane]
        if copy.lane == "cpu" and before and copy.source != "host":
            assert waited[before[-1]] < positions[copy.deps[0]]
        later = [positions[t.id] for t in tasks.tasks[here + 1 :] if t.kind is TaskKind.ENQUEUE]
        mine = [positions[t.id] for t in tasks.tasks[here + 1 :] if t.kind in COMMANDS and t.lane == copy.lane]
        if copy.algorithm == PACKED:
            assert waited[copy.id] < min(later, default=len(tasks.tasks))
        elif copy.lane == "cpu":
            assert waited[copy.id] < min(mine, default=len(tasks.tasks))
        else:
            assert copy.id not in waited or not later, "the next command follows it in the same queue"


@given(st.data())
def test_a_box_has_as_many_stretches_as_its_rectangle_copies_have_rows(data: st.DataObject) -> None:
    shape = data.draw(st.lists(st.integers(1, 6), min_size=1, max_size=4))
    bounds = [sorted(data.draw(st.tuples(st.integers(0, n), st.integers(0, n)))) for n in shape]
    whole, box = Region.full(tuple(shape)), Region(tuple((start, stop) for start, stop in bounds))
    view = View.of(whole)
    rows = sum(each.size[1] * each.size[2] for each in rectangles(view, view, box, itemsize=4))
    assert stretches(box, whole) == rows
