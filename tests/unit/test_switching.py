"""The rule that chooses among plans, on latencies written down by hand."""

from __future__ import annotations

from collections.abc import Callable

from codl.switching import Switcher


def follow(switcher: Switcher, latency: Callable[[int, int], float], count: int, start: int = 0) -> list[int]:
    """The plans that were chosen when inference k with plan p takes latency(p, k)."""
    chosen = []
    for k in range(start, start + count):
        plan = switcher.choose()
        switcher.observe(plan, latency(plan, k))
        chosen.append(plan)
    return chosen


def test_every_plan_is_tried_and_the_best_one_kept() -> None:
    chosen = follow(Switcher(3, trials=2), lambda plan, k: [5.0, 3.0, 4.0][plan], 20)
    assert chosen == [0, 0, 1, 1, 2, 2] + [1] * 14


def test_a_change_of_conditions_is_noticed_and_undone() -> None:
    def latency(plan: int, k: int) -> float:
        loaded = 50 <= k < 100
        return {0: 20.0 if loaded else 10.0, 1: 13.0 if loaded else 12.0}[plan]

    chosen = follow(Switcher(2, patience=1000), latency, 150)
    assert set(chosen[10:50]) == {0}
    assert set(chosen[65:100]) == {1}
    # Plan 1 takes nearly the same with and without load: only patience would find that plan 0 is better again.
    assert set(chosen[100:]) == {1}
    impatient = follow(Switcher(2, patience=30), latency, 200)
    assert impatient[-20:].count(0) >= 14


def test_one_slow_inference_is_not_a_change() -> None:
    chosen = follow(Switcher(2), lambda plan, k: 100.0 if k == 20 else 10.0 + plan, 60)
    assert set(chosen[6:]) == {0}


def test_a_plan_that_is_hardly_better_is_not_switched_to() -> None:
    assert set(follow(Switcher(2, margin=0.05), lambda plan, k: [10.0, 9.7][plan], 40)[6:]) == {0}


def test_a_single_plan_is_never_doubted() -> None:
    switcher = Switcher(1, patience=2)
    assert set(follow(switcher, lambda plan, k: float(k % 7), 50)) == {0}
    assert switcher.switches == 0


def test_late_results_of_other_plans_do_not_disturb() -> None:
    switcher = Switcher(2, trials=1)
    follow(switcher, lambda plan, k: [1.0, 2.0][plan], 2)
    for _ in range(20):
        switcher.observe(1, 50.0)
    assert switcher.choose() == 0


def test_every_segment_has_the_plan_that_is_best_for_it() -> None:
    switcher = Switcher(2, trials=1, segments=2)
    chosen = []
    for _ in range(5):
        for segment in (0, 1):
            plan = switcher.choose(segment)
            switcher.observe(plan, 2.0 if plan == segment else 3.0, segment)
            chosen.append(plan)
    assert chosen == [0, 0, 1, 1, 0, 1, 0, 1, 0, 1]
    assert switcher.switches == 7  # between 0 and 1 and back, wherever they follow each other


def test_segments_notice_a_change_inside_an_inference() -> None:
    """Five slow segments suffice: the third of the inference after the next, where whole inferences would need five."""
    switcher = Switcher(2, trials=1, segments=3)
    chosen = []
    for inference in range(12):
        for segment in range(3):
            plan = switcher.choose(segment)
            slow = 1.5 if plan == 0 and (inference, segment) >= (4, 1) else 1.0
            switcher.observe(plan, slow * (10.0 + plan), segment)
            chosen.append(plan)
    assert set(chosen[6 : 3 * 4 + 1 + 5]) == {0}
    # The window is full of slow ones at (5, 0) already in its median: plan 0, then plan 1 are tried, and plan 1 stays.
    assert set(chosen[3 * 8 :]) == {1}
