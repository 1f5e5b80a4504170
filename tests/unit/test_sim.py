"""The simulator on cases small enough to work out by hand."""

from __future__ import annotations

import pytest

from codl.errors import InputError, PlanError
from codl.ops import Dimension
from codl.plan.lower import lower
from codl.region import Region
from codl.sim import replay, simulate
from codl.sim.bandwidth import BandwidthServer, max_min_fair
from codl.sim.lanes import Lanes, Order
from codl.sim.memory import peak_tensor_bytes, weight_bytes
from codl.sim.metrics import power_steps
from codl.tasks import HOST_LANE, SHARED, Access, Buffer, Task, TaskGraph, TaskKind
from codl.trace import Span
from tests.graphs import residual
from tests.machines import Price, Prices, kernel, machine, task_graph
from tests.plans import placed, split


def enqueue(name: str) -> Task:
    return Task(name, TaskKind.ENQUEUE, HOST_LANE)


def spans(tasks: TaskGraph, hardware=None, **prices: Price) -> dict[str, tuple[int, int]]:
    result = simulate(tasks, Prices(prices), hardware or machine())
    return {span.task_id: (span.start_ns, span.end_ns) for span in result.trace.spans}


def test_a_lane_runs_in_order_and_waits_for_enqueue_dependencies_and_the_task_before():
    tasks = task_graph(
        enqueue("ea"), kernel("a", "gpu", "ea"),
        enqueue("eb"), kernel("b", "cpu", "eb"),
        enqueue("ec"), kernel("c", "gpu", "ec", "b"),
        enqueue("ed"), kernel("d", "gpu", "ed"),
    )  # fmt: skip
    enqueues = {name: Price(5) for name in ("ea", "eb", "ec", "ed")}
    got = spans(tasks, a=Price(10), b=Price(100), c=Price(7), d=Price(1), **enqueues)
    assert got == {
        "ea": (0, 5), "eb": (5, 10), "ec": (10, 15), "ed": (15, 20),
        "a": (5, 15), "b": (10, 110), "c": (110, 117), "d": (117, 118),
    }  # fmt: skip


def test_a_synchronisation_starts_when_all_it_waits_for_is_done_and_says_why():
    tasks = task_graph(
        kernel("a", "gpu"),
        kernel("b", "cpu"),
        Task("s", TaskKind.SYNC, "cpu", deps=("a",), source="gpu", why="cpu reads x"),
        kernel("c", "cpu"),
    )
    result = simulate(tasks, Prices({"a": Price(30), "b": Price(10), "s": Price(4), "c": Price(1)}), machine())
    sync = result.trace.by_id["s"]
    assert (sync.queued_ns, sync.start_ns, sync.end_ns) == (10, 30, 34)
    assert sync.args["after"] == "a"
    assert sync.args["why"] == "cpu reads x"
    assert result.trace.by_id["c"].start_ns == 34
    assert result.latency_ns == 35
    assert result.sharing_ns == 4
    assert result.compute_ns == 31


def test_a_synchronisation_names_the_dependency_that_ended_last():
    sync = Task("s", TaskKind.SYNC, "npu", deps=("a", "b"), why="npu reads both")
    tasks = task_graph(kernel("a", "gpu"), kernel("b", "cpu"), sync)
    for a, b, last in ((9, 5, "a"), (5, 9, "b")):
        result = simulate(tasks, Prices({"a": Price(a), "b": Price(b)}), machine())
        assert result.trace.by_id["s"].args["after"] == last


def test_two_tasks_that_saturate_memory_take_twice_as_long():
    tasks = task_graph(kernel("a", "gpu"), kernel("b", "cpu"))
    # 10 bytes/ns of capacity, each wants all of it
    assert spans(tasks, a=Price(100, 1000), b=Price(100, 1000)) == {"a": (0, 200), "b": (0, 200)}


def test_a_small_demand_is_served_whole_and_the_large_one_gets_the_rest():
    tasks = task_graph(kernel("a", "gpu"), kernel("b", "cpu"))
    # a wants 2 of 10 bytes/ns for 100 ns; b wants 10, gets 8, and all of it once a has ended
    got = spans(tasks, a=Price(100, 200), b=Price(100, 1000))
    assert got == {"a": (0, 100), "b": (0, 120)}


def test_contention_begins_and_ends_with_the_neighbour():
    tasks = task_graph(kernel("a", "gpu"), kernel("w", "cpu"), kernel("b", "cpu"))
    # a is alone until 40, at half speed until b has ended at 60, then alone again with 50 ns of work left
    got = spans(tasks, a=Price(100, 1000), w=Price(40), b=Price(10, 100))
    assert got == {"a": (0, 110), "w": (0, 40), "b": (40, 60)}


def test_a_measured_slowdown_applies_only_while_another_processor_works():
    tasks = task_graph(kernel("a", "gpu"), kernel("b", "cpu"))
    got = spans(tasks, machine(contention=1.25), a=Price(100), b=Price(50))
    assert got == {"b": (0, 63), "a": (0, 113)}  # 62.5 rounds up; a does 62.5 / 1.25 = 50, then 50 alone


def test_bandwidth_and_power_over_time_are_counted():
    tasks = task_graph(kernel("a", "gpu"), kernel("b", "cpu"))
    prices = Prices({"a": Price(100, 200, 1e-7), "b": Price(50, 300, 1e-7)})
    result = simulate(tasks, prices, machine(idle=1.0))
    assert result.trace.counters["memory bandwidth"] == ("GB/s", ((0, 8.0), (50, 2.0), (100, 0)))
    unit, points = result.trace.counters["power"]
    assert unit == "W"
    assert points == ((0, pytest.approx(4.0)), (50, pytest.approx(2.0)), (100, 1.0))
    assert result.energy_j == pytest.approx(1.0 * 100e-9 + 2e-7)
    assert result.average_power_w == pytest.approx(result.energy_j / 100e-9)
    assert result.bytes_moved == 500


def test_a_processor_draws_its_active_power_while_contention_holds_it_up():
    tasks = task_graph(kernel("a", "gpu"), kernel("b", "cpu"))
    prices = Prices({"a": Price(100, 1000, 3e-7), "b": Price(100, 1000, 3e-7)})
    result = simulate(tasks, prices, machine(idle=0.0, active=2.0))
    assert result.energy_j == pytest.approx(2 * (3e-7 + 2.0 * 100e-9))


def test_power_adds_up_to_the_energy():
    row = tuple(Span(f"t{i}", "gpu", "kernel", "", "", i * 10, i * 10, i * 10 + 10) for i in range(4))
    points = power_steps(row, {"t0": 1e-8, "t1": 2e-8, "t3": 5e-9}, 0.5)
    ends = [*(time for time, _ in points[1:]), 40]
    energy = sum(watts * (end - time) * 1e-9 for (time, watts), end in zip(points, ends, strict=True))
    assert energy == pytest.approx(3.5e-8 + 0.5 * 40e-9)


def test_replayed_durations_are_taken_as_they_are():
    tasks = task_graph(kernel("a", "gpu"), kernel("b", "cpu"))
    prices = Prices({"a": Price(100, 1000), "b": Price(100, 1000)})
    result = simulate(tasks, prices, machine(), durations={"a": 130, "b": 90})
    assert {s.task_id: s.duration_ns for s in result.trace.spans} == {"a": 130, "b": 90}
    assert result.bytes_moved == 2000


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"durations": {"ghost": 1}}, "no task 'ghost'"),
        ({"durations": {"a": -1}}, "negative"),
        ({"requests": 0}, "at least one"),
        ({"jitter": -0.1}, "relative standard deviation"),
    ],
)
def test_bad_arguments_are_refused(arguments, message):
    with pytest.raises(InputError, match=message):
        simulate(task_graph(kernel("a", "gpu")), Prices({}), machine(), **arguments)


def test_a_stream_repeats_the_inference_and_reports_the_first():
    tasks = task_graph(enqueue("e"), kernel("a", "gpu", "e"), kernel("b", "cpu", "e"))
    prices = Prices({"e": Price(5), "a": Price(100, 1000, 1e-6), "b": Price(100, 1000, 1e-6)})
    one = simulate(tasks, prices, machine())
    many = simulate(tasks, prices, machine(), requests=7)
    assert many.latencies_ns == (one.latency_ns,) * 7
    assert many.executed == 7 * len(tasks.tasks)
    assert many.trace.spans == one.trace.spans
    assert many.energy_j == pytest.approx(one.energy_j)
    assert many.bytes_moved == one.bytes_moved
    assert many.throughput_per_s == pytest.approx(1e9 / one.latency_ns)


def test_jitter_varies_inferences_around_the_same_mean_and_follows_the_seed():
    tasks = task_graph(kernel("a", "gpu"))
    prices = Prices({"a": Price(100_000)})
    result = simulate(tasks, prices, machine(), requests=400, jitter=0.1, seed=3)
    assert len(set(result.latencies_ns)) > 300
    assert result.latency_ns == pytest.approx(100_000, rel=0.02)
    assert result.latencies_ns == simulate(tasks, prices, machine(), requests=400, jitter=0.1, seed=3).latencies_ns
    assert result.latencies_ns != simulate(tasks, prices, machine(), requests=400, jitter=0.1, seed=4).latencies_ns


def test_latency_as_the_paper_sums_it():
    tasks = task_graph(
        Task("m", TaskKind.MAP, "cpu", chain="c0"),
        Task("a", TaskKind.KERNEL, "gpu", chain="c0"),
        Task("b", TaskKind.KERNEL, "cpu", chain="c0"),
        Task("b2", TaskKind.KERNEL, "cpu", chain="c0"),
        Task("s", TaskKind.SYNC, "gpu", chain="c0", deps=("b2",), why="gpu reads"),
        Task("c", TaskKind.KERNEL, "gpu", chain="c1"),
    )
    prices = {"m": 3, "a": 50, "b": 20, "b2": 25, "s": 4, "c": 9}
    result = simulate(tasks, Prices({k: Price(v) for k, v in prices.items()}), machine())
    assert result.summed_ns == 3 + 50 + 4 + 9  # per chain the longest side, sharing added
    assert result.latency_ns == 50 + 4 + 9  # on the clock, the map overlaps the GPU


def test_tensors_take_memory_from_first_write_to_last_read():
    box = Region.full((1, 10))
    sizes = {"x": 1, "y": 10, "z": 100, "o": 1000}
    buffers = {name: Buffer(name, name, box, SHARED, size) for name, size in sizes.items()}

    def step(name: str, source: str, target: str) -> Task:
        return Task(name, TaskKind.KERNEL, "gpu", reads=(Access(source, box),), writes=(Access(target, box),))

    steps = (step("a", "x", "y"), step("b", "y", "z"), step("c", "z", "o"))
    tasks = TaskGraph("m", "p", "h", (HOST_LANE, "gpu"), buffers, steps, {"x": ("x",)}, {"o": "o"})
    assert peak_tensor_bytes(tasks, [0, 1, 2], [1, 2, 3]) == 1100
    assert peak_tensor_bytes(tasks, [0, 0, 0], [1, 1, 3]) == 1111


def test_weights_are_packed_for_every_processor_that_uses_them():
    graph = residual()
    whole = sum(array.nbytes for array in graph.constants.values())
    (fc,) = (node for node in graph.nodes if node.op == "gemm")
    in_fc = sum(graph.constants[name].nbytes for name in fc.inputs[1:])
    work = Prices({}, graph).work
    one = weight_bytes(lower(graph, placed(graph, "cpu")), graph, work)
    by_height = weight_bytes(lower(graph, split(graph, Dimension.HEIGHT)), graph, work)
    by_channel = weight_bytes(lower(graph, split(graph, Dimension.OUTPUT_CHANNEL)), graph, work)
    assert one == whole
    assert by_height == 2 * (whole - in_fc) + in_fc  # a fully connected layer has no height
    assert by_channel == whole


def test_an_unordered_task_graph_is_refused():
    with pytest.raises(PlanError, match="'later', which does not come before it"):
        simulate(task_graph(kernel("a", "gpu", "later"), kernel("later", "cpu")), Prices({}), machine())


def test_nothing_to_do_takes_no_time():
    result = simulate(task_graph(), Prices({}), machine())
    assert result.latency_ns == 0
    assert result.trace.spans == ()
    assert result.throughput_per_s == 0


def test_lanes_decide_without_a_clock():
    tasks = task_graph(kernel("a", "gpu"), kernel("b", "cpu"), kernel("c", "gpu", "b"), kernel("d", "cpu", "a", "c"))
    lanes = Lanes(Order.of(tasks))
    assert lanes.start() == [0, 1]
    assert lanes.end(1) == []
    assert lanes.end(0) == [2]
    assert lanes.end(2) == [3]
    assert lanes.end(3) == []
    assert lanes.left == 0


def test_max_min_fair_examples():
    assert max_min_fair([2, 10], 10) == [2, 8]
    assert max_min_fair([6, 6, 6], 9) == [3, 3, 3]
    assert max_min_fair([1, 4, 9], 9) == [1, 4, 4]
    assert max_min_fair([], 9) == []


def test_a_demand_beyond_the_capacity_is_served_by_caches():
    server = BandwidthServer(10.0)
    flow = server.add(0, 1, 100, 5000)
    assert server.share(0) == []
    assert flow.end_ns == 100
    assert server.allocated == 10.0


def test_a_synchronisation_belongs_to_the_next_command_and_waits_for_its_handing_over() -> None:
    """As in the executor, whose synchronisations are wait lists of commands: a late host is no slow synchronisation."""
    tasks = task_graph(
        kernel("a", "gpu"),
        Task("s", TaskKind.SYNC, "cpu", deps=("a",), source="gpu", why="cpu reads x"),
        Task("e", TaskKind.ENQUEUE, HOST_LANE),
        kernel("b", "cpu", "e"),
    )
    prices = Prices({"a": Price(10), "s": Price(4), "e": Price(100), "b": Price(1)})
    trace = simulate(tasks, prices, machine()).trace
    assert [(s.start_ns, s.end_ns) for s in trace.spans] == [(0, 10), (100, 104), (0, 100), (104, 105)]
    assert [span.start_ns for span in replay(trace, {"e": 5}).spans] == [0, 10, 0, 14]


def test_a_synchronisation_that_the_host_waits_for_does_not_wait_for_the_host() -> None:
    tasks = task_graph(
        kernel("a", "gpu"),
        Task("s", TaskKind.SYNC, "cpu", deps=("a",), source="gpu", why="cpu reads x"),
        Task("w", TaskKind.SYNC, HOST_LANE, deps=("s",), source="cpu", why="the host reads x"),
        Task("e", TaskKind.ENQUEUE, HOST_LANE),
        kernel("b", "cpu", "e"),
    )
    prices = Prices(dict.fromkeys(("a", "s", "w", "e", "b"), Price(10)))
    assert simulate(tasks, prices, machine()).latency_ns == 50
