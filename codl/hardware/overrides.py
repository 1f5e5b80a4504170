"""What-if changes to a hardware description: `--set gpu.frequency=500MHz`, `--set memory.bandwidth="12 GB/s"`.

A changed clock scales the processor's compute rates; memory work stays as it was. Less bandwidth bounds kernels from
below (`codl.cost`), more bandwidth does not make kernels faster than they were measured.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from codl.documents import validate
from codl.errors import InputError, SchemaError, shown
from codl.hardware.schema import Hardware
from codl.units import parse, render

_PROCESSOR = (
    "frequency", "bandwidth", "active_power", "enqueue", "contention", "cache", "compute_units", "wave_size",
    "concurrent_waves", "max_work_group_size",
)  # fmt: skip
_SECTIONS: dict[str, tuple[str, ...]] = {
    "memory": ("bandwidth", "energy"),
    "power": ("idle",),
    "sharing": (
        "pre_sync", "pre_sync_bound", "post_sync", "transform.fixed", "transform.per_byte", "map.fixed", "map.per_byte",
        "unmap.fixed", "unmap.per_byte", "copy.fixed", "copy.per_byte",
    ),
}  # fmt: skip


def allowed(hardware: Hardware) -> list[str]:
    """Names that `overrides` accepts for this hardware."""
    found = ["library"]
    for name, processor in hardware.processors.items():
        skipped = (
            ("compute_units", "wave_size", "concurrent_waves", "max_work_group_size") if processor.kind == "cpu" else ()
        )
        found += [f"{name}.{field}" for field in _PROCESSOR if field not in skipped]
        for cluster in processor.clusters:
            found += [f"{name}.{cluster.name}.frequency", f"{name}.{cluster.name}.cores"]
    return found + [f"{section}.{field}" for section, fields in _SECTIONS.items() for field in fields]


def overrides(hardware: Hardware, settings: Iterable[str]) -> Hardware:
    """The description with each `NAME=VALUE` applied, in order; it keeps the list in `settings`.

    Raises:
        InputError: no `=`, an unknown name (the message lists those allowed), or a value with a wrong unit.
    """
    for setting in settings:
        name, equals, value = setting.partition("=")
        name, value = name.strip(), value.strip()
        if not equals or not value:
            raise InputError(f"--set {shown(setting)}: write NAME=VALUE, such as gpu.frequency=500MHz")
        if name not in allowed(hardware):
            raise InputError(
                f"--set {shown(setting)}: unknown name {shown(name)}; allowed: {', '.join(allowed(hardware))}"
            )
        hardware = _apply(hardware, name, value, setting)
    return hardware


def clocked(hardware: Hardware, clocks: Mapping[str, float]) -> Hardware:
    """The description with processors at other clocks, relative to the present ones."""
    processors = {
        name: processor.model_copy(update={"clock_scale": processor.clock_scale * clocks.get(name, 1.0)})
        for name, processor in hardware.processors.items()
    }
    return changed(hardware, processors=processors)


def changed(hardware: Hardware, **fields: Any) -> Hardware:
    """The description with other values of fields, which the program made and need no check."""
    copy = hardware.model_copy(update=fields)
    for name in ("digest", "constants"):  # cached properties, which a copy takes along
        copy.__dict__.pop(name, None)
    return copy


def _apply(hardware: Hardware, name: str, value: str, setting: str) -> Hardware:
    data: dict[str, Any] = hardware.model_dump(mode="json", by_alias=True, exclude_none=True, exclude_defaults=True)
    first, *rest = name.split(".")
    try:
        if first in hardware.processors:
            _set_processor(hardware, data["processors"][first], first, rest, value)
        elif name == "library":
            data["library"] = value
        else:
            section = data.setdefault(first, {})
            for key in rest[:-1]:
                section = section.setdefault(key, {})
            section[rest[-1]] = value
        data["settings"] = [*hardware.settings, f"{name}={value}"]
        data["calibration"] = [
            *(data["calibration"]),
            {"constants": [_path(hardware, first, rest)], "source": "set by the user", "method": setting, "date": "-"},
        ]
        return validate(Hardware, data, f"--set {shown(setting)}")
    except SchemaError as error:
        raise InputError(f"--set {shown(setting)}: {error.problems[0][1]}") from None
    except ValueError as error:
        raise InputError(f"--set {shown(setting)}: {error}") from None


def _path(hardware: Hardware, first: str, rest: list[str]) -> str:
    return f"processors.{first}.*" if first in hardware.processors else ".".join([first, *rest])


def _set_processor(hardware: Hardware, data: dict[str, Any], name: str, rest: list[str], value: str) -> None:
    processor = hardware.processors[name]
    if rest[-1] != "frequency" and len(rest) == 1:
        integer = rest[0] in ("compute_units", "wave_size", "concurrent_waves", "max_work_group_size")
        number = float(value) if rest[0] == "contention" else value
        data[rest[0]] = int(value) if integer else number
        return
    if not processor.clusters:
        new = parse(value, "hertz")
        if not processor.frequency:
            raise ValueError(f"{name} has no frequency to scale from")
        data["frequency"] = render(new, "hertz")
        data["clock_scale"] = processor.clock_scale * new / processor.frequency
    else:
        before = processor.peak_flops
        for cluster, entry in zip(processor.clusters, data["clusters"], strict=True):
            if len(rest) == 1 or rest[0] == cluster.name:
                entry[rest[-1]] = int(value) if rest[-1] == "cores" else render(parse(value, "hertz"), "hertz")
        after = sum(
            int(e["cores"]) * parse(e["frequency"], "hertz") * c.flops_per_cycle
            for c, e in zip(processor.clusters, data["clusters"], strict=True)
        )
        data["clock_scale"] = processor.clock_scale * after / before
    if not data["clock_scale"] > 0:
        raise ValueError("a clock must be above 0")
