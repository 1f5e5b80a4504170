"""Make hardware/{sd855,sd865,sd888,kirin990}.yaml from tools/phones.yaml and tools/data, reproducibly.

    python tools/fit_phones.py            # fit, print residuals and cross-validation, write hardware/*.yaml
    python tools/fit_phones.py --check    # the same, but fail if a file would change
    python tools/fit_phones.py --without fst --output /tmp/without_fst   # for cross-validation elsewhere
    python tools/fit_phones.py --redraw 1 --output /tmp/redraw_1         # other priors
    python tools/fit_phones.py --cross-validate   # co-execution predicted with a chip, a network, the priors exchanged

What is fitted to what: unit times of MACE's kernels to the CPU-alone and GPU-alone latencies and to the single-operator
figures of the CoDL paper, by maximum a posteriori with log-normal priors. Rates are shared within a family of
processors; a chip has one factor for compute and one for memory. No co-executed network is ever read.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # codl, installed or not
sys.path.insert(0, str(Path(__file__).parent))  # run as a script, or by its path from anywhere

from phone_checks import cross_validate, left_out, redrawn, report, show, terms
from phone_files import write_all
from phone_model import NETWORKS, ROOT, Phones, figures, fit, rows


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="fail if a file would change")
    parser.add_argument("--without", metavar="NAME", help="leave out the rows of a chip or a network (needs --output)")
    parser.add_argument("--redraw", metavar="SEED", type=int, help="draw the priors' centres anew (needs --output)")
    parser.add_argument("--output", metavar="FOLDER", type=Path, default=ROOT / "hardware")
    parser.add_argument(
        "--terms", action="store_true", help="print the errors of fits without each term; write nothing"
    )
    parser.add_argument(
        "--cross-validate", action="store_true", help="print errors of co-execution by fits that lack something"
    )
    arguments = parser.parse_args()
    if arguments.cross_validate:
        cross_validate(Phones())
        return 0
    if arguments.terms:
        terms()
        return 0
    variant = arguments.without is not None or arguments.redraw is not None
    if variant and arguments.output == ROOT / "hardware":
        parser.error("--without and --redraw make files for comparison: give them an --output folder")
    phones = Phones()
    if arguments.without not in (None, *phones.socs, *NETWORKS):
        parser.error(f"--without: unknown {arguments.without!r}; known: {', '.join([*phones.socs, *NETWORKS])}")
    observations = [
        item
        for item in rows(phones) + figures(phones)
        if not (item.network and arguments.without in (item.soc, item.network))
    ]
    priors = phones.priors() if arguments.redraw is None else redrawn(phones.priors(), arguments.redraw)
    posterior = fit(phones, observations, priors)
    report(phones, observations, posterior)
    if variant:
        note = f"made for comparison: without {arguments.without}, priors redrawn with seed {arguments.redraw}"
    else:
        network = show("network", left_out(phones, observations, lambda item: item.network))
        chip = show("chip", left_out(phones, observations, lambda item: item.soc))
        note = f"leave-one-network-out {network}, leave-one-chip-out {chip} in the mean"
    changed = write_all(phones, arguments.output, observations, posterior, note)
    print(f"\nwritten; changed: {', '.join(changed) or 'none'}")
    return 1 if arguments.check and changed else 0


if __name__ == "__main__":
    sys.exit(main())
