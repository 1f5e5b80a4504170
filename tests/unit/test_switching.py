"""The rule that chooses among plans, on latencies written down by hand, and the executor that asks it."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace

import numpy as np
import pytest

from codl.errors import PlanError
from codl.real.adaptive import AdaptiveExecutor
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


class Stub:
    """An executor with a latency."""

    def __init__(self, ms: float, digest: str = "same") -> None:
        self.ms, self.runs, self.graph, self.closed = ms, 0, SimpleNamespace(digest=digest), False

    def infer(self, inputs, trace: bool = False) -> SimpleNamespace:
        self.runs += 1
        return SimpleNamespace(makespan_ns=int(self.ms * 1e6), outputs=inputs, trace=None)

    def close(self) -> None:
        self.closed = True


def test_the_adaptive_executor_runs_the_fastest_plan() -> None:
    plans = [Stub(4.0), Stub(2.0)]
    with AdaptiveExecutor(plans) as adaptive:
        for _ in range(20):
            outputs, _ = adaptive.run({"x": np.zeros(1)})
        assert list(outputs) == ["x"]
    assert (plans[0].runs, plans[1].runs) == (3, 17)
    assert all(plan.closed for plan in plans)


def test_plans_of_different_models_are_refused() -> None:
    with pytest.raises(PlanError, match="must be of one model; these are of 2"):
        AdaptiveExecutor([Stub(1.0), Stub(1.0, "other")])
