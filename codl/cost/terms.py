"""What a kernel's predicted time is made of: quantity x unit time, term by term."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from codl.cost.features import form
from codl.cost.model import NS, CostModel
from codl.graph import Node
from codl.region import Region

_NEGLIGIBLE = 1e-3
"""Nanoseconds: below it a term is absent, or rounding."""


@dataclass(frozen=True)
class KernelTerms:
    """The prediction for one kernel. Times in nanoseconds.

    Attributes:
        kernel: its name in the hardware file.
        algorithm: the variant that it stands for.
        terms: by unit of the hardware file; `dispatch` is the library's time between kernels, `bandwidth` what the
            memory's bandwidth adds where it is the bound.
    """

    kernel: str
    algorithm: str
    terms: Mapping[str, float]
    total_ns: float

    @property
    def largest(self) -> str:
        return max(self.terms, key=lambda name: self.terms[name])


def kernel_terms(cost: CostModel, node: Node, out: Region, processor: str, algorithm: str = "") -> KernelTerms:
    """The terms of `cost.kernel(node, out, processor, algorithm)`; they sum to its time.

    Raises:
        UncalibratedError: the hardware cannot predict it.
    """
    kernel = cost.library_kernel(node, out, processor, algorithm)
    silicon = cost.hardware.processors[processor]
    amounts = form(kernel).quantities(cost.work(node, out), kernel, silicon)
    terms = {name: float(amounts[name] * time / silicon.clock_scale * NS) for name, time in kernel.compute.items()}
    for name, time in (*kernel.memory.items(), *kernel.fixed.items()):
        terms[name] = float(amounts[name] * time * NS)
    terms["dispatch"] = cost.hardware.dispatch(processor) * NS
    total = cost.kernel(node, out, processor, algorithm).ns
    terms["bandwidth"] = max(0.0, total - sum(terms.values()))
    kept = {name: ns for name, ns in terms.items() if ns > _NEGLIGIBLE}
    return KernelTerms(kernel.name, kernel.algorithm, kept, total)
