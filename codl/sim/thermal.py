"""Temperatures of a device made of lumps, and the limits that they put on clocks. Pure arithmetic, no clock of its own.

    C_i dT_i/dt = P_i - (T_i - T_to(i)) / R_i + sum over j that give their heat to i of (T_j - T_i) / R_j

The equations are linear, so that a step with constant power is exact: with x = (T, P, T_ambient) and dx/dt = M x, one
of length h is x <- expm(M h) x. The usual lumped RC model (Skadron et al., Temperature-aware microarchitecture, ISCA
2003).
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from codl.workload import Thermal


class ThermalModel:
    """Temperatures in degrees Celsius, powers in watts, by the name of the node."""

    def __init__(self, thermal: Thermal) -> None:
        self.names = tuple(thermal.nodes)
        self.ambient = thermal.ambient
        nodes = thermal.nodes.values()
        start = [thermal.ambient if node.initial is None else node.initial for node in nodes]
        self._temperatures = np.array(start, dtype=np.float64)
        self._rates = self._system(thermal)
        self._steps: dict[float, np.ndarray] = {}

    def _system(self, thermal: Thermal) -> np.ndarray:
        """dx/dt of x = (temperatures, powers, ambient temperature)."""
        count = len(self.names)
        rates = np.zeros((2 * count + 1, 2 * count + 1))
        for index, node in enumerate(thermal.nodes.values()):
            rates[index, count + index] += 1 / node.capacity
            flow = 1 / node.resistance
            rates[index, index] -= flow / node.capacity
            if node.to is None:
                rates[index, 2 * count] += flow / node.capacity
            else:
                other = self.names.index(node.to)
                rates[index, other] += flow / node.capacity
                rates[other, index] += flow / thermal.nodes[node.to].capacity
                rates[other, other] -= flow / thermal.nodes[node.to].capacity
        return rates

    @property
    def temperatures(self) -> dict[str, float]:
        return dict(zip(self.names, self._temperatures.tolist(), strict=True))

    def step(self, seconds: float, watts: Mapping[str, float]) -> dict[str, float]:
        """The temperatures after so long at constant power; nodes that are not named take none."""
        if seconds not in self._steps:
            from scipy.linalg import expm  # half a second to import, which only thermal models need

            self._steps[seconds] = expm(self._rates * seconds)
        powers = [watts.get(name, 0.0) for name in self.names]
        state = np.concatenate([self._temperatures, powers, [self.ambient]])
        self._temperatures = (self._steps[seconds] @ state)[: len(self.names)]
        return self.temperatures


class Limits:
    """Which trip points are in force."""

    def __init__(self, thermal: Thermal) -> None:
        self._thermal = thermal
        self._tripped = [False] * len(thermal.trips)

    def clocks(self, temperatures: Mapping[str, float]) -> dict[str, float]:
        """The highest clock that each limited processor may have now."""
        found: dict[str, float] = {}
        for index, trip in enumerate(self._thermal.trips):
            bound = trip.above - (self._thermal.hysteresis if self._tripped[index] else 0.0)
            self._tripped[index] = temperatures[trip.node] > bound
            if self._tripped[index]:
                found[trip.processor] = min(trip.clock, found.get(trip.processor, 1.0))
        return found
