"""Single-node models: what shape does a node give, what does it compute from constants, can ONNX Runtime run it?"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import numpy as np
import onnx
import onnxruntime
from onnx import helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from codl.errors import ModelError, first_line
from codl.limits import beyond, limit
from codl.onnx_reader.nested import subgraphs
from codl.onnx_reader.network import Network, OnnxNode, array_type

_SMALL = 4096
"""Constants of up to this many elements take part in shape inference by value (shapes, axes, pads)."""


def node_model(
    network: Network,
    protos: Sequence[onnx.NodeProto],
    inputs: Mapping[str, onnx.TypeProto],
    outputs: Sequence[str],
    constants: Mapping[str, np.ndarray],
) -> onnx.ModelProto:
    """A model of some nodes: typed inputs, constants as initialisers, the operator sets of the model they are from."""
    types = [(name, network.types.get(name)) for name in outputs]
    arrays = {name: np.ascontiguousarray(array).reshape(array.shape) for name, array in constants.items()}
    graph = helper.make_graph(
        list(protos),
        protos[0].name or protos[0].op_type,
        [helper.make_value_info(name, value) for name, value in inputs.items()],
        [helper.make_value_info(name, value) if value else onnx.ValueInfoProto(name=name) for name, value in types],
        [numpy_helper.from_array(array, name) for name, array in arrays.items()],
    )
    proto = network.source.proto
    return helper.make_model(graph, opset_imports=proto.opset_import, ir_version=proto.ir_version, producer_name="codl")


def infer(network: Network, node: OnnxNode) -> dict[str, onnx.TypeProto]:
    """Types of a node's outputs, from the types of its inputs and the values of small constants.

    Outputs that ONNX's shape inference says nothing of (an operator it does not know) are left out.

    Raises:
        ModelError: the node contradicts the shapes that it is given.
    """
    inputs: dict[str, onnx.TypeProto] = {}
    constants: dict[str, np.ndarray] = {}
    for name in node.inputs:
        array = network.constant(name)
        if array is not None and array.size <= _SMALL:
            constants[name] = array
        elif name:
            type_proto = network.type_of(name)
            if type_proto is None:
                return {}
            inputs[name] = type_proto
    outputs = [name for name in node.outputs if name]
    model = node_model(network, node.protos, inputs, outputs, constants)
    try:
        inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)
    except Exception as error:  # InferenceError, or a plain RuntimeError from the C++ side
        raise ModelError(f"{network.source.where}: {node} does not fit its inputs: {_reason(error)}") from None
    found = {value.name: value.type for value in inferred.graph.output}
    return {name: found[name] for name in outputs if found[name].WhichOneof("value")}


def _reason(error: Exception) -> str:
    line = first_line(error)
    return line.rpartition("] ")[2] or line


def compute(network: Network, node: OnnxNode, feeds: Mapping[str, np.ndarray]) -> list[np.ndarray] | None:
    """What a node makes of given inputs; None if neither ONNX Runtime nor ONNX's reference can tell.

    ONNX Runtime comes first, so that a folded value is the one that it would have computed itself.
    """
    inputs = {name: array_type(array) for name, array in feeds.items()}
    outputs = [name for name in node.outputs if name]
    model = node_model(network, node.protos, inputs, outputs, {})
    results: list[object] | None = None
    stopped = threading.Event()
    try:
        with _time_limit(node, stopped) as options:
            results = session(model.SerializeToString()).run(outputs, dict(feeds), options)
    except Exception:  # no kernel for this type, or wrong data: the reference is asked instead
        if stopped.is_set():
            took = f"{node} takes too long to become a constant; {beyond('FOLDING_S')}"
            raise ModelError(f"{network.source.where}: {took}") from None
        try:
            results = list(ReferenceEvaluator(model).run(outputs, dict(feeds)))
        except Exception:  # it raises whatever numpy raises; the node then stays a node
            return None
    arrays = [np.asarray(r) for r in results if isinstance(r, np.ndarray | np.generic)]
    return arrays if len(arrays) == len(outputs) else None


@contextmanager
def _time_limit(node: OnnxNode, stopped: threading.Event) -> Iterator[onnxruntime.RunOptions | None]:
    """Options that end a run which takes too long, and then set `stopped`. Only nodes with loops can."""
    if not any(list(subgraphs(proto)) for proto in node.protos):
        yield None
        return
    options = onnxruntime.RunOptions()

    def stop() -> None:
        stopped.set()
        options.terminate = True

    timer = threading.Timer(limit("FOLDING_S"), stop)
    timer.daemon = True
    timer.start()
    try:
        yield options
    finally:
        timer.cancel()


def session(model: bytes) -> onnxruntime.InferenceSession:
    """A single-threaded, silent session without rewriting."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def learn(network: Network, node: OnnxNode) -> dict[str, onnx.TypeProto]:
    """Types of a node's outputs as a run shows them: two runs with different random inputs must agree.

    For operators that shape inference does not know (other domains), and loops with a constant number of steps.
    """
    seen: list[list[np.ndarray]] = []
    for seed in (1, 2):
        feeds = {}
        for name in dict.fromkeys(n for n in node.inputs if n):
            array = network.constant(name)
            tensor = network.tensor(name)
            if array is not None:
                feeds[name] = array
            elif tensor is not None:
                feeds[name] = _random(np.random.default_rng(seed), tensor.shape, tensor.dtype)
            else:
                return {}
        arrays = compute(network, node, feeds)
        if arrays is None:
            return {}
        seen.append(arrays)
    if any(a.shape != b.shape for a, b in zip(*seen, strict=True)):
        return {}
    return {name: array_type(array) for name, array in zip([n for n in node.outputs if n], seen[0], strict=True)}


def _random(rng: np.random.Generator, shape: tuple[int, ...], dtype: str) -> np.ndarray:
    if np.dtype(dtype).kind in "fc":
        return rng.standard_normal(shape).astype(dtype)
    return rng.integers(0, 2, shape).astype(dtype)
