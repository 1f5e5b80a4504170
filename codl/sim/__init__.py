"""The simulator: interprets a task graph on a model of the machine, and never runs anything."""

from codl.sim.program import Cost
from codl.sim.replay import replay
from codl.sim.simulator import SimulationResult, simulate

__all__ = ["Cost", "SimulationResult", "replay", "simulate"]
