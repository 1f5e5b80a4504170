"""The operator registry: every family once, found by its name or by the ONNX operator type it stands for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from codl.errors import UnsupportedOperator
from codl.graph import Node
from codl.ops.spec import OpSpec


class Registry:
    """Families by name. Refuses a family or an ONNX type that is there already."""

    def __init__(self, specs: Iterable[OpSpec]) -> None:
        self._families: dict[str, OpSpec] = {}
        self._types: dict[str, str] = {}
        for spec in specs:
            if spec.family in self._families:
                raise UnsupportedOperator(f"operator family {spec.family!r} is registered twice")
            self._families[spec.family] = spec
            for onnx_type in spec.onnx_types:
                if onnx_type in self._types:
                    raise UnsupportedOperator(
                        f"ONNX operator {onnx_type} belongs to {self._types[onnx_type]!r} and to {spec.family!r}"
                    )
                self._types[onnx_type] = spec.family

    def __getitem__(self, node: Node) -> OpSpec:
        """The family of a node.

        Raises:
            UnsupportedOperator: no such family.
        """
        try:
            return self._families[node.op]
        except KeyError:
            raise UnsupportedOperator(
                f"{node.name}: unknown operator {node.op!r}; known: {', '.join(sorted(self._families))}"
            ) from None

    @property
    def families(self) -> Mapping[str, OpSpec]:
        return dict(self._families)

    @property
    def onnx_types(self) -> Mapping[str, str]:
        """Family by ONNX operator type."""
        return dict(self._types)
