"""Networks of the zoo without their weights, for tests that look at shapes."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from codl import models
from codl.graph import Graph
from codl.models.operator_list import Row, parse_rows
from codl.models.zoo import NETWORKS, build
from codl.onnx_reader import read


def rows_of(name: str) -> tuple[Row, ...]:
    """A packaged operator list."""
    path = Path(models.__file__).parent / "data" / f"{name}.csv"
    return parse_rows(path.read_text(), path)


@cache
def skeleton(name: str) -> Graph:
    """A network of the zoo."""
    return read(build(name, rows_of(NETWORKS[name][1]), contents=False), name=name, contents=False)
