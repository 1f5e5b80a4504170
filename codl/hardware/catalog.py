"""Finding, reading and writing hardware files: packaged ones by name, any by path, this machine's as `host`."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from codl.documents import find, packaged, read_document
from codl.errors import FileError
from codl.hardware.schema import Hardware
from codl.io import cache_folder, write_text

HOST = "host"


def names() -> list[str]:
    """Names of the packaged hardware files, sorted (`host` is not among them: it is made on each machine)."""
    return list(packaged("hardware"))


def load(name_or_path: str | Path) -> Hardware:
    """A packaged hardware description by its name, or any by the path of its file.

    `host` is the description of this machine that `codl calibrate` made, the newest if there are several.

    Raises:
        FileError: no such name or file, or not YAML.
        SchemaError: not a hardware description; all wrong fields at once.
    """
    if str(name_or_path) == HOST:
        return read(_newest_host())
    return read(find("hardware", name_or_path, also=(HOST,)))


def read(path: str | Path) -> Hardware:
    """A hardware file (see `load`)."""
    return read_document(Hardware, path, "a hardware description: it must be a mapping with name, processors, ...")


def host_folder() -> Path:
    """Where descriptions of this machine are kept."""
    return cache_folder() / "hosts"


def host_path(fingerprint: str) -> Path:
    """The file for a machine with this fingerprint (of its devices and drivers)."""
    return host_folder() / f"{fingerprint}.yaml"


def _newest_host() -> Path:
    found = (
        sorted(host_folder().glob("*.yaml"), key=lambda path: path.stat().st_mtime) if host_folder().is_dir() else []
    )
    if not found:
        raise FileError(HOST, f"this machine has no description yet (in {host_folder()}); run `codl calibrate`")
    return found[-1]


def write(hardware: Hardware, path: str | Path) -> None:
    """Write a hardware file (atomically) with units, defaults left out. `load` gives an equal description back."""
    data = hardware.model_dump(mode="json", by_alias=True, exclude_none=True, exclude_defaults=True)
    document = {"schema": hardware.format, **data}
    text = io.StringIO()
    yaml = YAML()
    yaml.width = 120
    yaml.indent(mapping=2, sequence=4, offset=2)
    yaml.dump(_flow_small(document), text)
    write_text(path, text.getvalue())


def _flow_small(value: Any) -> Any:
    """Lists and small mappings of scalars on one line, so that a file stays readable."""
    from ruamel.yaml.comments import CommentedMap, CommentedSeq

    scalars = (str, int, float, bool)
    if isinstance(value, dict):
        mapping = CommentedMap((key, _flow_small(item)) for key, item in value.items())
        small = len(value) <= 8 and all(isinstance(item, scalars) for item in value.values())
        if value and small and sum(len(f"{k}: {v}, ") for k, v in value.items()) <= 100:
            mapping.fa.set_flow_style()
        return mapping
    if isinstance(value, list):
        sequence = CommentedSeq(_flow_small(item) for item in value)
        if all(isinstance(item, scalars) for item in value) and sum(len(f"{item}, ") for item in value) <= 100:
            sequence.fa.set_flow_style()
        return sequence
    return value
