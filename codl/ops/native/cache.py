"""Where numba keeps compiled kernels: in codl's cache, apart for every version of their sources.

By itself numba looks at the file of a function alone, and would go on with old code where a function that it calls in
another file has changed.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numba

from codl.io import cache_folder, digest

_FOLDERS = ("ops/native", "real/native")


def _sources() -> str:
    root = Path(__file__).parents[2]
    files = sorted(path for folder in _FOLDERS for path in (root / folder).glob("*.py"))
    return digest({path.relative_to(root).as_posix(): path.read_text(encoding="utf-8") for path in files})


def use() -> None:
    """Tell numba, unless the user did (NUMBA_CACHE_DIR)."""
    if numba.config.CACHE_DIR:
        return
    folder = cache_folder() / "native" / _sources()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:  # compiled anew in every process, then
        folder = Path(tempfile.mkdtemp(prefix="codl-native-"))
    numba.config.CACHE_DIR = str(folder)


def cold() -> bool:
    """Whether nothing was compiled yet."""
    return next(Path(numba.config.CACHE_DIR).rglob("*.nbi"), None) is None


use()
