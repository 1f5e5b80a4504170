"""What runs a network: one hardware description, read from a YAML file that people can read and write.

Silicon (`codl.hardware.silicon`) and kernel library (`codl.hardware.library`) are separate: the same chip may run
MACE's kernels, TFLite's or codl's own, each with its own choice of algorithm and its own unit times. Every constant is
covered by an entry of `calibration`, which says where it comes from; a constant without one is refused.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from functools import cached_property
from typing import Any, Literal

from pydantic import Field, model_validator

from codl.documents import Section
from codl.hardware.library import Kernel, Library
from codl.hardware.silicon import Count, Memory, Power, Processor, Sharing
from codl.io import digest
from codl.units import Seconds, SignedSeconds


class Calibration(Section):
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


class Spread(Section):
    """A cost as it was seen many times: the constant is its median, these are the edges."""

    low: Seconds
    """10th percentile."""
    median: Seconds
    high: Seconds
    """90th percentile."""
    samples: Count


class Observed(Section):
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
    """By processor: time of that kernel, alone and several times in a row."""
    reference_together: dict[str, Seconds] = {}
    """The same while all processors of one memory run it."""


class Hardware(Section):
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
