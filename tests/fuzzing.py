"""Hostile inputs for every reader: valid documents, mutated byte by byte and value by value, from a seed.

A case is (reader, seed); the same one gives the same input. A reader does with it what a command would do, up to the
simulation. The only exception that it may raise is `CodlError`, with a message for one reader.
"""

from __future__ import annotations

import copy
import io
import json
import random
import zipfile
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper

from codl import hardware, models, scenario
from codl.cli.executing import read_arrays
from codl.cost.table_fit import fit_table
from codl.cost.tables import predict_table
from codl.errors import CodlError
from codl.hardware import Hardware
from codl.hardware.overrides import allowed
from codl.onnx_reader import read as read_onnx
from codl.plan.model import Plan
from codl.plan.published import read_published
from codl.runs import Workspace
from codl.sim.arrivals import read_trace
from codl.sweep import load as load_sweep
from codl.sweep.expansion import expand
from codl.trace import Trace
from codl.workloads import selections, workload_rows

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


# -- mutation ----------------------------------------------------------------------------------------------------------

NASTY: tuple[Any, ...] = (
    None, True, 0, -1, 1, 2**31, 2**63, 2**64, 10**30, 0.0, -0.5, 1e300, float("1e-320"), "", "x", "\0", "nan", "inf",
    "9**9**9 s", "0 Hz", "-1 s", "1e308 GHz", "1e-300 s", "99999999999 B/s", [], {}, [[]], [None], {"": None},
    "../../etc/passwd", "/dev/zero", "é\u202e", "a" * 5000, "{{7*7}}", "!!python/object", "=1+1", "*", "~",
    "gpu", "cpu", "host", "height",
)  # fmt: skip


def mutated_values(document: Any, rng: random.Random) -> Any:
    """The document with some values replaced, dropped, doubled, renamed or moved."""
    document = copy.deepcopy(document)
    for _ in range(rng.choice((0, 1, 1, 1, 2, 4))):
        places = list(_places(document))
        if not places:
            return rng.choice(NASTY)
        holder, key = rng.choice(places)
        match rng.randrange(6):
            case 0:
                del holder[key]
            case 1 if isinstance(holder, dict):
                holder[rng.choice(("", "x", "schema", "name", "gpu", "\0"))] = holder[key]
            case 1 | 2:
                other, name = rng.choice(places)
                holder[key] = copy.deepcopy(other[name]) if name in other or isinstance(other, list) else None
            case 3 if isinstance(holder[key], (int, float)) and not isinstance(holder[key], bool):
                holder[key] = holder[key] * rng.choice((-1, 0, 2, 1e3, 1e9, 1e-9, 10**20))
            case _:
                holder[key] = rng.choice(NASTY)
    return document


def _places(document: Any) -> Any:
    stack = [document]
    while stack:
        holder = stack.pop()
        items = holder.items() if isinstance(holder, dict) else enumerate(holder) if isinstance(holder, list) else ()
        for key, value in list(items):
            yield holder, key
            stack.append(value)


TOKENS = (
    b"\0", b"\xff\xfe", b"\n", b"\r", b",", b'"', b"'", b":", b"- ", b"[", b"{", b"&a ", b"*a", b"<<: ",
    b"!!python/object:os.system ", b"|", b">", b"---\n", b"...\n", b"\t", b"1e999", b"NaN", b"-Infinity",
    b"9" * 5000, b"[" * 500, b"{a: " * 300,
    b"2020-02-30",
    b"!!binary x", b"!!set {a}", b"? ", b"%YAML 9.9\n", b"0x" + b"f" * 40, b"\xc3\x28", b"-", b".", b"e5",
)  # fmt: skip


def mutated_bytes(data: bytes, rng: random.Random) -> bytes:
    """The bytes with some flipped, cut out, doubled, or with nasty ones put in."""
    out = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 4, 16))):
        at = rng.randrange(len(out) + 1)
        match rng.randrange(6):
            case 0:
                out[at : at + 1] = bytes([rng.randrange(256)])
            case 1:
                del out[at : at + rng.choice((1, 2, 8, 64))]
            case 2:
                out[at:at] = out[at : at + rng.choice((1, 8, 64))]
            case 3:
                del out[at:]
            case 4 if at < len(out):
                out[at] ^= 1 << rng.randrange(8)
            case _:
                out[at:at] = rng.choice(TOKENS)
        if not out:
            break
    return bytes(out)


def mutated_model(model: onnx.ModelProto, rng: random.Random) -> bytes:
    """A model with a changed field somewhere inside, or with changed bytes."""
    if rng.random() < 0.4:
        return mutated_bytes(model.SerializeToString(), rng)
    for _ in range(rng.choice((1, 1, 2, 3))):
        messages = list(_messages(model))
        message, field, repeated = rng.choice(messages)
        _change(message, field, repeated, rng)
    data: bytes = model.SerializeToString()
    return data


def _messages(message: Any) -> Any:
    for field, value in message.ListFields():
        repeated = (
            isinstance(value, (str, bytes)) is False and hasattr(value, "__len__") and not hasattr(value, "ListFields")
        )
        yield message, field, repeated
        if field.message_type is not None:
            for inner in value if repeated else (value,):
                yield from _messages(inner)


def _change(message: Any, field: Any, repeated: bool, rng: random.Random) -> None:
    value = getattr(message, field.name)
    numbers = (0, -1, 1, 2, 7, 2**31 - 1, -(2**31), 2**62, -(2**62), 1_000_000)
    try:
        if rng.random() < 0.25:
            message.ClearField(field.name)
        elif repeated and len(value) > 1 and rng.random() < 0.5:
            del value[rng.randrange(len(value))]
        elif field.message_type is not None:
            if repeated and len(value):
                value.append(value[rng.randrange(len(value))])
        elif repeated:
            value[rng.randrange(len(value))] = rng.choice(("", "conv", "w", "image", *numbers))
        elif isinstance(value, str):
            setattr(
                message, field.name, rng.choice(("", "conv", "w", "image", "Conv", "Loop", "Resize", "../x", "é" * 90))
            )
        elif isinstance(value, bytes):
            setattr(message, field.name, mutated_bytes(value, rng))
        else:
            setattr(message, field.name, rng.choice(numbers))
    except (TypeError, ValueError, IndexError):  # a value of another type than the field's: this case changes nothing
        pass


# -- readers -----------------------------------------------------------------------------------------------------------

Case = Callable[[random.Random, Path], None]


def _text(document: Any, rng: random.Random) -> bytes:
    """A document as JSON (which is YAML), with values or bytes mutated."""
    if rng.random() < 0.6:
        return json.dumps(mutated_values(document, rng)).encode("utf-8", "surrogatepass")
    return mutated_bytes(json.dumps(document, indent=rng.choice((None, 1))).encode(), rng)


def _file(folder: Path, name: str, data: bytes) -> Path:
    path = folder / name
    path.write_bytes(data)
    return path


def _plan(rng: random.Random, folder: Path) -> None:
    model = _file(folder, "net.csv", LIST.encode())
    plan = _valid_plan(str(model))
    path = _file(folder, "plan.json", _text(plan, rng))
    Workspace(sd865()).reuse(Plan.read(path)).simulate()


_plans: dict[str, Any] = {}


def _valid_plan(model: str) -> Any:
    if model not in _plans:
        _plans[model] = Workspace(sd865()).prepare(model, "codl").plan.model_dump(mode="json", by_alias=True)
    return _plans[model]


def _hardware(rng: random.Random, folder: Path) -> None:
    model = _file(folder, "net.csv", LIST.encode())
    path = _file(folder, "hw.yaml", _text(small_hardware(), rng))
    Workspace(hardware.load(path)).prepare(str(model), rng.choice(("codl", "gpu"))).simulate()


def _scenario(rng: random.Random, folder: Path) -> None:
    model = _file(folder, "net.csv", LIST.encode())
    found = scenario.load(_file(folder, "s.yaml", _text({**SCENARIO, "models": [str(model)], "published": None}, rng)))
    if found.workload is None or found.hardware != "sd865" or found.models != (str(model),):
        return
    if found.workload.repetitions * sum(stream.requests for stream in found.workload.streams) > 20:
        return  # a legal wish for more work than a test has time for
    for name, planner in selections(found):
        workload_rows(Workspace(hardware.overrides(sd865(), found.set)), found.workload, name, planner)


def _sweep(rng: random.Random, folder: Path) -> None:
    found, place = load_sweep(_file(folder, "s.yaml", _text(SWEEP, rng)))
    if sum(1 for _ in zip(range(100), found.points(), strict=False)) < 100:
        expand(found, place)


def _published(rng: random.Random, folder: Path) -> None:
    read_published(_file(folder, "p.json", _text(PUBLISHED, rng)))


def _onnx(rng: random.Random, folder: Path) -> None:
    read_onnx(_file(folder, "net.onnx", mutated_model(network(), rng)))


def _list(rng: random.Random, folder: Path) -> None:
    graph = models.load(_file(folder, "net.csv", mutated_bytes(LIST.encode(), rng)))
    if len(graph) <= 20:
        Workspace(sd865()).prepare(str(folder / "net.csv"), "codl").simulate()


def _table(rng: random.Random, folder: Path) -> None:
    path = _file(folder, "t.csv", mutated_bytes(TABLE.encode(), rng))
    if rng.random() < 0.8:
        predict_table(path, sd865(), "gpu")
    else:
        fit_table(path, sd865(), "gpu")


def _arrivals(rng: random.Random, folder: Path) -> None:
    read_trace(str(_file(folder, "a.csv", mutated_bytes(b"arrival_ms,note\n0,a\n33.3,b\n70,c\n", rng))))


@cache
def _valid_trace() -> Any:
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


def _trace(rng: random.Random, folder: Path) -> None:
    from codl.compare import compare_traces

    trace = Trace.read(_file(folder, "t.json", _text(_valid_trace(), rng)))
    trace.to_json()
    other = replace(trace, world="measured" if trace.world == "simulated" else "simulated")
    compare_traces(*sorted((trace, other), key=lambda each: each.world, reverse=True)).row()


@cache
def _valid_arrays() -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, x=np.zeros((2, 3), np.float32), y=np.arange(5))
    return buffer.getvalue()


def _arrays(rng: random.Random, folder: Path) -> None:
    data = mutated_bytes(_valid_arrays(), rng)
    if rng.random() < 0.2:
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
            array = io.BytesIO()
            np.save(array, np.zeros(4))
            archive.writestr(rng.choice(("x.npy", "../x.npy", "x", "x.npy/")), mutated_bytes(array.getvalue(), rng))
        data = buffer.getvalue()
    read_arrays(_file(folder, "x.npz", data))


def _settings(rng: random.Random, folder: Path) -> None:
    names = [*allowed(sd865()), "gpu", "", "gpu.colour"]
    value = rng.choice([str(item) for item in NASTY] + ["500 MHz", "9 GB/s", "2", "0.5", "3 us"])
    text = mutated_bytes(f"{rng.choice(names)}={value}".encode(), rng).decode("utf-8", "replace")
    hardware.overrides(sd865(), [text])


READERS: dict[str, Case] = {
    "plan": _plan, "hardware": _hardware, "scenario": _scenario, "sweep": _sweep, "published": _published,
    "onnx": _onnx, "list": _list, "table": _table, "arrivals": _arrivals, "trace": _trace, "arrays": _arrays,
    "settings": _settings,
}  # fmt: skip
"""Every reader of what strangers give, by name."""


def attempt(reader: str, seed: int, folder: Path) -> str | None:
    """Give a reader the input of this seed: its message if it refuses it, None if it takes it.

    Raises:
        Exception: whatever else the reader raises, which is a bug in it.
        AssertionError: the message is empty, or longer than anybody would read.
    """
    rng = random.Random(f"{reader} {seed}")
    try:
        READERS[reader](rng, folder)
    except CodlError as error:
        message = str(error)
        assert message.strip(), "an empty message"
        assert len(message) < 20_000, f"a message of {len(message)} characters"
        return message
    return None
