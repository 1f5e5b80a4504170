"""From a sweep to its runs: names looked up, every run identified by what determines its result."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from itertools import groupby
from pathlib import Path
from typing import Any

from codl import hardware as hw
from codl import models
from codl.errors import FileError, InputError, SchemaError
from codl.hardware import Hardware
from codl.io import digest
from codl.sweep.spec import Inferences, Point, Sweep, located
from codl.workload import Workload

OVERRIDE = "set."
"""Columns of overridden constants begin with this."""
CHUNK_REQUESTS = 256
"""A worker takes runs of about so many simulated inferences at once: about a second, of which handing them over takes
a few thousandths. What is under way when a sweep is killed is done again."""


@dataclass(frozen=True, slots=True, eq=False)
class Setup:
    """What a plan depends on; runs of one setup are planned once. Equal where `key` is.

    Attributes:
        model: where to load it from (`codl.models.load`).
        content: changes when what lies there does.
        hardware: the description before overrides.
        overrides: `NAME=VALUE` texts.
    """

    model: str
    hardware: Hardware
    planner: str
    data_type: str
    objective: str
    overrides: tuple[str, ...]
    shapes: tuple[tuple[str, tuple[int, ...]], ...]
    content: str
    key: str

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Setup) and self.key == other.key

    def __hash__(self) -> int:
        return hash(self.key)


@dataclass(frozen=True, slots=True)
class Run:
    """One row to be: its identity, its factors as columns, and what is simulated."""

    id: str
    factors: Mapping[str, Any]
    setup: Setup
    work: Inferences | Workload

    @property
    def requests(self) -> int:
        """Inferences that it simulates."""
        if isinstance(self.work, Inferences):
            return self.work.requests
        return sum(stream.requests for stream in self.work.streams) * self.work.repetitions


@cache
def code_version() -> str:
    """Identifies codl's own source: results of other code are not mixed with this one's."""
    package = Path(__file__).resolve().parents[1]
    content = hashlib.sha256()
    for path in sorted(package.rglob("*")):
        if path.suffix in (".py", ".csv"):
            content.update(f"{path.relative_to(package)}\0".encode() + path.read_bytes())
    return content.hexdigest()[:16]


def expand(sweep: Sweep, folder: Path, host: Hardware | None = None) -> list[Run]:
    """Every run of a sweep, in the order of its file.

    Args:
        folder: where files that the sweep names are looked for first.
        host: this machine's description, where the sweep names `host`.

    Raises:
        InputError, FileError, SchemaError: an unknown model or hardware, or an override that a hardware does not have.
            What else is wrong with a single run becomes the `error` of its row.
    """
    points = list(sweep.points())
    if not points:
        raise SchemaError(sweep.name, [("exclude", "leaves out every run")])
    described = {name: _hardware(folder, name, host) for name in dict.fromkeys(point.hardware for point in points)}
    contents = {name: _content(located(folder, name)) for name in dict.fromkeys(point.model for point in points)}
    contents |= {name: hardware.digest for name, hardware in described.items()}
    _check_overrides(points, described)
    columns = list(dict.fromkeys(name for point in points for name in point.overrides))
    return [
        run
        for point in points
        for run in _runs(sweep, point, _setup(sweep, folder, point, described[point.hardware], contents), columns)
    ]


def _hardware(folder: Path, name: str, host: Hardware | None) -> Hardware:
    return host if name == hw.HOST and host is not None else hw.load(located(folder, name))


def _content(model: str) -> str:
    """Changes when the model does: a digest of the file; a packaged model is part of the code's version."""
    models.is_list(model)  # raises for an unknown name
    path = Path(model)
    return _of_file(path) if path.suffix.lower() in (".onnx", ".csv") else model


def _of_file(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()[:16]
    except OSError:
        raise FileError(path, "no such file") from None


def _check_overrides(points: Iterable[Point], described: Mapping[str, Hardware]) -> None:
    tried = dict.fromkeys((point.hardware, *item) for point in points for item in point.overrides.items())
    for hardware, name, value in tried:
        try:
            hw.overrides(described[hardware], [f"{name}={value}"])
        except InputError as error:
            raise InputError(f"overrides, hardware {hardware}: {error}") from None


def _setup(sweep: Sweep, folder: Path, point: Point, hardware: Hardware, contents: Mapping[str, str]) -> Setup:
    overrides = tuple(f"{name}={value}" for name, value in point.overrides.items())
    shapes = tuple((name, tuple(shape)) for name, shape in sweep.shapes.items())
    choices = (point.planner, point.data_type, point.objective, overrides, shapes)
    identity = [point.model, contents[point.model], point.hardware, contents[point.hardware], *choices]
    key = digest([code_version(), *identity])
    return Setup(located(folder, point.model), hardware, *choices[:3], overrides, shapes, contents[point.model], key)


def _runs(sweep: Sweep, point: Point, setup: Setup, columns: Iterable[str]) -> Iterator[Run]:
    described = sweep.workloads[str(point.workload)]
    factors: dict[str, Any] = {
        "model": point.model,
        "hardware": point.hardware,
        "planner": point.planner,
        "data_type_choice": point.data_type,
        "objective": point.objective,
        "workload": point.workload,
    } | {OVERRIDE + name: point.overrides.get(name) for name in columns}
    if sweep.fleet is not None:
        factors["share"] = sweep.fleet.shares.get(point.hardware, 0.0)
    works: Iterable[Inferences | Workload] = described.each() if isinstance(described, Inferences) else (described,)
    for repetition, work in enumerate(works):
        identity = digest([setup.key, point.workload, work, *_recorded(work)])
        run = Run(identity, {}, setup, work)
        noise = {"requests": run.requests, "jitter": work.jitter, "repetition": repetition, "seed": work.seed}
        yield replace(run, factors=factors | noise)


def _recorded(work: Inferences | Workload) -> list[str]:
    """Digests of the arrival traces that a workload names."""
    streams = () if isinstance(work, Inferences) else work.streams
    return [_of_file(Path(stream.arrivals.trace)) for stream in streams if stream.arrivals.trace is not None]


@dataclass(frozen=True, slots=True)
class Chunk:
    """Runs of one setup that a worker takes together."""

    setup: Setup
    runs: tuple[tuple[str, Inferences | Workload], ...]
    """Id of each, and what it simulates."""
    code: str

    def singles(self) -> list[Chunk]:
        return [Chunk(self.setup, (run,), self.code) for run in self.runs]


def chunks(runs: Iterable[Run]) -> Iterator[Chunk]:
    """Runs in portions of one setup and of about `CHUNK_REQUESTS` inferences."""
    for _, group in groupby(runs, key=lambda run: run.setup.key):
        taken: list[Run] = []
        requests = 0
        for run in group:
            taken.append(run)
            requests += run.requests
            if requests >= CHUNK_REQUESTS:
                yield _chunk(taken)
                taken, requests = [], 0
        if taken:
            yield _chunk(taken)


def _chunk(runs: list[Run]) -> Chunk:
    return Chunk(runs[0].setup, tuple((run.id, run.work) for run in runs), code_version())
