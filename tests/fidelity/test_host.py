"""This machine, described by a quick calibration: plans for a small network, predicted and really executed.

What holds on any machine is asserted on any machine: both worlds know the same tasks, and every plan computes the
same. How far predictions are off is printed, and asserted only where the machine is quiet enough to tell; otherwise
the result is inconclusive, and the skip says what the noise was.

The bounds are generous on purpose. The quick calibration takes seconds and fits few shapes; this network's operators
are small, so that launches and waits, whose times scatter most, are a large part of it. The bounds catch a term that
is missing or counted twice, not a drift of a few percent.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pytest

from codl.calibrate import TooNoisyError, calibrate
from codl.compare import Comparison, compare_traces
from codl.cost import CostModel
from codl.graph import Graph
from codl.hardware import Hardware
from codl.plan.lower import lower
from codl.plan.planners import make_plan
from codl.real.devices import choose
from codl.real.executor import Executor
from codl.real.measure import Measurement, measure
from codl.real.reference import max_relative_error
from codl.sim import SimulationResult, simulate
from tests.graphs import Builder

pytestmark = pytest.mark.fidelity

PLANNERS = ("cpu", "gpu", "hybrid", "codl")
RUNS = 11
QUIET = 0.10
"""Largest noise, of the runs and of the calibration, at which a prediction error means anything."""
MAKESPAN_BOUND = 0.5
"""Of the signed error of the makespan (2026-11, PoCL on two cores of a shared server)."""
SCHEDULING_BOUND = 0.15
"""Of the makespan replayed with measured durations: the rules of the lanes, which no calibration can excuse."""


@dataclass(frozen=True)
class Case:
    """One plan in both worlds."""

    simulated: SimulationResult
    measured: Measurement
    comparison: Comparison

    @property
    def summary(self) -> str:
        c = self.comparison
        return (
            f"{c.planner}: simulated {c.simulated_ns / 1e6:.2f} ms, measured {c.measured_ns / 1e6:.2f} ms, "
            f"error {c.error:+.1%} (durations {c.duration_error:+.1%}, scheduling {c.scheduling_error:+.1%}), "
            f"noise {self.measured.noise:.1%}"
        )


def _network() -> Graph:
    """Some milliseconds of work in the shapes that networks have: convolutions, a shortcut, pools, a classifier."""
    b = Builder((1, 3, 96, 96))
    x = b.conv("x", 32, stride=2)
    x = b.conv(x, 64)
    x = b.pool(b.conv(x, 64))
    y = b.conv(b.conv(x, 32, kernel=1), 64)
    x = b.add(x, y)
    x = b.pool(b.conv(x, 128))
    x = b.conv(b.conv(x, 128, groups=128), 256, kernel=1)
    return b.graph(b.gemm(b.flatten(b.pool(x)), 100))


@dataclass(frozen=True)
class Described:
    """This machine. `trouble` says why no prediction of it means anything; empty where one does."""

    hardware: Hardware
    trouble: str = ""


@pytest.fixture(scope="module")
def described() -> Described:
    """A quick calibration. Even a bad description must give plans that compute the right thing."""
    try:
        return Described(calibrate(choose(), quick=True, noise_limit=QUIET))
    except TooNoisyError as error:
        return Described(error.description, str(error))


@pytest.fixture(scope="module")
def hardware(described: Described) -> Hardware:
    return described.hardware


@pytest.fixture(scope="module")
def cases(hardware: Hardware) -> Mapping[str, Case]:
    """Every planner's plan, simulated and executed `RUNS` times."""
    graph, devices = _network(), choose()
    inputs = {"x": np.random.default_rng(0).standard_normal((1, 3, 96, 96)).astype(np.float32)}
    found = {}
    for planner in PLANNERS:
        cost = CostModel(hardware, graph)
        tasks = lower(graph, make_plan(graph, hardware, cost, planner))
        simulated = simulate(tasks, cost, hardware)
        with Executor(graph, tasks, devices) as executor:
            measured = measure(executor, inputs, RUNS)
        comparison = compare_traces(simulated.trace, measured.trace, planner=planner, noise=measured.noise)
        found[planner] = Case(simulated, measured, comparison)
    return found


def test_a_quick_calibration_describes_this_machine(hardware: Hardware) -> None:
    assert list(hardware.processors) == ["gpu", "cpu"]
    assert hardware.fingerprint
    assert all(processor.bandwidth > 1e8 for processor in hardware.processors.values())
    assert hardware.sharing.pre_sync >= 0 and hardware.sharing.post_sync >= 0  # a wait within the launch latency is 0
    measured = [entry for entry in hardware.calibration if entry.source == "measured"]
    assert any(entry.shapes for entry in measured) and any("noise" in entry.residual for entry in measured)


@pytest.mark.parametrize("planner", PLANNERS)
def test_both_worlds_know_the_same_tasks(cases: Mapping[str, Case], planner: str) -> None:
    simulated, measured = cases[planner].simulated.trace, cases[planner].measured.trace
    assert set(simulated.by_id) == set(measured.by_id)
    for span in simulated.spans:
        twin = measured.by_id[span.task_id]
        assert (span.lane, span.kind, span.op, span.chain) == (twin.lane, twin.kind, twin.op, twin.chain)
    simulated.validate()
    measured.validate()
    assert len(cases[planner].comparison.tasks) == len(simulated.spans)


def test_every_plan_computes_the_same(cases: Mapping[str, Case]) -> None:
    outputs = {planner: case.measured.outputs for planner, case in cases.items()}
    (result,) = outputs["cpu"].values()
    assert np.std(result) > 1e-3  # the network's output depends on its input
    for planner in PLANNERS:
        assert max_relative_error(outputs[planner], outputs["cpu"]) < 1e-3, planner


@pytest.mark.parametrize("planner", PLANNERS)
def test_a_prediction_is_near_what_is_measured(described: Described, cases: Mapping[str, Case], planner: str) -> None:
    case = cases[planner]
    print(case.summary)
    if described.trouble:
        pytest.skip(f"inconclusive: {described.trouble}; {case.summary}")
    noise = max(other.measured.noise for other in cases.values())  # one disturbed plan: the machine was not quiet
    if noise > QUIET:
        pytest.skip(f"inconclusive: the runs spread by {noise:.0%} (limit {QUIET:.0%}); {case.summary}")
    assert abs(case.comparison.scheduling_error) <= SCHEDULING_BOUND, case.summary
    assert abs(case.comparison.error) <= MAKESPAN_BOUND, case.summary
