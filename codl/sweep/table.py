"""The tidy table: one row a run (one a stream of a workload), every factor and every result a column. Parquet is known
here only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from codl.errors import FileError, InputError
from codl.io import atomic_path
from codl.sweep.expansion import OVERRIDE, Run
from codl.sweep.work import RESULTS

if TYPE_CHECKING:
    import pyarrow

Row = dict[str, Any]
IDENTITY = "run"
"""Column of the run's identity: a digest of everything that determines its result."""
ERROR = "error"
_FACTORS = frozenset(
    {
        IDENTITY, "model", "hardware", "planner", "data_type_choice", "objective", "workload", "requests", "jitter",
        "repetition", "seed", "share",
    }
)  # fmt: skip
_INTEGERS = frozenset({"requests", "seed", "repetition", "chains", "split_operators"})
_TEXTS = frozenset(
    {
        IDENTITY, ERROR, "model", "hardware", "planner", "data_type_choice", "objective", "workload", "data_type",
        "stream",
    }
)  # fmt: skip
"""Every other column holds real numbers, which is what figures that workloads add are."""


def _arrow() -> Any:
    try:
        import pyarrow.parquet
    except ImportError:
        raise InputError("sweeps write Parquet with pyarrow, which is missing: pip install 'codl[sweep]'") from None
    return pyarrow


def require() -> None:
    """Raise `InputError` unless tables can be written: asked before hours of work."""
    _arrow()


def rows(runs: Sequence[Run], results: Mapping[str, Sequence[Row]]) -> list[Row]:
    """Factors and results of every run, in the order of the sweep; all rows have the same columns."""
    found = dict.fromkeys(name for run in runs for row in results[run.id] for name in row if name != ERROR)
    names = (*dict.fromkeys((*RESULTS, *found)), ERROR)
    return [
        {IDENTITY: run.id, **run.factors, **{name: row.get(name) for name in names}}
        for run in runs
        for row in results[run.id]
    ]


def write(path: Path, table: Sequence[Row], metadata: Mapping[str, str]) -> None:
    """Write the table, whole or not at all.

    Raises:
        FileError: the file cannot be written.
    """
    arrow = _arrow()
    schema = arrow.schema([(name, _type(arrow, name)) for name in table[0]])
    written = arrow.Table.from_pylist(list(table), schema.with_metadata(dict(metadata)))
    with atomic_path(path) as temporary:
        arrow.parquet.write_table(written, temporary, compression="zstd")


def _type(arrow: Any, name: str) -> pyarrow.DataType:
    if name in _TEXTS or name.startswith((OVERRIDE, "plan_for.")):
        return arrow.string()
    return arrow.int64() if name in _INTEGERS else arrow.float64()


def read(path: Path) -> list[Row]:
    """The rows of a table.

    Raises:
        FileError: missing, or not a table that `codl sweep` wrote.
    """
    arrow = _arrow()
    try:
        table = arrow.parquet.read_table(path)
    except FileNotFoundError:
        raise FileError(path, "no such file") from None
    except (OSError, arrow.ArrowException) as error:
        raise FileError(path, f"is not a Parquet file: {str(error).splitlines()[0]}") from None
    if IDENTITY not in table.column_names or ERROR not in table.column_names:
        raise FileError(path, "is not a table that `codl sweep` wrote")
    found: list[Row] = table.to_pylist()
    return found


def finished(path: Path) -> dict[str, list[Row]]:
    """Results by run id of a table that is there already; none if it is not."""
    results: dict[str, list[Row]] = {}
    for row in read(path) if path.exists() else ():
        figures = {name: value for name, value in row.items() if value is not None and name not in _FACTORS}
        kept = {name: value for name, value in figures.items() if not name.startswith(OVERRIDE)}
        results.setdefault(row[IDENTITY], []).append(kept)
    return results
