"""Kernel libraries: which kernel takes which work, how that work is quantised, and the basic-unit times."""

from __future__ import annotations

from typing import Literal

from pydantic import field_validator

from codl.documents import Section
from codl.hardware.silicon import Count, CountOrNone, DataType
from codl.units import Seconds, SecondsPerByte, SecondsPerFlop

Condition = int | str | tuple[int | str, ...]
"""What a field of `codl.ops.spec.Work` must be: a value, one of several, a comparison (">= 8"), a multiple ("% 16")."""

BLOCKS = (
    "out_channels", "out_h", "out_w", "in_channels", "tiles", "pixels", "item_pixels", "item_channels",
)  # fmt: skip
"""What a kernel's `blocks` may name: the formulas of `codl.cost.features` read these and no others."""


class Kernel(Section):
    """One kernel of a library: which work it takes, how that work is quantised, and its basic-unit times.

    `form` names a formula of `codl.cost.features`, which turns work into quantities with the names of the units
    below; the latency is the sum over units of quantity x unit time.
    """

    name: str
    algorithm: str
    """What plans and task graphs call it: direct, gemm, winograd, ..."""
    when: dict[str, Condition] = {}
    """Conditions on the fields of `Work`; all must hold."""
    form: str
    blocks: dict[str, Count] = {}
    """Outputs that one work-item or inner loop computes: `out_channels`, `out_h`, `out_w`, `in_channels`; `tiles` of a
    Winograd kernel. The formulas of tiled kernels: `pixels` x `out_channels` in a register tile, `item_pixels` x
    `item_channels` in a work-item."""
    parallel: tuple[Literal["out_channels", "out_h", "out_w"], ...] = ("out_channels", "out_h", "out_w")
    """Axes whose blocks are dealt out to threads or work-items."""
    tile: CountOrNone = 0
    """Output tile of a Winograd kernel."""
    slots: CountOrNone = 0
    """Waves of this kernel that run at once, where registers allow another number than the processor's."""
    pieces: CountOrNone = 0
    """A thread pool's habit: blocks are dealt in about this many equal pieces a thread; 0 for one by one."""
    groups: str = ""
    """The rule by which the library chooses work-groups (see `codl.cost.groups`); empty for single waves."""
    group: CountOrNone = 0
    """Width of its work-groups: blocks along out_w are padded to a multiple of it (or half of it, if that will do)."""
    element_bytes: Literal[2, 4] = 4
    """2 where the library stores float32 tensors as float16."""
    weight_bytes: Literal[2, 4] = 4
    """2 where the kernel stores weights as float16 and everything else as float32."""
    compute: dict[str, SecondsPerFlop] = {}
    """Unit times that scale with the clock."""
    memory: dict[str, SecondsPerByte] = {}
    """Unit times of memory work."""
    fixed: dict[str, Seconds] = {}
    """Unit times of events: launches, waves."""
    spread: dict[str, float] = {}
    """Relative standard deviation of each unit time, as the fit leaves it."""
    residual: float | None = None
    """Median relative error of the predictions over what the unit times were fitted to, where that is kernels."""

    @field_validator("blocks")
    @classmethod
    def _known_blocks(cls, blocks: dict[str, int]) -> dict[str, int]:
        unknown = sorted(set(blocks) - set(BLOCKS))
        if unknown:  # no formula would look at it
            raise ValueError(f"unknown block {unknown[0]!r}; allowed: {', '.join(BLOCKS)}")
        return blocks


class Library(Section):
    """A kernel library on this hardware: kernels by processor and data type."""

    choice: Literal["first", "fastest"] = "first"
    """`first`: the first kernel whose conditions hold (a framework's rules). `fastest`: the one predicted fastest."""
    base: str | None = None
    """The library that provides the kernels of processors which this one leaves out."""
    predicted_up_to: CountOrNone = 0
    """Taps along an axis of the largest convolution that planners' latency predictors were trained on; 0 for no limit
    (see `codl.hardware.predicted`)."""
    dispatch: dict[str, Seconds] = {}
    """By processor: time between kernels of a queue that no kernel's own latency shows."""
    start: dict[str, Seconds] = {}
    """By processor: time of an inference that lies outside its kernels (upload, first launch, read-back)."""
    kernels: dict[str, dict[DataType, tuple[Kernel, ...]]]
