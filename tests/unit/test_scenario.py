"""Scenario files: packaged ones, ones of the user, and the messages about wrong ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from codl import hardware
from codl.errors import FileError, SchemaError
from codl.scenario import Scenario, load, names

PAPER = tuple(f"paper/{name}" for name in ("retinaface", "yolov2", "vgg16", "posenet", "fst"))
PHONES = ("sd855", "sd865", "sd888", "kirin990")
MINIMAL = {"name": "mine", "models": ["yolov2"], "hardware": "sd865", "planners": ["codl"]}


def write(folder: Path, text: str) -> Path:
    path = folder / "mine.yaml"
    path.write_text(text)
    return path


def test_the_packaged_scenarios_are_found_by_name():
    assert set(names()) >= {*PHONES, "host"}
    for name in names():
        assert load(name).name == name


@pytest.mark.parametrize("phone", PHONES)
def test_a_phone_scenario_has_the_papers_networks_planners_and_latencies(phone):
    scenario = load(phone)
    assert scenario.models == PAPER
    assert scenario.planners == ("cpu", "gpu", "mulayer", "codl", "ideal")
    assert scenario.hardware in hardware.names()
    assert scenario.published is not None and "10.1145/3498361.3538932" in scenario.published.source
    for model in PAPER:
        codl, cpu, gpu = (scenario.published_ms(model, planner) for planner in ("codl", "cpu", "gpu"))
        assert codl is not None and cpu is not None and gpu is not None
        assert codl < min(cpu, gpu)  # co-execution beat either processor on all 20
        assert scenario.published_ms(model, "mulayer") is None


def test_a_path_below_scenarios_names_the_packaged_file_from_anywhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert load("scenarios/sd865.yaml") == load("sd865")


def test_the_main_job_is_yolov2_on_this_machine():
    scenario = load("host")
    assert (scenario.models, scenario.hardware, scenario.planners) == (("yolov2",), "host", ("codl",))
    assert scenario.published_ms("yolov2", "codl") is None


def test_a_file_of_the_user_with_everything(tmp_path):
    (tmp_path / "net.onnx").touch()
    path = write(
        tmp_path,
        "name: mine\nmodels: [net.onnx, vgg16, gone.onnx]\nhardware: sd865\nplanners: [optimal]\ndata_type: buffer\n"
        "shapes: {image: [1, 3, 64, 64]}\nset: [gpu.frequency=500MHz]\n"
        "published: {source: me, latency_ms: {optimal: {vgg16: 12.5}}}\n",
    )
    scenario = load(path)
    assert scenario.models == (str(tmp_path / "net.onnx"), "vgg16", "gone.onnx")
    assert scenario.shapes == {"image": (1, 3, 64, 64)}
    assert scenario.set == ("gpu.frequency=500MHz",)
    assert scenario.data_type == "buffer"
    assert scenario.published_ms("vgg16", "optimal") == 12.5


def test_unknown_names_list_the_known_ones():
    with pytest.raises(FileError, match=r"sd866: no such scenario; known: .*sd865"):
        load("sd866")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileError, match=r"none\.yaml: no such file"):
        load(tmp_path / "none.yaml")


@pytest.mark.parametrize(
    ("text", "messages"),
    [
        ("[1, 2]", ["must be a mapping"]),
        ("name: [", ["is not YAML"]),
        (
            "name: a\nmodel: [x]\n",
            ["model: unknown field", "models: is missing", "hardware: is missing", "planners: is missing"],
        ),
    ],
)
def test_all_problems_of_a_file_are_told_at_once(tmp_path, text, messages):
    with pytest.raises((FileError, SchemaError)) as caught:
        load(write(tmp_path, text))
    for message in messages:
        assert message in str(caught.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"planners": ["magic"]}, "'hybrid'"),
        ({"planners": []}, "planners"),
        ({"models": ["a", "a"]}, "'a' is listed twice"),
        ({"data_type": "texture"}, "'image' or 'buffer'"),
        ({"shapes": {"x": [1, 0]}}, "is not a shape"),
        ({"published": {"source": "me", "latency_ms": {"codl": {"vgg16": 1.0}}}}, "'vgg16' is not one of models: yolo"),
        ({"published": {"source": "me", "latency_ms": {"codl": {"yolov2": -1.0}}}}, "must be positive"),
        ({"published": {"source": "me", "latency_ms": {"codle": {"yolov2": 1.0}}}}, "published.latency_ms.codle"),
    ],
)
def test_wrong_values_are_refused_by_name(tmp_path, change, message):
    from codl.documents import validate

    with pytest.raises(SchemaError, match=message):
        validate(Scenario, {**MINIMAL, **change}, tmp_path / "mine.yaml")
