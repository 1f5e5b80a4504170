"""Tables that planners weigh cuts by: they hold what the cost model and the families say, box by box."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codl import hardware as machines
from codl import models
from codl.cost import CostModel
from codl.cost.batch import BatchCosts, Works, region_at, regions_of
from codl.errors import InputError
from codl.graph import Graph, Node, Tensor
from codl.ops import REGISTRY
from codl.ops.spec import Work
from codl.plan.boxes import NOTHING, UNKNOWN, Boxes
from codl.plan.chaining import greedy
from codl.plan.planners import BOTH, make_problem
from codl.plan.problem import Problem
from codl.plan.singles import singles
from codl.region import Region
from tests.fake_cost import FakeCost, hardware
from tests.graphs import Builder, residual
from tests.light_reference import FAMILIES

SD865 = machines.load("sd865")
SHAPE = (2, 5, 3)
ranges = st.tuples(*(st.tuples(st.integers(0, n), st.integers(0, n)) for n in SHAPE))


@given(st.lists(ranges, min_size=1, max_size=30))
@settings(deadline=None, derandomize=True)
def test_a_box_has_one_number_and_no_other_has_it(rows: list[tuple[tuple[int, int], ...]]) -> None:
    boxes = Boxes(SHAPE)
    assert boxes.full == 0 and boxes.number(Region.full(SHAPE)) == 0
    ids = boxes.ids(np.array(rows))
    some = [all(stop > start for start, stop in row) for row in rows]
    assert (ids == NOTHING).tolist() == [not filled for filled in some]
    by_box = {row: number for row, number, filled in zip(rows, ids.tolist(), some, strict=True) if filled}
    assert len(set(by_box.values())) == len(by_box)
    np.testing.assert_array_equal(boxes.ids(np.array(rows)), ids)
    for row, number, filled in zip(rows, ids.tolist(), some, strict=True):
        assert boxes.number(Region(row)) == number
        if filled:
            assert boxes.ranges[number].tolist() == [list(axis) for axis in row]
            assert boxes.sizes(np.array([number]))[0] == Region(row).size
    assert boxes.count == len(set(by_box.values()) | {0})
    assert boxes.sizes(np.array([NOTHING]))[0] == 0


def test_boxes_that_nobody_asked_about_have_no_number() -> None:
    boxes = Boxes((4, 4))
    assert boxes.number(Region(((0, 1), (0, 4)))) == UNKNOWN
    assert Boxes((4, 0)).full == NOTHING
    scalar = Boxes(())
    assert scalar.full == 0 and scalar.sizes(np.array([0]))[0] == 1
    assert scalar.ids(np.zeros((2, 0, 2), dtype=np.int64)).tolist() == [0, 0]


def test_cuts_are_the_boxes_on_both_sides() -> None:
    boxes = Boxes((4, 6))
    before, after = boxes.cut([(0, np.array([1, 3])), (1, np.array([2]))])
    assert boxes.ranges[before].tolist() == [[[0, 1], [0, 6]], [[0, 3], [0, 6]], [[0, 4], [0, 2]]]
    assert boxes.ranges[after].tolist() == [[[1, 4], [0, 6]], [[3, 4], [0, 6]], [[0, 4], [2, 6]]]


def test_a_tensor_too_large_to_number_its_boxes_is_refused() -> None:
    Boxes((2**16, 2**15))
    with pytest.raises(InputError, match="too large to plan for"):
        Boxes((2**16, 2**16))


@pytest.mark.parametrize("family", sorted(FAMILIES))
@given(data=st.data())
@settings(max_examples=25, deadline=None, derandomize=True)
def test_geometry_of_many_boxes_is_that_of_each(family: str, data: st.DataObject) -> None:
    """Families that take many boxes at once say of each what they say of it alone; the others are asked one by one."""
    case = data.draw(FAMILIES[family])
    graph, node = case.graph, case.graph.nodes[0]
    _check_geometry(graph, node)


@pytest.mark.parametrize("model", ["paper/retinaface", "paper/posenet"])
def test_geometry_of_networks_in_bulk(model: str) -> None:
    graph = models.load(model)
    for node in {graph.alike[node.name]: node for node in graph.nodes}.values():
        _check_geometry(graph, node)


def _check_geometry(graph: Graph, node: Node) -> None:
    spec, shape = REGISTRY[node], graph.tensors[node.output].shape
    batch = BatchCosts(CostModel(SD865, graph))
    for axis in spec.dimensions(graph, node).values():
        cuts = np.arange(1, shape[axis])
        rows = np.repeat(np.array([[(0, extent) for extent in shape]]), 2 * len(cuts) + 1, axis=0)
        rows[: len(cuts), axis, 1] = rows[len(cuts) : -1, axis, 0] = cuts
        some = sorted({0, len(cuts) - 1, len(cuts), len(rows) - 1, *range(0, len(rows), 1 + len(rows) // 12)})
        alone = {index: region_at(rows, index) for index in some}
        reads = batch.reads(node, rows)
        for index, box in alone.items():
            assert [region_at(each, index) for each in reads] == list(spec.input_regions(graph, node, box))
        try:
            work = spec.work(graph, node, regions_of(rows))
        except (TypeError, ValueError):
            continue  # asked box by box
        works = Works([work], [len(rows)])
        for index, box in alone.items():
            expected = spec.work(graph, node, box)
            for name in Work.__slots__:
                value = getattr(works, name)
                assert (value[index] if isinstance(value, np.ndarray) else value) == getattr(expected, name), name


def test_a_finished_plan_costs_what_the_cost_model_says() -> None:
    graph, machine = models.load("paper/resnet50v1"), SD865
    problem = make_problem(graph, machine, CostModel(machine, graph), "codl")
    fresh = CostModel(machine, graph)
    for decision in greedy(problem, BOTH).chained:
        parts = problem.parts(decision.chain(problem))
        for processor, piece in parts.pieces.items():
            for name, box in piece.boxes.items():
                node = graph.by_name[name]
                cost, algorithm = problem.tables.kernel(name, box, processor)
                assert cost == fresh.kernel(node, box, processor)
                assert algorithm == parts.algorithms[name][processor] == fresh.algorithm(node, box, processor)


def test_a_chain_is_priced_once(monkeypatch: pytest.MonkeyPatch) -> None:
    graph, machine = residual(), hardware()
    problem = Problem(graph, machine, FakeCost(machine, graph))
    chains = [problem.placed(index, 0) for index in range(len(graph))]
    latency = problem.latency(chains)
    monkeypatch.setattr(FakeCost, "kernel", None)
    assert problem.plan("gpu", chains).predicted_ms == latency.total_ns / 1e6


def test_greedy_search_knows_what_suits_each_operator_alone() -> None:
    graph, machine = residual(), hardware("mapped", "gpu")
    problem = Problem(graph, machine, FakeCost(machine, graph, noise=0.5, launch=200.0))
    assert greedy(problem, BOTH).alone == singles(problem, BOTH)


def alike_pair(**changes: object) -> tuple[int, int]:
    """Whether two convolutions in a row are alike when the second one differs in something."""
    size = changes.pop("size", 8)
    given = {"kernel": (3, 3), "stride": (1, 1), "pads": (1, 1, 1, 1), "dilation": (1, 1), "group": 1}
    tensors = {name: Tensor(name, (1, 8, 8, size if name == "z" else 8)) for name in "xyz"}
    tensors |= {name: Tensor(name, (8, 8, 3, 3)) for name in "vw"}
    nodes = (
        Node("a", "conv", ("x", "v"), ("y",), given),
        Node("b", "conv", ("y", "w"), ("z",), given | changes),
    )
    graph = Graph("pair", nodes, tensors, {}, ("x",), ("z",), executable=False)
    return graph.alike["a"], graph.alike["b"]


def test_operators_of_equal_attributes_and_shapes_are_alike() -> None:
    first, second = alike_pair()
    assert first == second
    for changes in ({"stride": (1, 2), "size": 4}, {"dilation": (1, 2)}, {"size": 6}):
        first, second = alike_pair(**changes)
        assert first != second
    b = Builder((1, 8, 8, 8))
    twice, once = b.add("x", "x"), b.conv("x", 8)
    graph = b.graph(b.add(twice, once))
    doubled, summed = (node for node in graph.nodes if node.op == "binary")
    assert graph.alike[doubled.name] != graph.alike[summed.name]  # it reads one tensor, not two


def test_operators_that_are_alike_are_costed_once_but_for_their_data_type() -> None:
    graph, machine = models.load("paper/retinaface"), SD865
    first, second = next(
        (one, other)
        for one in graph.nodes
        for other in graph.nodes
        if one is not other and graph.alike[one.name] == graph.alike[other.name]
    )
    whole = Region.full(graph.tensors[first.output].shape)
    cost = CostModel(machine, graph, {"gpu": "image"}, {second.name: {"gpu": "buffer"}})
    assert cost.kernel(first, whole, "cpu") is cost.kernel(second, whole, "cpu")
    assert cost.kernel(first, whole, "gpu") == CostModel(machine, graph, {"gpu": "image"}).kernel(first, whole, "gpu")
    buffers = CostModel(machine, graph, {"gpu": "buffer"})
    assert cost.kernel(second, whole, "gpu") == buffers.kernel(second, whole, "gpu")
