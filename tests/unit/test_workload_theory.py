"""Workloads against queueing theory and conservation laws."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codl.sim.bandwidth import BandwidthServer
from codl.sim.statistics import interval, stream_figures
from codl.sim.workload import Client
from tests.machines import Price, kernel, machine, task_graph
from tests.serving import MS, one_kernel, program, serve, workload


@pytest.mark.parametrize("load", [0.3, 0.7])
def test_an_mdl_queue_waits_as_pollaczek_and_khinchine_say(load: float) -> None:
    """M/D/1: mean wait = load * service / (2 (1 - load)); the confidence interval of 99.9 % must hold it, and be narrow
    enough to tell it from another queue (M/M/1 waits twice as long)."""
    wanted = workload({"arrivals": {"poisson": load * 1000.0}, "requests": 4000}, warm_up=500)
    served = one_kernel(wanted)
    waits = []
    for repetition in range(12):
        record = serve(wanted, served, repetition=repetition)
        client = Client("s", wanted.streams[0], ((served,),))
        waits.append(stream_figures(client, record.streams[0], record, wanted.warm_up)["wait_ms"])
    mean, half = interval(waits, 0.999)
    theory = load / (2 * (1 - load))
    assert abs(mean - theory) <= half
    assert half < 0.25 * theory


def test_confidence_intervals_hold_the_mean_as_often_as_they_say() -> None:
    rng = np.random.default_rng(0)
    hits = [abs(mean - 5.0) <= half for mean, half in (interval(rng.normal(5, 2, 8), 0.9) for _ in range(2000))]
    assert np.mean(hits) == pytest.approx(0.9, abs=0.02)
    assert interval([3.0]) == (3.0, 0.0)


arrival = st.one_of(
    st.fixed_dictionaries({"poisson": st.floats(50.0, 3000.0)}),
    st.fixed_dictionaries({"periodic": st.floats(50.0, 3000.0)}),
    st.just({}),
)
stream = st.fixed_dictionaries(
    {
        "arrivals": arrival, "requests": st.integers(1, 40), "priority": st.integers(0, 2),
        "in_flight": st.integers(1, 3),
        "queue": st.one_of(st.none(), st.integers(0, 3)), "drop": st.sampled_from(["newest", "oldest"]),
    }
)  # fmt: skip


@settings(deadline=None, max_examples=40)
@given(st.lists(stream, min_size=1, max_size=3), st.integers(0, 5), st.sampled_from([0.0, 0.3]))
def test_littles_law_and_conservation_hold_exactly(streams, seed, jitter) -> None:
    """The integral over time of the number in the system is the sum of the times spent there, to the nanosecond; every
    request ends or is dropped; lanes are never busier than time passes; energy adds up."""
    wanted = workload(*streams, seed=seed, jitter=jitter)
    tasks = task_graph(kernel("a", "gpu"), kernel("b", "cpu"), kernel("c", "gpu", "b"))
    served = program(tasks, {"a": Price(MS, 5000, 1e-3), "b": Price(MS // 2, 0, 1e-3), "c": Price(MS // 3)}, wanted)
    record = serve(wanted, served)
    for one, asked in zip(record.streams, wanted.streams, strict=True):
        dropped = [i for i, end in enumerate(one.ended) if end < 0]
        sojourn = sum(end - start for start, end in zip(one.arrived, one.ended, strict=True) if end >= 0)
        # A request that is dropped from the queue was in the system until then; dropping the newest takes no time.
        if asked.drop == "newest" or not dropped:
            assert one.requests_ns == sojourn
        assert len(one.arrived) == len(one.ended)
        assert all(one.began[i] == -1 for i in dropped)
    assert all(busy <= record.duration_ns for busy in record.busy_ns.values())
    drawn = sum(record.joules.values()) + record.memory_joules
    assert drawn == pytest.approx(sum(sum(one.joules) for one in record.streams))


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 3), st.sampled_from([0.0, 0.2]))
def test_the_same_seed_gives_the_same_record(seed, jitter) -> None:
    wanted = workload(
        {"arrivals": {"poisson": 600.0}, "requests": 30}, {"priority": 1, "requests": 20}, seed=seed, jitter=jitter
    )
    served = one_kernel(wanted)
    first, second = serve(wanted, served), serve(wanted, served)
    assert first == second
    other = serve(wanted, served, repetition=1)
    assert other.streams[0].arrived != first.streams[0].arrived


def test_a_processor_with_work_never_idles() -> None:
    """Work conservation: in an overload the lane is busy from the first arrival to the end, however streams and
    priorities mix."""
    wanted = workload(*({"arrivals": {"periodic": 900.0}, "requests": 50, "priority": p} for p in (0, 1)))
    record = serve(wanted, one_kernel(wanted))
    assert record.busy_ns["gpu"] == record.duration_ns == 100 * MS


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.tuples(st.integers(1, 300), st.integers(0, 9000), st.floats(0.05, 1.0)), min_size=1, max_size=8),
    st.floats(0.0, 20.0),
)
def test_the_bandwidth_server_conserves_work(flows, background) -> None:
    """All of the bandwidth is in use whenever somebody lacks any; nobody gets more than they ask for."""
    server = BandwidthServer(10.0)
    server.background = background
    made = [server.add(0, k, duration, nbytes, lane=f"p{k}") for k, (duration, nbytes, _) in enumerate(flows)]
    for flow, (_, _, pace) in zip(made, flows, strict=True):
        flow.pace = pace
    server.share(0)
    demands = [flow.demand * flow.pace for flow in made]
    assert all(flow.allocated <= flow.demand * (1 + 1e-9) for flow in made)
    if sum(demands) + background > 10.0:
        assert server.allocated + background >= 10.0 * (1 - 1e-9)
        assert min(sum(demands), 10.0 - background) * (1 - 1e-9) <= server.allocated <= 10.0 * (1 + 1e-9)
    else:
        assert all(flow.speed == pytest.approx(flow.pace) for flow in made)


def test_priorities_shorten_one_stream_at_the_cost_of_the_other() -> None:
    rates = {"arrivals": {"poisson": 400.0}, "requests": 2000, "in_flight": 2000}
    means = {}
    for priority in (0, 1):
        wanted = workload({**rates, "priority": priority}, rates)
        record = serve(wanted, one_kernel(wanted))
        means[priority] = [np.mean(np.array(s.ended) - np.array(s.arrived)) / 1e6 for s in record.streams]
    assert means[1][0] < means[0][0] < means[1][1]
    # Kleinrock's conservation law: with equal service times, priorities move waiting around but add none.
    assert sum(means[1]) == pytest.approx(sum(means[0]), rel=0.02)


def test_pipelining_over_frames_uses_both_processors_at_once() -> None:
    """Each frame goes through the GPU, then the CPU: two in flight take as long as the slower stage each."""
    tasks = task_graph(kernel("a", "gpu"), kernel("b", "cpu", "a"))
    ends = {}
    for places in (1, 2):
        wanted = workload({"arrivals": {"periodic": 1e6}, "requests": 50, "in_flight": places})
        record = serve(wanted, program(tasks, {"a": Price(MS), "b": Price(MS)}, wanted))
        ends[places] = [b - a for a, b in pairwise(record.streams[0].ended)]
    assert set(ends[1]) == {2 * MS}
    assert set(ends[2][1:]) == {MS}


def test_metered_energy_is_that_of_the_single_inference() -> None:
    from codl.sim import simulate
    from tests.machines import Prices

    tasks = task_graph(kernel("a", "gpu"), kernel("b", "cpu"))
    prices = {"a": Price(MS, 8 * MS, 3e-3), "b": Price(MS, 8 * MS, 2.5e-3)}
    wanted = workload({"requests": 1})
    one = simulate(tasks, Prices(prices), machine())
    record = serve(wanted, program(tasks, prices, wanted))
    assert record.duration_ns == one.latency_ns
    assert record.total_joules == pytest.approx(one.energy_j)
