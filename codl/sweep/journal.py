"""The journal of a sweep under way: one line a finished run, beside the output, so that a kill loses nothing.

The first line says what it is. Lines are appended by one process, in one write a portion, and forced to the disk. A
kill can tear the last line only, which is cut off when the journal is taken up again.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Any

from codl.errors import FileError, InputError
from codl.io import canonical_json

SCHEMA = "codl.sweep-journal/1"
Row = dict[str, Any]


def journal_path(output: Path) -> Path:
    return output.with_name(output.name + ".journal")


def _are_rows(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(row, dict) for row in value)


class Journal:
    """The open journal of one output file; `results` by run id holds what it had and what was added.

    Args:
        output: the table that the sweep will write.
        resume: take up a journal that is there.

    Raises:
        FileError: the folder cannot be written, or what lies there is not a journal.
        InputError: an unfinished sweep has left a journal and `resume` is False; or another process writes it.
    """

    def __init__(self, output: Path, resume: bool) -> None:
        if output.is_dir():
            raise FileError(output, "is a folder, not a file")
        self.path = journal_path(output)
        self.results: dict[str, list[Row]] = {}
        try:
            self._file = self.path.open("a+b")
        except OSError as error:
            raise FileError(self.path, f"cannot be written: {error.strerror}") from None
        try:
            self._take(output, resume)
        except BaseException:
            self._file.close()
            raise

    def _take(self, output: Path, resume: bool) -> None:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if not os.fstat(self._file.fileno()).st_nlink:  # finished, and removed, since it was opened
                raise OSError
        except OSError:
            raise InputError(f"{output}: another sweep is writing it (it holds {self.path})") from None
        self._file.seek(0)
        text = self._file.read()
        whole = text[: text.rfind(b"\n") + 1]
        if not whole:
            self._file.truncate(0)
            self._append([{"schema": SCHEMA}])
            return
        lines = self._parse(whole)
        if lines[0].get("schema") != SCHEMA:
            raise FileError(self.path, "is not a journal of a sweep; move it away")
        if not resume:
            raise InputError(
                f"{self.path}: a sweep that was interrupted has left {len(lines) - 1} finished runs; "
                "continue it with --resume, or delete this file"
            )
        self._file.truncate(len(whole))
        self.results = {line["run"]: line["rows"] for line in lines[1:]}

    def _parse(self, whole: bytes) -> list[Row]:
        try:
            lines = [json.loads(line) for line in whole.splitlines()]
            if all(isinstance(line, dict) for line in lines) and all(
                isinstance(line.get("run"), str) and _are_rows(line.get("rows")) for line in lines[1:]
            ):
                return lines
        except (ValueError, RecursionError):
            pass
        raise FileError(self.path, "is not a journal of a sweep; move it away")

    def add(self, results: Iterable[tuple[str, list[Row]]]) -> None:
        """Keep finished runs: on the disk before this returns."""
        results = list(results)
        self._append([{"run": run, "rows": rows} for run, rows in results])
        self.results.update(results)

    def _append(self, documents: Iterable[Row]) -> None:
        text = "".join(canonical_json(document) + "\n" for document in documents)
        try:
            self._file.write(text.encode())
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as error:
            raise FileError(self.path, f"cannot be written: {error.strerror}") from None

    def remove(self) -> None:
        """The table is written: the journal has done its work."""
        self.path.unlink(missing_ok=True)

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self.results:
            self.remove()  # there is nothing to take up again
        self._file.close()
