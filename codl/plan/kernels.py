"""A plan's decisions with other kernels than it names: in another data type, or codl's own."""

from __future__ import annotations

from codl.cost import CostModel
from codl.graph import Graph
from codl.hardware import Hardware
from codl.ops import REGISTRY
from codl.plan.evaluate import chain_boxes
from codl.plan.layouts import with_layouts
from codl.plan.model import Plan


def with_data_type(plan: Plan, data_type: str, graph: Graph, hardware: Hardware) -> Plan:
    """The plan's decisions with the GPU's kernels in another data type, `buffer` or `image`."""
    cost = with_layouts(CostModel(hardware, graph), data_type)
    processors = {
        name: use.model_copy(update={"data_type": cost.data_types[name]}) for name, use in plan.processors.items()
    }
    algorithms: dict[str, dict[str, str]] = {}
    for chain in plan.chains:
        for processor, own in chain_boxes(graph, chain, plan.alignment, plan.processors).items():
            for name, region in own.items():
                algorithm = cost.algorithm(graph.by_name[name], region, processor)
                algorithms.setdefault(name, {})[processor] = algorithm
    changed = {"processors": processors, "algorithms": algorithms, "data_types": cost.operators}
    return plan.model_copy(update=changed)


def own_kernels(plan: Plan, graph: Graph) -> tuple[Plan, int]:
    """The plan's decisions with codl's kernels where it names those of another library (of a phone's framework), and
    how many operators that concerns. An operator that codl has no kernel on images for takes buffers there."""
    algorithms = {name: dict(chosen) for name, chosen in plan.algorithms.items()}
    types = {name: dict(chosen) for name, chosen in plan.data_types.items()}
    changed = set()
    for chain in plan.chains:
        for name, processor in ((name, processor) for name in chain.operators for processor in chain.shares):
            node, data_type = graph.by_name[name], plan.data_type(name, processor)
            known = REGISTRY[node].variants(graph, node, data_type)
            if not known:
                types.setdefault(name, {})[processor] = "buffer"
                known = REGISTRY[node].algorithms(graph, node)
            if algorithms.get(name, {}).get(processor, known[0]) not in known:
                changed.add(name)
                algorithms[name][processor] = known[0]
    return plan.model_copy(update={"algorithms": algorithms, "data_types": types}), len(changed)
