"""What holds for any task graph on any machine."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codl.sim import simulate
from codl.sim.bandwidth import BandwidthServer, max_min_fair
from codl.tasks import TaskGraph
from tests.machines import Price, Prices, kernel, machine, task_graph, waits, workloads

LANES = ("p0", "p1", "p2")
capacities = st.sampled_from([1e9, 7e9, 40e9, 1e12])


def critical_path(tasks: TaskGraph, prices: Prices) -> int:
    """The longest chain of tasks that wait for each other: nothing can end sooner."""
    before = waits(tasks)
    ends: dict[str, int] = {}

    def end(name: str) -> int:
        if name not in ends:
            ends[name] = max(map(end, before[name]), default=0) + prices.task(tasks.by_id[name]).duration_ns
        return ends[name]

    return max((end(task.id) for task in tasks.tasks), default=0)


@settings(deadline=None, max_examples=50)
@given(workloads(), capacities)
def test_makespan_lies_between_critical_path_and_serial_sum(workload, capacity):
    tasks, prices = workload
    result = simulate(tasks, prices, machine(capacity, lanes=LANES))
    serial = sum(prices.task(task).duration_ns for task in tasks.tasks)
    assert critical_path(tasks, prices) <= result.latency_ns
    assert result.latency_ns <= serial + len(tasks.tasks)  # an end is rounded up to a whole nanosecond


@settings(deadline=None, max_examples=50)
@given(workloads())
def test_without_contention_the_makespan_is_the_critical_path(workload):
    tasks, prices = workload
    assert simulate(tasks, prices, machine(1e15, lanes=LANES)).latency_ns == critical_path(tasks, prices)


@settings(deadline=None, max_examples=50)
@given(workloads(), capacities, st.sampled_from([1.0, 1.1, 2.0]))
def test_every_span_obeys_the_rules_of_its_lane(workload, capacity, contention):
    tasks, prices = workload
    trace = simulate(tasks, prices, machine(capacity, contention=contention, lanes=LANES)).trace
    trace.validate()
    assert [span.task_id for span in trace.spans] == [task.id for task in tasks.tasks]
    before = waits(tasks)
    for task, span in zip(tasks.tasks, trace.spans, strict=True):
        assert span.start_ns == max((trace.by_id[name].end_ns for name in before[task.id]), default=0)
        assert span.duration_ns >= prices.task(task).duration_ns


@settings(deadline=None, max_examples=50)
@given(workloads(), capacities, st.sampled_from([1.0, 1.3]))
def test_bytes_are_conserved_and_capacity_is_never_exceeded(workload, capacity, contention):
    tasks, prices = workload
    result = simulate(tasks, prices, machine(capacity, contention=contention, lanes=LANES))
    priced = [prices.task(task) for task in tasks.tasks]
    carried = sum(min(p.nbytes, capacity * 1e-9 * p.duration_ns) for p in priced if p.duration_ns)
    assert result.bytes_moved == pytest.approx(carried)
    _, points = result.trace.counters["memory bandwidth"]
    assert all(value <= capacity * 1e-9 * (1 + 1e-12) for _, value in points)
    # What the counter shows flowing is what was moved, but for the last nanosecond of each task.
    flowed = sum(value * (end - time) for (time, value), (end, _) in pairwise(points))
    assert carried - 1e-6 * (1 + carried) <= flowed <= carried + capacity * 1e-9 * len(tasks.tasks) + 1e-6


@settings(deadline=None, max_examples=50)
@given(workloads(), st.integers(0, 5), st.sampled_from([0.0, 0.2]))
def test_the_same_seed_gives_the_same_bytes(workload, seed, jitter):
    tasks, prices = workload
    texts = {
        simulate(tasks, prices, machine(5e9, lanes=LANES), seed=seed, jitter=jitter, requests=2).trace.to_json()
        for _ in range(2)
    }
    assert len(texts) == 1


@settings(deadline=None, max_examples=50)
@given(workloads(), capacities)
def test_a_simulation_replayed_is_itself(workload, capacity):
    tasks, prices = workload
    hardware = machine(capacity, lanes=LANES)
    first = simulate(tasks, prices, hardware)
    again = simulate(tasks, prices, hardware, durations={s.task_id: s.duration_ns for s in first.trace.spans})
    assert [(s.start_ns, s.end_ns) for s in again.trace.spans] == [(s.start_ns, s.end_ns) for s in first.trace.spans]


@settings(deadline=None, max_examples=50)
@given(workloads(), capacities, st.integers(2, 50))
def test_time_scales_with_speed(workload, capacity, factor):
    """A machine that is slower in everything by a factor takes that much longer."""
    tasks, prices = workload
    slow = Prices({name: Price(p.duration_ns * factor, p.nbytes) for name, p in prices.prices.items()})
    fast = simulate(tasks, prices, machine(capacity, lanes=LANES)).latency_ns
    slowed = simulate(tasks, slow, machine(capacity / factor, lanes=LANES)).latency_ns
    assert slowed <= factor * fast + 1
    assert slowed >= factor * (fast - len(tasks.tasks))


@settings(deadline=None, max_examples=50)
@given(workloads())
def test_power_integrates_to_the_energy(workload):
    tasks, prices = workload
    result = simulate(tasks, prices, machine(5e9, lanes=LANES))
    _, points = result.trace.counters["power"]
    times = [*(time for time, _ in points), result.latency_ns]
    drawn = sum(value * (end - start) * 1e-9 for (_, value), (start, end) in zip(points, pairwise(times), strict=True))
    instant = sum(prices.task(t).joules for t in tasks.tasks if not result.trace.by_id[t.id].duration_ns)
    assert drawn + instant == pytest.approx(result.energy_j, abs=1e-12)


@settings(deadline=None, max_examples=50)
@given(st.integers(1, 12), st.integers(1, 1000), st.integers(1, 100_000))
def test_equal_tasks_share_equally(many, duration, nbytes):
    tasks = task_graph(*(kernel(f"k{i}", f"p{i}") for i in range(many)))
    prices = Prices({f"k{i}": Price(duration, nbytes) for i in range(many)})
    trace = simulate(tasks, prices, machine(3e9)).trace
    assert len({span.end_ns for span in trace.spans}) == 1
    capped = min(nbytes, 3 * duration)
    assert trace.makespan_ns == pytest.approx(max(duration, many * capped / 3), abs=1.001)


@settings(deadline=None, max_examples=50)
@given(st.lists(st.floats(0.001, 1e3), min_size=1, max_size=8), st.floats(0.01, 2e3))
def test_max_min_fairness(demands, capacity):
    shares = max_min_fair(demands, capacity)
    assert sum(shares) <= capacity * (1 + 1e-12)
    assert sum(shares) == pytest.approx(min(sum(demands), capacity))
    for share, demand in zip(shares, demands, strict=True):
        assert share <= demand
        if share < demand * (1 - 1e-12):  # whoever lacks something has as much as anybody
            assert share >= max(shares) * (1 - 1e-9)


@settings(deadline=None, max_examples=50)
@given(st.lists(st.tuples(st.integers(0, 300), st.integers(1, 300), st.integers(0, 9000)), min_size=1, max_size=8))
def test_the_server_alone_conserves_bytes(arrivals):
    """Driven by hand, without SimPy: every flow ends, late by at most what sharing explains, and moves its bytes."""
    server = BandwidthServer(10.0)
    waiting = sorted(arrivals, reverse=True)
    wanted = sum(min(nbytes, 10.0 * duration) for _, duration, nbytes in arrivals)
    while waiting or server.flows:
        coming = [waiting[-1][0]] if waiting else []
        now = min([*coming, *(flow.end_ns for flow in server.flows)])
        for flow in [flow for flow in server.flows if flow.end_ns == now]:
            server.remove(now, flow)
        while waiting and waiting[-1][0] == now:
            _, duration, nbytes = waiting.pop()
            server.add(now, len(waiting), duration, nbytes)
        server.share(now)
        assert server.allocated <= 10.0 * (1 + 1e-12)
        assert all(flow.end_ns >= now for flow in server.flows)
    assert server.moved == pytest.approx(wanted)
    assert now <= max(start for start, _, _ in arrivals) + sum(duration for _, duration, _ in arrivals) + len(arrivals)
