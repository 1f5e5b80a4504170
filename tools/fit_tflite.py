"""Make hardware/pixel4.yaml and hardware/s10.yaml from tools/tflite.yaml and tools/data/mobile-ml-benchmark.

    python tools/fit_tflite.py            # fit, print accuracies left out by model family, write the files
    python tools/fit_tflite.py --check    # the same, but fail if a file would change

GPU kernels are fitted to the latency of each operator, CPU kernels to whole networks on each core set: one kernel
library a core set (`tflite-1large`, ...), since the table has no operators there.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # codl, installed or not
sys.path.insert(0, str(Path(__file__).parent))  # run as a script, or by its path from anywhere

from tflite_files import describe
from tflite_model import ROOT, operators

from codl.hardware import write
from codl.io import read_yaml


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="fail if a file would change")
    arguments = parser.parse_args()
    text = read_yaml(ROOT / "tools" / "tflite.yaml")
    ops = operators()
    changed = []
    for soc, silicon in text["socs"].items():
        hardware, lines = describe(soc, silicon, text["cpu_kernels"], ops)
        print("\n".join(lines))
        path = ROOT / "hardware" / f"{soc}.yaml"
        earlier = path.read_text(encoding="utf-8") if path.exists() else ""
        write(hardware, path)
        if path.read_text(encoding="utf-8") != earlier:
            changed.append(path.name)
    print(f"written; changed: {', '.join(changed) or 'none'}")
    return 1 if arguments.check and changed else 0


if __name__ == "__main__":
    sys.exit(main())
