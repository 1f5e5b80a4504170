"""What runs a network: one hardware description, read from a YAML file that people can read and write.

Silicon (processors, memory, sharing, power) and kernel library are separate: the same chip may run MACE's kernels,
TFLite's or codl's own, each with its own choice of algorithm and its own unit times. Every constant is covered by an
entry of `calibration`, which says where it comes from; a constant without one is refused.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from functools import cached_property
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from codl.io import digest
from codl.units import (
    Bytes,
    BytesPerSecond,
    Hertz,
    JoulesPerByte,
    Seconds,
    SecondsPerByte,
    SecondsPerFlop,
    SignedSeconds,
    Watts,
)

DataType = Literal["buffer", "image"]
Condition = int | str | tuple[int | str, ...]
"""What a field of `codl.ops.spec.Work` must be: a value, one of several, a comparison (">= 8"), a multiple ("% 16")."""


_MOST = 2**31 - 1
Count = Annotated[int, Field(gt=0, le=_MOST)]
CountOrNone = Annotated[int, Field(ge=0, le=_MOST)]
"""Numbers that formulas work out in 64 bits; 0 where something does not apply."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True, allow_inf_nan=False)


class Cluster(_Strict):
    """Equal cores of a CPU."""

    name: str
    cores: Count
    frequency: Hertz
    flops_per_cycle: Count = 16
    """float32 operations of one core a cycle, a multiply-accumulate as two: SIMD lanes x pipes x 2."""


class Processor(_Strict):
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


class Memory(_Strict):
    """Main memory, shared by all processors max-min fair."""

    bandwidth: BytesPerSecond
    energy: JoulesPerByte


class Linear(_Strict):
    """A cost with a fixed part and a part that grows with size."""

    fixed: Seconds = 0.0
    per_byte: SecondsPerByte = 0.0

    def seconds(self, nbytes: float) -> float:
        return float(self.fixed + self.per_byte * nbytes)


class Sharing(_Strict):
    """How processors see each other's results (see `codl.plan.model.Plan.sharing`) and what that costs."""

    kind: Literal["unified", "mapped", "copied"]
    home: str | None = None
    """The processor that takes in every co-executed result (MACE keeps all on the GPU)."""
    transform: Linear = Linear()
    """Image to buffer or back, on the GPU."""
    map: Linear = Linear()
    unmap: Linear = Linear()
    copy_: Linear = Field(default=Linear(), alias="copy")
    """Between memories that are not shared."""
    pre_sync: Seconds
    """Until a CPU goes on after a GPU is done: typical."""
    pre_sync_bound: Seconds | None = None
    """The value that a planner should count with, where it differs from the typical one."""
    post_sync: Seconds
    """Until a GPU goes on after a CPU (or another GPU) is done."""
    host_wait: dict[str, Seconds] = {}
    """Until the host's thread, asleep, goes on after a processor is done; `pre_sync` for those not given."""


class Power(_Strict):
    """Power of the whole device that no processor's activity explains."""

    idle: Watts


class Kernel(_Strict):
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
    """Outputs that one work-item or inner loop computes: `out_channels`, `out_h`, `out_w`, `in_channels`. The formulas
    of tiled kernels: `pixels` x `out_channels` in a register tile, `item_pixels` x `item_channels` in a work-item."""
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


class Library(_Strict):
    """A kernel library on this hardware: kernels by processor and data type."""

    choice: Literal["first", "fastest"] = "first"
    """`first`: the first kernel whose conditions hold (a framework's rules). `fastest`: the one predicted fastest."""
    base: str | None = None
    """The library that provides the kernels of processors which this one leaves out."""
    dispatch: dict[str, Seconds] = {}
    """By processor: time between kernels of a queue that no kernel's own latency shows."""
    start: dict[str, Seconds] = {}
    """By processor: time of an inference that lies outside its kernels (upload, first launch, read-back)."""
    kernels: dict[str, dict[DataType, tuple[Kernel, ...]]]


class Calibration(_Strict):
    """Where constants come from."""

    constants: tuple[str, ...] = Field(min_length=1)
    """Dotted paths of constants; * stands for anything."""
    source: str
    method: str
    date: str
    residual: str = ""
    """What is left unexplained, with its unit."""
    shapes: tuple[str, ...] = ()
    """The operators that were measured, where that is what the constants were learned from."""


class Spread(_Strict):
    """A cost as it was seen many times: the constant is its median, these are the edges."""

    low: Seconds
    """10th percentile."""
    median: Seconds
    high: Seconds
    """90th percentile."""
    samples: Count


class Observed(_Strict):
    """What a calibration saw besides the constants. Predictions do not depend on it."""

    spreads: dict[str, Spread] = {}
    """By the dotted path of a constant (`processors.gpu.enqueue`, `sharing.pre_sync`), and `launch.PROCESSOR`: the time
    between kernels of an in-order queue, which unit times of launches include."""
    clock_offset: dict[str, SignedSeconds] = {}
    """By processor: add it to a device's time stamp to get the host's."""
    clock_uncertainty: dict[str, Seconds] = {}
    profiling: dict[str, Seconds] = {}
    """By processor: what time stamps cost a command, already part of all other constants."""
    reference_kernel: str = ""
    """The probe that tells at what pace the machine runs (`codl.calibrate.pace`)."""
    reference: dict[str, Seconds] = {}
    """By processor: time of that kernel, alone."""


class Hardware(_Strict):
    """A hardware description. Raises pydantic's ValidationError when made with wrong fields; see `catalog.load`."""

    format: Literal["codl.hardware/1"] = Field(default="codl.hardware/1", alias="schema")
    name: str = Field(min_length=1)
    description: str = ""
    processors: dict[str, Processor] = Field(min_length=1)
    """In dealing order: a split gives the first processor the lowest rows or channels."""
    memory: Memory
    sharing: Sharing
    power: Power
    library: str
    """The kernel library in use: one of `libraries`."""
    libraries: dict[str, Library]
    alignment: dict[str, Count] = {}
    """Cuts along a dimension (`height`, `width`, `output_channel`) are multiples of this; 1 where not given."""
    fingerprint: str = ""
    """Of the machine and its devices, where `codl calibrate` made the description."""
    observed: Observed | None = None
    settings: tuple[str, ...] = ()
    """Overrides that were applied to the file ("gpu.frequency=500 MHz")."""
    calibration: tuple[Calibration, ...]

    @model_validator(mode="after")
    def _consistent(self) -> Hardware:
        if self.library not in self.libraries:
            raise ValueError(f"library {self.library!r} is not one of libraries: {', '.join(self.libraries)}")
        for name, library in self.libraries.items():
            if library.base is not None and (library.base not in self.libraries or self.libraries[library.base].base):
                raise ValueError(f"libraries.{name}.base: {library.base!r} is no library that stands alone")
            for processor, kinds in library.kernels.items():
                if processor not in self.processors:
                    raise ValueError(f"libraries.{name}.kernels: unknown processor {processor!r}")
                for data_type in kinds:
                    if data_type not in self.processors[processor].data_types:
                        raise ValueError(
                            f"libraries.{name}.kernels.{processor}: {data_type!r} is not among its data_types"
                        )
        if self.sharing.home is not None and self.sharing.home not in self.processors:
            raise ValueError(f"sharing.home {self.sharing.home!r} is not a processor")
        unknown = set(self.alignment) - {"height", "width", "output_channel"}
        if unknown:
            raise ValueError(
                f"alignment: unknown dimension {sorted(unknown)[0]!r}; allowed: height, width, output_channel"
            )
        bare = [path for path in self.constants if self.provenance(path) is None]
        if bare:
            raise ValueError(f"no entry of calibration covers {', '.join(bare[:5])}{' ...' if len(bare) > 5 else ''}")
        return self

    @cached_property
    def constants(self) -> tuple[str, ...]:
        """Dotted paths of every constant that needs a provenance."""
        data = self.model_dump(mode="json", by_alias=True, exclude_none=True, exclude_defaults=True)
        parts = {key: data.get(key, {}) for key in ("processors", "memory", "sharing", "power")}
        paths = [path for path, value in _leaves(parts) if _is_constant(path, value)]
        for name, library in self.libraries.items():
            paths.extend(f"libraries.{name}.{processor}.dispatch" for processor in library.dispatch)
            paths.extend(f"libraries.{name}.{processor}.start" for processor in library.start)
            for processor, kinds in library.kernels.items():
                for data_type, kernels in kinds.items():
                    for kernel in kernels:
                        prefix = f"libraries.{name}.{processor}.{data_type}.{kernel.name}"
                        units = (*kernel.compute, *kernel.memory, *kernel.fixed)
                        paths.extend(f"{prefix}.{unit}" for unit in units)
        return tuple(paths)

    def provenance(self, path: str) -> Calibration | None:
        """The first entry of `calibration` that covers a constant."""
        for entry in self.calibration:
            if any(fnmatchcase(path, pattern) for pattern in entry.constants):
                return entry
        return None

    @cached_property
    def digest(self) -> str:
        """Identifies everything that a prediction depends on."""
        return digest(self.model_dump(mode="json", exclude={"description", "calibration", "fingerprint", "observed"}))

    def kernels(self, processor: str, data_type: str) -> tuple[Kernel, ...]:
        """The kernels of the library in use; empty if it has none for this processor and data type."""
        kinds: Mapping[Any, tuple[Kernel, ...]] = self.libraries[self._provider(processor)].kernels.get(processor, {})
        return kinds.get(data_type, ())

    def library_path(self, processor: str) -> str:
        """Dotted path of the constants of a processor's kernels in use, as `constants` spells it."""
        return f"libraries.{self._provider(processor)}.{processor}"

    def _provider(self, processor: str) -> str:
        """The library that a processor's kernels come from: the one in use, or its base."""
        library = self.libraries[self.library]
        return library.base if processor not in library.kernels and library.base else self.library

    def dispatch(self, processor: str) -> float:
        """Seconds between kernels of a queue, of the library in use."""
        return self._of_library("dispatch", processor)

    def start(self, processor: str) -> float:
        """Seconds of an inference that lie outside its kernels, of the library in use."""
        return self._of_library("start", processor)

    def _of_library(self, field: str, processor: str) -> float:
        library = self.libraries[self.library]
        inherited = getattr(self.libraries[library.base], field) if library.base else {}
        return float(getattr(library, field).get(processor, inherited.get(processor, 0.0)))


def _leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _leaves(item, f"{path}.{key}" if path else str(key))
    elif isinstance(value, (list, tuple)):
        for index, item in enumerate(value):
            key = item["name"] if isinstance(item, Mapping) and "name" in item else str(index)
            yield from _leaves(item, f"{path}.{key}")
    else:
        yield path, value


def _is_constant(path: str, value: Any) -> bool:
    """Numbers and quantities, but not names, kinds and what overrides computed."""
    last = path.rsplit(".", 1)[-1]
    if last in ("clock_scale", "kind", "description", "name", "home") or "data_types" in path:
        return False
    return not isinstance(value, bool)


def json_schema() -> dict[str, Any]:
    """The JSON schema of hardware files."""
    return Hardware.model_json_schema(by_alias=True)
