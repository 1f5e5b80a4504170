"""From work to basic units: the quantised form of the latency predictor (CoDL, MobiSys '22, table 1, equations 1-3).

A latency is `sum(quantity x unit time)`. This module knows the formulas by name (`codl.cost.formulas`,
`codl.cost.tiled`), which work quantities out of shapes, blocks, tiles, threads and waves (`codl.cost.blocks`); only the
unit times are learned (`codl.cost.fit`). The formulas use nothing but arithmetic, so that `work` may be a
`codl.ops.spec.Work`, or any object with the same fields as numpy arrays.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from codl.cost import formulas, tiled
from codl.cost.blocks import Quantities, tiles_of, winograd_depth
from codl.cost.groups import RULES
from codl.errors import SchemaError
from codl.hardware import Kernel, Processor
from codl.ops.tile.gpu import SHAPES
from codl.ops.window import FLOAT


@dataclass(frozen=True)
class Form:
    """A formula: the names of the units that it yields, by what they are counted in."""

    quantities: Callable[[Any, Kernel, Processor], Quantities]
    compute: tuple[str, ...] = ()
    memory: tuple[str, ...] = ()
    fixed: tuple[str, ...] = ()

    @property
    def units(self) -> tuple[str, ...]:
        return (*self.compute, *self.memory, *self.fixed)


FORMS: Mapping[str, Form] = {
    "direct": Form(formulas.direct, compute=("multiply",), memory=("data", "weights"), fixed=("launch",)),
    "gemm": Form(formulas.gemm, compute=("multiply",), memory=("pack", "weights"), fixed=("launch",)),
    "winograd": Form(formulas.winograd, compute=("multiply",), memory=("transform", "weights"), fixed=("launch",)),
    "waves": Form(
        formulas.waves,
        compute=("multiply", "item", "round", "pair"),
        memory=("read", "write", "weights"),
        fixed=("launch",),
    ),
    "tiled": Form(
        tiled.tiled,
        compute=("multiply",),
        memory=("stage", "stream", "read", "write", "added", "weights"),
        fixed=("launch", "scalar"),
    ),
    "tiled-winograd": Form(
        tiled.tiled_winograd,
        compute=("multiply",),
        memory=("transform", "inverse", "stream", "read", "write", "added", "weights"),
        fixed=("launch",),
    ),
    "fft": Form(tiled.fft, compute=("multiply",), memory=("transform", "data", "weights"), fixed=("launch",)),
    "narrow": Form(tiled.narrow, compute=("multiply", "tail"), memory=("stage", "stream", "data"), fixed=("launch",)),
    "tiled-gpu": Form(
        tiled.tiled_gpu,
        compute=tuple(f"tile{m}x{n}" for m, n, _ in SHAPES),
        memory=("parts", "data", "weights"),
        fixed=("launch",),
    ),
    "tiled-gpu-winograd": Form(
        tiled.tiled_gpu_winograd,
        compute=tuple(f"tile{m}x{n}" for m, n, _ in SHAPES),
        memory=("parts", "transform", "weights"),
        fixed=("launch",),
    ),
    "vector": Form(
        formulas.vector,
        compute=("operate", "tail"),
        memory=("data", "weights"),
        fixed=("launch", "pixel", "piece"),
    ),
    "stream": Form(formulas.stream, compute=("operate",), memory=("data", "weights"), fixed=("launch", "piece")),
}
"""Every formula by the name that hardware files use."""


def form(kernel: Kernel) -> Form:
    """The formula of a kernel.

    Raises:
        SchemaError: the kernel names a formula or a rule, or has a unit, that does not exist.
    """
    found = FORMS.get(kernel.form)
    if found is None:
        problem = f"unknown formula {kernel.form!r}; known: {', '.join(FORMS)}"
        raise SchemaError(f"kernel {kernel.name}", [("form", problem)])
    if kernel.groups and kernel.groups not in RULES:
        problem = f"unknown rule {kernel.groups!r}; known: {', '.join(RULES)}"
        raise SchemaError(f"kernel {kernel.name}", [("groups", problem)])
    for section in ("compute", "memory", "fixed"):
        allowed = getattr(found, section)
        for unit in getattr(kernel, section):
            if unit not in allowed:
                problem = f"formula {kernel.form} has no such unit; it has {', '.join(allowed) or 'none'}"
                raise SchemaError(f"kernel {kernel.name}", [(f"{section}.{unit}", problem)])
    return found


def launches(work: Any, kernel: Kernel, processor: Processor) -> float:
    """Launches that a kernel consists of, each of which the host hands over by itself; 1 where its formula counts no
    launches."""
    return float(form(kernel).quantities(work, kernel, processor).get("launch", 1.0))


def traffic(work: Any, kernel: Kernel, processor: Processor) -> Any:
    """Bytes that cross the memory bus: the compulsory ones, and scratch data that the last-level cache cannot hold."""
    weights = work.weight_bytes * (kernel.weight_bytes / FLOAT)
    compulsory = 1.0 * (work.input_bytes + work.output_bytes + weights) * (kernel.element_bytes / FLOAT)
    if kernel.form == "fft":  # each set of tiles is to stay in the caches
        return compulsory + tiled.fft(work, kernel, processor)["weights"] - weights
    if not kernel.tile or kernel.form == "tiled-winograd":  # fused: its scratch data never leave the core's cache
        return compulsory
    tiles, points = tiles_of(work, kernel)
    scratch = FLOAT * points * tiles * (winograd_depth(work, kernel) + work.out_channels)
    return compulsory + 2.0 * scratch * (scratch > processor.cache)
