"""The command line's contract: exit codes, JSON keys, one clear message for every mistake, nothing half-written."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from codl.cli.app import COMMANDS
from tests.conftest import Outcome

Codl = Callable[..., Outcome]
RUN_KEYS = {
    "model", "hardware", "planner", "data_type", "latency_ms", "throughput_per_s", "energy_j", "average_power_w",
    "peak_memory_mb", "compute_ms", "sharing_ms", "cpu_busy", "gpu_busy", "chains", "split_operators", "planning_ms",
}  # fmt: skip


@pytest.mark.parametrize(
    "command", ["models", "hardware", "plan", "simulate", "execute", "compare", "calibrate", "predict", "fit"]
)
def test_help_shows_an_example(codl: Codl, command: str) -> None:
    outcome = codl(command, "--help")
    assert outcome.code == 0
    assert "codl " + command in outcome.out


def test_the_list_of_commands_says_what_each_says_itself(codl: Codl) -> None:
    listed = " ".join(codl("--help").out.replace("│", " ").split())
    for name, (_, summary) in COMMANDS.items():
        assert f"{name} {summary}" in listed
        assert summary in " ".join(codl(name, "--help").out.split())
    assert "Did you mean 'simulate'?" in " ".join(codl("simulat").err.replace("│", " ").split())


def test_the_list_of_commands_imports_no_command() -> None:
    code = """
import sys
from codl.cli import main
sys.argv = ["codl", "--help"]
try:
    main()
finally:
    slow = {"numpy", "onnx", "pydantic", "pint", "jinja2", "simpy", "pyopencl"}
    print(sorted(slow & set(sys.modules)), file=sys.stderr)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "[]"


def test_simulate_prints_every_contracted_key(codl: Codl) -> None:
    outcome = codl("simulate", "--model", "paper/yolov2", "--hardware", "sd865", "--planner", "codl", "--json")
    assert outcome.code == 0
    (run,) = outcome.json["runs"]
    assert set(run) >= RUN_KEYS
    assert run["latency_ms"] > 0 and run["split_operators"] > 0


def test_phone_scenario_compares_with_what_was_published(codl: Codl) -> None:
    runs = codl("simulate", "sd865", "--json").json["runs"]
    assert {(r["model"], r["planner"]) for r in runs} >= {
        (f"paper/{m}", p)
        for m in ("retinaface", "yolov2", "vgg16", "posenet", "fst")
        for p in ("cpu", "gpu", "mulayer", "codl", "ideal")
    }
    codl_runs = [r for r in runs if r["planner"] == "codl"]
    assert all(
        r["error"] == pytest.approx((r["latency_ms"] - r["published_ms"]) / r["published_ms"]) for r in codl_runs
    )


def test_overrides_change_the_prediction(codl: Codl) -> None:
    base = ("simulate", "--model", "paper/vgg16", "--hardware", "sd865", "--planner", "gpu", "--json")
    nominal = codl(*base).json["runs"][0]["latency_ms"]
    halved = codl(*base, "--set", "gpu.frequency=200MHz").json["runs"][0]["latency_ms"]
    assert halved > 1.5 * nominal


def test_a_plan_file_is_replayed_unchanged(codl: Codl, tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    assert codl("plan", "paper/yolov2", "--hardware", "sd865", "-o", path).code == 0
    direct = codl("simulate", "--model", "paper/yolov2", "--hardware", "sd865", "--json").json["runs"][0]
    replayed = codl("simulate", "--plan", path, "--json").json["runs"][0]
    assert replayed["latency_ms"] == direct["latency_ms"]


def test_trace_opens_as_chrome_json(codl: Codl, tmp_path: Path) -> None:
    path = tmp_path / "trace.json"
    assert codl("simulate", "--model", "paper/vgg16", "--hardware", "sd855", "--trace", path).code == 0
    events = json.loads(path.read_text())["traceEvents"]
    assert {e["ph"] for e in events} >= {"M", "X"}
    assert {e["args"]["name"] for e in events if e["name"] == "thread_name"} >= {"host", "cpu", "gpu"}


MISTAKES = [
    (("simulate",), "give one of"),
    (("simulate", "no-such-phone"), "no-such-phone"),
    (("simulate", "--model", "paper/yolov2"), "--hardware"),
    (("simulate", "--model", "yolo9000", "--hardware", "sd865"), "yolov2"),
    (("simulate", "--model", "paper/yolov2", "--hardware", "sd866"), "sd865"),
    (("simulate", "--model", "paper/yolov2", "--hardware", "sd865", "--planner", "magic"), "hybrid"),
    (("simulate", "--model", "paper/yolov2", "--hardware", "sd865", "--set", "gpu.colour=red"), "gpu.colour"),
    (("simulate", "--model", "paper/yolov2", "--hardware", "sd865", "--set", "gpu.frequency=500"), "unit"),
    (("simulate", "--model", "paper/yolov2", "--hardware", "sd865", "--data-type", "texture"), "texture"),
    (("simulate", "--plan", "missing.json"), "missing.json: no such file"),
    (("execute", "--model", "paper/yolov2"), "operator list"),
    (("execute", "--model", "yolov2", "--check", "tensorflow"), "onnxruntime"),
    (("plan", "missing.onnx", "--hardware", "sd865"), "missing.onnx: no such file"),
    (("plan", "paper/yolov2", "--hardware", "sd865", "-o", "missing/plan.json"), "missing/plan.json"),
    (("compare", "--sim", "a.json"), "--real"),
    (("compare", "host", "--fail-above", "lots"), "--fail-above lots"),
    (("compare", "host", "--hardware", "sd865"), "does not describe this machine"),
    (("plan", "paper/yolov2", "--hardware", "sd865", "--shape", "x=0x3"), "--shape x=0x3"),
    (("predict", "missing.csv", "--hardware", "sd865", "--processor", "gpu"), "missing.csv"),
]


@pytest.mark.parametrize(
    ("arguments", "names"), MISTAKES, ids=lambda value: " ".join(value) if isinstance(value, tuple) else ""
)
def test_a_mistake_gets_one_message_and_exit_code_2(codl: Codl, arguments: tuple[str, ...], names: str) -> None:
    outcome = codl(*arguments)
    assert outcome.code == 2
    assert names in outcome.err
    assert outcome.out == ""


def test_unknown_device_is_exit_code_3(codl: Codl) -> None:
    outcome = codl("execute", "--model", "yolov2", "--gpu", "voodoo:0")
    assert outcome.code == 3
    assert "voodoo:0" in outcome.err


def test_a_broken_plan_names_every_wrong_field(codl: Codl, tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    codl("plan", "paper/yolov2", "--hardware", "sd865", "-o", path)
    plan = json.loads(path.read_text())
    plan["sharing"] = "telepathy"
    plan["chains"][0]["shares"] = {"gpu": 0.7}
    plan["colour"] = "red"
    path.write_text(json.dumps(plan))
    outcome = codl("simulate", "--plan", path)
    assert outcome.code == 2
    for field in ("sharing", "chains.0", "colour: unknown field"):
        assert field in outcome.err


def test_a_plan_for_another_model_or_hardware_is_refused(codl: Codl, tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    codl("plan", "paper/yolov2", "--hardware", "sd865", "-o", path)
    assert "sd855" in codl("simulate", "--plan", path, "--hardware", "sd855").err
    plan = json.loads(path.read_text())
    plan["model"]["name"] = "paper/vgg16"
    path.write_text(json.dumps(plan))
    outcome = codl("simulate", "--plan", path)
    assert outcome.code == 2
    assert "made for paper/vgg16" in outcome.err or "plan this model anew" in outcome.err


def test_a_broken_hardware_file_names_every_wrong_field(codl: Codl, tmp_path: Path) -> None:
    text = codl("hardware", "show", "sd865", "--json").out
    data = json.loads(text)
    data["memory"]["bandwidth"] = "12 apples"
    data["flavour"] = "vanilla"
    path = tmp_path / "bad.yaml"
    path.write_text(json.dumps(data))
    outcome = codl("simulate", "--model", "paper/yolov2", "--hardware", path)
    assert outcome.code == 2
    assert "memory.bandwidth" in outcome.err and "flavour: unknown field" in outcome.err


def test_an_uncalibrated_hardware_file_is_refused_by_name(codl: Codl, tmp_path: Path) -> None:
    data = json.loads(codl("hardware", "show", "sd865", "--json").out)
    library = data["libraries"][data["library"]]["kernels"]
    library["cpu"] = {}
    path = tmp_path / "uncalibrated.yaml"
    path.write_text(json.dumps(data))
    outcome = codl("simulate", "--model", "paper/yolov2", "--hardware", path)
    assert outcome.code == 2
    assert "cpu" in outcome.err and "calibrat" in outcome.err
