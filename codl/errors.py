"""Every error that codl raises on purpose, as one tree.

    CodlError                     exit code 2 unless a subclass says otherwise
    ├── InputError                a file, field or option that the user gave is wrong
    │   ├── FileError             missing, unreadable or not what its name says
    │   ├── SchemaError           fields of a file are wrong; all of them, each with its path
    │   ├── ModelError            an ONNX model or operator list that cannot be taken
    │   │   └── UnsupportedOperator
    │   ├── PlanError             a plan that is illegal, or made for something else
    │   └── UncalibratedError     a constant that a prediction needs and that nobody measured
    ├── DeviceError               exit code 3: no usable OpenCL device
    │   └── BuildError            a kernel did not build; carries the build log
    └── BoundExceeded             exit code 1: a bound that the user stated was exceeded

A message names the thing, the value it has and what is allowed, in one line where possible. The command line prints
it and leaves with `exit_code`; anything that is not a `CodlError` is a bug in codl.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path


def shown(value: object, most: int = 60) -> str:
    """A value as messages quote it: its `repr`, cut where it is longer than anybody would read."""
    text = repr(value)
    return text if len(text) <= most else text[: most - 3] + "..."


class CodlError(Exception):
    """Base of every error raised on purpose. `exit_code` is the command line's exit status."""

    exit_code = 2


class InputError(CodlError):
    """Something that the user gave is wrong."""


class FileError(InputError):
    """A file is missing, unreadable, or not of the format its use asks for."""

    def __init__(self, path: Path | str, problem: str) -> None:
        super().__init__(f"{path}: {problem}")
        self.path = Path(path)


class SchemaError(InputError):
    """Fields of a file are wrong. Holds every problem found, each as (path of the field, what is wrong)."""

    def __init__(self, path: Path | str, problems: Sequence[tuple[str, str]]) -> None:
        lines = [f"{where}: {what}" if where else what for where, what in problems]
        body = lines[0] if len(lines) == 1 else "".join(f"\n  {line}" for line in lines)
        super().__init__(f"{path}: {body}")
        self.path = Path(path)
        self.problems = tuple(problems)


class ModelError(InputError):
    """A model cannot be read, or lacks what is needed (a concrete shape, say)."""


class UnsupportedOperator(ModelError):
    """An operator that neither codl's kernels nor the fallback can run."""


class PlanError(InputError):
    """A plan is illegal for its model, or was made for another model or hardware."""


class UncalibratedError(InputError):
    """A prediction needs a constant that the hardware description does not hold."""


class DeviceError(CodlError):
    """No usable device, or a device failed."""

    exit_code = 3


class BuildError(DeviceError):
    """An OpenCL program did not build."""

    def __init__(self, source: str, device: str, log: str) -> None:
        super().__init__(f"{source}: does not build for {device}:\n{log.strip()}")
        self.log = log


class BoundExceeded(CodlError):
    """A stated bound (`--check`, `--fail-above`) was exceeded."""

    exit_code = 1


def first_line(error: Exception) -> str:
    """The first line of an error that says something, for a one-line message."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
