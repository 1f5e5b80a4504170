"""The zoo, the operator lists, and how a name becomes a graph."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from codl import models
from codl.errors import FileError, InputError, ModelError, SchemaError
from codl.graph import Graph, Node
from codl.models.operator_list import COLUMNS, Row, list_graph, parse_rows
from codl.models.zoo import NETWORKS
from tests.zoo import rows_of, skeleton

PAPER = ("retinaface", "yolov2", "vgg16", "posenet", "fst")
HEADER = ",".join(COLUMNS)


# -- the zoo -----------------------------------------------------------------------------------------------------


def _timed(graph: Graph, node: Node) -> tuple[object, ...]:
    """An operator as the lists have it: kind, padded input, channels, kernel, stride."""
    shape, out = graph.tensor(node.inputs[0]).shape, graph.tensor(node.output).shape
    if node.op == "gemm":
        return ("fc", *graph.tensor(node.inputs[1]).shape)
    top, left, bottom, right = node.attributes["pads"]  # type: ignore[misc]  # a convolution has four pads
    size = (shape[2] + top + bottom, shape[3] + left + right)  # type: ignore[operator]  # integers, as above
    return (node.op, *size, shape[1], out[1], node.attributes["kernel"], node.attributes["stride"])


def _listed(row: Row) -> tuple[object, ...]:
    if row.kind == "fc":
        return ("fc", row.features, row.out_channels)
    kernel, stride = (row.kernel_h, row.kernel_w), (row.stride_h, row.stride_w)
    return (row.kind, row.in_h, row.in_w, row.in_channels, row.out_channels, kernel, stride)


@pytest.mark.parametrize("name", NETWORKS)
def test_the_timed_operators_of_a_network_are_those_of_its_list(name: str) -> None:
    graph = skeleton(name)
    found = [_timed(graph, node) for node in graph.nodes if node.op in ("conv", "pool", "gemm")]
    assert found == [_listed(row) for row in rows_of(NETWORKS[name][1])]
    assert graph.inputs == ("input",)
    assert all(node.op != "onnx" for node in graph.nodes)


def test_how_the_branches_of_retinaface_meet() -> None:
    graph = skeleton("retinaface")
    assert [node.op for node in graph.consumers[graph.by_name["conv50"].output]].count("conv") == 3
    for level, shape in zip(("p2", "p3", "p4", "p5", "p6"), (160, 80, 40, 20, 10), strict=True):
        assert graph.tensor(f"boxes_{level}").shape == (1, 12, shape, shape)
        assert graph.tensor(f"scores_{level}").shape == (1, 6, shape, shape)
    context = graph.by_name["conv60"]
    assert {node.name for node in graph.consumers[context.output]} == {"conv61", "conv82"}
    assert [n.op for n in graph.consumers[graph.by_name["conv57"].output]] == ["concat"]


def test_posenet_joins_features_and_heat_maps() -> None:
    graph = skeleton("posenet")
    for stage, heat_maps in (("stage2", "conv19"), ("stage3", "conv26")):
        features, other = graph.by_name[stage].inputs
        assert graph.producer[features].name == "conv17"
        assert graph.producer[other].name == heat_maps


@pytest.mark.parametrize("name", NETWORKS)
def test_activations_neither_vanish_nor_explode_and_the_output_varies(name: str) -> None:
    model = models.onnx_model(name)
    outputs = [value.name for value in model.graph.output]
    weighted = [n.output[0] for n in model.graph.node if n.op_type in ("Conv", "Gemm", "ConvTranspose", "Add")]
    inner = [value for value in weighted if value not in outputs]
    model.graph.output.extend(onnx.ValueInfoProto(name=value) for value in inner)
    dims = model.graph.input[0].type.tensor_type.shape.dim
    shape = [dim.dim_value for dim in dims]
    if name != "vgg16":  # its fully connected layers fix the size; the others are quicker at half of it
        shape = [1, 3, shape[2] // 2, shape[3] // 2]
        for dim, size in zip(dims, shape, strict=True):
            dim.dim_value = size
        for value in model.graph.output:
            value.ClearField("type")
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    first, second = (
        session.run(None, {"input": np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)})
        for seed in (1, 2)
    )
    for value, a, b in zip([*outputs, *inner], first, second, strict=True):
        spread = a.std()
        assert 0.05 < spread < 50, value
        assert np.abs(a - b).mean() > 0.1 * spread, f"{value} hardly depends on the input"


def test_weights_are_the_same_every_time() -> None:
    assert models.load("fst").digest == models.load("fst").digest


def test_export_writes_what_load_reads(tmp_path: Path) -> None:
    path = tmp_path / "style.onnx"
    models.export("fst", path)
    onnx.checker.check_model(str(path), full_check=True)
    assert models.load(str(path)).digest == models.load("fst").digest
    assert models.original(path) == path
    assert models.original("fst") == path.read_bytes()
    with pytest.raises(FileError):
        models.export("fst", tmp_path / "no" / "such" / "folder.onnx")
    assert [p.name for p in tmp_path.iterdir()] == ["style.onnx"]
    with pytest.raises(InputError, match="the zoo has no network 'paper/fst'"):
        models.export("paper/fst", path)


# -- the packaged lists ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "operators"), list(zip(PAPER, (87, 27, 21, 34, 14), strict=True)))
def test_a_list_becomes_one_node_a_row(name: str, operators: int) -> None:
    graph = models.load(f"paper/{name}")
    assert len(graph) == operators
    assert not graph.executable
    assert not graph.constants
    assert [node.name for node in graph.nodes] == [row.name for row in rows_of(name)]
    assert [_timed(graph, node) for node in graph.nodes] == [_listed(row) for row in rows_of(name)]
    for node in graph.nodes:
        assert all(value in graph.weights for value in node.inputs[1:])


# The first and last rows of runs in which each row feeds the next: every chain of the paper's plans lies within one.
RUNS = {
    "retinaface": [(0, 50)],
    "yolov2": [(0, 25)],
    "vgg16": [(0, 17), (18, 20)],
    "posenet": [(0, 19), (20, 26), (27, 33)],
    "fst": [(0, 12)],
}


@pytest.mark.parametrize("name", PAPER)
def test_rows_that_feed_one_another_are_connected(name: str) -> None:
    graph = models.load(f"paper/{name}")
    fed = {(a, b) for a, b in pairwise(range(len(graph))) if graph.nodes[a].output in graph.nodes[b].inputs}
    expected = {pair for first, last in RUNS[name] for pair in pairwise(range(first, last + 1))}
    if name == "retinaface":  # behind the backbone: 60 feeds 61 and so on; 56 (P2) stands for the level that 57 reads
        assert {pair for pair in fed if pair[0] > 50} == {(56, 57), (60, 61), (65, 66), (70, 71), (75, 76), (80, 81)}
        fed = {pair for pair in fed if pair[0] <= 49}
    assert fed == expected


def test_branches_of_the_retinaface_list() -> None:
    graph = models.load("paper/retinaface")

    def readers(index: int) -> list[int]:
        return [int(node.name[:2]) for node in graph.consumers[graph.nodes[index].output]]

    assert {i: readers(i) for i in (50, 52, 54, 56, 60, 80)} == {
        50: [72, 73, 74], 52: [67, 68, 69], 54: [62, 63, 64], 56: [57, 58, 59], 60: [61, 82], 80: [81, 86],
    }  # fmt: skip
    assert [node.name for node in graph.consumers["77_in"]] == ["77_conv", "78_conv", "79_conv"]
    assert all(len(readers(index)) == 1 for index in range(50)), "chains of the paper cross these rows"
    assert graph.by_name["46_conv"].attributes["pads"] == (0, 1, 0, 1)


# -- lists that people write -------------------------------------------------------------------------------------


def test_a_list_of_ones_own(tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    path.write_text(f"# a comment\n{HEADER},groups\n0,conv,34,34,8,16,3,3,1,1,\n1,conv,34,34,16,16,3,3,1,1,16\n"
                    "2,pool,32,32,16,16,2,2,2,2,1\n3,fc,16,16,16,9,16,16,1,1,1\n4,fc,1,1,9,2,1,1,1,1,1\n")  # fmt: skip
    graph = models.load(path)
    assert graph.name == "mine"
    assert graph.inputs == ("00_in", "03_in")
    assert [node.op for node in graph.nodes] == ["conv", "conv", "pool", "gemm", "gemm"]
    assert graph.by_name["01_conv"].attributes["pads"] == (1, 1, 1, 1)
    assert graph.tensor(graph.by_name["01_conv"].inputs[1]).shape == (16, 1, 3, 3)
    assert graph.by_name["04_fc"].inputs[0] == "03_out"
    assert graph.tensor("03_in").shape == (1, 16 * 16 * 16)
    assert models.describe(path)["kind"] == "operator list"


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("0,conv,x,34,8,16,3,3,1,1", r"line 2, column in_h_padded: must be a whole number.*'x'"),
        ("0,conv,34,0,8,16,3,3,1,1", r"line 2, column in_w_padded: .*'0'"),
        ("0,conv,34,-3,8,16,3,3,1,1", r"column in_w_padded: .*'-3'"),
        ("0,conv,34,34,8,16,3,3,1.5,1", r"column stride_h: .*'1.5'"),
        ("1,conv,34,34,8,16,3,3,1,1", r"column op: must count the rows from 0.*'1'"),
        ("0,relu,34,34,8,16,3,3,1,1", r"column kind: must be one of conv, pool, fc \(given: 'relu'\)"),
        ("0,conv,34,34,8,16,35,3,1,1", r"column kernel_h: must be at most the padded input's 34 \(given: 35\)"),
        ("0,pool,34,34,8,16,2,2,1,1", r"column out_channels: must be in_channels, 8"),
        ("0,fc,7,7,8,16,1,7,1,1", r"column kernel_h: must be the whole input's 7"),
        ("0,conv,34,34,8,16,3,3,1", r"line 2: has 9 fields, the header has 10"),
        ("", "has no operators"),
    ],
)
def test_wrong_fields_are_named_with_their_line(row: str, message: str) -> None:
    with pytest.raises(SchemaError, match=message) as caught:
        parse_rows(f"{HEADER}\n{row}\n", "mine.csv")
    assert str(caught.value).startswith("mine.csv: ")


@pytest.mark.parametrize(
    ("reads", "message"),
    [
        ("2", "an earlier op"),
        ("soon", "an earlier op"),
        ("=1", "an earlier op"),
        ("=0", "of another size"),
        ("0", "makes 16x32x32, not 8x34x34"),
    ],
)
def test_wrong_connections_are_named(reads: str, message: str) -> None:
    text = f"{HEADER},reads\n0,conv,34,34,8,16,3,3,1,1,-\n1,conv,34,34,8,16,3,3,1,1,{reads}\n"
    text = text.replace("1,conv,34,34,8", "1,conv,34,35,8") if reads == "=0" else text
    with pytest.raises(SchemaError, match=rf"line 3, column reads: .*{message}"):
        parse_rows(text, "mine.csv")


def test_all_problems_of_a_list_come_at_once() -> None:
    with pytest.raises(SchemaError) as caught:
        parse_rows(f"{HEADER}\n0,conv,x,34,8,16,3,3,1,1\n1,relu,34,34,8,16,3,3,1,1\n", "mine.csv")
    assert [where for where, _ in caught.value.problems] == ["line 2, column in_h_padded", "line 3, column kind"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("op,kind\n0,conv\n", "column in_h_padded: is missing"),
        (f"{HEADER},colour\n", "column colour: unknown; allowed: op, kind"),
        (f"{HEADER},op\n", "column op: occurs twice"),
    ],
)
def test_wrong_headers(text: str, message: str) -> None:
    with pytest.raises(SchemaError, match=message):
        parse_rows(text, "mine.csv")


def test_a_row_that_does_not_fit_the_one_before_has_its_own_input() -> None:
    text = f"{HEADER}\n0,conv,34,34,8,16,3,3,1,1\n1,conv,35,34,16,16,3,3,1,1\n2,conv,34,34,8,4,3,3,1,1\n"
    rows = parse_rows(text, "x")
    graph = list_graph(rows, "x")
    assert graph.inputs == ("00_in", "01_in", "02_in")
    assert graph.outputs == ("00_out", "01_out", "02_out")


# -- names -------------------------------------------------------------------------------------------------------


def test_every_name_is_described_and_loads() -> None:
    described = {name: models.describe(name) for name in models.names()}
    assert {"yolov2", "paper/yolov2"} <= set(described)
    for name, facts in described.items():
        assert facts["name"] == name
        assert facts["operators"] >= 11
        assert facts["inputs"]
    # Published complexity: VGG-16 takes 15.5 G multiply-accumulates and 138 M weights.
    assert described["vgg16"]["gflop"] == pytest.approx(30.95, abs=0.05)
    assert described["vgg16"]["weights_mb"] == pytest.approx(4 * 138.36, abs=0.1)
    assert described["paper/vgg16"]["gflop"] == described["vgg16"]["gflop"]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("yolo2", "did you mean 'yolov2'.*known: retinaface, yolov2.*paper/vgg16"),
        ("paper/yolo", "did you mean 'paper/yolov2'"),
        ("somewhere/model", "no model is called 'somewhere/model'"),
    ],
)
def test_unknown_names(name: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        models.load(name)


def test_files_by_their_suffix(tmp_path: Path) -> None:
    for name in ("missing.onnx", "missing.csv"):
        with pytest.raises(FileError, match="no such file"):
            models.load(str(tmp_path / name))
    other = tmp_path / "model.tflite"
    other.touch()
    with pytest.raises(InputError, match=r"ends in \.onnx .* or \.csv"):
        models.load(str(other))


def test_shapes_are_for_networks_that_leave_them_open() -> None:
    with pytest.raises(InputError, match="an operator list has fixed sizes"):
        models.load("paper/fst", {"00_in": (1, 3, 8, 8)})
    with pytest.raises(ModelError, match="contradicts the model's 1x3x480x640"):
        models.load("fst", {"input": (1, 3, 8, 8)})


def test_a_list_has_no_original() -> None:
    with pytest.raises(InputError, match="operator list"):
        models.original("paper/fst")
