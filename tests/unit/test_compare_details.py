"""Comparing traces, the borders: what bounds include, what is listed first, what a row and a recording hold exactly."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from codl.compare import (
    Comparison,
    GroupError,
    TaskError,
    compare_traces,
    moved_constants,
    rank_correlation,
    record,
    regret,
)
from codl.compare.comparison import handing_over
from codl.compare.drift import BOUND
from codl.compare.errors import grouped
from codl.cost import Origin
from codl.errors import InputError
from codl.trace import Span, Trace

DIGESTS = {"model": "m", "plan": "p", "tasks": "t", "hardware": "h"}


def span(name: str, lane: str, kind: str, start: int, end: int, op: str = "", **args: Any) -> Span:
    return Span(name, lane, kind, op, "c", start, start, end, args)


def pair(*spans: tuple[str, str, str, int, int], **measured: int) -> tuple[Trace, Trace]:
    """A simulated trace of (id, lane, kind, start, end), and a measured one in which some spans end elsewhere."""
    simulated = tuple(span(*each) for each in spans)
    real = tuple(replace(s, end_ns=measured.get(s.task_id, s.end_ns)) for s in simulated)
    return Trace("simulated", simulated, DIGESTS), Trace("measured", real, DIGESTS)


def task(name: str, simulated: int, measured: int, term: str = "t", kind: str = "kernel", op: str = "o") -> TaskError:
    return TaskError(name, kind, op, "gpu", "c", simulated, measured, term, "why")


def comparison(*tasks: TaskError, simulated: int = 100, measured: int = 100, **fields: Any) -> Comparison:
    return Comparison("m", "p", simulated, measured, measured, tasks, **fields)


def test_the_three_errors_are_exact() -> None:
    found = Comparison("m", "p", 132, 128, 96, ())  # in sums that floats hold exactly
    assert (found.error, found.scheduling_error, found.duration_error) == (4 / 128, -32 / 128, 36 / 128)
    assert found.error == found.duration_error + found.scheduling_error
    assert (found.noise, found.runs) == (None, 1)
    with pytest.raises(TypeError):
        Comparison("m", "p", 132, 128, 96, (), None, 3)  # type: ignore[misc]  # runs only by name


def test_an_error_as_large_as_the_noise_says_nothing() -> None:
    assert not comparison(simulated=125, noise=0.25).conclusive
    assert comparison(simulated=125, noise=0.24).conclusive and comparison(simulated=75, noise=0.24).conclusive


def test_bounds_include_their_value() -> None:
    groups = GroupError("g", 1, 110, 100), GroupError("g", 1, 90, 100), GroupError("g", 1, 111, 100)
    assert [group.within(0.1) for group in groups] == [True, True, False]
    assert GroupError("g", 1, 111, 100).difference_ns == 11
    row = GroupError("g", 2, 3_000_000, 2_000_000).row()
    assert row == {"name": "g", "tasks": 2, "simulated_ms": 3.0, "measured_ms": 2.0, "error": 0.5}
    assert comparison().within(0.1) == 1.0  # no operators


def test_groups_add_up_in_the_order_of_their_first_task() -> None:
    tasks = [task("a", 5, 4, "x"), task("b", 1, 2, "y"), task("c", 10, 20, "x")]
    assert grouped(tasks, lambda t: t.term) == (GroupError("x", 2, 15, 24), GroupError("y", 1, 1, 2))
    assert (tasks[0].difference_ns, tasks[0].error) == (1, 0.25)


def test_only_kernels_make_operators_and_all_tasks_make_terms() -> None:
    found = comparison(task("a", 5, 9, "x"), task("b", 10, 1, "y", kind="copy"), task("c", 3, 3, "x", op="q"))
    assert [group.name for group in found.operators] == ["o@gpu", "q@gpu"]
    assert [(group.name, group.difference_ns) for group in found.terms] == [("y", 9), ("x", -4)]
    assert [group.name for group in found.kinds] == ["kernel", "copy"]
    assert [t.task_id for t in found.worst(2)] == ["b", "a"]
    assert len(comparison(*(task(str(n), n, 0) for n in range(9))).worst()) == 5


def test_the_row_in_full() -> None:
    found = comparison(task("a", 3_000_000, 2_000_000, "x"), simulated=4_000_000, measured=5_000_000, noise=0.5, runs=7)
    group = {"tasks": 1, "simulated_ms": 3.0, "measured_ms": 2.0, "error": 0.5}
    assert found.row() == {
        "model": "m", "planner": "p", "simulated_ms": 4.0, "measured_ms": 5.0, "replayed_ms": 5.0, "error": -0.2,
        "duration_error": -0.2, "scheduling_error": 0.0, "within_10_percent": 0.0, "noise": 0.5, "runs": 7,
        "kinds": [{"name": "kernel", **group}], "terms": [{"name": "x", **group}],
        "operators": [{"name": "o@gpu", **group}],
        "worst": [{"task": "a", "simulated_ms": 3.0, "measured_ms": 2.0, "error": 0.5, "term": "x", "reason": "why"}],
    }  # fmt: skip


def test_a_row_counts_operators_within_ten_percent() -> None:
    within = [comparison(task("a", ns, 100)).row()["within_10_percent"] for ns in (90, 110, 111)]
    assert within == [1.0, 1.0, 0.0]


def test_names_come_from_the_caller_then_from_the_prediction() -> None:
    sim, real = pair(("a", "gpu", "kernel", 0, 10))
    sim = replace(sim, environment={"model": "sim's"})
    real = replace(real, environment={"model": "real's", "planner": "real's"})
    assert (compare_traces(sim, real).model, compare_traces(sim, real).planner) == ("sim's", "real's")
    found = compare_traces(sim, real, model="mine", planner="my", noise=0.5)
    assert (found.model, found.planner, found.noise) == ("mine", "my", 0.5)
    other = replace(real, environment={"planner": "another's"})
    assert compare_traces(sim, [real, other]).planner == "real's"
    bare = compare_traces(*pair(("a", "gpu", "kernel", 0, 10)))
    assert (bare.model, bare.planner, bare.noise) == ("", "", None)


def test_terms_name_what_predicts_each_kind() -> None:
    rows = [("e@gpu", "host", "enqueue"), ("k", "gpu", "kernel"), ("s", "cpu", "sync"), ("t", "gpu", "transform")]
    sim, real = pair(*((*row, 10 * n, 10 * n + 5) for n, row in enumerate(rows)))
    terms = {t.task_id: t.term for t in compare_traces(sim, real).tasks}
    assert terms == {
        "e@gpu": "processors.gpu.enqueue", "k": "unit times of gpu", "s": "synchronisation of cpu",
        "t": "sharing.transform",
    }  # fmt: skip
    told = compare_traces(sim, real, origins={"k": Origin("libraries.x", {"multiply": 3, "launch": 1})}).tasks[1]
    assert (told.term, told.reason) == ("libraries.x", "libraries.x (75% multiply, 25% launch)")


def test_contention_is_told_only_where_it_added_time() -> None:
    spans = [span("a", "gpu", "kernel", 0, 2_000_000, alone_ns=1_500_000), span("b", "gpu", "kernel", 2_000_000,
             4_000_000, alone_ns=2_000_000)]  # fmt: skip
    sim = Trace("simulated", tuple(spans), DIGESTS)
    reasons = [t.reason for t in compare_traces(sim, replace(sim, world="measured")).tasks]
    assert reasons == ["unit times of gpu; contention predicted to add 0.5 ms", "unit times of gpu"]


def test_only_commands_that_wait_for_their_own_enqueue_are_handed_over_by_it() -> None:
    spans = (
        span("e", "host", "enqueue", 0, 1), span("k", "gpu", "kernel", 1, 2, deps="e"),
        span("e2", "host", "enqueue", 2, 3, deps="e"), span("s", "gpu", "sync", 3, 4, deps="e"),
        span("w", "gpu", "kernel", 4, 5, deps="k"), span("x", "gpu", "copy", 5, 6),
    )  # fmt: skip
    assert handing_over(Trace("simulated", spans, DIGESTS)) == {"k": "e"}


def test_of_an_even_number_of_runs_the_middle_counts() -> None:
    sim, _ = pair(("a", "gpu", "kernel", 0, 100))
    runs = [pair(("a", "gpu", "kernel", 0, 100), a=end)[1] for end in (120, 90, 100, 250)]
    found = compare_traces(sim, runs)
    assert (found.measured_ns, found.replayed_ns, found.runs, found.tasks[0].measured_ns) == (110, 110, 4, 110)


def test_task_lists_in_messages_are_whole_up_to_five() -> None:
    rows = [(f"k{n}", "gpu", "kernel", n, n + 1) for n in range(6)]
    sim, real = pair(*rows)
    with pytest.raises(InputError, match=r"k1, k2, k3, k4, k5 were not measured$"):
        compare_traces(sim, replace(real, spans=real.spans[:1]))
    with pytest.raises(InputError, match=r"tasks: k1, k2, k3, k4, k5 were not simulated$"):
        compare_traces(replace(sim, spans=sim.spans[:1]), real)
    with pytest.raises(InputError, match=r"k0, k1, k2, k3, k4 and 1 more were not measured"):
        compare_traces(sim, replace(real, spans=(span("z", "gpu", "kernel", 0, 1),)))
    with pytest.raises(InputError, match=r"^no measured run to compare with$"):
        compare_traces(sim, [])
    still = replace(real, spans=tuple(replace(each, start_ns=0, end_ns=0, queued_ns=0) for each in real.spans))
    with pytest.raises(InputError, match=r"^the measured trace lasts no time: there is nothing to compare with$"):
        compare_traces(sim, still)
    with pytest.raises(InputError, match="digest missing was simulated, p measured"):
        compare_traces(replace(sim, digests={"model": "m", "tasks": "t"}), real)


# -- drift -------------------------------------------------------------------------------------------------------------


def test_a_constant_off_by_just_the_bound_has_not_moved() -> None:
    edge = comparison(task("a", 1000, round(1000 * (1 + BOUND))), measured=1150)
    assert not moved_constants([edge], bound=0.15)
    assert [m.factor for m in moved_constants([edge], bound=0.149)] == [1.15]
    (low,) = moved_constants([comparison(task("a", 1000, 800), measured=800)])
    assert (low.factor, low.tasks, str(low)) == (0.8, 1, "t x 0.80 (1 tasks)")


def test_three_of_four_tasks_that_agree_are_enough() -> None:
    four = [task("a", 100, 130), task("b", 100, 130), task("c", 100, 130), task("d", 100, 90)]
    assert len(moved_constants([comparison(*four, measured=400)])) == 1
    assert not moved_constants([comparison(*four[1:], measured=300)])  # two of three
    as_predicted = [task("e", 100, 100), task("f", 100, 100)]
    assert not moved_constants([comparison(*four[:3], *as_predicted, measured=500)])  # three of five
    assert not moved_constants([comparison(task("a", 100, 125))], bound=0.25)


def test_a_difference_of_a_hundredth_of_all_runs_is_not_worth_a_word() -> None:
    found = comparison(task("a", 100, 150), measured=2500)
    assert len(moved_constants([found, found])) == 1  # 100 of 5000 ns together
    assert len(moved_constants([replace(found, measured_ns=4999)])) == 1
    assert not moved_constants([replace(found, measured_ns=5000)])
    assert not moved_constants([found, comparison(measured=2500)])


def test_what_took_no_time_tells_nothing_and_the_dearest_comes_first() -> None:
    tasks = [task("a", 0, 50, "never predicted"), task("b", 50, 0, "never measured"), task("c", 100, 150, "cheap"),
             task("d", 1000, 1500, "dear"), task("e", 300, 150, "middle")]  # fmt: skip
    found = moved_constants([comparison(*tasks, measured=2000)])
    assert [m.constants for m in found] == ["dear", "middle", "cheap"]
    assert [m.factor for m in found] == [1.5, 0.5, 1.5]


# -- recordings and ranking --------------------------------------------------------------------------------------------


def test_a_recording_in_full() -> None:
    spans = (
        span("e", "host", "enqueue", 0, 2), span("k", "gpu", "kernel", 2, 12, deps="e"),
        span("s", "cpu", "sync", 12, 15, deps="k\ne"),
    )  # fmt: skip
    sim = Trace("simulated", spans, DIGESTS)
    real = replace(sim, world="measured", spans=(*spans[:1], replace(spans[1], start_ns=5), spans[2]))
    kept = record(sim, real)
    assert kept["simulated_ns"] == kept["measured_ns"] == 15
    assert kept["tasks"] == [
        ["e", "host", "enqueue", [], 2, 2], ["k", "gpu", "kernel", [0], 10, 10], ["s", "cpu", "sync", [1, 0], 3, 3],
    ]  # fmt: skip


def test_regret_is_relative_to_the_plan_measured_fastest() -> None:
    assert regret([(3, 40), (2, 50), (4, 60)]) == pytest.approx(0.25)
    assert regret([(1, 7)]) == 0
    assert rank_correlation([(1, 10), (2, 10)]) is None  # measured alike
    assert rank_correlation([(1, 10), (2, 20)]) == 1.0 and rank_correlation([(1, 20), (2, 10)]) == -1.0
