"""When requests come, as whole nanoseconds in ascending order."""

from __future__ import annotations

import numpy as np

from codl.errors import FileError
from codl.io import read_table
from codl.workload import Stream

COLUMN = "arrival_ms"


def arrivals(stream: Stream, seed: tuple[int, ...]) -> list[int] | None:
    """The arrivals of a stream; None where each request comes when the one before has ended.

    Args:
        seed: of the random numbers of this stream in this repetition.

    Raises:
        FileError: the recorded trace is not one.
    """
    source = stream.arrivals
    if source.periodic is not None:
        times = np.arange(stream.requests) / source.periodic
    elif source.poisson is not None:
        gaps = np.random.default_rng(seed).exponential(1 / source.poisson, stream.requests)
        times = np.cumsum(gaps)
    elif source.trace is not None:
        times = read_trace(source.trace)[: stream.requests]
    else:
        return None
    found: list[int] = np.rint((times + stream.start) * 1e9).astype(np.int64).tolist()
    return found


def read_trace(path: str) -> np.ndarray:
    """A recorded trace, in seconds.

    Raises:
        FileError, SchemaError: it has no column `arrival_ms`, no rows, or times that are no numbers, negative or
            descending.
    """
    times: list[float] = []
    for line, row in read_table(path, (COLUMN,)):
        try:
            times.append(float(row[COLUMN]) / 1e3)
        except ValueError:
            raise FileError(path, f"line {line}: {row[COLUMN]!r} is not a time in ms") from None
        if not 0 <= times[-1] < 1e9 or (len(times) > 1 and times[-1] < times[-2]):
            raise FileError(path, f"line {line}: {row[COLUMN]} ms; arrivals must be positive and in ascending order")
    if not times:
        raise FileError(path, "has no arrivals")
    return np.array(times)
