"""The chip and the device: processors, memory, how they share, what they draw."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from codl.documents import Section
from codl.units import Bytes, BytesPerSecond, Hertz, JoulesPerByte, Seconds, SecondsPerByte, Watts

DataType = Literal["buffer", "image"]
_MOST = 2**31 - 1
Count = Annotated[int, Field(gt=0, le=_MOST)]
CountOrNone = Annotated[int, Field(ge=0, le=_MOST)]
"""Numbers that formulas work out in 64 bits; 0 where something does not apply."""


class Cluster(Section):
    """Equal cores of a CPU."""

    name: str
    cores: Count
    frequency: Hertz
    flops_per_cycle: Count = 16
    """float32 operations of one core a cycle, a multiply-accumulate as two: SIMD lanes x pipes x 2."""


class Processor(Section):
    """One processor. A CPU has `clusters` (those that its threads run on); a GPU the fields below them."""

    kind: Literal["cpu", "gpu"]
    description: str = ""
    data_types: tuple[DataType, ...] = Field(default=("buffer",), min_length=1)
    """Layouts that its kernels read and write, the preferred one first."""
    clusters: tuple[Cluster, ...] = ()
    frequency: Hertz | None = None
    flops_per_cycle: CountOrNone = 0
    compute_units: Count = 1
    wave_size: Count = 1
    """Work-items that one compute unit runs in lockstep."""
    concurrent_waves: Count = 1
    """Waves that fill one compute unit: waves are dealt out in rounds of compute_units x concurrent_waves."""
    max_work_group_size: Count = 1
    cache: Bytes = 0.0
    """Last-level cache: scratch data larger than this goes through memory."""
    bandwidth: BytesPerSecond
    """Of memory, as this processor alone can use it."""
    active_power: Watts
    """Drawn while it works, above the device's idle power and without what its memory traffic costs."""
    enqueue: Seconds = 0.0
    """Time of the host thread for one command, and for each launch of a kernel that consists of several."""
    contention: float = Field(default=1.0, ge=1.0)
    """How much longer its kernels take while another processor works too, beyond the sharing of bandwidth."""
    clock_scale: float = Field(default=1.0, gt=0)
    """Its clock relative to the one that its unit times were calibrated at; `overrides` sets it."""

    @model_validator(mode="after")
    def _consistent(self) -> Processor:
        if self.kind == "cpu" and not self.clusters:
            raise ValueError("a cpu needs clusters")
        if self.kind == "gpu" and self.clusters:
            raise ValueError("clusters belong to a cpu; a gpu has frequency, compute_units, wave_size")
        return self

    @property
    def slots(self) -> int:
        """Threads of a CPU, waves of a GPU that run at once."""
        if self.kind == "cpu":
            return sum(cluster.cores for cluster in self.clusters)
        return self.compute_units * self.concurrent_waves

    @property
    def peak_flops(self) -> float:
        """Nominal float32 operations a second; 0 where it is not known."""
        if self.kind == "cpu":
            return float(sum(c.cores * c.frequency * c.flops_per_cycle for c in self.clusters))
        return float((self.frequency or 0.0) * self.flops_per_cycle)


class Memory(Section):
    """Main memory, shared by all processors max-min fair."""

    bandwidth: BytesPerSecond
    energy: JoulesPerByte


class Linear(Section):
    """A cost with a fixed part and a part that grows with size."""

    fixed: Seconds = 0.0
    per_byte: SecondsPerByte = 0.0

    def seconds(self, nbytes: float) -> float:
        return float(self.fixed + self.per_byte * nbytes)


class Sharing(Section):
    """How processors see each other's results (see `codl.plan.model.Plan.sharing`) and what that costs."""

    kind: Literal["unified", "mapped", "copied"]
    home: str | None = None
    """The processor that takes in every co-executed result (MACE keeps all on the GPU)."""
    transform: Linear = Linear()
    """Image to buffer or back, on the GPU."""
    map: Linear = Linear()
    unmap: Linear = Linear()
    copy_: Linear = Field(default=Linear(), alias="copy")
    """Between memories that are not shared, in few pieces."""
    packed_copy: Linear | None = None
    """The same in many pieces, which are packed first; as `copy` if not given."""
    pre_sync: Seconds
    """Until a CPU goes on after a GPU is done: typical."""
    pre_sync_bound: Seconds | None = None
    """The value that a planner should count with, where it differs from the typical one."""
    post_sync: Seconds
    """Until a GPU goes on after a CPU (or another GPU) is done."""
    host_wait: dict[str, Seconds] = {}
    """Until the host's thread, asleep, goes on after a processor is done; `pre_sync` for those not given."""


class Power(Section):
    """Power of the whole device that no processor's activity explains."""

    idle: Watts
