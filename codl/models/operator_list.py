"""Operator lists: the convolutions, poolings and fully connected layers that somebody timed, as a graph to simulate.

One node a row, without weights. The columns and the rules that connect the rows are described in `data/README.md`.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from codl.errors import SchemaError
from codl.graph import Attribute, Graph, Node, Tensor
from codl.io import read_text
from codl.limits import beyond, limit

KINDS = ("conv", "pool", "fc")
_NUMBERS = (
    "in_h_padded", "in_w_padded", "in_channels", "out_channels", "kernel_h", "kernel_w", "stride_h", "stride_w",
)  # fmt: skip
COLUMNS = ("op", "kind", *_NUMBERS)
OPTIONAL_COLUMNS = ("groups", "reads")

Problems = list[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Row:
    """One operator. Input sizes include the padding; `reads` as in `data/README.md`."""

    op: int
    kind: str
    in_h: int
    in_w: int
    in_channels: int
    out_channels: int
    kernel_h: int
    kernel_w: int
    stride_h: int
    stride_w: int
    groups: int = 1
    reads: str = ""

    @property
    def out_h(self) -> int:
        return 1 if self.kind == "fc" else (self.in_h - self.kernel_h) // self.stride_h + 1

    @property
    def out_w(self) -> int:
        return 1 if self.kind == "fc" else (self.in_w - self.kernel_w) // self.stride_w + 1

    @property
    def features(self) -> int:
        """Elements of the input, which a fully connected layer flattens."""
        return self.in_channels * self.in_h * self.in_w

    @property
    def name(self) -> str:
        return f"{self.op:02d}_{self.kind}"


def read_rows(path: Path | str) -> tuple[Row, ...]:
    """The rows of a list; lines that begin with '#' are comments.

    Raises:
        FileError: missing or not text.
        SchemaError: every wrong field, with its line and column.
    """
    return parse_rows(read_text(path), path)


def parse_rows(text: str, source: Path | str) -> tuple[Row, ...]:
    """The rows of a list given as text; `source` names it in errors."""
    numbered = [(n, line) for n, line in enumerate(text.splitlines(), 1) if line.strip() and not line.startswith("#")]
    if not numbered:
        raise SchemaError(source, [("", f"is empty; a list begins with the line {','.join(COLUMNS)}")])
    if len(numbered) - 1 > limit("OPERATORS"):
        raise SchemaError(source, [("", f"has {len(numbered) - 1} rows; {beyond('OPERATORS')}")])
    header = [column.strip() for column in numbered[0][1].split(",")]
    problems: Problems = [(f"column {column}", "is missing") for column in COLUMNS if column not in header]
    allowed = (*COLUMNS, *OPTIONAL_COLUMNS)
    problems += [
        (f"column {column or '(without a name)'}", f"unknown; allowed: {', '.join(allowed)}")
        for column in header
        if column not in allowed
    ]
    problems += [(f"column {c}", "occurs twice") for c in dict.fromkeys(header) if header.count(c) > 1]
    if problems:
        raise SchemaError(source, problems)
    rows: list[Row] = []
    for line, content in numbered[1:]:
        try:
            cells = next(csv.reader(io.StringIO(content)))
        except csv.Error as error:
            problems.append((f"line {line}", f"is not CSV: {error}"))
            continue
        if len(cells) != len(header):
            problems.append((f"line {line}", f"has {len(cells)} fields, the header has {len(header)}"))
            continue
        row, wrong = _row(dict(zip(header, (cell.strip() for cell in cells), strict=True)), len(rows))
        wrong = wrong or _check(row, rows)
        problems += [(f"line {line}, column {column}", what) for column, what in wrong]
        rows.append(row)
    if not rows and not problems:
        problems.append(("", "has no operators"))
    if problems:
        raise SchemaError(source, problems)
    return tuple(rows)


def _row(cells: Mapping[str, str], index: int) -> tuple[Row, Problems]:
    problems: Problems = []
    numbers = {}
    for column in (*_NUMBERS, "groups"):
        text = cells.get(column) or ("1" if column == "groups" else "")
        valid = text.isdecimal() and len(text) < 10 and int(text) > 0
        numbers[column] = int(text) if valid else 1
        if not valid:
            problems.append((column, f"must be a whole number from 1 to 999999999 (given: {text!r})"))
    if cells["op"] != str(index):
        problems.append(("op", f"must count the rows from 0, so {index} here (given: {cells['op']!r})"))
    if cells["kind"] not in KINDS:
        problems.append(("kind", f"must be one of {', '.join(KINDS)} (given: {cells['kind']!r})"))
    numbers["in_h"], numbers["in_w"] = numbers.pop("in_h_padded"), numbers.pop("in_w_padded")
    return Row(op=index, kind=cells["kind"], reads=cells.get("reads", ""), **numbers), problems


def _check(row: Row, before: list[Row]) -> Problems:
    """What is wrong with a row of well-formed fields."""
    problems: Problems = []
    for column, kernel, size in (("kernel_h", row.kernel_h, row.in_h), ("kernel_w", row.kernel_w, row.in_w)):
        if kernel > size:
            problems.append((column, f"must be at most the padded input's {size} (given: {kernel})"))
        elif row.kind == "fc" and kernel != size:
            problems.append((column, f"must be the whole input's {size} in a fully connected layer (given: {kernel})"))
    if row.kind == "pool" and row.in_channels != row.out_channels:
        problems.append(("out_channels", f"must be in_channels, {row.in_channels}, in a pooling"))
    if row.in_channels % row.groups or row.out_channels % row.groups or (row.kind != "conv" and row.groups > 1):
        problems.append(("groups", f"must divide in_channels and out_channels, and be 1 except in conv ({row.groups})"))
    return problems or _check_reads(row, before)


def _check_reads(row: Row, before: list[Row]) -> Problems:
    if row.reads in ("", "-"):
        return []
    number = row.reads.removeprefix("=")
    if not number.isdecimal() or len(number) > 9 or int(number) >= row.op:
        return [("reads", f"must be empty, -, an earlier op, or = and an earlier op (given: {row.reads!r})")]
    other = before[int(number)]
    if row.reads.startswith("="):
        if (other.in_channels, other.in_h, other.in_w, other.kind == "fc") != (
            row.in_channels, row.in_h, row.in_w, row.kind == "fc",
        ):  # fmt: skip
            return [("reads", f"op {other.op} has an input of another size")]
        return [] if other.reads == "-" else [("reads", f"op {other.op} has no input of its own: its reads is not -")]
    if not _connectable(row, other):
        made = f"{other.out_channels}x{other.out_h}x{other.out_w}"
        return [("reads", f"op {other.op} makes {made}, not {row.in_channels}x{row.in_h}x{row.in_w} less some padding")]
    return []


def _connectable(row: Row, other: Row) -> bool:
    """Whether the output of `other`, padded, can be the input of `row`."""
    if row.kind == "fc" or other.kind == "fc":
        return row.kind == other.kind and (row.in_h, row.in_w, row.in_channels) == (1, 1, other.out_channels)
    return row.in_channels == other.out_channels and row.in_h >= other.out_h and row.in_w >= other.out_w


def _feeds(row: Row, other: Row) -> bool:
    """Whether it is plausible that `other` feeds `row`: the padding in between is smaller than the kernel."""
    if not _connectable(row, other):
        return False
    return row.kind == "fc" or (row.in_h - other.out_h < row.kernel_h and row.in_w - other.out_w < row.kernel_w)


def list_graph(rows: tuple[Row, ...], name: str) -> Graph:
    """The graph of a list: one node a row, called `00_conv` and so on, that can be simulated but not executed.

    Inputs are listed with their padding and operators run without any, so a part of an operator reads as many rows at
    the border of the map as elsewhere (`padded_input`), and the part of the operator before it makes them all.

    A row without a predecessor reads a graph input such as `07_in`, of the padded size.
    """
    tensors: dict[str, Tensor] = {}
    nodes: list[Node] = []
    inputs: list[str] = []
    for row in rows:
        source = _source(row, rows)
        if source is None:
            value = f"{int(row.reads[1:]) if row.reads.startswith('=') else row.op:02d}_in"
            if value not in tensors:
                inputs.append(value)
                map_shape, flat_shape = (1, row.in_channels, row.in_h, row.in_w), (1, row.features)
                tensors[value] = Tensor(value, flat_shape if row.kind == "fc" else map_shape)
            pads = (0, 0, 0, 0)
        else:
            value = f"{source.op:02d}_out"
            high, wide = row.in_h - source.out_h, row.in_w - source.out_w
            pads = (high // 2, wide // 2, high - high // 2, wide - wide // 2)
        nodes.append(_node(row, value, pads, tensors))
    read = {value for node in nodes for value in node.inputs}
    outputs = tuple(node.output for node in nodes if node.output not in read)
    return Graph(name, tuple(nodes), tensors, {}, tuple(inputs), outputs, executable=False)


def _source(row: Row, rows: tuple[Row, ...]) -> Row | None:
    """The row whose output this one reads, None if it has an input of its own."""
    if row.reads.isdecimal():
        return rows[int(row.reads)]
    if row.reads or row.op == 0 or not _feeds(row, rows[row.op - 1]):
        return None
    return rows[row.op - 1]


def _node(row: Row, value: str, pads: tuple[int, int, int, int], tensors: dict[str, Tensor]) -> Node:
    """The node of a row; declares its weights and its output."""

    def declare(suffix: str, *shape: int) -> str:
        tensor = Tensor(f"{row.op:02d}_{suffix}", shape)
        tensors[tensor.name] = tensor
        return tensor.name

    if row.kind == "fc":
        weights = (declare("weight", row.features, row.out_channels), declare("bias", row.out_channels))
        out = declare("out", 1, row.out_channels)
        return Node(row.name, "gemm", (value, *weights), (out,), onnx_op="Gemm")
    attributes: dict[str, Attribute] = {
        "kernel": (row.kernel_h, row.kernel_w), "stride": (row.stride_h, row.stride_w), "pads": pads,
        "dilation": (1, 1), "padded_input": 1,
    }  # fmt: skip
    out = declare("out", 1, row.out_channels, row.out_h, row.out_w)
    if row.kind == "pool":
        attributes |= {"mode": "max", "count_include_pad": 0}
        return Node(row.name, "pool", (value,), (out,), attributes, onnx_op="MaxPool")
    weight = declare("weight", row.out_channels, row.in_channels // row.groups, row.kernel_h, row.kernel_w)
    inputs = (value, weight, declare("bias", row.out_channels))
    return Node(row.name, "conv", inputs, (out,), attributes | {"group": row.groups}, onnx_op="Conv")
