"""Throw hostile inputs at every reader, and count what comes of them.

    python tools/fuzz.py [--inputs 100000] [-j 2] [--readers onnx,plan] [--seed 0]
    python tools/fuzz.py --one plan:12345          # a single case, with its traceback

Inputs come from tests/fuzzing: valid documents, mutated from a seed. A case fails if a reader raises anything but
a `CodlError`, takes more than --seconds, needs more than --memory, or kills its process; the exit code is 1 then.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import resource
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from multiprocessing.connection import Connection
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests.fuzzing import READERS, attempt

SPAWN = multiprocessing.get_context("spawn")


def worker(cases: list[tuple[str, int]], results: Connection, memory_gb: float) -> None:
    """Do the cases, and say of each what came of it."""
    resource.setrlimit(resource.RLIMIT_AS, (int(memory_gb * 2**30),) * 2)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # what libraries write from C++
    warnings.simplefilter("error")  # as in the test run
    with tempfile.TemporaryDirectory() as folder:
        for reader, seed in cases:
            results.send((reader, seed, *outcome(reader, seed, Path(folder))))


def outcome(reader: str, seed: int, folder: Path) -> tuple[str, str]:
    """(`taken`, `refused` or `failed`, message or traceback)."""
    try:
        message = attempt(reader, seed, folder)
    except BaseException:
        return "failed", traceback.format_exc(limit=-3)
    return ("refused", message) if message is not None else ("taken", "")


class Lane:
    """One process that works through its cases. One that hangs or dies is replaced behind the case that it was at."""

    def __init__(self, cases: list[tuple[str, int]], arguments: argparse.Namespace) -> None:
        self.cases, self.arguments = cases, arguments
        self.done = 0
        self._start()

    def _start(self) -> None:
        self.results, theirs = SPAWN.Pipe(duplex=False)  # a pipe of its own: killing one process breaks no other's
        arguments = (self.cases[self.done :], theirs, self.arguments.memory)
        self.process = SPAWN.Process(target=worker, args=arguments, daemon=True)
        self.process.start()
        theirs.close()
        self._deadline = time.monotonic() + self.arguments.seconds + 20  # the first case waits for imports

    def collect(self) -> list[tuple[str, int, str, str]]:
        """(reader, seed, what, text) of the cases that ended since the last call."""
        found = []
        try:
            while self.done < len(self.cases) and self.results.poll():
                found.append(self.results.recv())
                self.done += 1
                self._deadline = time.monotonic() + self.arguments.seconds
        except EOFError:
            found.append(self._give_up(f"killed its process ({self.process.exitcode})"))
        if self.done < len(self.cases) and time.monotonic() > self._deadline:
            found.append(self._give_up(f"takes more than {self.arguments.seconds:g} s"))
        return found

    def _give_up(self, why: str) -> tuple[str, int, str, str]:
        self.process.kill()
        self.process.join()
        reader, seed = self.cases[self.done]
        self.done += 1
        self._start()
        return reader, seed, "failed", why


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inputs", type=int, default=100_000)
    parser.add_argument("-j", "--jobs", type=int, default=1)
    parser.add_argument("--readers", default=",".join(READERS))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--memory", type=float, default=8.0, help="GB of address space")
    parser.add_argument("--one", metavar="READER:SEED")
    arguments = parser.parse_args()
    if arguments.one:
        reader, seed = arguments.one.split(":")
        with tempfile.TemporaryDirectory() as folder:
            print(attempt(reader, int(seed), Path(folder)))
        return
    readers = arguments.readers.split(",")
    cases = [(readers[k % len(readers)], arguments.seed + k // len(readers)) for k in range(arguments.inputs)]
    lanes = [Lane(cases[k :: arguments.jobs], arguments) for k in range(arguments.jobs)]
    sys.exit(1 if collect(lanes, len(cases)) else 0)


def collect(lanes: list[Lane], expected: int) -> int:
    """Print failures as they come and the counts at the end; the number of failures."""
    counts: Counter[tuple[str, str]] = Counter()
    messages: set[str] = set()
    kinds: Counter[str] = Counter()
    began, done = time.monotonic(), 0
    while done < expected:
        time.sleep(0.2)
        for reader, seed, what, text in [ended for lane in lanes for ended in lane.collect()]:
            done += 1
            counts[reader, what] += 1
            messages.add(text)
            if what == "failed":
                kind = text.strip().splitlines()[-1] if text.strip() else text
                kinds[f"{reader}: {kind[:60]}"] += 1
                if kinds[f"{reader}: {kind[:60]}"] == 1:
                    print(f"{reader}:{seed} {text}", flush=True)
            if done % 10_000 == 0:
                print(f"{done} inputs, {time.monotonic() - began:.0f} s", flush=True)
    print(f"{'reader':10} {'taken':>8} {'refused':>8} {'failed':>8}")
    for reader in dict.fromkeys(name for name, _ in counts):
        print(f"{reader:10} " + " ".join(f"{counts[reader, what]:8}" for what in ("taken", "refused", "failed")))
    failures = sum(number for (_, what), number in counts.items() if what == "failed")
    print(f"{done} inputs, {len(messages)} different messages, {failures} failures of {len(kinds)} kinds")
    return failures


if __name__ == "__main__":
    main()
