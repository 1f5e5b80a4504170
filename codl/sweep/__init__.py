"""Sweeps: many simulated runs over a grid of models, hardware, planners, overrides and workloads, into one table.

A run is identified by a digest of everything that determines its result, codl's own code included. Finished runs go
into a journal beside the output at once; the table is written at the end, whole or not at all. So a sweep can be killed
at any moment and taken up again: nothing is lost, nothing is there twice.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from codl.hardware import Hardware
from codl.io import digest
from codl.sweep import table
from codl.sweep.cluster import run_on_cluster
from codl.sweep.expansion import Chunk, Run, chunks, code_version, expand
from codl.sweep.journal import Journal, journal_path
from codl.sweep.local import run_here, run_in_processes
from codl.sweep.spec import Sweep, load, names
from codl.sweep.table import ERROR, Row
from codl.sweep.work import Results

__all__ = ["ERROR", "Outcome", "Row", "Sweep", "journal_path", "load", "names", "run_sweep"]


class Report(Protocol):
    """Whom to tell about progress."""

    def total(self, steps: int) -> None: ...
    def step(self, what: str = "", count: int = 1) -> None: ...


@dataclass(frozen=True)
class Outcome:
    """A finished sweep: its table, and how many of its rows were there before."""

    rows: list[Row]
    kept: int

    @property
    def failed(self) -> list[Row]:
        return [row for row in self.rows if row[ERROR] is not None]


def run_sweep(
    sweep: Sweep, folder: Path, output: Path, *, jobs: int = 1, scheduler: str | None = None, resume: bool = False,
    host: Hardware | None = None, report: Report | None = None,
) -> Outcome:  # fmt: skip
    """Run a sweep and write its table.

    Args:
        folder: where files that the sweep names are looked for first.
        output: the Parquet file; the journal lies beside it until the table is written.
        jobs: processes on this machine; 1 = this one.
        scheduler: address of a Dask scheduler that runs it instead.
        resume: keep results, where they still hold, of an interrupted sweep and of a finished one into the same file.
            Runs that failed are tried again.
        host: this machine's description, if the sweep names `host`.

    Raises:
        InputError, FileError, SchemaError: the sweep names what does not exist; another sweep writes this output, or
            has left a journal and `resume` is False; Parquet or Dask are not installed; no scheduler answers.
    """
    table.require()
    runs = expand(sweep, folder, host)
    wanted = {run.id for run in runs}
    with Journal(output, resume) as journal:
        known = {**(table.finished(output) if resume else {}), **journal.results}
        results = {run: rows for run, rows in known.items() if run in wanted and ERROR not in rows[0]}
        kept = len(results)
        missing = [run for run in runs if run.id not in results]
        if report:
            report.total(len(missing))
        for done in _computed(missing, jobs, scheduler):
            journal.add(done)
            results.update(done)
            if report:
                report.step(count=len(done))
        rows = table.rows(runs, results)
        table.write(output, rows, _metadata(sweep))
        journal.remove()
    return Outcome(rows, kept)


def _computed(missing: Iterable[Run], jobs: int, scheduler: str | None) -> Iterator[Results]:
    portions: Iterator[Chunk] = chunks(missing)
    if scheduler is not None:
        return run_on_cluster(portions, scheduler)
    return run_here(portions) if jobs == 1 else run_in_processes(portions, jobs)


def _metadata(sweep: Sweep) -> Mapping[str, str]:
    document: Any = sweep.model_dump(mode="json", by_alias=True)
    return {"codl.sweep": sweep.name, "codl.sweep.digest": digest(document), "codl.code": code_version()}
