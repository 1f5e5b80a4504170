"""The sweep file: a grid over everything that determines a simulated run, explicit runs, exclusions, a fleet."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from itertools import product
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag, field_validator, model_validator

from codl.documents import Section, find, packaged, read_document
from codl.io import is_file
from codl.scenario import DataTypeChoice, PlannerName, Shapes, beside, placed
from codl.units import Seconds
from codl.workload import Workload

Objective = Literal["latency", "energy", "edp"]
MAX_RUNS = 1_000_000
"""A larger grid is refused: it is a slip of the pen (a table of that many rows takes about 1 GB)."""


class Inferences(Section):
    """What one run simulates: inferences, one after another on the idle machine."""

    requests: int = Field(default=1, gt=0, le=1_000_000)
    jitter: float = Field(default=0.0, ge=0, lt=10)
    """Relative standard deviation of every task's duration from inference to inference (log-normal, mean 1)."""
    seed: int = Field(default=0, ge=0)
    """Of the first repetition; each further one adds 1."""
    repetitions: int = Field(default=1, gt=0, le=MAX_RUNS)
    """So many runs, that differ in their seeds."""

    def each(self) -> Iterator[Inferences]:
        """What every repetition simulates."""
        for seed in range(self.seed, self.seed + self.repetitions):
            yield self.model_copy(update={"seed": seed, "repetitions": 1})


def _kind(value: Any) -> str:
    streams = "streams" in value if isinstance(value, Mapping) else isinstance(value, Workload)
    return "workload" if streams else "inferences"


Work = Annotated[Annotated[Inferences, Tag("inferences")] | Annotated[Workload, Tag("workload")], Discriminator(_kind)]
"""One or the other; a workload (as in a scenario file) has `streams`."""


class Grid(Section):
    """Every combination of these is a run."""

    models: tuple[str, ...] = Field(min_length=1)
    """MODEL as on the command line; a file is looked for beside the sweep file first."""
    hardware: tuple[str, ...] = Field(min_length=1)
    planners: tuple[PlannerName, ...] = Field(default=("codl",), min_length=1)
    data_types: tuple[DataTypeChoice, ...] = Field(default=("auto",), min_length=1)
    objectives: tuple[Objective, ...] = Field(default=("latency",), min_length=1)
    overrides: Mapping[str, tuple[str | None, ...]] = {}
    """Values by the name of the constant, as `--set` takes them; null leaves the constant as the hardware has it."""
    workloads: tuple[str, ...] = ()
    """Names out of the file's `workloads`; all of them if it is not given."""

    @model_validator(mode="after")
    def _once(self) -> Grid:
        lists = {name: getattr(self, name) for name in type(self).model_fields if name != "overrides"}
        lists |= {f"overrides.{name}": values for name, values in self.overrides.items()}
        for name, values in lists.items():
            if not values and name != "workloads":
                raise ValueError(f"{name}: is empty; a factor needs at least one value")
            for value in values:
                if values.count(value) > 1:
                    raise ValueError(f"{name}: {value!r} is listed twice")
        return self

    @property
    def size(self) -> int:
        """How many combinations, workloads aside."""
        factors = (self.models, self.hardware, self.planners, self.data_types, self.objectives)
        return math.prod(map(len, (*factors, *self.overrides.values())))


class Point(Section):
    """One combination that is not in the grid."""

    model: str
    hardware: str
    planner: PlannerName = "codl"
    data_type: DataTypeChoice = "auto"
    objective: Objective = "latency"
    overrides: Mapping[str, str] = {}
    workload: str | None = None
    """Name out of the file's `workloads`; each of them if it is not given."""


class Exclusion(Section):
    """Runs that agree with every field given here are left out. An override of null means: not overridden."""

    model: str | None = None
    hardware: str | None = None
    planner: PlannerName | None = None
    data_type: DataTypeChoice | None = None
    objective: Objective | None = None
    overrides: Mapping[str, str | None] = {}
    workload: str | None = None

    @model_validator(mode="after")
    def _something(self) -> Exclusion:
        if not self.model_fields_set:
            raise ValueError("names no factor, and so would leave out every run")
        return self


class Fleet(Section):
    """The devices in people's hands, and what is asked of a model that is shipped to them."""

    shares: Mapping[str, float] = Field(min_length=1)
    """Share of each hardware, together 1."""
    percentile: float = Field(default=95.0, gt=0, le=100)
    """So many percent of the inferences on the fleet must keep the bound."""
    latency_bound: Seconds | None = None
    preference: tuple[str, ...] = ()
    """Model variants, the one that people would like best first (by its accuracy, say); the file's order otherwise."""

    @field_validator("shares")
    @classmethod
    def _whole(cls, value: Mapping[str, float]) -> Mapping[str, float]:
        if any(not 0 < share <= 1 for share in value.values()) or abs(sum(value.values()) - 1) > 1e-6:
            raise ValueError(f"shares must lie in (0, 1] and sum to 1, not to {sum(value.values()):g}")
        return value


class Sweep(Section):
    """A sweep file."""

    format: Literal["codl.sweep/1"] = Field(default="codl.sweep/1", alias="schema")
    name: str = Field(min_length=1)
    description: str = ""
    grid: Grid | None = None
    runs: tuple[Point, ...] = ()
    exclude: tuple[Exclusion, ...] = ()
    workloads: Mapping[str, Work] = Field(default={"single": Inferences()}, min_length=1)
    """What is simulated, by name; one inference if it is not given."""
    shapes: Shapes = {}
    fleet: Fleet | None = None

    @field_validator("workloads")
    @classmethod
    def _anonymous(cls, value: Mapping[str, Inferences | Workload]) -> Mapping[str, Inferences | Workload]:
        for name, workload in value.items():
            if isinstance(workload, Workload) and workload.names_models:
                raise ValueError(f"{name}: its streams name models; in a sweep the grid does")
        return value

    @model_validator(mode="after")
    def _consistent(self) -> Sweep:
        if self.grid is None and not self.runs:
            raise ValueError("nothing to run: give a grid, or runs, or both")
        used = [("grid.workloads", name) for name in (self.grid.workloads if self.grid else ())]
        used += [(f"runs.{index}.workload", point.workload) for index, point in enumerate(self.runs) if point.workload]
        used += [
            (f"exclude.{index}.workload", each.workload) for index, each in enumerate(self.exclude) if each.workload
        ]
        for where, name in used:
            if name not in self.workloads:
                raise ValueError(f"{where}: {name!r} is not one of workloads: {', '.join(self.workloads)}")
        self._check_fleet()
        many = [work.repetitions if isinstance(work, Inferences) else 1 for work in self.workloads.values()]
        most = max(many) * len(many)
        size = ((self.grid.size if self.grid else 0) + len(self.runs)) * most
        if size > MAX_RUNS:
            raise ValueError(f"the grid has up to {size:,} runs; at most {MAX_RUNS:,} are allowed")
        return self

    def _check_fleet(self) -> None:
        if self.fleet is None:
            return
        for field, given, known in (
            ("shares", tuple(self.fleet.shares), self._values("hardware")),
            ("preference", self.fleet.preference, self._values("model")),
        ):
            for name in given:
                if name not in known:
                    raise ValueError(f"fleet.{field}: {name!r} is not in the sweep; it has {', '.join(known)}")

    def _values(self, factor: Literal["model", "hardware"]) -> tuple[str, ...]:
        listed = () if self.grid is None else self.grid.models if factor == "model" else self.grid.hardware
        return tuple(dict.fromkeys((*listed, *(getattr(point, factor) for point in self.runs))))

    @property
    def models(self) -> tuple[str, ...]:
        """Every model, in the order of the file."""
        return self._values("model")

    def points(self) -> Iterator[Point]:
        """Every combination, each with its workload, once: the grid's, then the explicit ones, less the exclusions."""
        seen = set()
        for point in self._listed():
            key = point.model_dump_json()
            if key not in seen and not any(_matches(exclusion, point) for exclusion in self.exclude):
                seen.add(key)
                yield point

    def _listed(self) -> Iterator[Point]:
        if self.grid is not None:
            grid, names = self.grid, tuple(self.grid.overrides)
            factors = (grid.models, grid.hardware, grid.planners, grid.data_types, grid.objectives)
            workloads = grid.workloads or tuple(self.workloads)
            for combination in product(*factors, product(*grid.overrides.values()), workloads):
                model, hardware, planner, data_type, objective, values, workload = combination
                yield Point(
                    model=model,
                    hardware=hardware,
                    planner=planner,
                    data_type=data_type,
                    objective=objective,
                    overrides={n: v for n, v in zip(names, values, strict=True) if v is not None},
                    workload=workload,
                )
        for point in self.runs:
            for workload in (point.workload,) if point.workload else tuple(self.workloads):
                yield point.model_copy(update={"workload": workload})


def _matches(exclusion: Exclusion, point: Point) -> bool:
    for field in exclusion.model_fields_set - {"overrides"}:
        wanted: Any = getattr(exclusion, field)
        if wanted is not None and getattr(point, field) != wanted:
            return False
    return all(point.overrides.get(name) == value for name, value in exclusion.overrides.items())


def names() -> list[str]:
    """Names of the packaged sweeps, sorted."""
    return list(packaged("sweeps"))


def load(name_or_path: str | Path) -> tuple[Sweep, Path]:
    """A packaged sweep by its name, or any by the path of its file; and the folder that its file names refer to.

    Raises:
        FileError: no such name or file, or not YAML.
        SchemaError: not a sweep; all wrong fields at once.
    """
    path = find("sweeps", name_or_path)
    sweep = read_document(Sweep, path, "a sweep: it must be a mapping with name, grid, ...")
    folder = path.parent.resolve()
    works = {name: placed(folder, w) if isinstance(w, Workload) else w for name, w in sweep.workloads.items()}
    return sweep.model_copy(update={"workloads": works}), folder


def located(folder: Path, name: str) -> str:
    """A file name as found beside the sweep file, or absolute where it is found in the current folder; a name of
    something packaged unchanged. Workers may have another current folder."""
    found = beside(folder, name)
    return str(Path(found).resolve()) if Path(found).suffix and is_file(found) else found
