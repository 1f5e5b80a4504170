"""Input shapes, files and external data: one clear error for each thing that can be wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from onnx import TensorProto, numpy_helper

from codl.errors import FileError, ModelError
from codl.onnx_reader import read
from tests.onnx_models import model_of, node, normal

pytestmark = pytest.mark.usefixtures("seeded_models")


SYMBOLIC = model_of([node("Relu", "x", "y")], {"x": ["n", 3, "side", "side"]}, ["y"])


def test_a_symbolic_shape_needs_numbers() -> None:
    with pytest.raises(ModelError, match=r"'x' has the symbolic shape nx3xsidexside.*--shape x=1x3x640x640"):
        read(SYMBOLIC)
    assert read(SYMBOLIC, {"x": (2, 3, 8, 8)}).tensor("y").shape == (2, 3, 8, 8)


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        ({"z": (1, 3, 8, 8)}, "no input is called 'z'; inputs: x"),
        ({"x": (1, 3, 8)}, "3 axes, the model's has 4"),
        ({"x": (1, 4, 8, 8)}, r"contradicts the model's nx3xsidexside \(axis 1 is 3\)"),
        ({"x": (1, 3, 8, 9)}, "gives side two sizes, 8 and 9"),
        ({"x": (0, 3, 8, 8)}, "at least 1"),
    ],
)
def test_shapes_that_contradict_the_model(shapes: dict[str, tuple[int, ...]], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        read(SYMBOLIC, shapes)


def test_the_shape_of_a_constant_cannot_be_chosen() -> None:
    model = model_of([node("Add", "x c", "y")], {"x": [2]}, ["y"], {"c": normal(2)})
    with pytest.raises(ModelError, match="'c' is a constant"):
        read(model, {"c": (3,)})


def test_files_that_are_no_models(tmp_path: Path) -> None:
    text, empty, half = tmp_path / "text.onnx", tmp_path / "empty.onnx", tmp_path / "half.onnx"
    text.write_text("this is not a model")
    empty.touch()
    half.write_bytes(SYMBOLIC.SerializeToString()[:-20])
    for path, error in ((text, FileError), (empty, FileError), (half, (FileError, ModelError)), (tmp_path, FileError)):
        with pytest.raises(error, match=r"ONNX|is a folder") as caught:
            read(path)
        assert str(path) in str(caught.value)
    with pytest.raises(FileError, match="no such file"):
        read(tmp_path / "missing.onnx")


def test_a_model_that_the_checker_refuses() -> None:
    with pytest.raises(ModelError, match=r"not a valid ONNX model.*NoSuchOperator"):
        read(model_of([node("NoSuchOperator", "x", "y")], {"x": [1]}, ["y"]))


def test_broken_initialiser() -> None:
    model = model_of([node("Add", "x c", "y")], {"x": [2]}, ["y"], {"c": normal(2)})
    model.graph.initializer[0].raw_data = b"\0" * 6
    with pytest.raises(ModelError, match="initialiser 'c' are broken"):
        read(model)


def test_a_name_that_is_not_text(tmp_path: Path) -> None:
    path = tmp_path / "bad.onnx"
    model = model_of([node("Add", "x weights", "y")], {"x": [2]}, ["y"], {"weights": normal(2)})
    path.write_bytes(model.SerializeToString().replace(b"weights", b"\xcfeights"))
    with pytest.raises(ModelError, match=r"bad.onnx: is not a valid ONNX model"):
        read(path)


def test_a_node_that_does_not_fit_its_inputs() -> None:
    model = model_of([node("MatMul", "x w", "y", "bad")], {"x": [1, 3]}, ["y"], {"w": normal(4, 5)})
    with pytest.raises(ModelError, match=r"bad \(MatMul, operator set 17\) does not fit"):
        read(model)


@pytest.mark.parametrize(
    ("weights", "bias", "attributes"),
    [
        ((4, 5, 3, 3), 4, {}),
        ((4, 3, 3, 3), 5, {}),
        ((4, 1, 3, 3), 4, {"group": 3}),
        ((4, 3, 3, 3), 4, {"kernel_shape": [1, 1]}),
    ],
)
def test_weights_that_do_not_fit(weights: tuple[int, ...], bias: int, attributes: dict[str, Any]) -> None:
    constants = {"w": normal(*weights), "b": normal(bias)}
    model = model_of([node("Conv", "x w b", "y", "bad", **attributes)], {"x": [1, 3, 8, 8]}, ["y"], constants)
    with pytest.raises(ModelError, match=r"bad \(Conv, operator set 17\) does not fit its inputs"):
        read(model)


def _external(folder: Path, location: str) -> Path:
    weights = numpy_helper.from_array(normal(4, 3, 3, 3), "w")
    path = folder / "model.onnx"
    (folder / "w.bin").write_bytes(weights.raw_data)
    weights.ClearField("raw_data")
    weights.data_location = TensorProto.EXTERNAL
    weights.external_data.add(key="location", value=location)
    model = model_of([node("Conv", "x w", "y")], {"x": [1, 3, 8, 8]}, ["y"])
    model.graph.initializer.append(weights)
    path.write_bytes(model.SerializeToString())
    return path


def test_external_data_comes_from_the_models_folder(tmp_path: Path) -> None:
    graph = read(_external(tmp_path, "w.bin"))
    assert graph.constants["w"].tobytes() == (tmp_path / "w.bin").read_bytes()
    assert graph.name == "model"


@pytest.mark.parametrize(
    ("location", "message"),
    [("../w.bin", "outside the model's"), ("/etc/hostname", "outside"), ("none.bin", "No such"), ("", "outside")],
)
def test_external_data_elsewhere_is_refused(tmp_path: Path, location: str, message: str) -> None:
    with pytest.raises(FileError, match=message):
        read(_external(tmp_path, location))


def test_external_data_through_a_link_out_of_the_folder_is_refused(tmp_path: Path) -> None:
    inside = tmp_path / "inside"
    inside.mkdir()
    (tmp_path / "secret.bin").write_bytes(b"\0" * 432)
    path = _external(inside, "link.bin")
    (inside / "link.bin").symlink_to(tmp_path / "secret.bin")
    with pytest.raises(FileError, match="outside the model's folder"):
        read(path)


def test_external_data_that_ends_early(tmp_path: Path) -> None:
    path = _external(tmp_path, "w.bin")
    (tmp_path / "w.bin").write_bytes(b"\0" * 8)
    with pytest.raises(ModelError, match="initialiser 'w' are broken"):
        read(path)
