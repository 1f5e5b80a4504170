"""What a stranger's file must not do: run code, read other files, exhaust memory, hang, or end in a traceback."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from codl import models
from codl.cli.executing import read_arrays
from codl.errors import FileError, InputError, ModelError, SchemaError
from codl.hardware import load, overrides
from codl.io import read_json, read_text, read_yaml
from codl.limits import LIMITS, limit
from codl.onnx_reader import read
from codl.units import parse
from tests.fuzzing import READERS, attempt, readers
from tests.fuzzing.documents import COLUMNS


@pytest.mark.parametrize("reader", READERS)
def test_readers_answer_hostile_inputs_with_one_message(reader: str, tmp_path: Path) -> None:
    """A small part of what tools/fuzz.py does."""
    answers = [attempt(reader, seed, tmp_path) for seed in range(25)]
    assert sum(answer is not None for answer in answers) >= 10


@pytest.mark.parametrize("reader", READERS)
def test_readers_take_the_inputs_that_hostile_ones_are_made_of(reader: str, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(readers, "mutated_bytes", lambda data, rng: data)
    monkeypatch.setattr(readers, "mutated_values", lambda document, rng: document)
    monkeypatch.setattr(readers, "mutated_model", lambda model, rng: model.SerializeToString())
    if reader == "settings":
        pytest.skip("its cases are made of wrong values")
    assert attempt(reader, 0, tmp_path) is None


@pytest.mark.parametrize(
    "text", ["gpu.frequency=" + "a" * 9000, "b" * 9000, "c" * 9000 + "=1", "gpu.frequency=" + "9" * 9000]
)
def test_a_message_quotes_no_more_than_anybody_reads(text: str) -> None:
    with pytest.raises(InputError) as refused:
        overrides(load("sd865"), [text])
    assert len(str(refused.value)) < 2000


@pytest.mark.parametrize("name", ["net.csv" + "9" * 4000, "net.bin" + "9" * 300, "net\0.bin"])
def test_a_name_that_no_file_can_have_is_no_model(name: str) -> None:
    with pytest.raises(InputError, match="no model is called"):
        models.load(name)


# -- YAML, JSON, CSV ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: &x [1]\nb: *x\n", "aliases"),
        ("a: &x\n  b: *x\n", "aliases"),  # contains itself
        ("a: &x {k: 1}\nb: {<<: [*x, *x]}\n", "aliases"),
        ("!!python/object/apply:os.system ['true']", "is not YAML"),
        ("a: !!python/name:os.system\n", "is not YAML"),
        ("[" * 100 + "]" * 100, "nested too deeply"),
        ("[" * 100_000, "nested too deeply"),
        ("a: 2020-02-31\n", "is not YAML"),
    ],
)
def test_yaml_holds_plain_data_only(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "x.yaml"
    path.write_text(text)
    with pytest.raises(FileError, match=message):
        read_yaml(path)


@pytest.mark.parametrize("text", ["[" * 100 + "]" * 100, "[" * 100_000, "NaN", "[Infinity]", "9" * 5000, "{", "\ud800"])
def test_json_holds_finite_numbers_and_little_nesting(tmp_path: Path, text: str) -> None:
    path = tmp_path / "x.json"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    with pytest.raises(FileError):
        read_json(path)


def test_files_beyond_a_limit_are_refused_by_its_name(tmp_path: Path, monkeypatch: Any) -> None:
    path = tmp_path / "x.yaml"
    path.write_text("a: " + "b" * 2000)
    monkeypatch.setenv("CODL_MAX_YAML_MB", "0.001")
    with pytest.raises(FileError, match=r"too large; the limit is 0\.001 MB \(CODL_MAX_YAML_MB\)"):
        read_yaml(path)
    assert read_text(path)
    monkeypatch.setenv("CODL_MAX_YAML_MB", "plenty")
    with pytest.raises(InputError, match="CODL_MAX_YAML_MB=plenty: must be a positive number of MB"):
        read_yaml(path)


def test_devices_are_not_read(tmp_path: Path) -> None:
    for path in (Path("/dev/zero"), tmp_path, tmp_path / "gone", "a\0b"):
        with pytest.raises(FileError):
            read_text(path)


def test_a_quantity_is_a_number_and_a_unit_not_a_formula() -> None:
    assert parse("1.5e3 us", "second") == pytest.approx(1.5e-3)
    for text in ("9**9**9 s", "10**10**10 s", "2 s + 3 s", "(1 s)", "s", "1 s**2", "1e9999 s", "9" * 400 + " s"):
        with pytest.raises(ValueError, match=r"not a quantity|wrong unit|no unit"):
            parse(text, "second")


@pytest.mark.parametrize("text", ['kind,"x\n', "kind\0,a\n1,2\n", "a" * 200_000 + ",b\n1,2\n", "kind,in_h\nconv\n"])
def test_a_broken_table_is_told_by_its_line(tmp_path: Path, text: str) -> None:
    from codl.cost.tables import read_rows

    path = tmp_path / "t.csv"
    path.write_text(text)
    with pytest.raises((FileError, SchemaError), match=r"t\.csv"):
        read_rows(path)


# -- ONNX --------------------------------------------------------------------------------------------------------------


def relu(tensor: onnx.TensorProto, shape: tuple[int, ...] = (4,)) -> onnx.ModelProto:
    """output = relu(input) + tensor."""
    nodes = [helper.make_node("Relu", ["x"], ["r"]), helper.make_node("Add", ["r", tensor.name], ["y"])]
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes, "g", [value("x", TensorProto.FLOAT, shape)], [value("y", TensorProto.FLOAT, None)], [tensor]
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def external(location: str, **entries: int) -> onnx.ModelProto:
    tensor = onnx.TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[4])
    tensor.data_location = TensorProto.EXTERNAL
    for key, text in {"location": location, **entries}.items():
        tensor.external_data.add(key=key, value=str(text))
    return relu(tensor)


def test_external_data_stays_in_the_models_folder(tmp_path: Path) -> None:
    home, outside = tmp_path / "home", tmp_path / "secret.bin"
    home.mkdir()
    outside.write_bytes(np.ones(4, np.float32).tobytes())
    (home / "link.bin").symlink_to(outside)
    (home / "folder").symlink_to(tmp_path)
    os.mkfifo(home / "pipe")
    (home / "good.bin").write_bytes(np.full(4, 2, np.float32).tobytes())
    path = home / "net.onnx"
    for location in (
        "../secret.bin",
        str(outside),
        "link.bin",
        "folder/secret.bin",
        "x/../../secret.bin",
        "",
        "pipe",
        ".",
    ):
        path.write_bytes(external(location).SerializeToString())
        with pytest.raises(FileError, match=r"net\.onnx: tensor 'w'"):
            read(path)
    path.write_bytes(external("good.bin").SerializeToString())
    assert read(path).constants["w"].tolist() == [2, 2, 2, 2]
    path.write_bytes(external("good.bin", offset=8, length=16).SerializeToString())
    with pytest.raises(FileError, match="ends before its data"):
        read(path)


def test_a_sparse_tensor_has_no_external_data(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)  # where ONNX would look for it
    (tmp_path / "secret.bin").write_bytes(np.ones(1, np.float32).tobytes())
    model = relu(onnx.numpy_helper.from_array(np.zeros(4, np.float32), "w"))
    values = onnx.TensorProto(name="s", data_type=TensorProto.FLOAT, dims=[1], data_location=TensorProto.EXTERNAL)
    values.external_data.add(key="location", value="secret.bin")
    indices = onnx.numpy_helper.from_array(np.array([1]), "i")
    model.graph.sparse_initializer.append(onnx.SparseTensorProto(values=values, indices=indices, dims=[4]))
    with pytest.raises(ModelError, match="sparse tensor 's' has external data"):
        read(model)


def test_declared_sizes_are_checked_before_anything_is_allocated(monkeypatch: Any) -> None:
    big = onnx.TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[2**20, 2**20])
    with pytest.raises(ModelError, match=r"tensor 'w' has 1099511627776 elements; .*CODL_MAX_TENSOR_ELEMENTS"):
        read(relu(big))
    small = onnx.numpy_helper.from_array(np.zeros(1, np.float32), "w")
    with pytest.raises(ModelError, match=r"tensor 'x' has \d+ elements"):
        read(relu(small, (2**20, 2**20)))
    with pytest.raises(ModelError, match="negative size"):
        read(relu(onnx.TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[-4])))
    sparse = relu(small)
    values, indices = (
        onnx.numpy_helper.from_array(np.ones(1, np.float32), "s"),
        onnx.numpy_helper.from_array(np.array([1])),
    )
    sparse.graph.sparse_initializer.append(onnx.SparseTensorProto(values=values, indices=indices, dims=[2**40]))
    with pytest.raises(ModelError, match="tensor 's' has"):
        read(sparse)
    monkeypatch.setenv("CODL_MAX_OPERATORS", "1")
    with pytest.raises(ModelError, match=r"has 2 nodes; the limit is 1 operators \(CODL_MAX_OPERATORS\)"):
        read(relu(small))


def test_an_endless_loop_is_given_up(monkeypatch: Any) -> None:
    monkeypatch.setenv("CODL_MAX_FOLDING_S", "0.2")
    value = helper.make_tensor_value_info
    body = helper.make_graph(
        [helper.make_node("Identity", ["go"], ["on"]), helper.make_node("Neg", ["state"], ["next"])],
        "body",
        [value("i", TensorProto.INT64, []), value("go", TensorProto.BOOL, []), value("state", TensorProto.FLOAT, [4])],
        [value("on", TensorProto.BOOL, []), value("next", TensorProto.FLOAT, [4])],
    )
    model = relu(onnx.numpy_helper.from_array(np.zeros(4, np.float32), "w"))
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.array(True), "true"))
    loop = helper.make_node("Loop", ["", "true", "w"], ["looped"], body=body)
    model.graph.node.insert(0, loop)
    model.graph.node[2].input[1] = "looped"
    with pytest.raises(ModelError, match=r"takes too long to become a constant; .*CODL_MAX_FOLDING_S"):
        read(model)


def test_an_operator_list_of_giants_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "net.csv"
    path.write_text(f"{COLUMNS}\n0,conv,999999999,999999999,999999999,1,1,1,1,1\n")
    with pytest.raises(ModelError, match="CODL_MAX_TENSOR_ELEMENTS"):
        models.load(str(path))


# -- arrays, and what is written ---------------------------------------------------------------------------------------


def test_pickled_and_huge_arrays_are_refused(tmp_path: Path, monkeypatch: Any) -> None:
    path = tmp_path / "x.npz"
    np.savez(path, x=np.array([{"a": 1}], dtype=object))
    with pytest.raises(FileError, match="plain arrays"):
        read_arrays(path)
    np.savez_compressed(path, x=np.zeros(1_000_000))
    monkeypatch.setenv("CODL_MAX_ARRAYS_MB", "1")
    assert path.stat().st_size < 100_000
    with pytest.raises(FileError, match=r"unpacks to 8 MB; the limit is 1 MB"):
        read_arrays(path)


def test_a_plan_reads_no_device_and_writes_nothing(codl: Any, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    assert codl("plan", "paper/yolov2", "--hardware", "sd865", "-o", "plan.json").code == 0
    plan = json.loads(Path("plan.json").read_text())
    for change in (
        {"hardware": {**plan["hardware"], "name": "/dev/zero"}},
        {"model": {**plan["model"], "name": "../x.onnx"}},
    ):
        Path("plan.json").write_text(json.dumps(plan | change))
        assert codl("simulate", "--plan", "plan.json").code == 2
    assert [path.name for path in tmp_path.iterdir()] == ["plan.json"]


def test_every_limit_is_documented() -> None:
    text = (Path(__file__).parents[2] / "docs" / "safety.md").read_text(encoding="utf-8")
    for name, entry in LIMITS.items():
        assert f"`CODL_MAX_{name}`" in text and entry.meaning in text
        assert limit(name) == entry.default > 0
