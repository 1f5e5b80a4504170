"""codl on a GPU against PyTorch with cuDNN: both on the same card, in one interleaved run.

    python bench/gpu.py [-o RESULT.json] [--runs 40] [NETWORK ...]

PyTorch computes in true float32 (TF32 off), batch 1, the fastest algorithms that cuDNN finds, replayed as a CUDA graph;
its time is from CUDA events around one replay. codl's is the makespan of a run (first enqueue to last end), with its
host time. Planners: `gpu` (all on the GPU), and `codl` and `optimal`, which may use the CPU: they must never lose
to the GPU alone by more than the noise. Needs PyTorch with CUDA, which is no dependency of codl.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import tempfile
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import numpy_helper

from codl import models
from codl.calibrate import load_or_calibrate
from codl.real.devices import choose
from codl.real.executor import Executor
from codl.runs import Workspace, executor_for

NETWORKS = ("vgg16-convolutions", "yolov2", "resnet50", "posenet")
PLANNERS = ("gpu", "codl", "optimal")
Tensors = dict[str, torch.Tensor]


def model_file(name: str, folder: Path) -> Path:
    """The ONNX file of a network; `vgg16-convolutions` is VGG-16 up to its last pooling."""
    path = folder / f"{name}.onnx"
    models.export(name.removesuffix("-convolutions"), path)
    if name.endswith("-convolutions"):
        graph = onnx.load(path).graph
        flatten = next(node for node in graph.node if node.op_type == "Flatten")
        whole = path.with_stem("whole")
        path.rename(whole)
        onnx.utils.extract_model(str(whole), str(path), [graph.input[0].name], [flatten.input[0]])
    return path


# -- PyTorch -----------------------------------------------------------------------------------------------------------


def _padded(x: torch.Tensor, pads: list[int], value: float) -> torch.Tensor:
    top, left, bottom, right = pads
    if not any(pads):
        return x
    return torch.nn.functional.pad(x, (left, right, top, bottom), value=value)


def _node(op: str, a: dict[str, Any], x: list[torch.Tensor]) -> torch.Tensor:
    """One operator of the networks above, by ONNX's definition."""
    functional = torch.nn.functional
    pads = a.get("pads", [0, 0, 0, 0])
    match op:
        case "Conv":
            symmetric = pads[:2] == pads[2:]
            data = x[0] if symmetric else _padded(x[0], pads, 0.0)
            return functional.conv2d(
                data, x[1], x[2] if len(x) > 2 else None, a.get("strides", [1, 1]),
                pads[:2] if symmetric else 0, a.get("dilations", [1, 1]), a.get("group", 1),
            )  # fmt: skip
        case "MaxPool":
            data = _padded(x[0], pads, float("-inf"))
            return functional.max_pool2d(data, a["kernel_shape"], a.get("strides"), ceil_mode=bool(a.get("ceil_mode")))
        case "Relu":
            return functional.relu(x[0], inplace=True)
        case "LeakyRelu":
            return functional.leaky_relu(x[0], a.get("alpha", 0.01), inplace=True)
        case "Add":
            return x[0] + x[1]
        case "Concat":
            return torch.cat(x, a["axis"])
        case "Slice":
            starts, stops, axes = (t.tolist() for t in x[1:4])
            index = [slice(None)] * x[0].dim()
            for start, stop, axis in zip(starts, stops, axes, strict=True):
                index[axis] = slice(start, min(stop, x[0].shape[axis]))
            return x[0][tuple(index)]
    raise NotImplementedError(f"{op}: this benchmark's PyTorch side does not know it")


class TorchNetwork:
    """An ONNX file on the GPU in float32, as a CUDA graph."""

    def __init__(self, path: Path, data: np.ndarray) -> None:
        torch.backends.cuda.matmul.allow_tf32 = False
        torch.backends.cudnn.allow_tf32 = False
        torch.backends.cudnn.benchmark = True
        graph = onnx.load(path).graph
        self._nodes = [(n, {a.name: onnx.helper.get_attribute_value(a) for a in n.attribute}) for n in graph.node]
        host = {"Slice"}  # its bounds are read as numbers
        on_host = {name for node in graph.node if node.op_type in host for name in node.input[1:]}
        self._weights = {
            t.name: torch.from_numpy(numpy_helper.to_array(t).copy()).to("cpu" if t.name in on_host else "cuda")
            for t in graph.initializer
        }
        self._output = graph.output[0].name
        self._input = graph.input[0].name
        self._x = torch.from_numpy(data).cuda()
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side), torch.no_grad():
            for _ in range(3):
                self._forward()
        torch.cuda.current_stream().wait_stream(side)
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph), torch.no_grad():
            self._y = self._forward()

    def _forward(self) -> torch.Tensor:
        values: Tensors = {**self._weights, self._input: self._x}
        for node, attributes in self._nodes:
            values[node.output[0]] = _node(node.op_type, attributes, [values[name] for name in node.input if name])
        return values[self._output]

    def run_ms(self) -> float:
        begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        begin.record()
        self._graph.replay()
        end.record()
        end.synchronize()
        return float(begin.elapsed_time(end))

    def output(self) -> np.ndarray:
        return np.asarray(self._y.float().cpu())


# -- the comparison ----------------------------------------------------------------------------------------------------


def spread(times: list[float]) -> dict[str, float]:
    """Median and half the interquartile range, in ms."""
    low, middle, high = np.percentile(times, [25, 50, 75])
    return {"median_ms": float(middle), "spread_ms": float(high - low) / 2}


def makespan_ms(executor: Executor, inputs: Mapping[str, np.ndarray]) -> float:
    return executor.infer(inputs).makespan_ns / 1e6


def compare(name: str, folder: Path, runs: int, workspace: Workspace) -> dict[str, Any]:
    path = model_file(name, folder)
    devices = choose()
    prepared = {planner: workspace.prepare(str(path), planner) for planner in PLANNERS}
    graph = prepared["gpu"].graph
    (source,) = graph.inputs
    data = np.random.default_rng(0).standard_normal(graph.tensors[source].shape).astype(np.float32)
    peer = TorchNetwork(path, data)
    executors = {planner: executor_for(run, devices) for planner, run in prepared.items()}
    contestants: dict[str, Callable[[], float]] = {"pytorch": peer.run_ms}
    for planner, executor in executors.items():
        contestants[planner] = partial(makespan_ms, executor, {source: data})
    times: dict[str, list[float]] = {label: [] for label in contestants}
    for index in range(runs + 5):
        for label, run in contestants.items():
            run()  # not counted: it pays for the change from the other's context and caches
            elapsed = run()
            if index >= 5:
                times[label].append(elapsed)
    reference = peer.output()
    result: dict[str, Any] = {"network": name, "pytorch": spread(times["pytorch"])}
    for planner, executor in executors.items():
        (output,) = executor.infer({source: data}).outputs.values()
        own = spread(times[planner])
        own["ratio"] = statistics.median(
            mine / other for mine, other in zip(times[planner], times["pytorch"], strict=True)
        )
        own["split_operators"] = sum(1 for chain in prepared[planner].plan.chains if chain.dimension is not None)
        own["max_relative_error"] = float(np.abs(output - reference).max() / np.abs(reference).max())
        result[planner] = own
        executor.close()
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("networks", nargs="*", default=NETWORKS)
    parser.add_argument("-o", "--output", type=Path)
    parser.add_argument("--runs", type=int, default=40)
    arguments = parser.parse_args()
    workspace = Workspace(load_or_calibrate())
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for name in arguments.networks:
            row = compare(name, Path(folder), arguments.runs, workspace)
            rows.append(row)
            print(f"{name:20} pytorch {row['pytorch']['median_ms']:8.3f} ms", end="")
            for planner in PLANNERS:
                own = row[planner]
                print(
                    f"  {planner} {own['median_ms']:.3f} (x{own['ratio']:.2f}, err {own['max_relative_error']:.1e})",
                    end="",
                )
            print(flush=True)
    document = {
        "date": datetime.now(UTC).date().isoformat(),
        "gpu": torch.cuda.get_device_name(),
        "pytorch": torch.__version__,
        "cudnn": torch.backends.cudnn.version(),
        "cpu": platform.processor(),
        "runs": arguments.runs,
        "networks": rows,
    }
    if arguments.output:
        arguments.output.write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()
