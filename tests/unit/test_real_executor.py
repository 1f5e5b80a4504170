"""The executor: any plan computes what the unsplit network does, and its trace tells what happened."""

from __future__ import annotations

import dataclasses
import threading
import time

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from codl.errors import DeviceError, InputError, PlanError
from codl.graph import Graph
from codl.ops import Dimension
from codl.plan.lower import lower
from codl.real import lanes, memory, worker
from codl.real.devices import Assignment, choose
from codl.real.executor import Executor
from codl.real.measure import measure
from codl.real.reference import max_relative_error
from codl.tasks import HOST_LANE, TaskKind
from tests.graphs import Builder, residual
from tests.opencl import executor_of, halves, inputs_of
from tests.plans import placed, plans, split

HALVED = {
    "cpu": lambda graph: placed(graph, "cpu"),
    "gpu": lambda graph: placed(graph, "gpu"),
    "height": lambda graph: split(graph, Dimension.HEIGHT),
    "channels": lambda graph: split(graph, Dimension.OUTPUT_CHANNEL, 0.3),
    "mapped": lambda graph: split(graph, Dimension.HEIGHT, sharing="mapped"),
    "mapped, home": lambda graph: split(graph, Dimension.OUTPUT_CHANNEL, sharing="mapped", home="gpu"),
    "copied": lambda graph: split(graph, Dimension.HEIGHT, sharing="copied"),
    "copied, channels": lambda graph: split(graph, Dimension.OUTPUT_CHANNEL, 0.6, sharing="copied"),
}


@pytest.fixture(scope="module")
def devices() -> Assignment:
    return halves()


@pytest.fixture(scope="module")
def network() -> Graph:
    return residual()


@pytest.fixture(scope="module")
def expected(network: Graph, devices: Assignment) -> dict[str, np.ndarray]:
    """Outputs of the unsplit network, for the default inputs."""
    with executor_of(network, placed(network, "cpu"), devices) as executor:
        return executor.run(inputs_of(network))[0]


# -- results -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", HALVED)
def test_every_plan_computes_the_same(
    name: str, network: Graph, devices: Assignment, expected: dict[str, np.ndarray]
) -> None:
    with executor_of(network, HALVED[name](network), devices) as executor:
        for _ in range(2):  # buffers persist: a second run must not see the first
            outputs, trace = executor.run(inputs_of(network))
            assert trace is None
            assert max_relative_error(outputs, expected) < 1e-5
        other, _ = executor.run(inputs_of(network, seed=1))
        assert max_relative_error(other, expected) > 1e-2


@pytest.mark.parametrize("gpu_in_host", [True, False])
@pytest.mark.parametrize("cpu_in_host", [True, False])
@pytest.mark.parametrize("name", ["copied", "copied, channels", "gpu"])
def test_separate_memories(
    name: str, cpu_in_host: bool, gpu_in_host: bool, network: Graph, devices: Assignment,
    expected: dict[str, np.ndarray], monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """Two contexts, of which either may pose as a device with a memory of its own, as a GPU has."""
    gpu = dataclasses.replace(devices.gpu, root="another")
    contexts = {"cpu": lanes._context((devices.cpu.id,))[0], "gpu": lanes._context((gpu.id,))[0]}
    if devices.cpu.id == devices.gpu.id:
        pytest.skip("one core: there is one context only")
    in_host = {id(contexts["cpu"]): cpu_in_host, id(contexts["gpu"]): gpu_in_host}
    monkeypatch.setattr(memory, "works_in_host_memory", lambda context: in_host[id(context)])
    with executor_of(network, HALVED[name](network), {"cpu": devices.cpu, "gpu": gpu}) as executor:
        outputs, trace = executor.run(inputs_of(network), trace=True)
        outputs, trace = executor.run(inputs_of(network), trace=True)
    assert max_relative_error(outputs, expected) < 1e-5
    assert trace is not None
    if name != "gpu":
        assert any(span.kind == "copy" for span in trace.spans)


@pytest.mark.parametrize("name", ["cpu", "gpu", "copied", "copied, channels"])
def test_the_devices_of_this_machine(name: str, network: Graph, expected: dict[str, np.ndarray]) -> None:
    """Whatever `codl execute` would choose here: a real GPU, if there is one."""
    with executor_of(network, HALVED[name](network), choose()) as executor:
        for _ in range(2):
            outputs, trace = executor.run(inputs_of(network), trace=True)
            assert max_relative_error(outputs, expected) < 1e-5
            assert trace is not None and trace.makespan_ns > 0


@pytest.mark.parametrize("sharing", ["unified", "mapped"])
def test_shared_memory_is_not_invented(sharing: str, network: Graph, devices: Assignment) -> None:
    apart = {"cpu": devices.cpu, "gpu": dataclasses.replace(devices.gpu, root="another")}
    with pytest.raises(PlanError, match="separate memories; plan for hardware whose sharing is 'copied'"):
        executor_of(network, split(network, Dimension.HEIGHT, sharing=sharing), apart)


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_plan_computes_the_same(data: st.DataObject, network: Graph, devices: Assignment, expected: dict) -> None:
    plan = data.draw(plans(network, mixed=True))
    if any(use.data_type == "image" for use in plan.processors.values()):
        plan = plan.model_copy(update={"alignment": {Dimension.OUTPUT_CHANNEL: 4}})
    with executor_of(network, plan, devices) as executor:
        outputs, trace = executor.run(inputs_of(network), trace=True)
    assert max_relative_error(outputs, expected) < 1e-5
    assert trace is not None
    assert {span.task_id for span in trace.spans} == {task.id for task in lower(network, plan).tasks}


def test_several_outputs_and_a_batch(devices: Assignment) -> None:
    builder = Builder((3, 4, 9, 7))
    first = builder.conv("x", 6)
    second = builder.pool(first)
    graph = builder.graph(second, first, "x")
    x = inputs_of(graph)
    with executor_of(graph, placed(graph, "cpu"), devices) as whole:
        reference, _ = whole.run(x)
    assert list(reference) == [second, first, "x"]
    np.testing.assert_array_equal(reference["x"], x["x"])
    with executor_of(graph, split(graph, Dimension.HEIGHT, 0.4), devices) as executor:
        outputs, _ = executor.run(x)
    assert max_relative_error(outputs, reference) < 1e-5


def test_outputs_belong_to_the_caller(network: Graph, devices: Assignment) -> None:
    with executor_of(network, placed(network, "cpu"), devices) as executor:
        first, _ = executor.run(inputs_of(network))
        kept = {name: array.copy() for name, array in first.items()}
        executor.run(inputs_of(network, seed=5))
        for name, array in first.items():
            np.testing.assert_array_equal(array, kept[name])


# -- the trace ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", HALVED)
def test_the_trace_follows_the_rules_of_the_task_graph(name: str, network: Graph, devices: Assignment) -> None:
    plan = HALVED[name](network)
    tasks = lower(network, plan)
    with Executor(network, tasks, devices) as executor:
        _, trace = executor.run(inputs_of(network), trace=True)
        uncertainty = max(clock.uncertainty_ns for clock in executor._lanes.clocks.values())
    assert trace is not None and trace.world == "measured"
    assert [span.task_id for span in trace.spans] == [task.id for task in tasks.tasks]
    assert trace.digests == {
        "model": graph_digest(network),
        "plan": plan.digest,
        "hardware": "0" * 16,
        "tasks": tasks.digest,
    }
    assert min(span.queued_ns for span in trace.spans) == 0
    assert trace.environment["lane cpu"] == devices.cpu.id if "cpu" in tasks.lanes else True
    trace.validate()
    for task in tasks.tasks:
        span = trace.by_id[task.id]
        for dep in task.deps:
            before = trace.by_id[dep]
            if tasks.by_id[dep].kind is TaskKind.ENQUEUE:
                assert before.start_ns <= span.start_ns
            else:
                assert before.end_ns <= span.start_ns + 2 * uncertainty, (task.id, dep)
    kernels = [span for span in trace.spans if span.kind == "kernel"]
    assert all(span.duration_ns > 0 for span in kernels)


def graph_digest(graph: Graph) -> str:
    return graph.digest


def test_syncs_say_what_they_wait_for(network: Graph, devices: Assignment) -> None:
    with executor_of(network, split(network, Dimension.HEIGHT), devices) as executor:
        _, trace = executor.run(inputs_of(network), trace=True)
    assert trace is not None
    syncs = [span for span in trace.spans if span.kind == "sync"]
    assert {span.lane for span in syncs} >= {"cpu", HOST_LANE}
    for span in syncs:
        assert span.args["why"]
        assert trace.by_id[str(span.args["after"])].kind != "enqueue"


def test_the_makespan_is_that_of_the_trace(network: Graph, devices: Assignment) -> None:
    with executor_of(network, split(network, Dimension.HEIGHT), devices) as executor:
        run = executor.infer(inputs_of(network), trace=True)
    assert run.trace is not None
    assert abs(run.makespan_ns - run.trace.makespan_ns) <= 1000
    assert run.wall_ns >= run.makespan_ns * 0.9


def test_measure_reports_the_median_run(network: Graph, devices: Assignment) -> None:
    with executor_of(network, placed(network, "cpu"), devices) as executor:
        measured = measure(executor, inputs_of(network), runs=5)
        assert len(measured.runs_ms) == len(measured.wall_ms) == 5
        assert measured.median_ms == sorted(measured.runs_ms)[2] == pytest.approx(measured.trace.makespan_ns / 1e6)
        assert measured.noise >= 0
        assert set(measured.outputs) == set(network.outputs)
        assert measure(executor, inputs_of(network), runs=1).noise == 0
        with pytest.raises(InputError, match="at least one"):
            measure(executor, inputs_of(network), runs=0)


def test_memory_is_accounted_for(network: Graph, devices: Assignment) -> None:
    with executor_of(network, placed(network, "cpu"), devices) as executor:
        weights = sum(array.nbytes for array in network.constants.values())
        tensors = sum(tensor.nbytes for name, tensor in network.tensors.items() if name not in network.constants)
        assert weights + tensors <= executor.memory_bytes < 4 * (weights + tensors) + 100_000


# -- what is refused ---------------------------------------------------------------------------------------------------


def test_wrong_inputs_are_refused(network: Graph, devices: Assignment) -> None:
    good = inputs_of(network)["x"]
    with executor_of(network, placed(network, "cpu"), devices) as executor:
        for inputs, message in [
            ({}, r"input 'x' is missing; test takes: x float32\[1, 4, 12, 10\]"),
            ({"x": good, "z": good}, "unknown input 'z'"),
            ({"x": good[0]}, r"shape \[4, 12, 10\]; \[1, 4, 12, 10\] is needed"),
            ({"x": good.astype(np.float64)}, "dtype float64; float32 is needed"),
        ]:
            with pytest.raises(InputError, match=message):
                executor.run(inputs)


def test_plans_that_it_cannot_run_are_refused(network: Graph, devices: Assignment) -> None:
    images = lower(network, placed(network, "gpu", sharing="mapped", image=True))
    with pytest.raises(PlanError, match="codl has no kernel on images for it; plan with --data-type buffer"):
        Executor(network, images, devices)
    uneven = split(network, Dimension.OUTPUT_CHANNEL, 0.3, image=True)  # 2 of 8 channels
    with pytest.raises(PlanError, match="cut at multiples of 4"):
        Executor(network, lower(network, uneven), devices)
    other = Builder()
    other.conv("x", 3)
    with pytest.raises(PlanError, match="made for another model"):
        Executor(other.graph(), lower(network, placed(network, "cpu")), devices)
    listed = dataclasses.replace(network, executable=False)
    with pytest.raises(PlanError, match="operator list"):
        Executor(listed, lower(network, placed(network, "cpu")), devices)
    foreign = placed(network, "cpu", algorithms={"conv0": {"cpu": "their_own"}})
    with pytest.raises(PlanError, match="conv0: the plan chose the kernel variant 'their_own'"):
        executor_of(network, foreign, devices)
    with pytest.raises(DeviceError, match="no device plays the processor 'gpu'"):
        executor_of(network, split(network, Dimension.HEIGHT), {"cpu": devices.cpu})


# -- time and threads --------------------------------------------------------------------------------------------------


def test_a_device_that_does_not_answer_is_given_up(network: Graph, devices: Assignment) -> None:
    executor = executor_of(network, placed(network, "cpu"), devices)
    executor.timeout_s = 0.05
    release = threading.Event()
    step = executor.parts[0].schedule.steps[2]
    honest = step.issue
    step.issue = lambda waits: (release.wait(), honest(waits))[1]
    with pytest.raises(DeviceError, match=r"no answer for 0\.05 s"):
        executor.run(inputs_of(network))
    with pytest.raises(DeviceError, match="gave up"):
        executor.run(inputs_of(network))
    release.set()


def test_slow_progress_is_no_hang() -> None:
    steps = iter(range(1000))
    slow = worker.Worker("test")
    assert slow.call(lambda: time.sleep(0.2) or "done", 0.01, lambda: next(steps)) == "done"
    slow.close()


def test_errors_of_the_worker_reach_the_caller() -> None:
    running = worker.Worker("test")

    def fail() -> None:
        raise InputError("no")

    with pytest.raises(InputError, match="no"):
        running.call(fail, 1.0, lambda: 0)
    assert running.call(lambda: 1, 1.0, lambda: 0) == 1
    running.close()


def test_threads_take_turns(network: Graph, devices: Assignment) -> None:
    with executor_of(network, split(network, Dimension.HEIGHT), devices) as executor:
        alone = {seed: executor.run(inputs_of(network, seed))[0] for seed in range(4)}
        results: dict[int, dict[str, np.ndarray]] = {}

        def work(seed: int) -> None:
            for _ in range(5):
                results[seed] = executor.run(inputs_of(network, seed))[0]

        threads = [threading.Thread(target=work, args=(seed,)) for seed in alone]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    for seed, outputs in alone.items():
        assert max_relative_error(results[seed], outputs) == 0


def test_closed_executors_leave_no_thread(network: Graph, devices: Assignment) -> None:
    executor = executor_of(network, placed(network, "cpu"), devices)
    thread = executor._worker._thread
    executor.close()
    thread.join(timeout=5)
    assert not thread.is_alive()
    with pytest.raises(DeviceError, match="closed"):
        executor.run(inputs_of(network))
