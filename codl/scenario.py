"""What to simulate or execute together: models, hardware, planners, and what others published about them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, field_validator, model_validator

from codl.documents import Section, find, packaged, read_document
from codl.io import is_file
from codl.workload import Workload

PlannerName = Literal["cpu", "gpu", "mulayer", "h", "oc", "hybrid", "codl", "optimal", "ideal"]
DataTypeChoice = Literal["auto", "image", "buffer"]


def _extents(value: Mapping[str, tuple[int, ...]]) -> Mapping[str, tuple[int, ...]]:
    for name, shape in value.items():
        if not shape or min(shape) < 1:
            raise ValueError(f"{name}: {list(shape)} is not a shape; write positive numbers: [1, 3, 640, 640]")
    return value


Shapes = Annotated[Mapping[str, tuple[int, ...]], AfterValidator(_extents)]
"""Sizes of inputs that a model leaves open, by input name."""


class Published(Section):
    """Latencies that somebody else measured, in ms, by planner and model."""

    source: str = Field(min_length=1)
    """Who published them, where."""
    latency_ms: Mapping[PlannerName, Mapping[str, float]]

    @field_validator("latency_ms")
    @classmethod
    def _positive(cls, value: Mapping[PlannerName, Mapping[str, float]]) -> Mapping[PlannerName, Mapping[str, float]]:
        for planner, models in value.items():
            for model, latency in models.items():
                if not 0 < latency < float("inf"):
                    raise ValueError(f"{planner}, {model}: a latency of {latency} ms; it must be positive")
        return value


class Scenario(Section):
    """A scenario file.

    Raises:
        pydantic's ValidationError when made with wrong fields; `load` turns it into a SchemaError.
    """

    format: Literal["codl.scenario/1"] = Field(default="codl.scenario/1", alias="schema")
    name: str = Field(min_length=1)
    description: str = ""
    models: tuple[str, ...] = Field(min_length=1)
    """MODEL as on the command line: an .onnx file, a zoo network, an operator list."""
    hardware: str = Field(min_length=1)
    """HW as on the command line: a hardware file or the name of a packaged one."""
    planners: tuple[PlannerName, ...] = Field(min_length=1)
    data_type: DataTypeChoice = "auto"
    shapes: Shapes = {}
    set: tuple[str, ...] = ()
    """Overrides of the hardware's constants, such as `gpu.frequency=500MHz`."""
    variants: Mapping[str, tuple[str, ...]] = {}
    """What if: further overrides by the name of the variant. The scenario runs as it is, and once with each."""
    workload: Workload | None = None
    """What is asked of the machine over time; a single inference on the idle machine if it is not given."""
    published: Published | None = None

    @field_validator("models", "planners")
    @classmethod
    def _once(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for item in value:
            if value.count(item) > 1:
                raise ValueError(f"{item!r} is listed twice")
        return value

    @model_validator(mode="after")
    def _published_models(self) -> Scenario:
        known = ", ".join(self.models)
        for planner, models in (self.published.latency_ms if self.published else {}).items():
            for model in models:
                if model not in self.models:
                    raise ValueError(f"published.latency_ms.{planner}: {model!r} is not one of models: {known}")
        return self

    def published_ms(self, model: str, planner: str) -> float | None:
        """The published latency of a model with a planner, if there is one."""
        tables = self.published.latency_ms if self.published else {}
        return next((table.get(model) for name, table in tables.items() if name == planner), None)


def names() -> list[str]:
    """Names of the packaged scenarios, sorted."""
    return list(packaged("scenarios"))


def load(name_or_path: str | Path) -> Scenario:
    """A packaged scenario by its name, or any by the path of its file.

    Model and hardware files named in a scenario file are looked for beside it first, so that it can be moved with them.

    Raises:
        FileError: no such name or file, or not YAML.
        SchemaError: not a scenario; all wrong fields at once.
    """
    return read(find("scenarios", name_or_path))


def read(path: str | Path) -> Scenario:
    """A scenario file (see `load`)."""
    expected = "a scenario: it must be a mapping with name, models, hardware, planners, ..."
    scenario = read_document(Scenario, path, expected)
    folder = Path(path).parent
    return scenario.model_copy(
        update={
            "models": tuple(beside(folder, model) for model in scenario.models),
            "hardware": beside(folder, scenario.hardware),
            "workload": placed(folder, scenario.workload),
        }
    )


def placed(folder: Path, workload: Workload | None) -> Workload | None:
    """The workload with the files that it names as found beside the scenario file."""
    if workload is None:
        return None
    streams = []
    for stream in workload.streams:
        arrivals, model = stream.arrivals, stream.model
        if arrivals.trace is not None:
            arrivals = arrivals.model_copy(update={"trace": beside(folder, arrivals.trace)})
        model = None if model is None else beside(folder, model)
        streams.append(stream.model_copy(update={"arrivals": arrivals, "model": model}))
    return workload.model_copy(update={"streams": tuple(streams)})


def beside(folder: Path, name: str) -> str:
    """A relative file name as found beside the scenario file; everything else unchanged."""
    is_file_name = name.endswith((".onnx", ".csv", ".yaml", ".yml"))
    found = folder / name
    return str(found) if is_file_name and not Path(name).is_absolute() and is_file(found) else name
