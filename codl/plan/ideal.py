"""The bound that the CoDL paper calls ideal: every operator divided perfectly, sharing free."""

from __future__ import annotations

from codl.cost import CostModel
from codl.graph import Graph
from codl.ops import REGISTRY
from codl.region import Region


def ideal_ms(graph: Graph, cost: CostModel) -> float:
    """Sum over operators of 1 / (1/t_1 + 1/t_2 + ...), t the operator's latency on each processor alone, in ms.

    With two processors that is c*g/(c+g). An operator that only a CPU can run counts with its latency there.
    """
    total = 0.0
    for node in graph.nodes:
        whole = Region.full(graph.tensors[node.output].shape)
        host_only = REGISTRY[node].host_only
        rates = [
            1 / cost.kernel(node, whole, name).ns
            for name, processor in cost.hardware.processors.items()
            if processor.kind == "cpu" or not host_only
        ]
        total += 1 / sum(rates)
    return total / 1e6
