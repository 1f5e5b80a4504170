"""Which data type each operator's kernel works on, where a processor has several.

A data type is chosen before anything is cut: of the whole operators on that processor, kernels and the transforms
between neighbours of different data types together cost least. An operator without a kernel on images takes buffers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from codl.cost import CostModel
from codl.errors import InputError
from codl.graph import Graph, Node
from codl.hardware import Hardware
from codl.ops import REGISTRY
from codl.region import Region

AUTO, BUFFER, IMAGE = "auto", "buffer", "image"
_SWEEPS = 20


def data_types(hardware: Hardware, wanted: str) -> Mapping[str, str]:
    """Layout by processor for `--data-type`: each one's preferred for `auto`, else the named one on every GPU.

    Raises:
        InputError: a GPU cannot work on it.
    """
    if wanted not in (AUTO, BUFFER, IMAGE):
        raise InputError(f"unknown data type {wanted!r}; allowed: {AUTO}, {BUFFER}, {IMAGE}")
    chosen = {}
    for name, processor in hardware.processors.items():
        if wanted == AUTO or processor.kind == "cpu":
            chosen[name] = str(processor.data_types[0])
            continue
        if wanted not in processor.data_types:
            measured = wanted == IMAGE and hardware.fingerprint
            raise InputError(
                f"{hardware.name}: {name} has no data type {wanted!r}; it has {', '.join(processor.data_types)}"
                + ("; `codl calibrate --thorough` measures kernels on images" if measured else "")
            )
        chosen[name] = wanted
    return chosen


def with_layouts(cost: CostModel, wanted: str) -> CostModel:
    """The costs of the same graph with the data types that `--data-type` asks for, operator by operator.

    Raises:
        InputError: see `data_types`.
    """
    types = dict(data_types(cost.hardware, wanted))
    operators: dict[str, dict[str, str]] = {}
    for name in types:
        choices = cost.choices(name) if wanted == AUTO else (types[name],)
        if IMAGE not in choices:
            continue
        chosen = _layouts(cost, name, BUFFER in choices)
        if IMAGE not in chosen.values():
            types[name] = BUFFER
            continue
        types[name] = IMAGE
        for operator, data_type in chosen.items():
            if data_type != IMAGE:
                operators.setdefault(operator, {})[name] = data_type
    if types == dict(cost.data_types) and operators == cost.operators:
        return cost
    return cost.with_data_types(types, operators)


def _layouts(cost: CostModel, processor: str, free: bool) -> dict[str, str]:
    """The data type of every operator that a processor can run; buffers are a choice, if `free`, or what is left."""
    graph = cost.graph
    nodes = [node for node in graph.nodes if not REGISTRY[node].host_only]
    image = _of(cost, processor, IMAGE)
    kinds = {graph.alike[node.name]: node for node in nodes}
    able_kinds = {kind for kind, node in kinds.items() if image.able(node, processor)}
    able = {node.name for node in nodes if graph.alike[node.name] in able_kinds}
    images = {node.name: IMAGE if node.name in able else BUFFER for node in nodes}
    if not free:
        return images
    buffer = _of(cost, processor, BUFFER)
    ns = {(node.name, BUFFER): buffer.kernel(node, _whole(graph, node), processor).ns for node in nodes}
    ns |= {
        (node.name, IMAGE): image.kernel(node, _whole(graph, node), processor).ns for node in nodes if node.name in able
    }
    choice = _Choice(cost, processor, ns, [node for node in nodes if node.name in able])
    fastest = {name: kind if ns[name, kind] < ns[name, BUFFER] else BUFFER for name, kind in images.items()}
    settled = [choice.settled(start) for start in ({node.name: BUFFER for node in nodes}, images, fastest)]
    return min(settled, key=choice.total)


def _of(cost: CostModel, processor: str, data_type: str) -> CostModel:
    """The costs with one data type for all operators of a processor."""
    if cost.data_types[processor] == data_type and not cost.operators:
        return cost
    return cost.with_data_types({**cost.data_types, processor: data_type})


@dataclass(frozen=True)
class _Choice:
    """What choices of data types cost, in nanoseconds.

    Args:
        ns: of kernels, by operator and data type.
        free: operators that have both.
    """

    cost: CostModel
    processor: str
    ns: Mapping[tuple[str, str], float]
    free: Sequence[Node]

    def total(self, chosen: Mapping[str, str]) -> float:
        kernels = sum(self.ns[name, kind] for name, kind in chosen.items())
        return kernels + sum(self._transforms(value, chosen) for value in self.cost.graph.tensors)

    def settled(self, start: Mapping[str, str]) -> dict[str, str]:
        """A choice that no operator alone can better (iterated conditional modes)."""
        chosen = dict(start)
        for _ in range(_SWEEPS):
            changed = False
            for node in self.free:
                other = chosen | {node.name: IMAGE if chosen[node.name] == BUFFER else BUFFER}
                if self._around(node, other) < self._around(node, chosen):
                    chosen, changed = other, True
            if not changed:
                break
        return chosen

    def _around(self, node: Node, chosen: Mapping[str, str]) -> float:
        """An operator's kernel and the transforms of all that it reads and makes."""
        values = dict.fromkeys(value for value in (*node.inputs, *node.outputs) if value)
        return self.ns[node.name, chosen[node.name]] + sum(self._transforms(value, chosen) for value in values)

    def _transforms(self, value: str, chosen: Mapping[str, str]) -> float:
        """Making a value readable in the data types that it is not made in. What comes from elsewhere is buffers."""
        graph = self.cost.graph
        if value in graph.weights:
            return 0.0
        maker = graph.producer.get(value)
        made = chosen.get(maker.name, BUFFER) if maker is not None else BUFFER
        readers = {chosen.get(node.name, BUFFER) for node in graph.consumers.get(value, ())}
        other = len(readers - {made})
        return other * self.cost.transform_ns(self.processor, graph.tensors[value].nbytes) if other else 0.0


def _whole(graph: Graph, node: Node) -> Region:
    return Region.full(graph.tensors[node.output].shape)
