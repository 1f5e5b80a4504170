"""Many runs of one session: outputs stay identical, and memory does not grow.

    python bench/soak.py --model MODEL [--shape NAME=1x3x160x160] [--planner codl] [--runs 2000]

Prints one JSON document and exits with 1 if an output changed or resident memory grew by more than --allowed MB between
the first tenth of the runs (which fills caches) and the last. Reads resident memory from /proc: Linux only.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import sys
import time
from pathlib import Path

import numpy as np

import codl
from codl.cli.options import shapes


def resident_mb() -> float:
    """Memory of this process in RAM, MB (10^6 bytes)."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def digest(outputs: list[np.ndarray]) -> str:
    return hashlib.sha256(b"".join(np.ascontiguousarray(array).tobytes() for array in outputs)).hexdigest()


def inputs_of(session: codl.Session) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {t.name: rng.standard_normal(t.shape).astype(t.dtype) for t in session.inputs}


def soak(session: codl.Session, runs: int) -> dict[str, float]:
    """The same inputs again and again. `settled_mb`, `last_mb`: resident after a tenth, and after all of the runs."""
    inputs = inputs_of(session)
    expected = digest(session.run(inputs))
    changed = 0
    settled = resident_mb()
    start = time.perf_counter()
    for index in range(runs):
        changed += digest(session.run(inputs)) != expected
        if index == runs // 10:
            settled = resident_mb()
    return {
        "runs": runs,
        "changed": changed,
        "settled_mb": settled,
        "last_mb": resident_mb(),
        "mean_ms": (time.perf_counter() - start) / runs * 1e3,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True)
    parser.add_argument("--shape", action="append", metavar="NAME=1x3x160x160")
    parser.add_argument("--planner", default="codl")
    parser.add_argument("--runs", type=int, default=2000)
    parser.add_argument("--allowed", type=float, default=5.0, help="growth of memory that is accepted, MB")
    given = parser.parse_args()
    with codl.load(given.model, planner=given.planner, shapes=shapes(given.shape)) as session:
        result = soak(session, given.runs)
    print(json.dumps({"model": given.model, "planner": given.planner, **result}, indent=2))
    if result["changed"] or result["last_mb"] - result["settled_mb"] > given.allowed:
        sys.exit(1)


if __name__ == "__main__":
    main()
