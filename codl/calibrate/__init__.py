"""Describing this machine: run probes on its devices as plans are run, fit unit times, write a hardware description."""

from __future__ import annotations

import datetime
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import codl.ops
from codl.calibrate.description import describe
from codl.calibrate.measure import WARM_UPS, measure
from codl.calibrate.network import probe_graph
from codl.calibrate.pace import PaceMeter
from codl.calibrate.phases import build_sequence, large_families
from codl.calibrate.results import Results
from codl.errors import CodlError, InputError
from codl.hardware import HOST, Hardware, host_path, read, write
from codl.io import digest
from codl.real.devices import Assignment, choose
from codl.real.environment import fingerprint as machine
from codl.real.lanes import traits_of
from codl.real.overheads import overheads

__all__ = [
    "NOISE_LIMIT", "STORAGES", "PaceMeter", "Progress", "TooNoisyError",
    "cache", "calibrate", "collect", "fingerprint", "load_or_calibrate", "partial_path",
]  # fmt: skip

STORAGES = ("float32", "float16")
"""Number formats of weights: with float16, kernel variants that store them so are measured too, and used where they are
faster."""
REVISION = 9
"""Of the method: descriptions made by an older one are not used."""
NOISE_LIMIT = 0.25
"""A description is refused when the reference kernel's times spread by more than this (half the interquartile range
over the median). Medians of this spread over seven rounds are uncertain by a tenth; beyond it, plans would follow the
noise."""
_LANES = ("gpu", "cpu")
_ROUNDS = {"quick": (5, 5), "default": (7, 17), "thorough": (15, 60)}
"""At least and at most so many; a quiet machine needs the fewer."""


class Progress(Protocol):
    """Who is told how far a calibration is: the number of steps first, then each as it begins."""

    def total(self, steps: int) -> None: ...
    def step(self, what: str) -> None: ...
    def note(self, what: str) -> None: ...


class Silent:
    """Progress that nobody watches."""

    def total(self, steps: int) -> None:
        pass

    def step(self, what: str) -> None:
        pass

    def note(self, what: str) -> None:
        pass


class TooNoisyError(InputError):
    """The machine was too busy with something else for its times to mean much. Holds the description all the same, and
    the noise: the relative spread of the reference kernel's times."""

    def __init__(self, message: str, description: Hardware, noise: float) -> None:
        super().__init__(message)
        self.description = description
        self.noise = noise


def calibrate(
    assignment: Assignment, *, name: str = HOST, report: Progress | None = None, quick: bool = False,
    thorough: bool = False, noise_limit: float = NOISE_LIMIT, partial: Path | None = None,
    storage: str = STORAGES[0],
) -> Hardware:  # fmt: skip
    """Measure this machine and describe it. Writes nothing (see `cache`).

    Args:
        assignment: who plays the CPU and the GPU.
        quick: fewer and smaller probes in fewer rounds, for tests.
        thorough: more rounds, many minutes instead of three to four; and kernels on images on any device that has them.
            They are otherwise timed on GPUs only: CPUs have no texture units, and compile them for a minute.
        noise_limit: refuse above this noise (see `NOISE_LIMIT`).
        partial: a file for the rounds measured so far; an interrupted calibration goes on from there.
        storage: one of `STORAGES`.

    Raises:
        InputError: no such storage.
        TooNoisyError: the reference kernel's times spread by more than `noise_limit`.
        DeviceError: a device failed or a kernel does not build.
    """
    told = report or Silent()
    require_storage(storage)
    results = collect(assignment, report=told, quick=quick, thorough=thorough, partial=partial, storage=storage)
    told.step("fitting unit times")
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    description = describe(results, name, fingerprint(assignment, storage), today)
    for lane in _LANES:
        if not results.noise(lane) <= noise_limit:
            raise TooNoisyError(
                f"the machine is too noisy to be described: the same kernel's times on {lane} "
                f"({results.device(lane).id}) spread by {results.noise(lane):.0%} (allowed: {noise_limit:.0%}); stop "
                "other work on it and calibrate again",
                description,
                results.noise(lane),
            )
    return description


def collect(
    assignment: Assignment, *, report: Progress | None = None, quick: bool = False, thorough: bool = False,
    partial: Path | None = None, storage: str = STORAGES[0],
) -> Results:  # fmt: skip
    """Run the probes and nothing else: the measurements that a description is fitted to (see `calibrate`)."""
    told = report or Silent()
    rounds = _ROUNDS["quick" if quick else "thorough" if thorough else "default"]
    told.total(2 + WARM_UPS + rounds[1] + 1)
    told.step("preparing probes")
    wide = any(large_families(device) for device in (assignment.gpu, assignment.cpu))
    graph = probe_graph(quick, large=wide and not quick)
    images = thorough or assignment.gpu.kind == "gpu"
    program = build_sequence(graph, assignment, _LANES, storage == "float16", images)
    samples = measure(graph, program, assignment, rounds, told.step, partial)
    told.total(2 + WARM_UPS + samples.rounds + 1)
    found = assignment.for_lanes(_LANES)
    device_traits = {lane: traits_of(device) for lane, device in found.items()}
    costs = {lane: overheads(device.id) for lane, device in found.items()}
    return Results(graph, program, samples, assignment, device_traits, costs)


def require_storage(storage: str) -> None:
    """Raise `InputError` for a storage of weights that there is not."""
    if storage not in STORAGES:
        raise InputError(f"storage {storage!r}: allowed are {' and '.join(STORAGES)}")


def fingerprint(assignment: Assignment, storage: str = STORAGES[0]) -> str:
    """Identifies what a description of this machine depends on: its processor, the devices and who plays what, the
    kernels, how they may store weights, and the method that measured it."""
    facts = {key: value for key, value in machine().items() if key in ("cpu", "cores", "usable_cores", "machine")}
    # PoCL says other sizes within an hour on the same virtual machine: 4, 9 and 11 GB of memory, images to match.
    devices = [replace(device, memory_bytes=0, image_limits=(0, 0)) for device in (assignment.cpu, assignment.gpu)]
    return digest(
        [
            REVISION,
            facts,
            *devices,
            assignment.shared_memory,
            _kernel_sources(),
            *([] if storage == STORAGES[0] else [storage]),
        ]
    )


def _kernel_sources() -> str:
    """Everything that decides how fast kernels are: their sources, and the code that chooses tiles and variants."""
    folder = Path(codl.ops.__file__).parent
    files = sorted(path for suffix in ("cl", "py") for path in folder.rglob(f"*.{suffix}"))
    return digest({path.relative_to(folder).as_posix(): path.read_text(encoding="utf-8") for path in files})


def partial_path(assignment: Assignment, storage: str = STORAGES[0]) -> Path:
    """Where an interrupted calibration keeps its rounds."""
    return host_path(fingerprint(assignment, storage)).with_suffix(".partial.json")


def cache(description: Hardware, assignment: Assignment, storage: str = STORAGES[0]) -> Path:
    """Keep a description as this machine's `host` with this storage of weights; returns the file.

    Raises:
        FileError: the folder cannot be written.
    """
    path = host_path(fingerprint(assignment, storage))
    path.parent.mkdir(parents=True, exist_ok=True)
    write(description, path)
    return path


def load_or_calibrate(
    cpu: str | None = None, gpu: str | None = None, report: Progress | None = None, storage: str = STORAGES[0]
) -> Hardware:
    """The description of this machine with these devices and this storage of weights; made, and kept, where there is
    none yet.

    A description of another machine, or of other devices of this one, has another fingerprint and is not found. One
    that cannot be read (from an older version) is made anew. One made on a noisy machine is used but not kept.

    Raises:
        InputError, DeviceError: see `calibrate`.
    """
    require_storage(storage)
    assignment = choose(cpu, gpu)
    path = host_path(fingerprint(assignment, storage))
    if path.is_file():
        try:
            known = read(path)
        except CodlError:
            pass
        else:
            if known.fingerprint == path.stem:
                return known
    try:
        made = calibrate(assignment, report=report, partial=partial_path(assignment, storage), storage=storage)
    except TooNoisyError as noisy:
        if report:
            report.note(f"{noisy}; going on with what was measured, which is not kept")
        return noisy.description
    cache(made, assignment, storage)
    return made
