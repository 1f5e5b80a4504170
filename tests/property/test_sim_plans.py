"""Any legal plan of any network, lowered and simulated."""

from __future__ import annotations

import zlib

from hypothesis import given, settings
from hypothesis import strategies as st

from codl.plan.lower import lower
from codl.sim import simulate
from codl.tasks import TaskGraph, TaskKind
from tests.graphs import networks
from tests.machines import Price, Prices, machine
from tests.plans import plans


def prices_of(tasks: TaskGraph, graph) -> Prices:
    """Any price for each task, the same for the same task."""
    prices = {}
    for task in tasks.tasks:
        number = zlib.crc32(task.id.encode())
        traffic = 10 * (number % 997) if task.kind in (TaskKind.KERNEL, TaskKind.COPY, TaskKind.TRANSFORM) else 0
        prices[task.id] = Price(number % 1009, traffic, 1e-9 * (number % 11))
    return Prices(prices, graph)


@settings(deadline=None, max_examples=40)
@given(st.data())
def test_every_plan_simulates_within_its_bounds(data: st.DataObject) -> None:
    graph = data.draw(networks())
    plan = data.draw(plans(graph))
    tasks = lower(graph, plan)
    prices = prices_of(tasks, graph)
    result = simulate(tasks, prices, machine(5e9))
    result.trace.validate()
    assert [span.task_id for span in result.trace.spans] == [task.id for task in tasks.tasks]
    assert result.trace.spans[0].queued_ns == 0
    for task, span in zip(tasks.tasks, result.trace.spans, strict=True):
        if task.kind is TaskKind.SYNC:
            assert span.args["why"]
            assert result.trace.by_id[str(span.args["after"])].end_ns <= span.start_ns
    # Tensors that all live at once cannot take more than all buffers, nor less than an output and its inputs.
    weights = sum(array.nbytes for array in graph.constants.values())
    total = sum(buffer.nbytes for buffer in tasks.buffers.values())
    tensors = result.peak_memory_bytes - result.weight_bytes
    assert max(tasks.buffers[name].nbytes for name in tasks.outputs.values()) <= tensors <= total
    assert result.weight_bytes <= 2 * weights  # packed for two processors at most
    assert all(0 <= share <= 1 for share in result.busy.values())
    assert 0 <= result.compute_ns <= result.latency_ns
    assert result.latency_ns == 0 or abs(result.average_power_w * result.latency_ns * 1e-9 - result.energy_j) < 1e-12


@settings(deadline=None, max_examples=30)
@given(st.data())
def test_one_processor_takes_the_sum_of_its_kernels(data: st.DataObject) -> None:
    """Nothing is shared, so that the paper's way of summing and the clock agree, but for waiting on the host."""
    graph = data.draw(networks())
    plan = data.draw(plans(graph))
    placed = plan.model_copy(
        update={"chains": tuple(c.model_copy(update={"shares": {"cpu": 1.0}, "dimension": None}) for c in plan.chains)}
    )
    tasks = lower(graph, placed)
    kernels = {task.id: Price(100) for task in tasks.tasks if task.kind is TaskKind.KERNEL}
    result = simulate(tasks, Prices(kernels, graph), machine())
    alone = sum(100 for task in tasks.tasks if task.lane == "cpu" and task.kind is TaskKind.KERNEL)
    assert result.latency_ns == alone == result.summed_ns == result.compute_ns
    assert result.sharing_ns == 0
