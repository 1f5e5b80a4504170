"""The bandwidth server against a reference in exact fractions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import ceil, inf

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from codl.sim.bandwidth import BandwidthServer, Flow, max_min_fair

CAPACITY = 10


def level_shares(demands: Sequence[Fraction], capacity: Fraction) -> list[Fraction]:
    """min(demand, level) with the one level at which the shares use the capacity up; the demands if they fit."""
    if sum(demands) <= capacity:
        return list(demands)
    for greedy in range(len(demands), 0, -1):  # how many get the level; the others get what they demand
        small = sorted(demands)[: len(demands) - greedy]
        level = (capacity - sum(small)) / greedy
        if (not small or small[-1] <= level) and sorted(demands)[len(small)] >= level:
            return [min(demand, level) for demand in demands]
    raise AssertionError("there is always a level")


@given(st.lists(st.integers(0, 40), max_size=7), st.integers(1, 60))
def test_shares_are_the_demands_up_to_one_level(demands: list[int], capacity: int) -> None:
    exact = level_shares([Fraction(d) for d in demands], Fraction(capacity))
    assert max_min_fair(demands, capacity) == pytest.approx([float(share) for share in exact], rel=1e-12)


@dataclass
class Exact:
    """A flow of the reference."""

    flow: Flow
    demand: Fraction
    work: Fraction
    slowdown: Fraction
    since: int
    speed: Fraction = Fraction(1)
    pace: Fraction = Fraction(1)


def share_exactly(flows: list[Exact], background: int, now: int) -> None:
    """Work off what was done since the last sharing, then share anew."""
    for each in flows:
        each.work -= each.speed * (now - each.since)
        each.since = now
    together = len({each.flow.lane for each in flows}) > 1
    paces = [each.pace / each.slowdown if together else each.pace for each in flows]
    demands = [each.demand * pace for each, pace in zip(flows, paces, strict=True)]
    shares = level_shares([*demands, Fraction(background)], Fraction(CAPACITY))
    for each, pace, demand, share in zip(flows, paces, demands, shares, strict=False):
        each.speed = pace * share / demand if demand else pace


arrivals = st.tuples(
    st.integers(0, 200), st.integers(1, 200), st.integers(0, 3000), st.sampled_from("ab"), st.sampled_from([1, 1, 2, 3])
)
"""(start, duration, bytes, lane, slowdown)"""
changes = st.tuples(
    st.integers(0, 200), st.sampled_from("ab"), st.sampled_from([1, 2, 4]), st.sampled_from([0, 0, 3, 20])
)
"""(moment, lane whose pace changes, its divisor, background from then on)"""


@settings(deadline=None, max_examples=150)
@given(st.lists(arrivals, min_size=1, max_size=6), st.lists(changes, max_size=2))
def test_every_end_is_what_exact_arithmetic_gives(coming: list, changing: list) -> None:
    """Driven as a machine does: ends, arrivals and changes of one moment are told, then the bandwidth is shared."""
    server = BandwidthServer(float(CAPACITY))
    flows: list[Exact] = []
    paces = {"a": 1, "b": 1}
    background, now = 0, 0
    ended_bytes = Fraction(0)
    coming, changing = sorted(coming, reverse=True), sorted(changing, reverse=True)
    while coming or changing or flows:
        moments = [queue[-1][0] for queue in (coming, changing) if queue]
        now = min([*moments, *(each.flow.end_ns for each in flows)])
        for each in [each for each in flows if each.flow.end_ns == now]:
            assert 0 <= each.work - each.speed * (now - each.since) + each.speed <= each.speed + Fraction(1, 10**5)
            server.remove(now, each.flow)
            flows.remove(each)
            ended_bytes += each.demand * each.flow.key
            assert server.moved == pytest.approx(float(ended_bytes))
        while changing and changing[-1][0] == now:
            _, lane, divisor, background = changing.pop()
            paces[lane] = divisor
            server.background = float(background)
            for each in flows:
                each.pace = Fraction(1, paces[each.flow.lane])
                each.flow.pace = float(each.pace)
        while coming and coming[-1][0] == now:
            _, duration, nbytes, lane, slowdown = coming.pop()
            flow = server.add(now, duration, duration, nbytes, lane, slowdown)
            assert flow.end_ns == now + duration
            demand = min(Fraction(nbytes, duration), Fraction(CAPACITY))
            flows.append(Exact(flow, demand, Fraction(duration), Fraction(slowdown), now))
            flows[-1].pace = Fraction(1, paces[lane])
            flow.pace = float(flows[-1].pace)
        before = {id(each.flow): each.flow.end_ns for each in flows}
        moved = server.share(now)
        share_exactly(flows, background, now)
        assert moved == [each.flow for each in flows if each.flow.end_ns != before[id(each.flow)]]
        for each in flows:
            exact = now + each.work / each.speed
            dust = abs(exact - round(exact))
            assume(dust == 0 or dust > Fraction(1, 10**5))
            assert each.flow.end_ns == ceil(exact)
            assert each.flow.speed == pytest.approx(float(each.speed))
            assert each.flow.allocated == pytest.approx(float(each.speed * each.demand))
        assert server.allocated == pytest.approx(float(sum(each.speed * each.demand for each in flows)))


def test_a_memory_without_limit_serves_everybody() -> None:
    server = BandwidthServer()
    flow = server.add(5, "k", 100, 1e12, "gpu")
    other = server.add(5, "k", 100, 1e12, "cpu")
    assert server.capacity == inf and server.share(5) == []
    assert (flow.end_ns, other.end_ns, flow.demand, server.allocated) == (105, 105, 1e10, 2e10)
    assert (flow.key, flow.lane, flow.since, flow.work, flow.slowdown, flow.pace) == ("k", "gpu", 5, 100.0, 1.0, 1.0)


def test_a_task_without_lane_or_slowdown_is_alone() -> None:
    server = BandwidthServer(1.0)
    first, second = server.add(0, 1, 10, 10, slowdown=4.0), server.add(0, 2, 10, 0)
    assert server.share(0) == []  # one lane, and the second moves nothing
    assert (first.speed, second.speed) == (1.0, 1.0)
