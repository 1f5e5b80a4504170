"""The plan: what is cut, where, and who computes which part. One JSON file, read unchanged by every interpreter."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import (
    Field,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)

from codl.documents import Section, validate
from codl.errors import PlanError
from codl.graph import Graph
from codl.io import digest, read_json, write_json
from codl.ops import REGISTRY, Dimension
from codl.plan.partition import exits

DataType = Literal["buffer", "image"]
Sharing = Literal["unified", "mapped", "copied"]


class Reference(Section):
    """What a plan was made for: the name under which it was found, and a digest for the check."""

    name: str
    digest: str
    shapes: dict[str, tuple[int, ...]] = {}
    """Input sizes that the user chose (`--shape`), where the model leaves them open."""


class ProcessorUse(Section):
    """How a plan uses one processor: its data type, and the kernel variant of each operator that it computes."""

    kind: Literal["cpu", "gpu"]
    data_type: DataType = "buffer"


class Chain(Section):
    """Operators that share one partition: data is shared between processors only at the chain's ends.

    `shares` is the share of the last operator's output, along `dimension`, that each processor computes (earlier
    operators get their halo on top). A placement on one processor has one share of 1 and no dimension.
    """

    operators: tuple[str, ...] = Field(min_length=1)
    dimension: Dimension | None = None
    shares: dict[str, float] = Field(min_length=1)
    branches: dict[str, tuple[str, ...]] = {}
    """Instead of a dimension: by processor, the operators that it computes whole while the others compute theirs. They
    need nothing of each other. `shares` are then of the number of operators."""

    @model_validator(mode="after")
    def _consistent(self) -> Chain:
        if abs(sum(self.shares.values()) - 1) > 1e-9:
            raise ValueError(f"shares {self.shares} do not sum to 1")
        if self.branches:
            placed = [name for names in self.branches.values() for name in names]
            if self.dimension is not None or set(self.branches) != set(self.shares):
                raise ValueError("branches are for the processors in shares, and are not split along a dimension")
            if sorted(placed) != sorted(self.operators) or not all(self.branches.values()):
                raise ValueError("branches must place each operator of the chain once, and some on each processor")
        elif len(self.shares) > 1 and self.dimension is None:
            raise ValueError("a split needs a dimension: height, width or output_channel")
        if any(not 0 < share <= 1 for share in self.shares.values()):
            raise ValueError(f"shares {self.shares} must lie in (0, 1]; leave out a processor that has none")
        return self

    @model_serializer(mode="wrap")
    def _without_branches(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Without `branches` where there are none: such plans are, and are called, as they were before there were."""
        plain: dict[str, Any] = serialize(self)
        if not self.branches:
            plain.pop("branches", None)
        return plain

    @property
    def splits(self) -> bool:
        """Whether its operators are cut among processors."""
        return len(self.shares) > 1 and not self.branches

    def placement(self, operator: str) -> str | None:
        """The processor that computes an operator whole; None for a split one."""
        found = [name for name, names in self.branches.items() if operator in names]
        return found[0] if found else next(iter(self.shares)) if len(self.shares) == 1 else None


class Plan(Section):
    """A partition plan for one model on one hardware description."""

    format: Literal["codl.plan/1"] = Field(default="codl.plan/1", alias="schema")
    model: Reference
    hardware: Reference
    planner: str
    processors: dict[str, ProcessorUse]
    """In the order in which a split dimension is dealt out: the first processor gets the lowest rows or channels."""
    sharing: Sharing
    """`unified`: all processors work on one memory, ordered by events. `mapped`: one memory, handed over by map and
    unmap, with data types transformed. `copied`: separate memories."""
    home: str | None = None
    """The processor that takes in every co-executed result in its own data type (MACE keeps all on the GPU)."""
    alignment: dict[Dimension, int] = {}
    """Cuts are multiples of this many rows or channels (the kernels' blocks); 1 where it is not given."""
    chains: tuple[Chain, ...]
    algorithms: dict[str, dict[str, str]] = {}
    """Kernel variant by operator and processor, where the hardware's kernel library has a choice."""
    data_types: dict[str, dict[str, DataType]] = {}
    """Data type of kernels by operator and processor, where it is another than the processor's: `buffer` on one that
    works on images."""
    predicted_ms: float | None = None
    """Latency that the planner expected of its own plan."""
    planning_ms: float | None = None

    @property
    def digest(self) -> str:
        """Identifies the decisions; names of files, planning time and expectation do not matter."""
        left_out = {"predicted_ms", "planning_ms", *(() if self.data_types else ("data_types",))}
        content = self.model_dump(mode="json", exclude=left_out)
        dealing_order = list(
            self.processors
        )  # canonical JSON sorts keys, but here their order decides who gets which rows
        return digest([content | {"model": self.model.digest, "hardware": self.hardware.digest}, dealing_order])

    def data_type(self, operator: str, processor: str) -> DataType:
        """What an operator's kernel on a processor reads and writes."""
        own = self.processors[processor].data_type
        return self.data_types.get(operator, {}).get(processor, own) if own == "image" else own

    @property
    def chain_of(self) -> Mapping[str, int]:
        """Index of the chain of each operator."""
        return {name: index for index, chain in enumerate(self.chains) for name in chain.operators}

    def write(self, path: Path | str) -> None:
        """Write the JSON file (atomically)."""
        empty = set() if self.data_types else {"data_types"}
        write_json(path, self.model_dump(mode="json", by_alias=True, exclude_none=True, exclude=empty))

    @staticmethod
    def read(path: Path | str) -> Plan:
        """Read a plan file.

        Raises:
            FileError, SchemaError: missing, not JSON, or not a plan.
        """
        return validate(Plan, read_json(path), path)

    def check(self, graph: Graph) -> None:
        """Raise `PlanError` unless the plan is legal for this graph.

        Checked: made for this model; every operator once; chains in a topological order; known processors; splits
        along a dimension that the operators allow; chains whose inner results nobody outside needs in part.
        """
        if self.model.digest != graph.digest:
            raise PlanError(
                f"the plan was made for {self.model.name} (digest {self.model.digest}), "
                f"not for {graph.name} (digest {graph.digest}); plan this model anew"
            )
        self._check_coverage(graph)
        made = set(graph.inputs) | graph.weights
        for index, chain in enumerate(self.chains):
            unknown = [name for name in chain.shares if name not in self.processors]
            if unknown:
                known = ", ".join(self.processors)
                raise PlanError(f"chain {index}: unknown processor {unknown[0]!r}; known: {known}")
            for name in chain.operators:
                node = graph.by_name[name]
                early = [value for value in node.inputs if value and value not in made]
                if early:
                    raise PlanError(f"chain {index}: {name} reads {early[0]!r} before it is made")
                made.update(node.outputs)
            self._check_chain(graph, index, chain)

    def _check_coverage(self, graph: Graph) -> None:
        planned = [name for chain in self.chains for name in chain.operators]
        known = set(planned)
        for name in planned:
            if name not in graph.by_name:
                raise PlanError(f"the plan names the operator {name!r}, which {graph.name} lacks")
        for node in graph.nodes:
            if node.name not in known:
                raise PlanError(f"the plan leaves out the operator {node.name!r}")
        if len(known) != len(planned):
            twice = next(name for name in planned if planned.count(name) > 1)
            raise PlanError(f"the plan names the operator {twice!r} twice")

    def _check_chain(self, graph: Graph, index: int, chain: Chain) -> None:
        for name in chain.operators:
            spec = REGISTRY[graph.by_name[name]]
            on = chain.placement(name)
            wrong = [
                p for p in (chain.shares if on is None else [on]) if spec.host_only and self.processors[p].kind != "cpu"
            ]
            if wrong:
                raise PlanError(f"chain {index}: {name} runs on the CPU only, not on {wrong[0]!r}")
        if len(chain.shares) == 1:
            return
        if chain.branches:
            self._check_branches(graph, index, chain)
            return
        for name in chain.operators:
            node = graph.by_name[name]
            allowed = REGISTRY[node].dimensions(graph, node)
            if chain.dimension not in allowed:
                names = ", ".join(d.value for d in allowed) or "none, it runs whole"
                dimension = chain.dimension.value if chain.dimension else "none"
                raise PlanError(f"chain {index}: {name} cannot be split along {dimension}; allowed: {names}")
        last = graph.by_name[chain.operators[-1]]
        inner = [value for value in exits(graph, chain.operators) if value not in last.outputs]
        if inner:
            raise PlanError(
                f"chain {index}: {inner[0]!r} is read outside the chain, but only the result of the chain's last "
                f"operator ({last.name}) is shared; end a chain where it is made"
            )

    def _check_branches(self, graph: Graph, index: int, chain: Chain) -> None:
        for name in chain.operators:
            for value in graph.by_name[name].inputs:
                maker = graph.producer.get(value)
                if maker is None or maker.name not in chain.operators:
                    continue
                if chain.placement(maker.name) != chain.placement(name):
                    raise PlanError(
                        f"chain {index}: {name} reads {value!r}, which another processor makes at the same time; "
                        "branches side by side must need nothing of each other"
                    )
