"""Files in and out: YAML and JSON read with errors that name the file, canonical JSON, digests, atomic writes."""

from __future__ import annotations

import csv
import dataclasses
import hashlib
import io
import json
import os
import stat
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from enum import Enum
from pathlib import Path
from typing import Any

import numpy as np
import platformdirs
from pydantic import BaseModel
from ruamel.yaml import YAML
from ruamel.yaml.composer import Composer, ComposerError, MaxDepthExceededError
from ruamel.yaml.error import MarkedYAMLError

from codl.errors import CodlError, FileError, SchemaError, first_line
from codl.limits import beyond, limit


def cache_folder() -> Path:
    """Where codl keeps what it can make again: the user's cache folder, or CODL_CACHE_DIR where that is set."""
    return Path(os.environ.get("CODL_CACHE_DIR") or platformdirs.user_cache_dir("codl"))


def is_file(path: Path | str) -> bool:
    """Whether there is a file of this name; a name that no file can have (too long, say) is none."""
    try:
        return Path(path).is_file()
    except (OSError, ValueError):
        return False


def read_bytes(path: Path | str, most: str) -> bytes:
    """The contents of a file.

    Args:
        most: name of the limit (`codl.limits`) of its size.

    Raises:
        FileError: it is missing, a folder, a device, or larger than the limit.
    """
    path = Path(path)
    allowed = int(limit(most) * 1e6)
    try:
        mode = path.stat().st_mode
        if stat.S_ISCHR(mode) or stat.S_ISBLK(mode) or stat.S_ISSOCK(mode):
            raise FileError(path, "is a device, not a file")
        with path.open("rb") as file:
            data = file.read(allowed + 1)
        if len(data) > allowed:
            raise FileError(path, f"is too large; {beyond(most)}")
        return data
    except FileNotFoundError:
        raise FileError(path, "no such file") from None
    except IsADirectoryError:
        raise FileError(path, "is a folder, not a file") from None
    except (OSError, ValueError) as error:  # a name with a NUL is a ValueError
        raise FileError(path, f"cannot be read: {getattr(error, 'strerror', None) or error}") from None


def read_text(path: Path | str, most: str = "TEXT_MB") -> str:
    """The text of a file (see `read_bytes` for its errors, and FileError if it is not UTF-8)."""
    try:
        return read_bytes(path, most).decode("utf-8")
    except UnicodeDecodeError:
        raise FileError(path, "is not text (UTF-8)") from None


class _NoAliases(Composer):
    """Aliases are refused: a few lines of them stand for gigabytes, or for themselves."""

    def return_alias(self, node: Any) -> Any:
        raise ComposerError(None, None, "aliases (*name) are not accepted; write the value again", node.start_mark)


def read_yaml(path: Path | str) -> Any:
    """A YAML 1.2 file as plain Python values (YAML is a superset of JSON), without anchors and aliases."""
    text = read_text(path, "YAML_MB")
    yaml = YAML(typ="safe", pure=True)
    yaml.Composer = _NoAliases
    yaml.max_depth = int(limit("NESTING")) + 1  # a scalar inside counts too; the scanner is quadratic in the depth
    try:
        return shallow(yaml.load(text), path)
    except (RecursionError, MaxDepthExceededError):
        raise FileError(path, f"is nested too deeply; {beyond('NESTING')}") from None
    except MarkedYAMLError as error:
        mark = error.problem_mark
        where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        raise FileError(path, f"is not YAML: {where}{error.problem or error}") from None
    except CodlError:
        raise
    except Exception as error:  # YAMLError, and whatever its constructors of dates, numbers and binaries raise
        raise FileError(path, f"is not YAML: {first_line(error)}") from None


def read_json(path: Path | str) -> Any:
    """A JSON file as plain Python values."""
    text = read_text(path)
    try:
        return shallow(json.loads(text, parse_constant=_no_number), path)
    except RecursionError:
        raise FileError(path, f"is nested too deeply; {beyond('NESTING')}") from None
    except ValueError as error:
        raise FileError(path, f"is not JSON: {error}") from None


def _no_number(name: str) -> float:
    raise ValueError(f"{name} is not a number")


def shallow(data: Any, path: Path | str) -> Any:
    """The data itself, or FileError where it is nested more deeply than is sane."""
    layer, depth = [data], 0
    while layer:
        depth += 1
        if depth > limit("NESTING"):
            raise FileError(path, f"is nested too deeply; {beyond('NESTING')}")
        layer = [
            item
            for value in layer
            if isinstance(value, (dict, list))
            for item in (value.values() if isinstance(value, dict) else value)
            if isinstance(item, (dict, list))
        ]
    return data


def read_table(path: Path | str, columns: Sequence[str] = ()) -> list[tuple[int, dict[str, str]]]:
    """The rows of a CSV file with a header as (line, cells by column); missing cells are empty.

    Args:
        columns: that it must have.

    Raises:
        FileError: see `read_text`; or it is not CSV.
        SchemaError: a column is missing.
    """
    reader = csv.DictReader(io.StringIO(read_text(path)), restkey="", restval="")
    try:
        header = [name.strip() for name in reader.fieldnames or ()]
        missing = [name for name in columns if name not in header]
        if missing:
            known = ", ".join(columns)
            raise SchemaError(path, [("columns", f"{', '.join(missing)} missing; a table needs {known}")])
        reader.fieldnames = header
        return [(reader.line_num, {key: str(cell) for key, cell in row.items() if key}) for row in reader]
    except csv.Error as error:
        raise FileError(path, f"line {reader.line_num}: is not CSV: {error}") from None


def to_plain(value: Any) -> Any:
    """Dataclasses, pydantic models, enums, arrays, tuples and paths as values that JSON knows."""
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json", exclude_none=True)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: to_plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, Mapping):
        return {str(key): to_plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [to_plain(item) for item in value]
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return {"shape": list(value.shape), "dtype": str(value.dtype), "sha256": _hash_array(value)}
    if isinstance(value, bytes):
        return hashlib.sha256(value).hexdigest()
    if isinstance(value, Path):
        return str(value)
    return value


def _hash_array(array: np.ndarray) -> str:
    contiguous = np.ascontiguousarray(array)
    return hashlib.sha256(contiguous.reshape(-1).view(np.uint8).data if contiguous.size else b"").hexdigest()


def canonical_json(value: Any) -> str:
    """One text per value: sorted keys, no spaces, shortest floats, no NaN."""
    return json.dumps(to_plain(value), sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=False)


def digest(value: Any) -> str:
    """The first 16 hexadecimal digits of the SHA-256 of the canonical JSON: identifies a model, plan or hardware."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()[:16]


@contextmanager
def atomic_path(path: Path | str) -> Iterator[Path]:
    """A temporary path beside `path` that takes its place on success and vanishes on any failure.

    Raises:
        FileError: the folder does not exist or cannot be written; the disk is full.
    """
    target = Path(path)
    try:
        handle, name = tempfile.mkstemp(prefix=f".{target.name}.", suffix=target.suffix, dir=target.parent)
    except OSError as error:
        raise FileError(target, f"cannot be written: {error.strerror}") from None
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        temporary.replace(target)
    except OSError as error:
        raise FileError(target, f"cannot be written: {error.strerror or error}") from None
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path | str, text: str) -> None:
    """Write a text file so that a reader sees the old contents or the new, never a part."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path | str, value: Any) -> None:
    """Write a value as indented JSON. Keys keep their order: in a plan, that of the processors matters."""
    write_text(path, json.dumps(to_plain(value), indent=1, allow_nan=False) + "\n")
