"""Workloads small enough to work out by hand: queues, deadlines, clocks, background load, temperatures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from codl.documents import validate
from codl.errors import InputError, SchemaError
from codl.sim.arrivals import arrivals
from codl.sim.conditions import State, states
from codl.sim.statistics import machine_figures, stream_figures
from codl.sim.thermal import Limits, ThermalModel
from codl.sim.workload import Client, run_workload
from codl.workload import Stream, Thermal, Workload
from tests.machines import Price, Prices, kernel, machine, task_graph
from tests.serving import MS, one_kernel, program, serve, workload

FAST = {"periodic": 2000.0}  # twice what a kernel of 1 ms can serve


def ends(record, stream: int = 0) -> list[float]:
    return [end / MS if end >= 0 else -1.0 for end in record.streams[stream].ended]


def test_requests_without_arrivals_follow_each_other() -> None:
    wanted = workload({"requests": 3, "start": 0.002})
    assert ends(serve(wanted, one_kernel(wanted))) == [3, 4, 5]


def test_a_camera_faster_than_the_network_fills_its_queue() -> None:
    wanted = workload({"arrivals": FAST, "requests": 6, "queue": 1})
    record = serve(wanted, one_kernel(wanted))
    # Frames come every 0.5 ms: 0 is served, 1 waits, 2 takes its place at 1.0, 3 is lost, ...
    assert ends(record) == [1, 2, 3, -1, 4, -1]
    figures = stream_figures(Client("s", wanted.streams[0], ()), record.streams[0], record)
    assert (figures["offered"], figures["completed"], figures["dropped"]) == (6, 4, 2)
    assert figures["throughput_per_s"] == pytest.approx(1000)


def test_dropping_the_oldest_serves_fresh_frames() -> None:
    streams = {"arrivals": FAST, "requests": 8, "queue": 1}
    waits = {}
    for drop in ("newest", "oldest"):
        wanted = workload({**streams, "drop": drop})
        served = serve(wanted, one_kernel(wanted)).streams[0]
        waits[drop] = np.mean([b - a for a, b in zip(served.arrived, served.began, strict=True) if b >= 0])
    assert waits["oldest"] < waits["newest"]


def test_deadlines_count_late_ends_and_lost_requests() -> None:
    wanted = workload({"arrivals": FAST, "requests": 6, "queue": 1, "deadline": 0.0016})
    record = serve(wanted, one_kernel(wanted))
    figures = stream_figures(Client("s", wanted.streams[0], ()), record.streams[0], record)
    # Latencies 1, 1.5, 2 and 2 ms; two more were lost.
    assert figures["deadline_misses"] == 4
    assert figures["deadline_miss_rate"] == pytest.approx(4 / 6)


def test_a_running_task_is_not_preempted() -> None:
    wanted = workload(
        {"requests": 1, "priority": 0},
        {"requests": 1, "priority": 9, "start": 0.0001},
        {"requests": 1, "start": 0.00005},
    )  # fmt: skip
    record = serve(wanted, one_kernel(wanted))
    assert [ends(record, k) for k in range(3)] == [[1], [2], [3]]


def test_a_lower_clock_slows_compute_from_the_moment_it_comes() -> None:
    wanted = workload({"requests": 2}, frequency=[{"at": 0.0005, "processor": "gpu", "clock": 0.5}])
    tasks = task_graph(kernel("k", "gpu"))
    clocked = {("gpu", 0.5): Prices({"k": Price(2 * MS)})}
    record = serve(wanted, program(tasks, {"k": Price(MS, joules=2e-3)}, wanted, clocked=clocked))
    # Half is done at 0.5 ms, the rest takes 1 ms; the second one 2 ms.
    assert ends(record) == [1.5, 3.5]
    # 2 W for 0.5 ms, then 2 W * 0.5 ** 3 for 3 ms
    assert record.joules["gpu"] == pytest.approx(2 * 0.5e-3 + 2 / 8 * 3e-3)
    assert machine_figures(record)["mean_clock.gpu"] == pytest.approx((0.5 + 0.5 * 3) / 3.5)


def test_memory_work_does_not_mind_the_clock() -> None:
    wanted = workload({"requests": 1}, frequency=[{"at": 0.0, "processor": "gpu", "clock": 0.5}])
    tasks = task_graph(kernel("k", "gpu"))
    record = serve(wanted, program(tasks, {"k": Price(MS)}, wanted, clocked={("gpu", 0.5): Prices({"k": Price(MS)})}))
    assert ends(record) == [1]


def test_others_take_their_share_of_a_processor_while_they_are_there() -> None:
    load = {"processor": "gpu", "share": 0.5, "start": 0.001, "stop": 0.003}
    wanted = workload({"requests": 3}, background=[load])
    record = serve(wanted, one_kernel(wanted, joules=2e-3))
    assert ends(record) == [1, 3, 4]
    assert record.joules["gpu"] == pytest.approx(3 * 2e-3)  # the same work
    assert sum(record.climate.background_joules.values()) == pytest.approx(0.5 * 2.0 * 2e-3)


def test_others_take_bandwidth() -> None:
    wanted = workload({"requests": 1}, background=[{"bandwidth": 8e9}])
    # 10 bytes/ns of capacity: the kernel wants 6, others 8; the fair share of each is 5.
    record = serve(wanted, one_kernel(wanted, nbytes=6 * MS))
    assert ends(record) == [1.2]


def test_a_node_warms_up_and_cools_down_as_an_rc_circuit() -> None:
    model = ThermalModel(
        Thermal.model_validate({"ambient": 25.0, "nodes": {"gpu": {"resistance": 8.0, "capacity": 2.0}}})
    )
    for step in range(1, 100):
        warm = model.step(0.5, {"gpu": 5.0})["gpu"]
        assert warm == pytest.approx(25 + 40 * (1 - np.exp(-step * 0.5 / 16)))
    assert model.step(1e4, {})["gpu"] == pytest.approx(25)


def test_heat_flows_through_the_case_and_none_is_lost() -> None:
    nodes = {
        "gpu": {"resistance": 4.0, "capacity": 2.0, "to": "case"},
        "cpu": {"resistance": 5.0, "capacity": 3.0, "to": "case", "initial": 40.0},
        "case": {"resistance": 6.0, "capacity": 50.0},
    }
    model = ThermalModel(Thermal.model_validate({"ambient": 20.0, "nodes": nodes}))
    stored = 3.0 * (40.0 - 20.0)  # the CPU's head start
    lost = 0.0
    for _ in range(4000):
        before = model.temperatures["case"]
        after = model.step(0.01, {"gpu": 3.0, "cpu": 2.0})["case"]
        lost += 0.01 * ((before + after) / 2 - 20.0) / 6.0
    left = sum(node["capacity"] * (model.temperatures[name] - 20.0) for name, node in nodes.items())
    assert left + lost == pytest.approx(5.0 * 40 + stored, rel=1e-6)
    settled = model.step(1e5, {"gpu": 3.0, "cpu": 2.0})
    assert settled == {"gpu": pytest.approx(62), "cpu": pytest.approx(60), "case": pytest.approx(50)}


def test_trip_points_have_hysteresis() -> None:
    trips = [{"node": "gpu", "above": 60.0, "processor": "gpu", "clock": 0.8},
             {"node": "gpu", "above": 70.0, "processor": "gpu", "clock": 0.5}]  # fmt: skip
    nodes = {"gpu": {"resistance": 1.0, "capacity": 1.0}}
    limits = Limits(Thermal.model_validate({"ambient": 25.0, "nodes": nodes, "trips": trips, "hysteresis": 3.0}))
    found = [limits.clocks({"gpu": t}).get("gpu", 1.0) for t in (60, 61, 71, 68, 66, 58, 56)]
    assert found == [1.0, 0.8, 0.5, 0.5, 0.8, 0.8, 1.0]


def test_a_hot_processor_is_throttled_and_recovers() -> None:
    thermal = {
        "ambient": 25.0,
        "nodes": {"soc": {"resistance": 10.0, "capacity": 0.01, "takes": ["gpu", "rest"]}},
        "trips": [{"node": "soc", "above": 45.0, "processor": "gpu", "clock": 0.5}],
        "step": 0.005,
    }
    wanted = workload({"requests": 600}, thermal=thermal)
    tasks = task_graph(kernel("k", "gpu"))
    clocked = {("gpu", 0.5): Prices({"k": Price(2 * MS)})}
    record = serve(wanted, program(tasks, {"k": Price(MS, joules=2e-3)}, wanted, clocked=clocked))
    figures = machine_figures(record)
    # 3 W would lead to 55 degrees, 1.25 W at half the clock to 37.5: it must swing between 42 and 45.
    assert 45 < figures["hottest_c.soc"] < 46
    assert 0.5 < figures["mean_clock.gpu"] < 1.0
    swing = [value for time, value in record.climate.temperatures["soc"] if time > 3e8]
    assert 41 < min(swing) < 42.2


def test_states_are_the_clocks_times_the_loads() -> None:
    wanted = workload(
        {},
        frequency=[{"at": 1.0, "processor": "gpu", "clock": 0.5}],
        background=[{"processor": "cpu", "share": 0.3, "start": 1.0, "stop": 2.0}, {"bandwidth": 1e9, "start": 1.5}],
    )
    found = states(wanted)
    assert len(found) == 2 * 4
    assert found[0] == State((("gpu", 1.0),), (), 0.0) and found[0].nominal
    assert State((("gpu", 0.5),), (("cpu", 0.3),), 1e9) in found
    assert not any(state.nominal for state in found[1:])


def test_a_recorded_trace_is_followed(tmp_path: Path) -> None:
    path = tmp_path / "arrivals.csv"
    path.write_text("arrival_ms,what\n0,a\n1.5,b\n1.5,c\n40,d\n")
    stream = Stream.model_validate({"arrivals": {"trace": str(path)}, "start": 0.001})
    assert arrivals(stream, (0,)) == [1_000_000, 2_500_000, 2_500_000, 41_000_000]
    for text, message in (
        ("time\n1\n", "arrival_ms missing"), ("arrival_ms\n", "has no arrivals"),
        ("arrival_ms\nsoon\n", "line 2: 'soon' is not a time"),
        ("arrival_ms\n3\n2\n", "line 3: 2 ms; .* ascending order"),
    ):  # fmt: skip
        path.write_text(text)
        with pytest.raises(InputError, match=message):
            arrivals(stream, (0,))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"streams": []}, "streams"),
        ({"streams": [{"arrivals": {"periodic": "30 Hz", "poisson": "3 Hz"}}]}, "one of periodic, poisson and trace"),
        ({"streams": [{"arrivals": {"periodic": "0 Hz"}}]}, "above 0"),
        ({"streams": [{"arrivals": {"periodic": 30}}]}, "has no unit"),
        ({"streams": [{"deadline": "3 J"}]}, "wrong unit"),
        ({"streams": [{"model": "yolov2"}, {}]}, "of all of them, or of none"),
        ({"streams": [{"requests": 5}], "warm_up": 5}, "leaves none"),
        ({"background": [{"share": 0.5}]}, "either processor and share, or bandwidth"),
        ({"background": [{"processor": "cpu"}]}, "needs a share"),
        ({"background": [{"processor": "cpu", "share": 1.5}]}, "less than 1"),
        ({"frequency": [{"at": "1 s", "processor": "cpu", "clock": 0}]}, "greater than or equal to 0.001"),
        ({"thermal": {"ambient": "300 K", "nodes": {}}}, "a unit such as '25 degC'"),
        ({"colour": "red"}, "colour: unknown field"),
    ],
)
def test_wrong_workloads_are_refused_by_field(change, message) -> None:
    with pytest.raises(SchemaError, match=message):
        validate(Workload, {"streams": [{}], **change}, "mine.yaml", file=True)


@pytest.mark.parametrize(
    ("nodes", "trips", "message"),
    [
        ({"a": {"to": "b"}}, [], "'b' is not another of nodes"),
        ({"a": {"to": "a"}}, [], "'a' is not another of nodes"),
        ({"a": {"takes": ["gpu"]}, "b": {"takes": ["gpu"]}}, [], "heats two of them"),
        ({"a": {}}, [{"node": "b", "above": "60 degC", "processor": "gpu", "clock": 0.5}], "'b' is not one of nodes"),
    ],
)
def test_wrong_thermal_models_are_refused(nodes, trips, message) -> None:
    full = {name: {"resistance": "5 K/W", "capacity": "2 J/K", **node} for name, node in nodes.items()}
    with pytest.raises(SchemaError, match=message):
        validate(Thermal, {"ambient": "25 degC", "nodes": full, "trips": trips}, "mine.yaml", file=True)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"background": [{"processor": "npu", "share": 0.5}]}, "no processor 'npu'; it has cpu, gpu"),
        ({"frequency": [{"at": 0.0, "processor": "npu", "clock": 0.5}]}, "no processor 'npu'"),
        ({"background": [{"processor": "cpu", "share": 0.6}] * 2}, "120% of 'cpu'"),
    ],
)
def test_a_workload_must_fit_the_hardware(fields, message) -> None:
    wanted = workload({}, **fields)
    with pytest.raises(InputError, match=message):
        run_workload(wanted, [], machine())


def test_too_many_states_are_refused() -> None:
    steps = [{"at": 0.0, "processor": p, "clock": c / 20} for p in ("gpu", "cpu") for c in range(1, 20)]
    with pytest.raises(InputError, match="400 states"):
        states(workload({}, frequency=steps))
