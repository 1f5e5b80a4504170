"""Every reader, given a mutated document as a command would give it."""

from __future__ import annotations

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

from codl import hardware, models, scenario
from codl.cli.executing import read_arrays
from codl.cost.table_fit import fit_table
from codl.cost.tables import predict_table
from codl.errors import CodlError
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
from tests.fuzzing.documents import (
    LIST,
    PUBLISHED,
    SCENARIO,
    SWEEP,
    TABLE,
    network,
    sd865,
    small_hardware,
    valid_arrays,
    valid_trace,
)
from tests.fuzzing.mutation import NASTY, mutated_bytes, mutated_model, mutated_values

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


@cache
def _valid_plan(model: str) -> Any:
    return Workspace(sd865()).prepare(model, "codl").plan.model_dump(mode="json", by_alias=True)


def _plan(rng: random.Random, folder: Path) -> None:
    model = _file(folder, "net.csv", LIST.encode())
    path = _file(folder, "plan.json", _text(_valid_plan(str(model)), rng))
    Workspace(sd865()).reuse(Plan.read(path)).simulate()


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


def _trace(rng: random.Random, folder: Path) -> None:
    from codl.compare import compare_traces

    trace = Trace.read(_file(folder, "t.json", _text(valid_trace(), rng)))
    trace.to_json()
    other = replace(trace, world="measured" if trace.world == "simulated" else "simulated")
    simulated, measured = sorted((trace, other), key=lambda each: each.world, reverse=True)
    compare_traces(simulated, measured).row()


def _arrays(rng: random.Random, folder: Path) -> None:
    data = mutated_bytes(valid_arrays(), rng)
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
