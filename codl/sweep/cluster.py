"""A sweep on an existing Dask cluster. The only module that knows Dask."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TYPE_CHECKING, Any

from codl.errors import InputError
from codl.sweep.expansion import Chunk
from codl.sweep.local import DIED
from codl.sweep.work import Results, WrongVersion, failed, work

if TYPE_CHECKING:
    from distributed import Client, Future

CONNECT_S = 10.0
RESERVE = 4
"""Portions handed over for each thread of the cluster: enough to keep it busy, few enough to keep its memory small."""
LEAST = 64
"""Portions handed over to any cluster: more workers may join."""


def run_on_cluster(chunks: Iterable[Chunk], address: str) -> Iterator[Results]:
    """Portions on the workers of a Dask scheduler, results as they come.

    Dask gives the portions of a lost worker to another one. What has lost several workers is done again run by run; a
    run that does it again gets an `error`.

    Raises:
        InputError: no scheduler answers, or it gives the work back.
        WrongVersion: a worker's codl is another one.
    """
    try:
        import distributed
    except ImportError:
        raise InputError("--scheduler needs Dask, which is missing: pip install 'codl[sweep]'") from None
    connect: Any = distributed.Client
    try:
        client: Client = connect(address, timeout=CONNECT_S, set_as_default=False)
    except (OSError, TimeoutError, ValueError) as error:
        raise InputError(f"--scheduler {address}: no Dask scheduler answers there: {_brief(error)}") from None
    with client:
        yield from _all(distributed, client, iter(chunks), address)


def _all(distributed: Any, client: Client, chunks: Iterator[Chunk], address: str) -> Iterator[Results]:
    under_way: dict[Future, Chunk] = {}
    queue = distributed.as_completed([], loop=client.loop)

    def hand_over(some: Iterable[Chunk]) -> None:
        for chunk in some:
            future = client.submit(work, chunk, pure=False)
            under_way[future] = chunk
            queue.add(future)

    threads = sum(distributed.Client.nthreads(client).values())
    hand_over(islice(chunks, max(LEAST, RESERVE * threads)))
    for future in queue:
        chunk = under_way.pop(future)
        if future.status == "finished":
            yield future.result()
        elif future.status != "error":
            raise InputError(f"--scheduler {address}: gave the work back ({future.status}); continue with --resume")
        else:
            error = future.exception()
            if not isinstance(error, distributed.KilledWorker):
                raise (
                    error
                    if isinstance(error, WrongVersion)
                    else InputError(f"--scheduler {address}: a worker could not do its work: {_brief(error)}")
                )
            if len(chunk.runs) > 1:
                hand_over(chunk.singles())
            else:
                yield [(chunk.runs[0][0], failed(DIED))]
        hand_over(islice(chunks, 1))


def _brief(error: BaseException) -> str:
    lines = str(error).splitlines()
    return lines[0] if lines else type(error).__name__
