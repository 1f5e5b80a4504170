"""`codl execute`, `codl compare` and the Python API on this machine."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import codl as package
from codl.errors import InputError
from codl.hardware import Hardware
from tests.conftest import Outcome

Codl = Callable[..., Outcome]


@pytest.mark.parametrize("planner", ["cpu", "gpu", "h", "oc", "hybrid", "codl"])
def test_a_real_network_is_right_under_every_planner(
    codl: Codl, host: Hardware, retinaface: Path, planner: str
) -> None:
    outcome = codl(
        "execute", "--model", retinaface, "--shape", "input=1x3x160x160", "--planner", planner, "--runs", "2",
        "--check", "onnxruntime", "--json",
    )  # fmt: skip
    assert outcome.code == 0, outcome.err
    (run,) = outcome.json["runs"]
    assert run["max_relative_error"] < 1e-4
    assert len(run["runs_ms"]) == 2
    if planner in ("cpu", "gpu"):  # whether the others split anything depends on what was measured just now
        assert run["split_operators"] == 0


def test_symbolic_sizes_ask_for_a_shape(codl: Codl, host: Hardware, retinaface: Path) -> None:
    outcome = codl("execute", "--model", retinaface)
    assert outcome.code == 2
    assert "--shape input=" in outcome.err


def test_prediction_and_measurement_of_one_plan_compare(
    codl: Codl, host: Hardware, retinaface: Path, tmp_path: Path
) -> None:
    plan, sim, real = tmp_path / "plan.json", tmp_path / "sim.json", tmp_path / "real.json"
    shape = ("--shape", "input=1x3x160x160")
    assert codl("plan", retinaface, "--hardware", "host", *shape, "-o", plan).code == 0
    assert codl("simulate", "--plan", plan, "--trace", sim).code == 0
    assert codl("execute", "--plan", plan, "--runs", "3", "--trace", real).code == 0
    outcome = codl("compare", "--sim", sim, "--real", real, "--json")
    assert outcome.code == 0, outcome.err
    (row,) = outcome.json["models"]
    assert row["error"] == pytest.approx(row["simulated_ms"] / row["measured_ms"] - 1)
    assert row["error"] == pytest.approx(row["duration_error"] + row["scheduling_error"])
    assert codl("compare", "--sim", sim, "--real", real, "--fail-above", "0%").code == 1
    assert codl("compare", "--sim", real, "--real", sim).code == 2


def test_outputs_are_written_and_inputs_read(codl: Codl, host: Hardware, retinaface: Path, tmp_path: Path) -> None:
    image = np.random.default_rng(1).standard_normal((1, 3, 96, 96), dtype=np.float32)
    np.savez(tmp_path / "in.npz", input=image)
    arguments = ("execute", "--model", retinaface, "--shape", "input=1x3x96x96", "--planner", "hybrid", "--runs", "1")
    outcome = codl(*arguments, "--input", tmp_path / "in.npz", "--output", tmp_path / "out.npz")
    assert outcome.code == 0, outcome.err
    with np.load(tmp_path / "out.npz") as written:
        assert set(written.files) == {"loc", "conf", "landmarks"}
        session = package.load(retinaface, planner="cpu", shapes={"input": (1, 3, 96, 96)})
        for name, array in zip(session.output_names, session.run({"input": image}), strict=True):
            np.testing.assert_allclose(written[name], array, rtol=1e-3, atol=1e-4)
    with pytest.raises(InputError, match="input"):
        session.run({"image": image})
    with pytest.raises(InputError, match="96"):
        session.run({"input": image[:, :, :50]})


def test_a_broken_input_archive_is_named(codl: Codl, host: Hardware, retinaface: Path, tmp_path: Path) -> None:
    (tmp_path / "in.npz").write_bytes(b"not an archive")
    arguments = ("execute", "--model", retinaface, "--shape", "input=1x3x96x96")
    outcome = codl(*arguments, "--input", tmp_path / "in.npz", "--output", tmp_path / "out.npz")
    assert outcome.code == 2
    assert "in.npz" in outcome.err
    assert not (tmp_path / "out.npz").exists()


def test_adapting_is_told_of(codl: Codl, host: Hardware, retinaface: Path, tmp_path: Path) -> None:
    arguments = ("execute", "--model", retinaface, "--shape", "input=1x3x96x96", "--adapt")
    outcome = codl(*arguments, "--runs", "12", "--check", "onnxruntime", "--json")
    assert outcome.code == 0, outcome.err
    (row,) = outcome.json["runs"]
    assert len(row["runs_ms"]) == 12
    assert row["plan_for"]["0"].startswith("idle machine") and len(row["plan_for"]) == row["plans"]
    assert sum(row["plan_share"].values()) == pytest.approx(1)
    assert row["plan_ms"]["0"] > 0 and row["segments"] >= 1
    if row["plans"] > 1:  # every plan is tried three times, two of the first one's before the clock runs
        assert row["plan_share"]["1"] >= 3 / 12 and row["switches"] >= 1
    plan = tmp_path / "plan.json"
    assert codl("plan", retinaface, "--hardware", "host", "--shape", "input=1x3x96x96", "-o", plan).code == 0
    outcome = codl("execute", "--plan", plan, "--adapt")
    assert outcome.code == 2 and "leaves nothing to choose" in outcome.err


def test_an_adaptive_session_computes_the_same(host: Hardware, retinaface: Path) -> None:
    shapes = {"input": (1, 3, 96, 96)}
    plain = package.load(retinaface, shapes=shapes)
    adaptive = package.load(retinaface, shapes=shapes, adapt=True)
    image = np.random.default_rng(0).standard_normal(shapes["input"]).astype(np.float32)
    inputs = {plain.input_names[0]: image}
    expected = plain.run(inputs)
    for _ in range(8):  # more than the trials of one plan: others have their turn
        for found, wanted in zip(adaptive.run(inputs), expected, strict=True):
            np.testing.assert_allclose(found, wanted, rtol=1e-3, atol=1e-3 * np.abs(wanted).max())
    with pytest.raises(InputError, match="leaves nothing to choose"):
        package.load(retinaface, shapes=shapes, plan=plain.plan, adapt=True)
