"""The description of this machine: made once, with a progress bar, when a command first needs it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from codl import hardware as hw
from codl.cli import options
from codl.cli.console import note, progress
from codl.errors import InputError
from codl.hardware import Hardware
from codl.runs import Workspace
from codl.scenario import Scenario

if TYPE_CHECKING:
    from codl.real.devices import Assignment


def load_hardware(
    name: str, settings: list[str] | None = None, cpu: str | None = None, gpu: str | None = None,
    storage: str = options.FLOAT32,
) -> Hardware:  # fmt: skip
    """A hardware description by name or path, with `--set` applied. `host` is measured if it is not known yet.

    Raises:
        InputError: a storage of weights that there is not, or that only `host` can be asked for.
    """
    if name != hw.HOST and storage != options.FLOAT32:
        raise InputError(f"--storage {storage} chooses among descriptions of this machine (host); {name} is what it is")
    description = host(cpu, gpu, storage) if name == hw.HOST else hw.load(name)
    return hw.overrides(description, settings) if settings else description


def host(cpu: str | None = None, gpu: str | None = None, storage: str = options.FLOAT32) -> Hardware:
    """This machine with these devices; a short calibration on its first use."""
    from codl.calibrate import load_or_calibrate

    with progress("Describing this machine") as ticker:
        return load_or_calibrate(cpu=cpu, gpu=gpu, report=ticker, storage=storage)


def choose_devices(cpu: str | None = None, gpu: str | None = None) -> Assignment:
    """The devices that run things here; says so if their kernels must be compiled first.

    Raises:
        DeviceError: an unknown id, or no device at all.
    """
    from codl.real.devices import choose
    from codl.real.native.devices import compiles_first, is_native

    assignment = choose(cpu, gpu)
    if any(is_native(device.id) for device in (assignment.cpu, assignment.gpu)) and compiles_first():
        note("Native kernels are compiled for this processor as they are needed: a minute or two, this once")
    return assignment


def scenario_workspace(
    scenario: Scenario, hardware: str | None, data_type: str, settings: list[str] | None,
    shapes: dict[str, tuple[int, ...]], cpu: str | None = None, gpu: str | None = None,
    storage: str = options.FLOAT32,
) -> Workspace:  # fmt: skip
    """The workspace that a scenario describes; options given beside it win."""
    description = load_hardware(hardware or scenario.hardware, [*scenario.set, *(settings or ())], cpu, gpu, storage)
    return Workspace(
        description, data_type if data_type != "auto" else scenario.data_type, {**scenario.shapes, **shapes}
    )
