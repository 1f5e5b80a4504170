"""Plans that take over from each other inside an inference: lowered, simulated and executed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codl.errors import PlanError
from codl.graph import Graph
from codl.ops import Dimension
from codl.plan.lower import lower
from codl.plan.model import Chain, Plan
from codl.plan.segments import lowered, points
from codl.real.adaptive import AdaptiveExecutor
from codl.real.executor import Executor
from codl.real.reference import max_relative_error
from codl.sim import simulate
from codl.sim.conditions import State
from codl.sim.program import Program
from codl.sim.workload import Client, run_workload
from codl.switching import Switcher
from codl.tasks import TaskGraph, TaskKind, joined
from tests.graphs import networks, residual
from tests.machines import Price, Prices, kernel, machine, task_graph
from tests.opencl import halves, inputs_of
from tests.plans import placed, plan_of, plans, split
from tests.serving import MS, program, workload

NO_LIMIT = 99


def same_places(plan: Plan, like: Plan) -> Plan:
    return plan.model_copy(update={"sharing": like.sharing, "home": like.home, "processors": like.processors})


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_any_segment_of_any_plan_may_follow_any_other(data: st.DataObject) -> None:
    graph = data.draw(networks())
    first = data.draw(plans(graph))
    both = [first, same_places(data.draw(plans(graph)), first)]
    possible = points(graph, both, NO_LIMIT)
    chosen = [point for point in possible if data.draw(st.booleans())]
    parts = lowered(graph, both, chosen)
    mix = [segments[data.draw(st.integers(0, 1))] for segments in zip(*parts, strict=True)]
    whole = joined(mix, graph.outputs)
    whole.check(graph)  # every element that is read was written before, in that memory, and the reader has waited
    assert len(mix) == len(chosen) + 1
    switches = [task for task in whole.tasks if task.id.endswith("/switch@host")]
    assert len(switches) == len(chosen)


def test_a_point_is_where_every_plan_ends_a_chain() -> None:
    graph = residual()  # conv0, conv1, add, pool, flatten, gemm
    names = [node.name for node in graph.nodes]
    one = plan_of(graph, [Chain(operators=tuple(n), shares={"gpu": 1.0}) for n in (names[:3], names[3:4], names[4:])])
    other = plan_of(graph, [Chain(operators=tuple(n), shares={"cpu": 1.0}) for n in (names[:2], names[2:3], names[3:])])
    (point,) = points(graph, [one, other])
    assert point.done == set(names[:3]) and point.ends == (1, 2) and point.crossing == (names[2],)
    assert [p.crossing for p in points(graph, [placed(graph, "cpu")])][:2] == [(names[0],), (names[0], names[1])]
    assert len(points(graph, [placed(graph, "cpu")], most=1)) == 4  # not inside the shortcut


def test_plans_for_different_places_cannot_take_over() -> None:
    graph = residual()
    with pytest.raises(PlanError, match="for one hardware"):
        points(graph, [placed(graph, "cpu"), placed(graph, "gpu", sharing="copied")])


def test_without_points_a_plan_is_lowered_as_ever() -> None:
    graph, plan = residual(), split(residual(), Dimension.HEIGHT)
    ((tasks,),) = lowered(graph, [plan], [])
    assert tasks == lower(graph, plan) and joined([tasks], graph.outputs) is tasks


def priced(tasks: TaskGraph, graph: Graph) -> Prices:
    """Every command takes a time of its own; synchronisations too."""
    return Prices({task.id: Price(1000 + 37 * (sum(map(ord, task.id)) % 50)) for task in tasks.tasks}, graph)


@pytest.mark.parametrize("sharing", ["unified", "mapped", "copied"])
def test_an_inference_takes_what_its_segments_take(sharing: str) -> None:
    """The hand-over is in the task graphs: joined, they take as long as one after another, in whatever mix; at a point
    the host waits for all lanes."""
    graph = residual()
    both = [placed(graph, "gpu", sharing=sharing), split(graph, Dimension.HEIGHT, sharing=sharing)]
    parts = lowered(graph, both, points(graph, both, 1)[:2])
    for choice in ((0, 0, 0), (0, 1, 0), (1, 0, 1)):
        mix = [parts[plan][number] for number, plan in enumerate(choice)]
        alone = [simulate(part, priced(part, graph), machine()).latency_ns for part in mix]
        whole = joined(mix, graph.outputs)
        assert simulate(whole, priced(whole, graph), machine()).latency_ns == sum(alone)
    waits = [
        task for task in joined(parts[1], graph.outputs).tasks if task.id in ("s0end/switch@host", "s1end/switch@host")
    ]
    assert [(task.kind, {dep.rpartition("@")[2] for dep in task.deps}) for task in waits] == [
        (TaskKind.SYNC, {"gpu", "cpu"})
    ] * 2


def test_a_state_that_changes_during_an_inference_changes_the_rest_of_it() -> None:
    wanted = workload(
        {"requests": 2, "adapt": "state"}, background=[{"processor": "cpu", "share": 0.5, "start": 0.0005}]
    )
    on = {lane: program(task_graph(kernel("k", lane)), {"k": Price(MS)}, wanted) for lane in ("cpu", "gpu")}
    loaded = State((), (("cpu", 0.5),), 0.0)
    segments = tuple((program_,) * 3 for program_ in (on["cpu"], on["gpu"]))
    client = Client("s", wanted.streams[0], segments, {State((), (), 0.0): 0, loaded: 1})
    (served,) = run_workload(wanted, [client], machine()).streams
    assert served.plans == [(0, 1, 1), (1, 1, 1)]
    # Half of the first segment is done when the load comes, the rest of it takes 1 ms; then 1 ms each on the GPU.
    assert served.ended == [3.5 * MS, 6.5 * MS]
    assert served.history is not None and served.history.switches == 1
    assert served.history.latency(0) is None and served.history.latency(1) == 3 * MS


# -- executed ----------------------------------------------------------------------------------------------------------


class Scripted(Switcher):
    """Chooses what it was told to, one segment after another."""

    def __init__(self, script: Sequence[int], segments: int) -> None:
        super().__init__(2, segments=segments)
        self.script = list(script)

    def choose(self, segment: int = 0) -> int:
        return self.script.pop(0)


class Told(Switcher):
    """Is told other latencies than were measured: what a plan takes, in ms."""

    def __init__(self, ms: Sequence[float], segments: int) -> None:
        super().__init__(len(ms), segments=segments)
        self.ms = ms

    def observe(self, plan: int, latency: float, segment: int = 0) -> None:
        assert latency > 0
        super().observe(plan, self.ms[plan], segment)


PAIRS = {
    "unified": lambda graph: (placed(graph, "gpu"), split(graph, Dimension.HEIGHT)),
    "mapped, home": lambda graph: (
        placed(graph, "cpu", sharing="mapped", home="gpu"),
        split(graph, Dimension.OUTPUT_CHANNEL, sharing="mapped", home="gpu"),
    ),
    "copied": lambda graph: (
        split(graph, Dimension.HEIGHT, 0.3, sharing="copied"), placed(graph, "gpu", sharing="copied"),
    ),
}  # fmt: skip


@pytest.mark.parametrize("pair", PAIRS)
def test_whichever_plan_computes_which_segment_the_outputs_are_the_same(pair: str) -> None:
    graph = replace(residual(), outputs=(*residual().outputs, "binary2"))  # one of them is made in an early segment
    both = PAIRS[pair](graph)
    parts = lowered(graph, both, points(graph, both, 1)[:3])
    with Executor(graph, lower(graph, placed(graph, "cpu")), halves()) as executor:
        expected = executor.run(inputs_of(graph))[0]
    mixes = [(0, 0, 0, 0), (1, 1, 1, 1), (0, 1, 0, 1), (1, 0, 0, 1), (1, 1, 0, 0)]
    script = [plan for mix in mixes for plan in (*mix, *mix)]
    with AdaptiveExecutor(graph, parts, halves(), switcher=Scripted(script, 4)) as adaptive:
        for mix in mixes:
            other = adaptive.run(inputs_of(graph, seed=1))[0]  # buffers persist: the next run must not see this one
            assert max_relative_error(other, expected) > 1e-2
            outputs, trace = adaptive.run(inputs_of(graph), trace=True)
            assert max_relative_error(outputs, expected) < 1e-5
            assert trace is not None
            tasks = joined([parts[plan][number] for number, plan in enumerate(mix)], graph.outputs)
            assert [span.task_id for span in trace.spans] == [task.id for task in tasks.tasks]
            assert trace.digests["tasks"] == tasks.digest


def test_segments_follow_each_other_and_are_timed_apart() -> None:
    graph = residual()
    both = PAIRS["unified"](graph)
    parts = lowered(graph, both, points(graph, both, 1)[:1])
    with AdaptiveExecutor(graph, parts, halves(), switcher=Scripted([0, 1, 0, 1], 2)) as adaptive:
        adaptive.run(inputs_of(graph))
        run = adaptive.infer(inputs_of(graph), trace=True)
        assert run.trace is not None
        first = [span for span in run.trace.spans if span.task_id.startswith("s0")]
        second = [span for span in run.trace.spans if span.task_id.startswith("s1")]
        assert max(span.end_ns for span in first) <= min(span.start_ns for span in second)
        assert run.trace.makespan_ns == run.makespan_ns
        taken = adaptive.history.latencies
        assert sum(taken[plan, number][-1] for number, plan in enumerate((0, 1))) <= run.makespan_ns / 1e6
        assert adaptive.history.latency(0) is None  # its second segment never ran
        assert adaptive.history.share(0) == 0.5 and adaptive.history.switches == 3


def test_the_fastest_plan_remains() -> None:
    graph = residual()
    both = PAIRS["unified"](graph)
    parts = lowered(graph, both, points(graph, both, 1)[:1])
    with AdaptiveExecutor(graph, parts, halves(), switcher=Told([4.0, 2.0], 2)) as adaptive:
        for _ in range(10):
            adaptive.run(inputs_of(graph))
        assert adaptive.history.chosen == [0] * 6 + [1] * 14
    with pytest.raises(PlanError, match="same segments"):
        AdaptiveExecutor(graph, [parts[0], parts[1][:1]], halves())


def test_weights_that_plans_share_are_held_once() -> None:
    graph = residual()
    plan = placed(graph, "cpu")
    with Executor(graph, lower(graph, plan), halves()) as alone:
        single = alone.memory_bytes
    twice = lowered(graph, [plan, plan], [])
    weights = sum(array.nbytes for array in graph.constants.values())
    with AdaptiveExecutor(graph, twice, halves()) as both:
        assert single < both.memory_bytes < 2 * single - weights / 2


def test_programs_of_segments_have_random_numbers_of_their_own() -> None:
    wanted = workload({"requests": 1}, jitter=0.2)
    one = program(task_graph(kernel("k", "gpu")), {"k": Price(MS)}, wanted)
    assert isinstance(one, Program)
    client = Client("s", wanted.streams[0], ((one, one),))
    starts: list[int] = []
    run_workload(wanted, [client], machine(), started=lambda _: lambda *told: starts.append(told[2].durations[0]))
    assert len(set(starts)) == 2
