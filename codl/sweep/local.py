"""A sweep on this machine: in this process, or in several that may die without taking the sweep with them."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool

from codl.sweep.expansion import Chunk
from codl.sweep.work import Results, failed, work

DIED = "the worker process died while it simulated this run (killed, or out of memory)"


def run_here(chunks: Iterable[Chunk]) -> Iterator[Results]:
    """One portion after another in this process."""
    for chunk in chunks:
        yield work(chunk)


def run_in_processes(chunks: Iterable[Chunk], jobs: int) -> Iterator[Results]:
    """Portions in `jobs` processes, results as they come.

    When a worker dies, the pool is lost and nobody knows whose fault it was: the portions that were under way are done
    again run by run, one process at a time; a run that kills its process a second time gets an `error`.
    """
    waiting = deque(chunks)
    while waiting:
        under_way: dict[Future[Results], Chunk] = {}
        suspects: list[Chunk] = []
        with _pool(jobs) as pool:
            try:
                while (waiting or under_way) and not suspects:
                    while waiting and len(under_way) < 2 * jobs:  # one in hand and one in reserve for each
                        under_way[pool.submit(work, waiting[0])] = waiting[0]
                        waiting.popleft()
                    done, _ = wait(under_way, return_when=FIRST_COMPLETED)
                    for future in done:
                        chunk = under_way.pop(future)
                        if isinstance(future.exception(), BrokenProcessPool):
                            suspects.append(chunk)
                        else:
                            yield future.result()
            except BrokenProcessPool:  # from submit
                pass
            finally:
                pool.shutdown(wait=True, cancel_futures=True)
        yield from _one_by_one(
            deque(single for chunk in (*suspects, *under_way.values()) for single in chunk.singles())
        )


def _one_by_one(singles: deque[Chunk]) -> Iterator[Results]:
    while singles:
        with _pool(1) as pool:
            alive = True
            while singles and alive:
                single = singles.popleft()
                try:
                    done = pool.submit(work, single).result()
                except BrokenProcessPool:
                    done, alive = [(single.runs[0][0], failed(DIED))], False
                yield done


def _pool(jobs: int) -> ProcessPoolExecutor:
    """Fresh interpreters: a fork would copy the threads' locks of a progress bar in an unknown state."""
    return ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn"), initializer=_begin)


def _begin() -> None:
    """Workers die at Ctrl-C without a word, and when the process that asks them is gone."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    threading.Thread(target=_die_with_parent, daemon=True).start()


def _die_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
