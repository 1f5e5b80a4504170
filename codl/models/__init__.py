"""The networks that codl knows: files, operator lists, and a zoo that is built on demand.

`load` resolves what the command line calls MODEL: a path to an .onnx file, a path to a .csv operator list, the name
of a zoo network (`yolov2`), or a packaged operator list (`paper/yolov2`).
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import onnx

from codl.errors import InputError, shown
from codl.graph import Graph
from codl.io import atomic_path, is_file
from codl.models.operator_list import Row, list_graph, parse_rows, read_rows
from codl.models.zoo import NETWORKS, build
from codl.onnx_reader import read
from codl.ops import REGISTRY
from codl.region import Region

__all__ = ["describe", "export", "load", "names", "onnx_model", "original"]

_PAPER = "paper/"
_PAPER_LISTS = ("retinaface", "yolov2", "vgg16", "posenet", "fst", "resnet50v1", "alexnet")


def names() -> list[str]:
    """The zoo's networks, then the packaged operator lists."""
    return [*NETWORKS, *(_PAPER + name for name in _PAPER_LISTS)]


def load(model: str | Path, shapes: Mapping[str, tuple[int, ...]] | None = None) -> Graph:
    """The graph of a model.

    Args:
        model: a name from `names()`, or the path of an .onnx or .csv file. A name wins over a file of that name
            unless the path has a suffix or a folder.
        shapes: sizes of inputs that an ONNX file leaves open, by input name.

    Raises:
        InputError: no such name; or FileError, SchemaError, ModelError for files (see `codl.onnx_reader.read`).
    """
    kind, key = _resolve(model)
    if kind == "onnx":
        return read(key, shapes)
    if kind == "zoo":
        return read(onnx_model(key), shapes, name=key)
    if shapes:
        raise InputError(f"{model}: an operator list has fixed sizes; --shape is for ONNX models")
    if kind == "paper":
        return list_graph(_packaged(key), _PAPER + key)
    return list_graph(read_rows(key), Path(key).stem)


def onnx_model(name: str) -> onnx.ModelProto:
    """A zoo network as ONNX, weights included: always the same.

    Raises:
        InputError: the zoo has no such network.
    """
    return build(_zoo_name(name), _packaged(NETWORKS[name][1]))


def is_list(model: str | Path) -> bool:
    """Whether a model is an operator list, which can be planned and simulated but not executed.

    Raises:
        InputError: there is no such model.
    """
    return _resolve(model)[0] in ("paper", "list", "csv")


def original(model: str | Path) -> bytes | Path:
    """What ONNX Runtime needs to run the model itself, as reference: the file's path, or the zoo network serialised.

    Raises:
        InputError: the model is an operator list, which cannot be run.
    """
    kind, key = _resolve(model)
    if kind == "onnx":
        return Path(key)
    if kind == "zoo":
        data: bytes = onnx_model(key).SerializeToString()
        return data
    raise InputError(f"{model} is an operator list: without weights it can be planned and simulated, not executed")


def export(name: str, path: Path | str) -> None:
    """Write a zoo network as an ONNX file, whole or not at all.

    Raises:
        InputError: the zoo has no such network.
        FileError: the file cannot be written.
    """
    model = onnx_model(name)
    with atomic_path(path) as temporary:
        temporary.write_bytes(model.SerializeToString())


@dataclass(frozen=True)
class _Summary:
    """What `codl models` shows of one model."""

    name: str
    kind: str
    operators: int
    gflop: float
    weights_mb: float
    inputs: Mapping[str, tuple[int, ...]]


def describe(model: str | Path) -> dict[str, Any]:
    """Facts about a model: `name`, `kind` (`network` or `operator list`), `operators`, `gflop` (10^9 operations, a
    multiply-accumulate is two), `weights_mb` (10^6 bytes), `inputs` (shape by name). Zoo weights are not generated."""
    kind, key = _resolve(model)
    summary = _packaged_summary(kind, key) if kind in ("zoo", "paper") else _summary(load(model), kind)
    return {**asdict(summary), "inputs": {name: list(shape) for name, shape in summary.inputs.items()}}


@cache
def _packaged_summary(kind: str, key: str) -> _Summary:
    if kind == "paper":
        return _summary(load(_PAPER + key), kind)
    skeleton = build(key, _packaged(NETWORKS[key][1]), contents=False)
    return _summary(read(skeleton, name=key, contents=False), kind)


def _summary(graph: Graph, kind: str) -> _Summary:
    flops = sum(
        REGISTRY[node].work(graph, node, Region.full(graph.tensor(node.output).shape)).flops for node in graph.nodes
    )
    weights = sum(graph.tensor(name).nbytes for name in graph.weights)
    return _Summary(
        name=graph.name,
        kind="network" if kind in ("zoo", "onnx") else "operator list",
        operators=len(graph),
        gflop=round(flops / 1e9, 3),
        weights_mb=round(weights / 1e6, 3),
        inputs={name: graph.tensor(name).shape for name in graph.inputs},
    )


# -- names -------------------------------------------------------------------------------------------------------------


def _resolve(model: str | Path) -> tuple[str, str]:
    """(kind, key): `zoo` and `paper` with a name, `onnx` and `csv` with a path.

    Raises:
        InputError: it is neither a known name nor a file of a known kind.
    """
    text = str(model)
    if isinstance(model, str) and text in NETWORKS:
        return "zoo", text
    if isinstance(model, str) and text.removeprefix(_PAPER) in _PAPER_LISTS and text.startswith(_PAPER):
        return "paper", text.removeprefix(_PAPER)
    suffix = Path(text).suffix.lower()
    if suffix in (".onnx", ".csv"):
        return suffix[1:], text
    if suffix and is_file(text):
        raise InputError(f"{text}: a model file ends in .onnx (a network) or .csv (an operator list)")
    raise InputError(
        f"no model is called {shown(text)};{_nearest(text, names())} known: {', '.join(names())}; "
        "or give the path of an .onnx or .csv file"
    )


def _zoo_name(name: str) -> str:
    if name not in NETWORKS:
        hint = _nearest(name, list(NETWORKS))
        raise InputError(f"the zoo has no network {name!r};{hint} known: {', '.join(NETWORKS)}")
    return name


def _nearest(name: str, known: list[str]) -> str:
    close = difflib.get_close_matches(name.lower(), known, n=1)
    return f" did you mean {close[0]!r}?" if close else ""


@cache
def _packaged(name: str) -> tuple[Row, ...]:
    """The rows of a packaged operator list."""
    resource = files("codl.models") / "data" / f"{name}.csv"
    return parse_rows(resource.read_text(encoding="utf-8"), f"{name}.csv")
