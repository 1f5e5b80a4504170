"""Comparing traces: what is refused, how errors split, what is named."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codl import hardware as hw
from codl.compare import (
    Comparison,
    GroupError,
    compare_traces,
    moved_constants,
    rank_correlation,
    record,
    regret,
    relative,
    replayed_ns,
)
from codl.compare.diverse import diverse_plans
from codl.cost import CostModel, Origin
from codl.errors import InputError
from codl.io import canonical_json
from codl.plan.problem import Problem
from codl.sim import replay, simulate
from codl.tasks import HOST_LANE, Task, TaskKind
from codl.trace import Span, Trace
from tests.graphs import residual
from tests.machines import Price, Prices, machine, task_graph, workloads

TASKS = task_graph(
    Task("c00/a/enqueue@gpu", TaskKind.ENQUEUE, HOST_LANE, "a", "c00", source="gpu"),
    Task("c00/a/kernel@gpu", TaskKind.KERNEL, "gpu", "a", "c00", ("c00/a/enqueue@gpu",), (), (), "direct", "image"),
    Task("c00/a/enqueue@cpu", TaskKind.ENQUEUE, HOST_LANE, "a", "c00", source="cpu"),
    Task("c00/a/kernel@cpu", TaskKind.KERNEL, "cpu", "a", "c00", ("c00/a/enqueue@cpu",), algorithm="winograd6"),
    Task("c01/pre-sync@cpu", TaskKind.SYNC, "cpu", "", "c01", ("c00/a/kernel@gpu",), source="gpu", why="cpu reads a"),
    Task("c01/b/enqueue@cpu", TaskKind.ENQUEUE, HOST_LANE, "b", "c01", source="cpu"),
    Task("c01/b/kernel@cpu", TaskKind.KERNEL, "cpu", "b", "c01", ("c01/b/enqueue@cpu",), algorithm="direct"),
)  # fmt: skip
NAMES = [task.id for task in TASKS.tasks]
ALONE = dict(zip(NAMES, [10, 1000, 10, 800, 50, 10, 400], strict=True))


def simulated(durations: Mapping[str, int] = ALONE, **environment) -> Trace:
    prices = Prices({name: Price(duration) for name, duration in durations.items()})
    return simulate(TASKS, prices, machine(), environment=environment).trace


def measured(late: Mapping[str, int] | None = None, **durations: int) -> Trace:
    """A measurement that obeys the lanes' rules, but for tasks that start `late`, with all that ends after them."""
    keys = {name: name.replace("/", "_").replace("@", "_") for name in NAMES}
    trace = replay(simulated(), {name: durations.get(keys[name], ALONE[name]) for name in NAMES})
    delay = dict(late or {})
    total = 0
    spans = []
    for span in trace.spans:
        total += delay.pop(span.task_id, 0)
        moved = total if span.lane != HOST_LANE else 0
        spans.append(replace(span, start_ns=span.start_ns + moved, end_ns=span.end_ns + moved, args={}))
    return replace(trace, world="measured", spans=tuple(spans))


def test_a_perfect_prediction_has_no_error():
    comparison = compare_traces(simulated(), measured())
    assert (comparison.error, comparison.duration_error, comparison.scheduling_error) == (0, 0, 0)
    assert comparison.within(0.0) == 1.0
    assert all(task.error == 0 for task in comparison.tasks)


def test_longer_tasks_are_duration_error():
    comparison = compare_traces(simulated(), measured(c01_b_kernel_cpu=900))
    assert comparison.measured_ns == 10 + 1000 + 50 + 900
    assert comparison.error == pytest.approx(-500 / 1960)
    assert comparison.duration_error == comparison.error
    assert comparison.scheduling_error == 0


def test_waits_that_the_rules_do_not_know_are_scheduling_error():
    comparison = compare_traces(simulated(), measured(late={"c01/b/kernel@cpu": 140}))
    assert comparison.error == pytest.approx(-140 / 1600)
    assert comparison.scheduling_error == comparison.error
    assert comparison.duration_error == 0


def test_both_errors_add_up_and_may_cancel():
    real = measured(late={"c01/b/kernel@cpu": 100}, c01_b_kernel_cpu=300)
    comparison = compare_traces(simulated(), real)
    assert comparison.error == 0
    assert comparison.duration_error == pytest.approx(100 / 1460)
    assert comparison.scheduling_error == pytest.approx(-100 / 1460)


def test_errors_by_operator_kind_and_term():
    comparison = compare_traces(simulated(), measured(c00_a_kernel_gpu=1250, c01_b_kernel_cpu=390))
    assert {group.name: group.error for group in comparison.operators} == {
        "a@gpu": -0.2, "a@cpu": 0.0, "b@cpu": pytest.approx(10 / 390),
    }  # fmt: skip
    assert comparison.within(0.10) == pytest.approx(2 / 3)
    assert comparison.within(0.01) == pytest.approx(1 / 3)
    kinds = {group.name: group for group in comparison.kinds}
    assert kinds["kernel"] == GroupError("kernel", 3, 2200, 2440)
    assert kinds["enqueue"].count == 3
    assert comparison.terms[0] == GroupError("unit times of gpu direct image", 1, 1000, 1250)
    assert {group.name for group in comparison.terms} >= {"processors.gpu.enqueue", "synchronisation of cpu"}


def test_the_worst_offenders_are_those_that_cost_most_time_with_a_reason():
    real = measured(c00_a_enqueue_gpu=1, c00_a_kernel_gpu=1250)
    worst = compare_traces(simulated(), real).worst(2)
    assert [task.task_id for task in worst] == ["c00/a/kernel@gpu", "c00/a/enqueue@gpu"]  # 250 ns of 1250, 9 ns of 1
    assert worst[0].reason == "unit times of gpu direct image"
    assert worst[0].difference_ns == -250


def test_predicted_contention_is_part_of_the_reason():
    prices = Prices({"c00/a/kernel@gpu": Price(1_000_000, 8_000_000), "c00/a/kernel@cpu": Price(1_000_000, 8_000_000)})
    sim = simulate(TASKS, prices, machine(10e9)).trace
    comparison = compare_traces(sim, replace(sim, world="measured"))
    reasons = {task.task_id: task.reason for task in comparison.tasks}
    assert reasons["c00/a/kernel@gpu"].endswith("contention predicted to add 0.6 ms")
    assert comparison.error == 0


def test_a_row_holds_the_contracted_keys_in_ms():
    sim = simulated(model="yolov2", planner="codl")
    row = compare_traces(sim, measured(c01_b_kernel_cpu=900), noise=0.02).row()
    assert row | {
        "model": "yolov2", "planner": "codl", "simulated_ms": 0.00146, "measured_ms": 0.00196, "noise": 0.02,
        "within_10_percent": pytest.approx(2 / 3),
    } == row  # fmt: skip
    assert row["error"] == pytest.approx(row["duration_error"] + row["scheduling_error"])
    assert row["worst"][0]["task"] == "c01/b/kernel@cpu"
    assert canonical_json(row)  # no NaN, nothing that JSON lacks


def test_an_error_below_the_noise_is_not_conclusive():
    real = measured(c01_b_kernel_cpu=420)
    assert not compare_traces(simulated(), real, noise=0.05).conclusive
    assert compare_traces(simulated(), real, noise=0.001).conclusive
    assert compare_traces(simulated(), real).conclusive


def test_a_replay_of_the_callers_choice_is_used():
    seen: dict[str, int] = {}

    def twice(durations: Mapping[str, int]) -> Trace:
        seen.update(durations)
        return replay(simulated(), {name: 2 * duration for name, duration in durations.items()})

    comparison = compare_traces(simulated(), measured(), twice)
    assert seen == ALONE
    assert comparison.scheduling_error == 1.0
    assert comparison.duration_error == -1.0


@pytest.mark.parametrize("name", ["model", "plan", "tasks"])
def test_traces_of_different_things_are_refused(name):
    real = measured()
    other = replace(real, digests={**real.digests, name: "f00"})
    with pytest.raises(InputError, match=f"differ in {name}: digest .* was simulated, f00 measured"):
        compare_traces(simulated(), other)
    without = {key: value for key, value in real.digests.items() if key != name}
    with pytest.raises(InputError, match=f"differ in {name}"):
        compare_traces(replace(simulated(), digests=without), replace(real, digests=without))


def test_another_hardware_digest_is_no_obstacle():
    real = measured()
    assert compare_traces(simulated(), replace(real, digests={**real.digests, "hardware": "f00"})).error == 0


def test_missing_and_surplus_tasks_are_named_not_dropped():
    real = measured()
    ghost = Span("ghost", "cpu", "kernel", "", "", 5000, 5000, 5001)
    with pytest.raises(InputError, match="c01/b/kernel@cpu were not measured; ghost were not simulated"):
        compare_traces(simulated(), replace(real, spans=(*real.spans[:-1], ghost)))


def test_long_lists_of_tasks_are_cut():
    real = measured()
    with pytest.raises(InputError, match="and 1 more were not measured"):
        compare_traces(simulated(), replace(real, spans=real.spans[:1]))


def test_the_worlds_must_not_be_swapped():
    with pytest.raises(InputError, match="a simulated trace is needed here, and this one is measured"):
        compare_traces(measured(), simulated())


def test_an_empty_measurement_is_refused():
    nothing = replace(simulated(), spans=())
    with pytest.raises(InputError, match="lasts no time"):
        compare_traces(nothing, replace(nothing, world="measured"))


def test_only_simulated_traces_replay_and_only_known_tasks():
    with pytest.raises(InputError, match="cannot be replayed"):
        replay(measured(), {})
    with pytest.raises(InputError, match="no task 'ghost'"):
        replay(simulated(), {"ghost": 1})
    with pytest.raises(InputError, match="negative"):
        replay(simulated(), {NAMES[0]: -1})


def test_a_trace_that_was_written_and_read_compares_alike(tmp_path):
    real = measured(late={"c01/b/kernel@cpu": 140}, c00_a_kernel_gpu=1250)
    direct = compare_traces(simulated(), real)
    for name, trace in (("a.json", simulated()), ("b.json", real)):
        trace.write(tmp_path / name)
    assert compare_traces(Trace.read(tmp_path / "a.json"), Trace.read(tmp_path / "b.json")) == direct


@settings(deadline=None, max_examples=50)
@given(workloads(), st.data())
def test_a_trace_replays_as_its_task_graph_does(workload, data):
    """A file of a simulation knows enough: the same timeline as from the task graph, with any durations."""
    tasks, prices = workload
    hardware = machine(5e9, lanes=("p0", "p1", "p2"))
    durations = {task.id: data.draw(st.integers(0, 999)) for task in tasks.tasks}
    from_trace = replay(simulate(tasks, prices, hardware).trace, durations)
    from_graph = simulate(tasks, prices, hardware, durations=durations).trace
    assert [(s.start_ns, s.end_ns) for s in from_trace.spans] == [(s.start_ns, s.end_ns) for s in from_graph.spans]
    from_trace.validate()


@settings(deadline=None, max_examples=50)
@given(workloads(), st.data())
def test_errors_always_add_up(workload, data):
    tasks, prices = workload
    sim = simulate(tasks, prices, machine(5e9, lanes=("p0", "p1", "p2"))).trace
    durations = {task.id: data.draw(st.integers(0, 3000)) for task in tasks.tasks}
    real = replace(replay(sim, durations), world="measured")
    if not real.makespan_ns:
        return
    comparison: Comparison = compare_traces(sim, real)
    assert comparison.scheduling_error == 0  # it obeys the rules
    assert comparison.error == pytest.approx(comparison.duration_error)
    assert sum(group.count for group in comparison.kinds) == len(tasks.tasks)


def test_relative_errors_of_nothing():
    assert relative(0, 0) == 0
    assert relative(3, 0) is None
    assert relative(3, 4) == -0.25


def test_rank_correlation():
    assert rank_correlation([(1, 10), (2, 20), (3, 30)]) == pytest.approx(1)
    assert rank_correlation([(1, 30), (2, 20), (3, 10)]) == pytest.approx(-1)
    assert rank_correlation([(1, 10), (2, 30), (3, 20)]) == pytest.approx(1 / 3)
    assert rank_correlation([(1, 10), (1, 20)]) is None
    assert rank_correlation([(1, 10)]) is None
    assert rank_correlation([]) is None


def test_regret():
    assert regret([(1, 10), (2, 20)]) == 0
    assert regret([(1, 12), (2, 10), (3, 11)]) == pytest.approx(0.2)
    assert regret([(1, 10), (1, 15)]) == pytest.approx(0.5)  # it may choose the slower of the two
    assert regret([]) is None


# -- several runs, launch latencies, recordings, drift, diverse plans --------------------------------------------------


def test_of_several_runs_the_medians_count_and_each_is_replayed_by_itself():
    runs = [measured(c01_b_kernel_cpu=400 + 100 * number) for number in (0, 1, 9)]
    comparison = compare_traces(simulated(), runs)
    assert comparison.runs == 3
    assert comparison.measured_ns == runs[1].makespan_ns
    assert {task.task_id: task.measured_ns for task in comparison.tasks}["c01/b/kernel@cpu"] == 500
    assert comparison.scheduling_error == 0
    with pytest.raises(InputError, match="no measured run"):
        compare_traces(simulated(), [])


def test_the_launch_latency_between_commands_of_a_lane_is_part_of_the_second_ones_time():
    tasks = task_graph(
        Task("e1", TaskKind.ENQUEUE, HOST_LANE), Task("k1", TaskKind.KERNEL, "gpu", deps=("e1",)),
        Task("e2", TaskKind.ENQUEUE, HOST_LANE), Task("k2", TaskKind.KERNEL, "gpu", deps=("e2",)),
    )  # fmt: skip
    sim = simulate(tasks, Prices(dict(zip(("e1", "k1", "e2", "k2"), map(Price, (10, 100, 10, 100)), strict=True))),
                   machine()).trace  # fmt: skip
    late = [replace(span, start_ns=span.start_ns + 7) if span.task_id == "k2" else span for span in sim.spans]
    real = replace(sim, world="measured", spans=tuple(late))
    comparison = compare_traces(sim, real)
    assert {task.task_id: task.measured_ns for task in comparison.tasks}["k2"] == 100  # 7 waiting, 93 running
    assert (comparison.error, comparison.scheduling_error) == (0, 0)


def test_a_recording_replays_as_its_traces_do():
    sim, real = simulated(), measured(late={"c01/b/kernel@cpu": 140}, c00_a_kernel_gpu=1250)
    kept = json.loads(canonical_json(record(sim, real)))
    assert replayed_ns(kept, measured=False) == kept["simulated_ns"] == sim.makespan_ns
    comparison = compare_traces(sim, real)
    assert replayed_ns(kept, measured=True) == comparison.replayed_ns
    assert kept["measured_ns"] == comparison.measured_ns


def test_constants_that_moved_are_named_with_their_factor():
    origins = {name: Origin(f"libraries.codl.{name.rpartition('@')[2]}") for name in NAMES if "kernel" in name}
    slow = measured(c00_a_kernel_cpu=1200, c01_b_kernel_cpu=600)
    (moved,) = moved_constants([compare_traces(simulated(), slow, origins=origins)])
    assert (moved.constants, moved.factor, moved.tasks) == ("libraries.codl.cpu", 1.5, 2)
    assert "libraries.codl.cpu x 1.50" in str(moved)
    contradictory = measured(c00_a_kernel_cpu=400, c01_b_kernel_cpu=800)
    assert not moved_constants([compare_traces(simulated(), contradictory, origins=origins)])
    assert not moved_constants([compare_traces(simulated(), measured(), origins=origins)])


def test_diverse_plans_are_legal_and_differ():
    graph, hardware = residual(), hw.load("sd865")
    problem = Problem(graph, hardware, CostModel(hardware, graph))
    plans = diverse_plans(problem, 20)
    assert len(plans) == 20
    for plan in plans:
        plan.check(graph)
    assert len({plan.model_copy(update={"planner": "", "planning_ms": None}).digest for plan in plans}) == 20
    assert [plan.planner for plan in plans] == [plan.planner for plan in diverse_plans(problem, 20)]
