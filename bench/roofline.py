"""How near each operator of a network comes to what the CPU can do: achieved over attainable, by kind of kernel.

    python bench/roofline.py vgg16 yolov2 mobilenetv2 [--runs 20] [--worst 3]

Attainable is the longer of operations / peak and compulsory bytes / bandwidth, both measured here: the peak by a matrix
product of OpenBLAS, the bandwidth by copying arrays that no cache holds, one thread a core. Operations are those of
the direct algorithm, so Winograd may exceed 100 %; small operators that find everything in the caches may too. Times
are the shortest of `--runs` runs of each operator on the whole CPU device.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx

sys.path.insert(0, str(Path(__file__).parent))  # run as a script, or by its path from anywhere

from networks import NETWORKS

import codl
from codl.ops import REGISTRY
from codl.real.devices import find
from codl.region import Region


@dataclass(frozen=True)
class Machine:
    """Operations and bytes a second."""

    peak: float
    bandwidth: float


def machine(cores: int) -> Machine:
    size, count = 1536, 1 << 25
    a = np.random.default_rng(0).standard_normal((size, size), dtype=np.float32)
    out = np.empty_like(a)
    product = min(_seconds(lambda: np.matmul(a, a, out=out)) for _ in range(10))
    pairs = [(np.ones(count, np.float32), np.zeros(count, np.float32)) for _ in range(cores)]

    def copy() -> None:
        threads = [threading.Thread(target=np.copyto, args=(target, source)) for source, target in pairs]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    copied = min(_seconds(copy) for _ in range(8))
    return Machine(2 * size**3 / product, 2 * 4 * count * cores / copied)


def _seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


@dataclass
class Group:
    """Operators of one kind of kernel; times in seconds."""

    achieved: float = 0.0
    attainable: float = 0.0
    flops: float = 0.0
    nbytes: float = 0.0
    count: int = 0


def rows(name: str, runs: int, limits: Machine) -> tuple[dict[str, Group], list[tuple[float, str]]]:
    """Groups by kernel, and operators with what they lose to the roofline, in seconds, the worst first."""
    device = next(info.id for info in find() if info.kind == "cpu")
    with tempfile.TemporaryDirectory(prefix="codl-roofline-") as folder:
        path = Path(folder) / f"{name}.onnx"
        onnx.save(NETWORKS[name](), path)
        session = codl.load(path, planner="gpu", devices=(device, device))
    executor, graph = session._executor, session._run.graph
    data = {
        name: np.random.default_rng(0).standard_normal(graph.tensors[name].shape, dtype=np.float32)
        for name in graph.inputs
    }
    best: dict[str, int] = {}
    algorithms: dict[str, str] = {}
    for _ in range(runs):
        _, trace = executor.run(data, trace=True)
        for span in trace.spans if trace else ():
            if span.kind == "kernel":
                best[span.op] = min(span.duration_ns, best.get(span.op, span.duration_ns))
                algorithms[span.op] = str(span.args["algorithm"])
    groups: dict[str, Group] = defaultdict(Group)
    losses = []
    for node in graph.nodes:
        work = REGISTRY[node].work(graph, node, Region.full(graph.tensor(node.output).shape))
        took, least = best[node.name] / 1e9, max(work.flops / limits.peak, work.bytes / limits.bandwidth)
        group = groups[f"{work.kind} {work.kernel_h}x{work.kernel_w}/{work.stride_h} {algorithms[node.name]}"]
        group.achieved += took
        group.attainable += least
        group.flops += work.flops
        group.nbytes += work.bytes
        group.count += 1
        shape = f"{work.in_h}x{work.in_w}x{work.in_channels}->{work.out_h}x{work.out_w}x{work.out_channels}"
        losses.append((took - least, f"{node.name} {shape}: {took * 1e3:.2f} ms, attainable {least * 1e3:.2f}"))
    return groups, sorted(losses, reverse=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("networks", nargs="+", choices=NETWORKS, metavar="NAME")
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--worst", type=int, default=3, help="operators to name, by what they lose")
    arguments = parser.parse_args()
    limits = machine(next(info.compute_units for info in find() if info.kind == "cpu"))
    print(f"Peak {limits.peak / 1e9:.0f} GFLOP/s, bandwidth {limits.bandwidth / 1e9:.1f} GB/s.\n")
    print("| network | kernel | operators | ms | GFLOP/s | GB/s | attainable |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    worst = []
    for name in arguments.networks:
        groups, losses = rows(name, arguments.runs, limits)
        for kernel, g in sorted(groups.items(), key=lambda item: -item[1].achieved):
            if g.achieved > 0.01 * sum(other.achieved for other in groups.values()):
                print(
                    f"| {name} | {kernel} | {g.count} | {g.achieved * 1e3:.2f} | {g.flops / g.achieved / 1e9:.0f} | "
                    f"{g.nbytes / g.achieved / 1e9:.1f} | {g.attainable / g.achieved:.0%} |"
                )
        worst += [f"- {name}: {text}" for _, text in losses[: arguments.worst]]
    print("\nMost lost:\n")
    print("\n".join(worst))


if __name__ == "__main__":
    main()
