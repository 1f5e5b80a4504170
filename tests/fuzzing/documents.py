"""Valid documents of every kind, small enough to be read thousands of times."""

from __future__ import annotations

import io
from functools import cache
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper

from codl import hardware
from codl.hardware import Hardware

COLUMNS = "op,kind,in_h_padded,in_w_padded,in_channels,out_channels,kernel_h,kernel_w,stride_h,stride_w"
LIST = (
    f"# a comment\n{COLUMNS},groups,reads\n0,conv,10,10,4,8,3,3,1,1,1,\n1,pool,8,8,8,8,2,2,2,2,1,\n"
    "2,conv,4,4,8,8,1,1,1,1,1,1\n"
)
TABLE = (
    "kind,in_h,in_w,in_channels,out_channels,kernel_h,kernel_w,stride_h,stride_w,pad,groups,latency_us\n"
    "conv,10,10,4,8,3,3,1,1,1,1,100\nconv,20,20,4,8,3,3,2,2,same,1,210.5\ndepthwise,8,8,8,8,3,3,1,1,1,8,30\n"
)
SCENARIO = {
    "schema": "codl.scenario/1", "name": "mine", "models": ["paper/yolov2"], "hardware": "sd865", "planners": ["gpu"],
    "set": ["gpu.frequency=500MHz"], "shapes": {"image": [1, 3, 8, 8]},
    "variants": {"fast": ["memory.bandwidth=9 GB/s"]},
    "published": {"source": "me", "latency_ms": {"codl": {"paper/yolov2": 12.5}}},
    "workload": {
        "streams": [{"arrivals": {"periodic": "30 Hz"}, "requests": 3, "deadline": "50 ms", "queue": 2}],
        "background": [{"processor": "cpu", "share": 0.4, "start": "0 s", "stop": "1 s"}, {"bandwidth": "8 GB/s"}],
        "frequency": [{"at": "10 ms", "processor": "gpu", "clock": 0.6}],
        "thermal": {
            "ambient": "25 degC",
            "nodes": {"soc": {"resistance": "3 K/W", "capacity": "4 J/K", "takes": ["gpu", "rest"]}},
            "trips": [{"node": "soc", "above": "70 degC", "processor": "gpu", "clock": 0.6}],
        },
        "jitter": 0.05, "seed": 1, "repetitions": 2, "warm_up": 1,
    },
}  # fmt: skip
SWEEP = {
    "schema": "codl.sweep/1", "name": "mine", "shapes": {"x": [1]},
    "grid": {
        "models": ["paper/yolov2"], "hardware": ["sd865"], "planners": ["gpu", "codl"],
        "overrides": {"gpu.frequency": [None, "300 MHz"]},
    },
    "runs": [{"model": "paper/vgg16", "hardware": "sd865", "overrides": {"memory.bandwidth": "9 GB/s"}}],
    "exclude": [{"planner": "gpu", "overrides": {"gpu.frequency": None}}],
    "workloads": {"one": {"requests": 1, "jitter": 0.1, "repetitions": 2}, "two": {"streams": [{"requests": 4}]}},
    "fleet": {"shares": {"sd865": 1.0}, "latency_bound": "30 ms", "percentile": 95, "preference": ["paper/yolov2"]},
}  # fmt: skip
PUBLISHED = {
    "model": "m", "soc": "s", "operators": 2,
    "chained": {"partition_dim": ["H", "OC"], "gpu_ratio": [0.5, 1.0], "chain_lengths": [1, 1]},
}  # fmt: skip


@cache
def small_hardware() -> dict[str, Any]:
    """A real description with only the kernels that `LIST` needs."""
    data: dict[str, Any] = hardware.load("sd865").model_dump(mode="json", by_alias=True, exclude_defaults=True)
    for library in data["libraries"].values():
        for name, kernels in library["kernels"].items():
            library["kernels"][name] = {
                layout: [entry for entry in entries if entry["name"] in ("conv", "direct", "pool")]
                for layout, entries in kernels.items()
            }
    return data


@cache
def sd865() -> Hardware:
    return hardware.load("sd865")


def network() -> onnx.ModelProto:
    """A model with most of what a reader must look at: weights, shape arithmetic, branches, loops, functions."""
    rng = np.random.default_rng(0)
    value = helper.make_tensor_value_info

    def weight(name: str, *shape: int) -> onnx.TensorProto:
        return onnx.numpy_helper.from_array(rng.standard_normal(shape).astype(np.float32), name)

    def branch(name: str, op: str) -> onnx.GraphProto:
        out = value(name, TensorProto.FLOAT, [1, 4, 4, 4])
        return helper.make_graph([helper.make_node(op, ["pooled"], [name])], name, [], [out])

    branches = {"then_branch": branch("t", "Relu"), "else_branch": branch("e", "Neg")}

    body = helper.make_graph(
        [helper.make_node("Add", ["state", "one"], ["next"]), helper.make_node("Identity", ["go"], ["on"])],
        "body",
        [value("i", TensorProto.INT64, []), value("go", TensorProto.BOOL, []), value("state", TensorProto.FLOAT, [1])],
        [value("on", TensorProto.BOOL, []), value("next", TensorProto.FLOAT, [1])],
        [onnx.numpy_helper.from_array(np.ones(1, np.float32), "one")],
    )  # fmt: skip
    nodes = [
        helper.make_node("Conv", ["image", "w", "b"], ["conv"], "conv", pads=[1, 1, 1, 1], kernel_shape=[3, 3]),
        helper.make_node("Relu", ["conv"], ["relu"]),
        helper.make_node("MaxPool", ["relu"], ["pooled"], kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("If", ["truth"], ["branched"], **branches),
        helper.make_node("Shape", ["branched"], ["shape"]),
        helper.make_node("Gather", ["shape", "zero"], ["batch"], axis=0),
        helper.make_node("Concat", ["batch", "rest"], ["target"], axis=0),
        helper.make_node("Reshape", ["branched", "target"], ["flat"]),
        helper.make_node("Gemm", ["flat", "w2"], ["dense"], transB=1),
        helper.make_node("Loop", ["trips", "truth", "start"], ["looped"], body=body),
        helper.make_node("Add", ["dense", "looped"], ["sum"]),
        helper.make_node("Constant", [], ["scale"], value=weight("v", 1)),
        helper.make_node("twice", ["sum"], ["doubled"], domain="mine"),
        helper.make_node("Mul", ["doubled", "scale"], ["output"]),
    ]
    constants = [
        weight("w", 4, 3, 3, 3), weight("b", 4), weight("w2", 5, 64), weight("start", 1),
        onnx.numpy_helper.from_array(np.array(True), "truth"), onnx.numpy_helper.from_array(np.array(3), "trips"),
        onnx.numpy_helper.from_array(np.array([0]), "zero"), onnx.numpy_helper.from_array(np.array([-1]), "rest"),
    ]  # fmt: skip
    graph = helper.make_graph(
        nodes,
        "net",
        [value("image", TensorProto.FLOAT, [1, 3, 8, 8])],
        [value("output", TensorProto.FLOAT, None)],
        constants,
    )
    twice = helper.make_function("mine", "twice", ["x"], ["y"], [helper.make_node("Add", ["x", "x"], ["y"])],
                                 [helper.make_opsetid("", 17)])  # fmt: skip
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("mine", 1)]
    return helper.make_model(graph, functions=[twice], opset_imports=opsets, ir_version=8)


@cache
def valid_trace() -> Any:
    spans = [
        {"task_id": f"t{k}@gpu", "lane": "gpu", "kind": "kernel", "op": "conv", "chain": "c0", "queued_ns": 10 * k,
         "start_ns": 10 * k, "end_ns": 10 * k + 10,
         "args": {"after": "x", "bytes": 1.5, "deps": f"t{k - 1}@gpu" if k else ""}}
        for k in range(3)
    ]  # fmt: skip
    body = {
        "schema": "codl.trace/1", "world": "simulated", "environment": {"seed": 1},
        "digests": dict.fromkeys(("model", "plan", "hardware", "tasks"), "a"),
        "counters": {"power": ["W", [[0, 1.0], [10, 2.0]]]}, "spans": spans,
    }  # fmt: skip
    return {"traceEvents": [], "codl": body}


@cache
def valid_arrays() -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, x=np.zeros((2, 3), np.float32), y=np.arange(5))
    return buffer.getvalue()
