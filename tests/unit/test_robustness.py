"""What goes wrong on devices ends in one clear error: nothing hangs, and nothing is half done."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyopencl as cl
import pytest

import codl as package
from codl.errors import DeviceError, InputError
from codl.hardware import Hardware
from codl.plan.lower import lower
from codl.real import launcher, memory
from codl.real.executor import Executor
from codl.real.reference import run_onnxruntime
from tests.conftest import Outcome
from tests.exported import mobile
from tests.graphs import residual
from tests.opencl import halves
from tests.plans import placed

Codl = Callable[..., Outcome]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("models") / "mobile.onnx"
    path.write_bytes(mobile().SerializeToString())
    return path


@pytest.fixture(scope="module")
def session(model: Path, host: Hardware) -> Iterator[package.Session]:
    with package.load(model, planner="hybrid") as loaded:
        yield loaded


def image(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((2, 3, 40, 40), dtype=np.float32)


# -- devices -----------------------------------------------------------------------------------------------------------


def test_a_device_without_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether it says so at once, at the first use of a buffer, or would have the host swap."""
    graph = residual()
    tasks = lower(graph, placed(graph, "cpu"))

    def fails(*_: Any) -> None:
        raise cl.MemoryError("clEnqueueWriteBuffer failed: MEM_OBJECT_ALLOCATION_FAILURE")

    with monkeypatch.context() as patch:
        patch.setattr(memory.Memory, "constant", fails)
        with pytest.raises(DeviceError, match=r"pocl.*ALLOCATION_FAILURE"):
            Executor(graph, tasks, halves())
    initialise = memory.Memory.__init__

    def small(self: memory.Memory, *arguments: Any) -> None:
        initialise(self, *arguments)
        self._capacity = 4000

    monkeypatch.setattr(memory.Memory, "__init__", small)
    with pytest.raises(DeviceError, match=r"no memory for .* are in use"):
        Executor(graph, tasks, halves())


def test_a_device_that_vanishes_and_comes_back() -> None:
    graph = residual()
    inputs = {"x": np.random.default_rng(0).standard_normal(graph.tensors["x"].shape).astype(np.float32)}
    with Executor(graph, lower(graph, placed(graph, "cpu")), halves()) as executor:
        before = executor.run(inputs)[0]
        step = executor.parts[0].schedule.steps[2]
        honest = step.issue

        def gone(_: Any) -> Any:
            raise cl.RuntimeError("clEnqueueNDRangeKernel failed: DEVICE_NOT_AVAILABLE")

        step.issue = gone
        with pytest.raises(DeviceError, match=r"pocl.*DEVICE_NOT_AVAILABLE"):
            executor.run(inputs)
        step.issue = honest
        after = executor.run(inputs)[0]
    for name, array in before.items():
        np.testing.assert_array_equal(after[name], array)


def test_a_kernel_that_does_not_build(codl: Codl, host: Hardware, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = launcher.program_text

    def broken(source: str, defines: Any) -> str:
        return whole(source, defines) + "\nthis is no C\n"

    monkeypatch.setattr(launcher, "program_text", broken)
    outcome = codl("execute", "--model", model, "--planner", "cpu", "--runs", "1")
    assert outcome.code == 3
    assert "does not build for" in outcome.err and "unknown type name 'this'" in outcome.err


def test_plans_for_other_models(codl: Codl, host: Hardware, model: Path, tmp_path: Path) -> None:
    here = tmp_path / "here.json"
    assert codl("plan", model, "--hardware", "host", "-o", here).code == 0
    with pytest.raises(InputError, match=r"made for another model|digest"):
        package.load("resnet50", plan=here)


# -- inputs ------------------------------------------------------------------------------------------------------------


def test_wrong_inputs_in_a_file(codl: Codl, host: Hardware, model: Path, tmp_path: Path) -> None:
    wrong = {
        "shape": (image()[:1], "[2, 3, 40, 40] is needed"),
        "dtype": (image().astype(np.float64), "float32 is needed"),
    }
    for name, (array, message) in wrong.items():
        np.savez(tmp_path / f"{name}.npz", image=array)
        outcome = codl("execute", "--model", model, "--planner", "cpu", "--input", tmp_path / f"{name}.npz")
        assert outcome.code == 2 and message in outcome.err


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_numbers_that_are_none_pass_through(bad: float, session: package.Session, model: Path) -> None:
    """They reach every output that they reach in ONNX Runtime, the other image of the batch keeps its results, and so
    does the next run. (Winograd's algorithm spreads them to a tile's neighbours, so more may be touched.)"""
    clean = dict(zip(session.output_names, session.run({"image": image()}), strict=True))
    spoilt = image()
    spoilt[0, 1, 7, 9] = bad
    expected = run_onnxruntime(model, {"image": spoilt})
    found = dict(zip(session.output_names, session.run({"image": spoilt}), strict=True))
    again = dict(zip(session.output_names, session.run({"image": image()}), strict=True))
    for name, array in expected.items():
        assert np.isnan(array[0]).any()
        assert np.isnan(found[name][np.isnan(array)]).all()
        np.testing.assert_array_equal(found[name][1], clean[name][1])
        np.testing.assert_array_equal(again[name], clean[name])


# -- the session -------------------------------------------------------------------------------------------------------


def test_a_session_describes_itself_and_takes_what_numpy_takes(session: package.Session) -> None:
    assert [(t.name, t.shape, t.dtype) for t in session.inputs] == [("image", (2, 3, 40, 40), "float32")]
    assert [t.shape for t in session.outputs] == [(2, 16), (2, 7)]
    assert session.output_names == ["features", "classes"]
    assert session.fallbacks == []
    features, classes = session.run({"image": np.asfortranarray(image())})
    assert features.shape == (2, 16)
    np.testing.assert_allclose(classes.sum(1), 1, rtol=1e-5)
    classes[:] = 0  # the caller's own
    assert session.run({"image": image()})[1].any()
    with pytest.raises(InputError, match="no input 'picture'"):
        session.input_shape("picture")
    with pytest.raises(InputError, match="dtype int64"):
        session.run({"image": np.zeros((2, 3, 40, 40), np.int64)})


def test_threads_share_a_session(session: package.Session) -> None:
    alone = [session.run({"image": image(seed)}) for seed in range(4)]
    found: dict[int, list[np.ndarray]] = {}

    def work(seed: int) -> None:
        for _ in range(5):
            found[seed] = session.run({"image": image(seed)})

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    for seed, arrays in enumerate(alone):
        for ours, expected in zip(found[seed], arrays, strict=True):
            np.testing.assert_array_equal(ours, expected)


def test_a_closed_session_says_so(model: Path, host: Hardware) -> None:
    with package.load(model, planner="cpu", devices=(None, None)) as closed:
        closed.run({"image": image()})
    closed.close()  # again does no harm
    with pytest.raises(DeviceError, match="closed"):
        closed.run({"image": image()})


def test_a_plan_of_its_own_is_followed(model: Path, session: package.Session) -> None:
    with package.load(model, plan=session.plan) as same:
        assert same.plan.chains == session.plan.chains
        for ours, expected in zip(same.run({"image": image()}), session.run({"image": image()}), strict=True):
            np.testing.assert_array_equal(ours, expected)


def test_two_programs_at_once(model: Path, host: Hardware) -> None:
    program = "from codl.cli import main; main()"
    options = ("--planner", "hybrid", "--runs", "20", "--check", "onnxruntime", "--json")
    command = [sys.executable, "-c", program, "execute", "--model", str(model), *options]
    running = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=dict(os.environ))
        for _ in range(2)
    ]
    for process in running:
        out, err = process.communicate(timeout=300)
        assert process.returncode == 0, err
        assert '"max_relative_error"' in out


def test_many_runs_change_nothing(session: package.Session) -> None:
    """In miniature what bench/soak.py does."""
    expected = session.run({"image": image()})
    used = session._executor.memory_bytes
    for _ in range(200):
        for ours, first in zip(session.run({"image": image()}), expected, strict=True):
            np.testing.assert_array_equal(ours, first)
    assert session._executor.memory_bytes == used
