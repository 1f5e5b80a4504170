"""OpenCL C sources, which lie in `codl/ops` and `codl/ops/cl`, and nowhere else.

Includes and defines are put into the text itself, so a path with spaces, which not every driver's option parser takes,
does no harm, and the text alone identifies a program.
"""

from __future__ import annotations

import math
import re
from functools import cache
from pathlib import Path

import numpy as np

import codl.ops
from codl.errors import DeviceError

Define = tuple[str, int | float | str]
_SOURCES = Path(codl.ops.__file__).parent
_INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]+"([^"]+)"[ \t]*$', re.MULTILINE)


@cache
def program_text(source: str, defines: tuple[Define, ...]) -> str:
    """The whole text of a program: its defines, then the file `source` with every `#include "..."` replaced.

    Raises:
        DeviceError: a file is missing.
    """
    head = "".join(f"#define {name} {_literal(value)}\n" for name, value in defines)
    return head + _expanded(_find(source, _SOURCES), ())


@cache
def _expanded(path: Path, above: tuple[Path, ...]) -> str:
    if path in above:
        raise DeviceError(f"{path.name}: includes itself")

    text = path.read_text(encoding="utf-8")
    pieces = [f'#line 1 "{path.name}"\n']
    end = 0
    for match in _INCLUDE.finditer(text):
        pieces.append(text[end : match.start()])
        pieces.append(_expanded(_find(match.group(1), path.parent), (*above, path)))
        line = text.count("\n", 0, match.end()) + 2
        pieces.append(f'\n#line {line} "{path.name}"')
        end = match.end()
    return "".join(pieces) + text[end:] + "\n"


def _find(name: str, folder: Path) -> Path:
    for candidate in (folder / name, _SOURCES / "cl" / name, _SOURCES / name):
        if candidate.is_file():
            return candidate
    raise DeviceError(f"the OpenCL source {name} is missing from {_SOURCES}; is codl installed whole?")


def _literal(value: int | float | str) -> str:
    """A define's value as OpenCL C: floats with their suffix and every digit."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return str(int(value))
    if isinstance(value, int):
        return f"({value})" if value < 0 else str(value)
    if math.isnan(value):
        return "NAN"
    if math.isinf(value):
        return "INFINITY" if value > 0 else "(-INFINITY)"
    text = repr(float(np.float32(value)))
    literal = f"{text}f" if "." in text or "e" in text else f"{text}.0f"
    return f"({literal})" if value < 0 else literal
