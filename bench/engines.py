"""Inference engines behind one face: load an ONNX file with a number of threads, run one input.

An engine that is not installed raises ImportError; one that cannot read a network raises `CannotRead`.
"""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

import numpy as np
import onnx
from turns import Run


class CannotRead(Exception):
    """The engine or its converter refuses a network; says why."""


def _names(path: Path) -> tuple[list[str], list[str]]:
    graph = onnx.load(path, load_external_data=False).graph
    constants = {tensor.name for tensor in graph.initializer}
    return [v.name for v in graph.input if v.name not in constants], [v.name for v in graph.output]


def onnx_runtime(path: Path, data: np.ndarray, threads: int) -> Run:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    feed = {session.get_inputs()[0].name: data}
    return lambda: list(session.run(None, feed))


def openvino(path: Path, data: np.ndarray, threads: int) -> Run:
    from openvino import Core

    settings = {
        "INFERENCE_NUM_THREADS": threads, "NUM_STREAMS": 1, "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": "f32",
    }  # fmt: skip
    model = Core().compile_model(str(path), "CPU", settings)
    request = model.create_infer_request()

    def run() -> list[np.ndarray]:
        request.infer([data], share_inputs=True)
        return [request.get_output_tensor(index).data for index in range(len(model.outputs))]

    return run


def mnn(path: Path, data: np.ndarray, threads: int) -> Run:
    import MNN

    converted = path.with_suffix(".mnn")
    # The converter itself: its command line also reports to its maker, and installs packages for that without asking.
    convert = "import MNN, sys, _tools; _tools.mnnconvert(sys.argv)"
    _convert(
        [sys.executable, "-c", convert, "-f", "ONNX", "--modelFile", path, "--MNNModel", converted, "--bizCode", "x"],
        converted,
    )
    inputs, outputs = _names(path)
    config = {"backend": "CPU", "numThread": threads, "precision": "high", "memory": "normal", "power": "high"}
    runtime = MNN.nn.create_runtime_manager((config,))
    module = MNN.nn.load_module_from_file(str(converted), inputs, outputs, runtime_manager=runtime, dynamic=False)
    source = MNN.expr.const(data, list(data.shape), MNN.expr.NCHW)

    def run() -> list[np.ndarray]:
        made = module.forward([source])
        values = made if isinstance(made, list) else [made]
        return [np.array(MNN.expr.convert(value, MNN.expr.NCHW).read()) for value in values]

    return run


def ncnn(path: Path, data: np.ndarray, threads: int) -> Run:
    import ncnn as library

    if importlib.util.find_spec("pnnx") is None:
        raise ImportError("its converter pnnx is not installed")
    parameters, weights = path.with_suffix(".ncnn.param"), path.with_suffix(".ncnn.bin")
    # The package's own entry point imports PyTorch, which the program does not need.
    # found: checked above
    program = Path(str(importlib.util.find_spec("pnnx").origin)).parent / "pnnx"  # type: ignore[union-attr]
    program.chmod(0o755)
    shape = ",".join(map(str, data.shape))
    _convert([program, path.name, f"inputshape=[{shape}]", "fp16=0"], parameters)
    net = library.Net()
    net.opt.num_threads = threads
    net.opt.use_vulkan_compute = False
    for option in ("use_fp16_packed", "use_fp16_storage", "use_fp16_arithmetic", "use_bf16_storage"):
        setattr(net.opt, option, False)
    if net.load_param(str(parameters)) or net.load_model(str(weights)):
        raise CannotRead("ncnn refuses what pnnx made")
    _, outputs = _names(path)
    image = library.Mat(data[0]).clone()

    def run() -> list[np.ndarray]:
        extractor = net.create_extractor()
        extractor.input("in0", image)
        made = []
        for index in range(len(outputs)):
            code, value = extractor.extract(f"out{index}")
            if code:
                raise CannotRead(f"ncnn fails with {code}")
            made.append(np.array(value)[None])
        return made

    return run


def _convert(command: list[str | Path], made: Path) -> None:
    done = subprocess.run(list(map(str, command)), cwd=made.parent, capture_output=True, text=True, timeout=120)
    if done.returncode or not made.exists():
        lines = (done.stdout + done.stderr).strip().splitlines() or [f"exit code {done.returncode}"]
        raise CannotRead(f"the converter fails: {lines[-1][:200]}")


PEERS: dict[str, tuple[Callable[[Path, np.ndarray, int], Run], str]] = {
    "onnxruntime": (onnx_runtime, "onnxruntime"),
    "openvino": (openvino, "openvino"),
    "mnn": (mnn, "MNN"),
    "ncnn": (ncnn, "ncnn"),
}
"""Each engine with the package whose version identifies it."""


def version(package: str) -> str:
    """The version of an installed package, '' if there is none."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""
