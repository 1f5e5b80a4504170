"""How fast sweeps are: YOLOv2 on 20 hardware variants, a growing number of runs of one inference each.

    python bench/sweep.py [-j 2] [--inferences 10000]

The work done is asserted. Bounds to hold on two cores: 10,000 inferences over 20 variants in 10 minutes, linear in
their number. Wall-clock times: run it on an idle machine.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

from codl.sweep import Sweep, load, run_sweep
from codl.sweep.spec import Inferences


def of_size(variants: Sweep, inferences: int, single: bool) -> Sweep:
    """The sweep with so many inferences: as many runs (`single`), or one run a variant."""
    each = inferences // 20
    counts = {"repetitions": each} if single else {"requests": each}
    return variants.model_copy(update={"workloads": {"stream": Inferences(jitter=0.05, seed=1, **counts)}})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-j", "--jobs", type=int, default=2)
    parser.add_argument("--inferences", type=int, default=10_000)
    arguments = parser.parse_args()
    variants, folder = load("variants")
    print(f"YOLOv2 on 20 variants of sd865, {arguments.jobs} processes")
    for single in (True, False):
        for inferences in (arguments.inferences // 10, arguments.inferences // 2, arguments.inferences):
            with tempfile.TemporaryDirectory() as temporary:
                began = time.perf_counter()
                outcome = run_sweep(
                    of_size(variants, inferences, single), folder, Path(temporary) / "r.parquet", jobs=arguments.jobs
                )
                seconds = time.perf_counter() - began
            assert not outcome.failed
            assert sum(row["requests"] for row in outcome.rows) == inferences
            assert len({row["run"] for row in outcome.rows}) == len(outcome.rows) == (inferences if single else 20)
            print(
                f"{inferences:6} inferences in {len(outcome.rows):6} runs: {seconds:7.1f} s "
                f"({seconds / inferences * 1e3:.2f} ms an inference)"
            )


if __name__ == "__main__":
    main()
