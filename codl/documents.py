"""Documents: the files that people write, found by name or path and checked field by field."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from codl.errors import FileError, SchemaError, shown
from codl.io import is_file, read_yaml

Model = TypeVar("Model", bound=BaseModel)


class Section(BaseModel):
    """A part of a file that people write: fields that are not known are refused, and so is what is no finite number."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True, allow_inf_nan=False)


def packaged(kind: str) -> dict[str, Path]:
    """The .yaml files of one kind (`hardware`, `scenarios`, `sweeps`) that codl brings along, by name, sorted: inside
    the wheel, or beside the package in a checkout."""
    package = Path(__file__).resolve().parent
    data = package / "data"
    folder = (data if data.is_dir() else package.parent) / kind
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))}


def find(kind: str, name_or_path: str | Path, also: Sequence[str] = ()) -> Path:
    """A packaged file by its name, or any by its path; `scenarios/sd865.yaml` names the packaged one wherever the
    command is given.

    Args:
        kind: as for `packaged`.
        also: further names that the caller knows.

    Raises:
        FileError: no such name.
    """
    text, known = str(name_or_path), packaged(kind)
    if isinstance(name_or_path, str) and "/" not in text and not text.endswith((".yaml", ".yml")):
        if text not in known:
            names = ", ".join((*known, *also))
            raise FileError(text, f"no such {kind.removesuffix('s')}; known: {names}, or the path of a .yaml file")
        return known[text]
    path = Path(name_or_path)
    return known.get(path.stem, path) if path.parent.name == kind and not is_file(path) else path


def read_document(model: type[Model], path: Path | str, what: str) -> Model:
    """A YAML file that people wrote, as a pydantic model.

    Args:
        what: it should be, for a message: "a sweep: it must be a mapping with name, grid, ...".

    Raises:
        FileError: no such file, not YAML, or no mapping.
        SchemaError: all wrong fields at once.
    """
    data = read_yaml(path)
    if not isinstance(data, dict):
        raise FileError(path, f"is not {what}")
    return validate(model, data, path, file=True)


def validate(model: type[Model], data: Any, source: Path | str, file: bool = False) -> Model:
    """`data` as a pydantic model; every problem of the file in one error, each with the path of its field.

    Args:
        file: people wrote it, so that quantities must have their units (the program's own are SI numbers).
    """
    try:
        return model.model_validate(data, context={"file": file})
    except ValidationError as error:
        problems = [(".".join(map(str, e["loc"])), _message(e)) for e in error.errors()]
        raise SchemaError(source, problems) from None


def _message(error: Mapping[str, Any]) -> str:
    message = str(error["msg"]).removeprefix("Value error, ")
    if error["type"] == "extra_forbidden":
        return "unknown field"
    if error["type"] == "missing":
        return "is missing"
    if isinstance(error["input"], (dict, list)):  # the message names what of it is wrong
        return message
    return f"{message} (given: {shown(error['input'])})"
