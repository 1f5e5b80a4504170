"""Throw hostile inputs at every reader, and count what comes of them.

    python tools/fuzz.py [--inputs 100000] [-j 2] [--readers onnx,plan] [--seed 0]
    python tools/fuzz.py --one plan:12345          # a single case, with its traceback

Inputs come from tests/fuzzing.py: valid documents, mutated from a seed. A case fails if a reader raises anything but
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
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests.fuzzing import READERS, attempt

SPAWN = multiprocessing.get_context("spawn")


def worker(cases: Any, position: Any, results: Any, memory_gb: float) -> None:
    """Do the cases from `position` on; say of each what came of it. The parent sees in `position` where it is."""
    resource.setrlimit(resource.RLIMIT_AS, (int(memory_gb * 2**30),) * 2)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # what libraries write from C++
    warnings.simplefilter("error")  # as in the test run
    with tempfile.TemporaryDirectory() as folder:
        while position.value < len(cases):
            reader, seed = cases[position.value]
            results.put((reader, seed, *outcome(reader, seed, Path(folder))))
            position.value += 1


def outcome(reader: str, seed: int, folder: Path) -> tuple[str, str]:
    """(`taken`, `refused` or `failed`, message or traceback)."""
    try:
        message = attempt(reader, seed, folder)
    except BaseException:
        return "failed", traceback.format_exc(limit=-3)
    return ("refused", message) if message is not None else ("taken", "")


def supervise(cases: list[tuple[str, int]], results: Any, arguments: argparse.Namespace) -> tuple[Any, Any, list[Any]]:
    position = SPAWN.Value("q", 0)
    state: list[Any] = [None, -1, time.monotonic()]  # process, last position seen, since when
    state[0] = start(cases, position, results, arguments)
    return cases, position, state


def start(cases: Any, position: Any, results: Any, arguments: argparse.Namespace) -> Any:
    process = SPAWN.Process(target=worker, args=(cases, position, results, arguments.memory), daemon=True)
    process.start()
    return process


def watch(lane: tuple[Any, Any, list[Any]], results: Any, arguments: argparse.Namespace) -> bool:
    """Whether a worker has more to do. One that hangs or has died is reported, and replaced behind the case."""
    cases, position, state = lane
    now = time.monotonic()
    if position.value != state[1]:
        state[1:] = [position.value, now]
    if position.value >= len(cases):
        return bool(state[0].is_alive())
    slow = now - state[2] > arguments.seconds + 20 * (position.value == 0)  # the first case waits for imports
    if state[0].is_alive() and not slow:
        return True
    reader, seed = cases[position.value]
    why = f"takes more than {arguments.seconds:g} s" if slow else f"killed its process ({state[0].exitcode})"
    state[0].kill()
    state[0].join()
    results.put((reader, seed, "failed", why))
    position.value += 1
    state[0] = start(cases, position, results, arguments)
    state[1:] = [position.value, time.monotonic() + 20]
    return True


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
    results = SPAWN.Queue()
    lanes = [supervise(cases[k :: arguments.jobs], results, arguments) for k in range(arguments.jobs)]
    sys.exit(1 if collect(lanes, results, len(cases), arguments) else 0)


def collect(lanes: list[Any], results: Any, expected: int, arguments: argparse.Namespace) -> int:
    """Print failures as they come and the counts at the end; the number of failures."""
    counts: Counter[tuple[str, str]] = Counter()
    messages: set[str] = set()
    kinds: Counter[str] = Counter()
    began, done = time.monotonic(), 0
    while done < expected:
        for lane in lanes:
            watch(lane, results, arguments)
        time.sleep(0.2)
        while not results.empty():
            reader, seed, what, text = results.get()
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
