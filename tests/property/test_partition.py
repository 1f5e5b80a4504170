"""The partition geometry against definitions that enumerate elements: what is computed where, and what that reads.

Longer than other modules: the four steps of one geometry (boxes, windows, cuts, chains), which mutation tests
take as one.
"""

from __future__ import annotations

from fractions import Fraction
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codl.errors import ModelError, PlanError
from codl.graph import Graph, Node, Tensor
from codl.ops import Dimension
from codl.ops.window import Window, channels_of_groups, empty_input, group_spans, has_bias
from codl.plan.partition import chain_regions, exits, external_reads, output_parts, parts, placed_regions
from codl.region import Region, Regions
from tests.graphs import Builder, networks
from tests.plans import plans

Axes = list[set[int]]
"""The elements of a box by axis: it holds what their product does."""


# -- boxes -------------------------------------------------------------------------------------------------------------

ranges = st.tuples(st.integers(0, 5), st.integers(0, 5)).map(lambda pair: (min(pair), max(pair)))
boxes = st.lists(ranges, min_size=3, max_size=3).map(lambda rows: Region(tuple(rows)))


def points(box: Region) -> set[tuple[int, ...]]:
    return set(product(*(range(low, high) for low, high in box.ranges)))


@given(boxes, boxes)
def test_boxes_are_sets_of_elements(a: Region, b: Region) -> None:
    assert a.size == len(points(a)) and a.empty == (not points(a))
    assert a.shape == tuple(high - low for low, high in a.ranges) and a.start == tuple(low for low, _ in a.ranges)
    assert points(a.intersect(b)) == points(a) & points(b)
    assert all(low <= high for low, high in a.intersect(b).ranges)
    assert a.contains(b) == (points(b) <= points(a))
    assert a.overlaps(b) == bool(points(a) & points(b))
    united = points(a) | points(b)
    assert a.hull(b).contains(a) and a.hull(b).contains(b)
    for axis in range(3) if united else ():  # no smaller box would do
        values = {point[axis] for point in united}
        assert a.hull(b).ranges[axis] == (min(values), max(values) + 1)


@given(boxes, st.integers(0, 2), ranges)
def test_along_replaces_one_axis(box: Region, axis: int, new: tuple[int, int]) -> None:
    moved = box.along(axis, *new)
    assert [moved.ranges[i] for i in range(3)] == [new if i == axis else box.ranges[i] for i in range(3)]


def test_boxes_in_words_and_whole_tensors() -> None:
    assert str(Region(((0, 3), (1, 2)))) == "[0:3, 1:2]"
    assert Region.full((2, 5)).ranges == ((0, 2), (0, 5))
    assert Region.full(()).size == 1 and not Region.full(()).empty
    assert Regions(((np.array([0, 1]), np.array([2, 3])),)).empty is False


# -- windows -----------------------------------------------------------------------------------------------------------


@st.composite
def windows(draw: st.DrawFn, padded: bool = False) -> Window:
    pair = st.tuples(st.integers(1, 4), st.integers(1, 4))
    pads = tuple(draw(st.lists(st.integers(0, 3), min_size=4, max_size=4)))
    return Window(draw(pair), draw(pair), pads, draw(pair), padded)


def taps(window: Window, direction: int) -> list[int]:
    return [tap * window.dilation[direction] for tap in range(window.kernel[direction])]


@given(windows(), st.integers(0, 1), ranges, st.integers(1, 12))
def test_a_window_reads_the_rows_under_its_taps(
    window: Window, direction: int, out: tuple[int, int], extent: int
) -> None:
    under = {
        o * window.stride[direction] - window.pads[direction] + t for o in range(*out) for t in taps(window, direction)
    }
    read = {row for row in under if 0 <= row < extent}
    low, high = window.reads(direction, out, extent)
    assert 0 <= low <= high <= extent
    assert read <= set(range(low, high))
    if under:  # tight, but for rows between taps and between windows
        assert (low, high) == (min(max(min(under), 0), extent), max(low, min(max(under) + 1, extent)))
    else:
        assert (low, high) == (0, 0)
    assert window.taps == len(taps(window, 0)) * len(taps(window, 1))


@given(windows(padded=True), st.integers(0, 1), ranges, st.integers(1, 12))
def test_padding_that_counts_as_input_moves_the_range_inwards(
    window: Window, direction: int, out: tuple[int, int], extent: int
) -> None:
    low, high = window.reads(direction, out, extent)
    if out[0] == out[1]:
        assert (low, high) == (0, 0)
        return
    first = out[0] * window.stride[direction] - window.pads[direction]
    count = (out[1] - 1 - out[0]) * window.stride[direction] + taps(window, direction)[-1] + 1
    assert high - low == min(count, extent)
    places = range(extent - (high - low) + 1)
    assert abs(low - first) == min(abs(place - first) for place in places)


@given(st.booleans().flatmap(windows), st.integers(0, 1), st.lists(ranges, min_size=1, max_size=4), st.integers(1, 12))
def test_many_ranges_at_once_read_what_each_reads(
    window: Window, direction: int, outs: list[tuple[int, int]], extent: int
) -> None:
    outs = [out for out in outs if out[0] < out[1]] or [(0, 1)]
    starts, stops = (np.array(column) for column in zip(*outs, strict=True))
    expected = [window.reads(direction, out, extent) for out in outs]
    low, high = window.reads(direction, (starts, stops), extent)
    assert list(zip(low.tolist(), high.tolist(), strict=True)) == expected
    several = np.arange(3)
    for one_end in ((2, 3 + several), (several, 4)):  # the other end is the same for all
        low, high = (np.broadcast_to(end, 3).tolist() for end in window.reads(direction, one_end, extent))
        each = [np.broadcast_to(end, 3) for end in one_end]
        assert [*zip(low, high, strict=True)] == [
            window.reads(direction, (int(a), int(b)), extent) for a, b in zip(*each, strict=True)
        ]
    assert channels_of_groups((starts, stops), 2, 3)[1].tolist() == [channels_of_groups(o, 2, 3)[1] for o in outs]


@given(windows(), st.integers(0, 1), ranges, st.integers(1, 12))
def test_a_transposed_window_is_reached_by_the_rows_that_it_scatters_from(
    window: Window, direction: int, out: tuple[int, int], extent: int
) -> None:
    reaching = {
        i
        for i in range(extent)
        for t in taps(window, direction)
        if i * window.stride[direction] - window.pads[direction] + t in range(*out)
    }
    low, high = window.scattered_from(direction, out, extent)
    assert (low, high) == ((min(reaching), max(reaching) + 1) if reaching else (0, 0))


@given(ranges, st.integers(1, 4), st.integers(1, 4))
def test_groups_read_their_own_channels(out: tuple[int, int], per_out: int, per_in: int) -> None:
    read = {c for o in range(*out) for c in range(o // per_out * per_in, (o // per_out + 1) * per_in)}
    assert channels_of_groups(out, per_out, per_in) == ((min(read), max(read) + 1) if read else (0, 0))


@given(st.tuples(st.integers(0, 30), st.integers(0, 30)).map(sorted), st.integers(1, 7))
def test_spans_of_groups_cover_the_channels_in_order(channels: list[int], per_group: int) -> None:
    spans = group_spans((channels[0], channels[1]), per_group)
    covered = [(first + g) * per_group + c for first, count, start, stop in map(_span, spans) for g in range(count)
               for c in range(start, stop)]  # fmt: skip
    assert covered == list(range(*channels))
    assert all(span.count == 1 or span.size == per_group for span in spans)
    assert sum(span.count * span.size for span in spans) == len(covered)
    assert len(spans) <= 3  # a cut group, whole groups, a cut group
    table = np.arange(8 * 5 * per_group).reshape(-1, per_group)
    assert [v for span in spans for v in table[span.slices].ravel().tolist()] == covered


def _span(span) -> tuple[int, int, int, int]:
    return span.first, span.count, span.start, span.stop


def test_attributes_of_a_window() -> None:
    assert Window((3, 3), (1, 1), (1, 1, 1, 1), (1, 1)).padded_input is False
    attributes = {"kernel": (3, 2), "stride": (1, 2), "dilation": (1, 1), "pads": (0, 1, 2, 3)}
    node = Node("c", "conv", ("x", "w"), ("y",), attributes)
    assert Window.of(node) == Window((3, 2), (1, 2), (0, 1, 2, 3), (1, 1), False)
    assert Window.of(Node("c", "conv", ("x", "w"), ("y",), {**attributes, "padded_input": 1})).padded_input is True
    for name, broken in (("kernel", (3,)), ("pads", (0, 0)), ("stride", None), ("dilation", ("a", 1))):
        with pytest.raises(ModelError, match=r"c: conv needs kernel, stride, dilation .2 numbers each. and pads .4."):
            Window.of(Node("c", "conv", ("x", "w"), ("y",), {**attributes, name: broken}))
    assert not has_bias(node) and not has_bias(Node("c", "conv", ("x", "w", ""), ("y",)))
    assert has_bias(Node("c", "conv", ("x", "w", "b"), ("y",)))
    box = ((0, 1), (2, 3))
    assert empty_input(Region(((0, 1),)), box) == Region(box)
    assert empty_input(Region(((1, 1),)), box) == Region(((0, 0), (0, 0)))


# -- cutting -----------------------------------------------------------------------------------------------------------


@given(st.integers(1, 60), st.lists(st.integers(0, 20), min_size=1, max_size=4), st.sampled_from([1, 2, 4, 32]))
def test_cuts_are_the_multiples_nearest_to_the_shares(extent: int, weights: list[int], alignment: int) -> None:
    weights[-1] += 1
    shares = {f"p{i}": weight / sum(weights) for i, weight in enumerate(weights)}
    dealt = parts(extent, shares, alignment)
    assert list(dealt) == [name for name in shares if name in dealt]  # in dealing order
    assert [row for low, high in dealt.values() for row in range(low, high)] == list(range(extent))
    assert all(low < high for low, high in dealt.values())
    exact = Fraction(0)
    for index, (name, weight) in enumerate(zip(list(shares)[:-1], weights, strict=False)):
        exact += Fraction(weight, sum(weights)) * extent
        cut = max([stop for other, (_, stop) in dealt.items() if int(other[1:]) <= index], default=0)
        assert cut in (0, extent) or cut % alignment == 0, name
        nearest = min(abs(place - exact) for place in {*range(0, extent, alignment), extent})
        rounded = abs(min(extent, cut) - exact) - nearest
        # Beyond the last multiple the whole extent may be nearer than the multiple that is rounded to.
        assert rounded <= (alignment if exact > extent - alignment else 0) + Fraction(1, 10**9)


def test_a_share_that_rounds_to_nothing_gets_nothing() -> None:
    assert parts(8, {"gpu": 0.9, "cpu": 0.1}, 4) == {"gpu": (0, 8)}
    assert parts(8, {"gpu": 0.1, "cpu": 0.9}, 4) == {"cpu": (0, 8)}
    assert parts(8, {"gpu": 0.6, "cpu": 0.4}, 4) == {"gpu": (0, 4), "cpu": (4, 8)}
    assert parts(10, {"gpu": 0.5, "cpu": 0.5}) == {"gpu": (0, 5), "cpu": (5, 10)}
    assert parts(5, {"a": 0.99, "b": 0.005, "c": 0.005}, 4) == {"a": (0, 4), "c": (4, 5)}
    assert parts(7, {"a": 0.99, "b": 0.01}, 4) == {"a": (0, 7)}  # 6.93 is nearer to 8 than to 4: everything


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_every_element_of_the_output_is_made_exactly_once(data: st.DataObject) -> None:
    b = Builder((1, 3, data.draw(st.integers(1, 12)), data.draw(st.integers(1, 9))))
    graph = b.graph(b.conv("x", data.draw(st.integers(1, 9))))
    dimension = data.draw(st.sampled_from(list(Dimension)))
    weights = data.draw(st.lists(st.integers(1, 9), min_size=1, max_size=3))
    shares = {f"p{i}": weight / sum(weights) for i, weight in enumerate(weights)}
    made = np.zeros(graph.tensors[graph.outputs[0]].shape, int)
    found = output_parts(graph, graph.nodes[0].name, dimension, shares, data.draw(st.sampled_from([1, 2, 4])))
    for region in found.values():
        made[tuple(slice(low, high) for low, high in region.ranges)] += 1
    assert (made == 1).all()
    axis = {Dimension.HEIGHT: 2, Dimension.WIDTH: 3, Dimension.OUTPUT_CHANNEL: 1}[dimension]
    assert all(r == (0, made.shape[i]) for region in found.values() for i, r in enumerate(region.ranges) if i != axis)


def test_what_cannot_be_cut_runs_whole_or_is_refused() -> None:
    b = Builder()
    graph = b.graph(b.gemm(b.flatten(b.conv("x", 8)), 5))
    conv, flatten, gemm = graph.nodes
    whole = Region.full(graph.tensors[conv.output].shape)
    assert output_parts(graph, conv.name, None, {"gpu": 0.5, "cpu": 0.5}) == {"gpu": whole}
    assert output_parts(graph, flatten.name, Dimension.HEIGHT, {"cpu": 1.0}) == {
        "cpu": Region.full(graph.tensors[flatten.output].shape)
    }
    with pytest.raises(PlanError, match=f"{gemm.name} cannot be split along width; allowed: output_channel"):
        output_parts(graph, gemm.name, Dimension.WIDTH, {"gpu": 0.5, "cpu": 0.5})
    with pytest.raises(PlanError, match=r"cannot be split along height; allowed: none, it runs whole$"):
        output_parts(graph, flatten.name, Dimension.HEIGHT, {"gpu": 0.5, "cpu": 0.5})
    column = Builder((1, 4, 12, 1))
    thin = column.graph(column.relu("x"))  # an axis of one element cannot be cut
    with pytest.raises(
        PlanError, match=r"cannot be split along width; allowed: (height, output_channel|output_channel, height)$"
    ):
        output_parts(thin, thin.nodes[0].name, Dimension.WIDTH, {"gpu": 0.5, "cpu": 0.5})
    assert output_parts(graph, conv.name, Dimension.OUTPUT_CHANNEL, {"a": 0.4, "b": 0.6})["a"].ranges[1] == (0, 3)


# -- chains ------------------------------------------------------------------------------------------------------------


def naive_reads(graph: Graph, node: Node, made: Axes) -> list[Axes]:
    """The elements of each variable input that computing these elements reads, from the operators' definitions."""
    batch, channels, *space = made
    if node.op in ("conv", "pool"):
        kernel, stride, pads = (node.attributes[key] for key in ("kernel", "stride", "pads"))
        shape = graph.tensors[node.inputs[0]].shape
        for axis in (0, 1):
            space[axis] = {o * stride[axis] - pads[axis] + k for o in space[axis] for k in range(kernel[axis])}
            space[axis] &= set(range(shape[2 + axis]))
        if node.op == "conv":
            groups = node.attributes["group"]
            per_in, per_out = shape[1] // groups, graph.tensors[node.output].shape[1] // groups
            channels = {c for o in channels for c in range(o // per_out * per_in, (o // per_out + 1) * per_in)}
        return [[batch, channels, *space]]
    if node.op == "concat":
        found, start = [], 0
        for value in node.inputs:
            extent = graph.tensors[value].shape[1]
            mine = {c - start for c in channels if start <= c < start + extent}
            found.append([set(batch), mine, *(set(s) for s in space)])
            start += extent
        return found
    assert node.op in ("binary", "unary")
    return [[set(axis) for axis in made] for _ in node.inputs]


def elements(box: Region) -> Axes:
    return [set(range(low, high)) for low, high in box.ranges]


def enclosing(axes: Axes) -> Region:
    return Region(tuple((min(axis), max(axis) + 1) for axis in axes))


def naive_chain(graph: Graph, operators: tuple[str, ...], part: Region) -> tuple[dict[str, Region], dict[str, Region]]:
    """(box of each operator, box of each value from before the chain) that making a part of the last output takes."""
    needed: dict[str, Axes] = {graph.by_name[operators[-1]].output: elements(part)}
    own = {}
    for name in reversed(operators):
        node = graph.by_name[name]
        if node.output in needed:
            own[name] = enclosing(needed[node.output])
            for value, axes in zip(
                [v for v in node.inputs if v not in graph.constants],
                naive_reads(graph, node, elements(own[name])), strict=True,
            ):  # fmt: skip
                if all(axes):
                    old = needed.get(value, [set() for _ in axes])
                    needed[value] = [a | b for a, b in zip(old, axes, strict=True)]
    inside = {graph.by_name[name].output for name in operators}
    return own, {value: enclosing(axes) for value, axes in needed.items() if value not in inside}


@given(st.data())
@settings(max_examples=80, deadline=None)
def test_chains_compute_and_read_what_a_walk_over_elements_finds(data: st.DataObject) -> None:
    graph = data.draw(networks())
    plan = data.draw(plans(graph))
    for chain in plan.chains:
        dealt = output_parts(graph, chain.operators[-1], chain.dimension, chain.shares)
        found = chain_regions(graph, chain.operators, dealt)
        assert list(found) == list(dealt)
        inside = {graph.by_name[name].output for name in chain.operators}
        for processor, own in found.items():
            if len(dealt) == 1:  # on one processor, everything is computed, needed or not
                assert own == {n: Region.full(graph.tensors[graph.by_name[n].output].shape) for n in chain.operators}
                continue
            expected, outside = naive_chain(graph, chain.operators, dealt[processor])
            assert own == expected and list(own) == [name for name in chain.operators if name in own]
            assert external_reads(graph, own, inside) == outside
        users = {v: {n.name for n in graph.nodes if v in n.inputs} for v in inside}
        assert exits(graph, chain.operators) == tuple(
            v
            for n in chain.operators
            for v in graph.by_name[n].outputs
            if v in graph.outputs or users[v] - set(chain.operators)
        )


def test_an_operator_that_a_part_needs_nothing_of_is_left_out() -> None:
    """Of two branches that are concatenated, each processor computes the one that makes its channels."""
    b = Builder()
    first, second = b.conv("x", 8), b.conv("x", 4)
    graph = b.graph(b.concat(first, second))
    names = [node.name for node in graph.nodes]
    dealt = output_parts(graph, names[-1], Dimension.OUTPUT_CHANNEL, {"gpu": 2 / 3, "cpu": 1 / 3})
    found = chain_regions(graph, names, dealt)
    assert set(found["gpu"]) == {first, names[-1]} and set(found["cpu"]) == {second, names[-1]}
    assert found["cpu"][second] == Region.full((1, 4, 12, 10))
    reads = external_reads(graph, {names[-1]: dealt["cpu"]}, set())
    assert reads == {second: Region.full((1, 4, 12, 10))}  # and nothing of the other branch
    assert exits(graph, names[:2]) == (first, second)


@pytest.mark.parametrize("kernels", [(1, 3), (3, 1)])
def test_what_two_operators_read_of_one_value_is_needed_whole(kernels: tuple[int, int]) -> None:
    """Whichever of them comes first: the one without a halo must not replace the other's need."""
    b = Builder()
    stem = b.conv("x", 4, 1)
    graph = b.graph(b.add(*(b.conv(stem, 4, kernel) for kernel in kernels)))
    names = [node.name for node in graph.nodes]
    upper = output_parts(graph, names[-1], Dimension.HEIGHT, {"gpu": 0.5, "cpu": 0.5})["gpu"]
    own = chain_regions(graph, names, {"gpu": upper, "cpu": upper})["gpu"]
    assert upper.ranges[2] == (0, 6) and own[stem].ranges[2] == (0, 7)
    assert external_reads(graph, {name: own[name] for name in names[1:]}, set(names[1:]))[stem].ranges[2] == (0, 7)


def test_outputs_that_are_left_out_leave_no_chain() -> None:
    tensors = {name: Tensor(name, (1, 2)) for name in ("x", "a", "b", "y")}
    nodes = (Node("n", "unary", ("x",), ("a", "", "b")), Node("m", "unary", ("b",), ("y",)))
    graph = Graph("g", nodes, tensors, {}, ("x",), ("y", "a"))
    assert exits(graph, ["n"]) == ("a", "b")
    assert exits(graph, ["n", "m"]) == ("a", "y")


def test_operators_side_by_side_are_computed_whole() -> None:
    b = Builder((1, 4, 6, 5))
    left, right = b.conv("x", 8), b.pool("x")
    graph = b.graph(left)
    names = {value: graph.producer[value].name for value in (left, right)}
    found = placed_regions(graph, {"gpu": (names[left],), "cpu": (names[right],)})
    assert found == {
        "gpu": {names[left]: Region.full(graph.tensors[left].shape)},
        "cpu": {names[right]: Region.full(graph.tensors[right].shape)},
    }
