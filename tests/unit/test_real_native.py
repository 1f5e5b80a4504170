"""Native devices: whatever OpenCL devices compute, these compute too, alone, in halves and beside an OpenCL device."""

from __future__ import annotations

import gc
import threading
import time
from collections import defaultdict
from itertools import pairwise

import numpy as np
import pytest

from codl.errors import DeviceError
from codl.graph import Graph
from codl.ops import Dimension
from codl.ops.launch import KernelProgram, Launch
from codl.plan.lower import lower
from codl.real import devices as real_devices
from codl.real.devices import choose, describe, find
from codl.real.executor import Executor
from codl.real.native.queue import Command, NativeQueue
from codl.real.reference import max_relative_error
from tests.graphs import residual
from tests.opencl import executor_of, halves, inputs_of, native_halves
from tests.plans import placed, split

abi = pytest.importorskip("codl.ops.native.abi", reason="native devices need numba")

HALVED = {
    "cpu": lambda graph: placed(graph, "cpu"),
    "height": lambda graph: split(graph, Dimension.HEIGHT),
    "channels": lambda graph: split(graph, Dimension.OUTPUT_CHANNEL, 0.3),
    "mapped": lambda graph: split(graph, Dimension.HEIGHT, sharing="mapped"),
    "copied": lambda graph: split(graph, Dimension.OUTPUT_CHANNEL, 0.6, sharing="copied"),
}


@pytest.fixture(scope="module")
def network() -> Graph:
    return residual()


@pytest.fixture(scope="module")
def expected(network: Graph) -> dict[str, np.ndarray]:
    """By the OpenCL device."""
    with executor_of(network, placed(network, "cpu"), halves()) as executor:
        return executor.run(inputs_of(network))[0]


# -- whole executors ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", HALVED)
def test_every_plan_computes_what_opencl_does(name: str, network: Graph, expected: dict[str, np.ndarray]) -> None:
    with executor_of(network, HALVED[name](network), native_halves()) as executor:
        for _ in range(2):
            outputs, _ = executor.run(inputs_of(network))
            assert max_relative_error(outputs, expected) < 1e-5
        other, _ = executor.run(inputs_of(network, seed=1))
        assert max_relative_error(other, expected) > 1e-2


@pytest.mark.parametrize("native_lane", ["cpu", "gpu"])
@pytest.mark.parametrize("name", ["copied", "cpu"])
def test_beside_an_opencl_device(name: str, native_lane: str, network: Graph, expected: dict[str, np.ndarray]) -> None:
    """Each works in a memory of its own, though both lie in the host's."""
    opencl, native = halves(), native_halves()
    lanes = {"cpu": opencl.cpu, "gpu": opencl.gpu, native_lane: getattr(native, native_lane)}
    with Executor(network, lower(network, HALVED[name](network)), lanes) as executor:
        outputs, _ = executor.run(inputs_of(network))
        assert max_relative_error(outputs, expected) < 1e-5


def test_spans_of_a_lane_follow_each_other(network: Graph) -> None:
    with executor_of(network, split(network, Dimension.HEIGHT), native_halves()) as executor:
        run = executor.infer(inputs_of(network), trace=True)
    assert run.trace is not None
    lanes = defaultdict(list)
    for span in run.trace.spans:
        if span.kind == "kernel":
            lanes[span.lane].append(span)
    assert set(lanes) == {"cpu", "gpu"}
    for spans in lanes.values():
        for before, after in pairwise(spans):
            assert before.end_ns <= after.start_ns
    assert 0 < run.makespan_ns <= run.wall_ns


def test_closing_ends_the_threads(network: Graph) -> None:
    before = set(threading.enumerate())
    executor = executor_of(network, placed(network, "cpu"), native_halves())
    threads = {thread for thread in threading.enumerate() if thread.name.startswith("codl-native")} - before
    assert threads
    executor.close()
    for thread in threads:
        thread.join(timeout=10)
        assert not thread.is_alive()
    with pytest.raises(DeviceError, match="closed"):
        executor.run(inputs_of(network))


def test_images_are_refused(network: Graph) -> None:
    with pytest.raises(DeviceError, match=r"native:0 \(.*\) has no images.*--data-type buffer"):
        executor_of(network, split(network, Dimension.HEIGHT, sharing="mapped", image=True), native_halves())


# -- devices -----------------------------------------------------------------------------------------------------------


def test_the_machine_is_one_device_whose_cores_are_parts_of_it() -> None:
    whole = describe("native:0")
    assert (
        whole.kind == "cpu" and whole.compute_units >= 1 and whole.memory_bytes > 2**28 and not any(whole.image_limits)
    )
    first = describe("native:0.0")
    assert (first.root, first.compute_units) == ("native:0", 1)
    assert whole in find()
    if whole.compute_units > 1:
        assert choose(cpu="native:0.1").gpu == first
    assert choose().cpu.root != "native:0", "OpenCL devices are the default"


@pytest.mark.parametrize("device", ["native:1", "native:0.999", "native:0.1-0", "native:", "native:0.x"])
def test_what_is_not_there_is_refused(device: str) -> None:
    with pytest.raises(DeviceError, match=r"unknown device.*native:0"):
        describe(device)


def test_without_numba_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(real_devices, "available", lambda: False)
    find.cache_clear()
    try:
        assert not any(info.root == "native:0" for info in find())
        with pytest.raises(DeviceError, match=r"pip install 'codl\[native\]'"):
            describe("native:0")
    finally:
        find.cache_clear()


def test_a_kernel_that_is_not_there_is_named() -> None:
    from codl.real.native.launcher import native_launcher

    program = KernelProgram((Launch("cl/no_such.cl", "nothing", (), (), (1, 1, 1)),))
    with pytest.raises(DeviceError, match=r"no kernel nothing of cl/no_such\.cl"):
        native_launcher("native:0").prepare(program, [], None, {}, {})


# -- queues ------------------------------------------------------------------------------------------------------------


@abi.kernel()
def count(slots, i, j, k):
    """Adds 1 to element (i, j, k) of a box of 3 x 5 x n floats."""
    x = abi.integer(slots, 0)
    at = i + 3 * (j + 5 * k)
    abi.f32_store(x, at, abi.f32(x, at) + np.float32(1))


@abi.kernel()
def double(slots, i, j, k):
    x = abi.integer(slots, 0)
    abi.f32_store(x, i, abi.f32(x, i) * np.float32(2))


def command(kernel, target: np.ndarray, extents: tuple[int, int, int]) -> Command:
    return Command(kernel.address, np.array([target.ctypes.data], np.int64), extents, (kernel, target))


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_every_work_item_is_computed_once_and_in_order(threads: int) -> None:
    queue = NativeQueue(threads, None)
    target = np.zeros(105, np.float32)
    add, twice = command(count, target, (3, 5, 7)), command(double, target, (105, 1, 1))
    for _ in range(3):
        target[:] = 0
        events = [queue.enqueue(each) for _ in range(10) for each in (add, twice)]
        events[-1].wait()
        assert (target == 2 * (2**10 - 1)).all()  # x -> 2 (x + 1), ten times
        profiles = [event.profile for event in events]
        assert all(each.start <= each.end for each in profiles)
        assert all(a.end <= b.start for a, b in pairwise(profiles))
        assert all(event.command_execution_status == 0 for event in events)


def test_one_queue_waits_for_another() -> None:
    first, second = NativeQueue(1, None), NativeQueue(2, None)
    target = np.zeros(15, np.float32)
    add, twice = command(count, target, (3, 5, 1)), command(double, target, (15, 1, 1))
    for _ in range(50):
        target[:] = 1
        added = [first.enqueue(add) for _ in range(3)][-1]
        doubled = second.enqueue(twice, [added])
        first.enqueue(add, [doubled]).wait()
        assert (target == 9).all()


def test_nothing_runs_before_it_is_flushed_or_waited_for() -> None:
    queue = NativeQueue(1, None)
    target = np.zeros(15, np.float32)
    event = queue.enqueue(command(count, target, (3, 5, 1)))
    time.sleep(0.05)
    assert event.command_execution_status != 0 and not target.any()
    event.wait()
    assert event.command_execution_status == 0 and target.all()
    queue.finish()


def test_threads_end_with_their_queue() -> None:
    before = set(threading.enumerate())
    queue = NativeQueue(3, None)
    queue.finish()
    threads = set(threading.enumerate()) - before
    assert len(threads) == 3
    del queue
    gc.collect()
    for thread in threads:
        thread.join(timeout=10)
        assert not thread.is_alive()
