"""Costs as latency predictors tell them that err: what a planner believes that does not know the machine exactly.

Such a planner takes what seems best, which is more often than not something that it predicts too low; its plans are
worse than those of a planner that knows the very costs that they are judged by (the winner's curse).
"""

from __future__ import annotations

from collections.abc import Mapping
from math import log
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from codl.cost.model import CostModel
from codl.graph import Graph, Node
from codl.hardware import Hardware

SHARE_WITHIN = 0.84
"""Share of operators that the authors' predictors hit within `MARGIN`: CoDL (MobiSys '22), table 3, Snapdragon 855
(84.0 %; 865: 85.2 %, 888: 83.0 %)."""
MARGIN = 0.10


def spread(share: float = SHARE_WITHIN, margin: float = MARGIN) -> float:
    """Standard deviation of the logarithm of log-normal errors of median 1, of which a share lies within a margin:
    between 1 / (1 + margin) and 1 + margin."""
    return log(1 + margin) / NormalDist().inv_cdf((1 + share) / 2)


class ErringCosts(CostModel):
    """Costs of which kernel times are off by a factor that is the operator's on a processor, whatever part of it is
    computed there.

    Operators that are alike (`Graph.alike`) have one factor: a predictor that sees kinds and sizes cannot tell them
    apart. Sharing is not perturbed.

    Args:
        errors: by processor, the factor of each number of `Graph.alike`.
    """

    def __init__(
        self, hardware: Hardware, graph: Graph, errors: Mapping[str, NDArray[np.float64]],
        data_types: Mapping[str, str] | None = None, operators: Mapping[str, Mapping[str, str]] | None = None,
    ) -> None:  # fmt: skip
        super().__init__(hardware, graph, data_types, operators)
        self.errors = errors

    @classmethod
    def drawn(cls, hardware: Hardware, graph: Graph, key: str, sigma: float | None = None) -> ErringCosts:
        """Independent log-normal errors of median 1.

        Args:
            key: the same one gives the same errors.
            sigma: standard deviation of their logarithm; the authors' if it is not given.
        """
        rng = np.random.default_rng(list(key.encode()))
        kinds, width = len(set(graph.alike.values())), spread() if sigma is None else sigma
        return cls(hardware, graph, {name: np.exp(width * rng.standard_normal(kinds)) for name in hardware.processors})

    def _on(
        self, hardware: Hardware, data_types: Mapping[str, str], operators: Mapping[str, Mapping[str, str]] | None
    ) -> ErringCosts:
        return ErringCosts(hardware, self.graph, self.errors, data_types, operators)

    def bias(self, node: Node, processor: str) -> float:
        return float(self.errors[processor][self.graph.alike[node.name]])
