"""Networks as other tools export them run, right, under every kind of plan."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import codl as package
from codl import onnx_reader
from codl.hardware import Hardware
from codl.real.reference import max_relative_error, run_onnxruntime
from tests.conftest import Outcome
from tests.exported import NETWORKS, SHAPES

Codl = Callable[..., Outcome]

BOUND = 1e-4
"""Of a whole network; its outputs vary by more than this from input to input, or the check would be void."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("exported")
    for name, build in NETWORKS.items():
        (path / f"{name}.onnx").write_bytes(build().SerializeToString())
    return path


def feeds(session: package.Session, seed: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {
        t.name: rng.integers(0, 9, t.shape) if t.dtype == "int64" else rng.standard_normal(t.shape).astype(t.dtype)
        for t in session.inputs
    }


@pytest.mark.parametrize("planner", ["gpu", "hybrid", "codl"])
@pytest.mark.parametrize("name", NETWORKS)
def test_an_exported_network_is_right(name: str, planner: str, folder: Path, host: Hardware) -> None:
    path = folder / f"{name}.onnx"
    with package.load(path, planner=planner, shapes=SHAPES.get(name)) as session:
        inputs = feeds(session, 0)
        outputs = dict(zip(session.output_names, session.run(inputs), strict=True))
        others = dict(zip(session.output_names, session.run(feeds(session, 1)), strict=True))
        assert bool(session.fallbacks) == (name == "speech")
    assert max_relative_error(outputs, run_onnxruntime(path, inputs)) < BOUND
    assert max_relative_error(outputs, others) > 10 * BOUND


def test_what_runs_through_onnxruntime_is_said_once(codl: Codl, folder: Path, host: Hardware) -> None:
    arguments = ("execute", "--model", folder / "speech.onnx", "--planner", "codl", "--runs", "2")
    outcome = codl(*arguments, "--check", "onnxruntime", "--json")
    assert outcome.code == 0, outcome.err
    (run,) = outcome.json["runs"]
    assert len(run["fallbacks"]) == 1 and 0 < run["fallback_share"] < 1
    assert outcome.err.count("through ONNX Runtime") == 1
    assert "LSTM" in outcome.err and "of the latency" in outcome.err


@pytest.fixture(scope="module")
def magika() -> Path:
    """The network that tells file types from bytes, by Google, in the PyPI package magika (Apache-2.0)."""
    spec = importlib.util.find_spec("magika")
    assert spec is not None and spec.submodule_search_locations
    (path,) = Path(spec.submodule_search_locations[0]).rglob("model.onnx")
    return path


@pytest.mark.parametrize("planner", ["gpu", "hybrid", "codl"])
def test_magika_tells_python_from_markdown(planner: str, magika: Path, host: Hardware) -> None:
    """Integers in, a one-hot code through ONNX Runtime, layer normalisation and Gelu spelt out, a convolution."""
    answers = set()
    with package.load(magika, planner=planner, shapes={"bytes": (1, 2048)}) as session:
        assert [t.dtype for t in session.inputs] == ["int32"]
        for content in (Path(__file__).read_bytes(), b"# A title\n\nSome *text* and a [link](http://a.b/).\n\n" * 40):
            tokens = np.frombuffer(content[:1024] + content[-1024:], np.uint8).astype(np.int32).reshape(1, 2048)
            (scores,) = session.run({"bytes": tokens})
            expected = run_onnxruntime(magika, {"bytes": tokens})
            assert max_relative_error({"target_label": scores}, expected) < BOUND
            answers.add(int(scores.argmax()))
    assert len(answers) == 2


FAMILIES = {
    "detector": {"unary": 1, "slice": 8, "softmax": 1},
    "transformer": {"normalize": 2, "matmul": 2, "unary": 0, "binary": 4},
    "style": {"normalize": 6},
    "mobile": {"unary": 0, "binary": 1},
    "speech": {"onnx": 1, "conv": 2, "unary": 0},
}
"""How many operators of some families are left when all that exporters spell out is recognised and merged."""


@pytest.mark.parametrize("name", NETWORKS)
def test_what_exporters_spell_out_is_recognised(name: str, folder: Path) -> None:
    graph = onnx_reader.read(folder / f"{name}.onnx", SHAPES.get(name))
    for family, count in FAMILIES[name].items():
        found = [node.name for node in graph.nodes if node.op == family]
        assert len(found) == count, (family, found)
