"""Programs as self-contained text, kernels with bound arguments, builds that fail loudly."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from codl.errors import BuildError, DeviceError
from codl.ops.launch import Constant, Input, KernelProgram, Launch, Output, Scratch
from codl.real import sources as real_sources
from codl.real.devices import open_device
from codl.real.launcher import Launcher
from codl.real.sources import program_text
from tests.opencl import halves

SCALE = """#include "factor.cl"
__kernel void scale(__global const float *x, __global const float *w, __global float *t, __global float *y, int n,
                    float bias) {
    int i = get_global_id(0);
    t[i] = factor(x[i]) * w[i];
    y[i] = n * t[i] + bias;
}
"""


@pytest.fixture
def sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A source folder whose path has a space, as a user's may."""
    folder = tmp_path / "with a space"
    (folder / "cl").mkdir(parents=True)
    (folder / "cl" / "factor.cl").write_text("float factor(float x) { return FACTOR * x; }\n")
    (folder / "scale.cl").write_text(SCALE)
    monkeypatch.setattr(real_sources, "_SOURCES", folder)
    program_text.cache_clear()
    yield folder
    program_text.cache_clear()


@pytest.fixture(scope="module")
def cpu() -> Launcher:
    return Launcher(open_device(halves().cpu.id))


def program(factor: float = 2.0, source: str = "scale.cl", entry: str = "scale") -> KernelProgram:
    arguments = (Input(0), Constant("w"), Scratch("t"), Output(), 3, 0.5)
    launch = Launch(source, entry, (("FACTOR", factor),), arguments, (4,), (1,))
    return KernelProgram((launch,), {"w": np.array([1, 2, 3, 4], np.float32)}, {"t": 16})


def test_a_program_computes_what_its_text_says(cpu: Launcher, sources: Path) -> None:
    x = np.array([1, -1, 0.5, 2], np.float32)
    y = cpu.run(program(), [x], np.zeros(4, np.float32))
    np.testing.assert_array_equal(y, 3 * 2 * x * [1, 2, 3, 4] + 0.5)


def test_defines_make_different_programs_and_equal_ones_are_built_once(cpu: Launcher, sources: Path) -> None:
    x = np.ones(4, np.float32)
    first = cpu.run(program(1.5), [x], x)
    built = len(cpu.programs._built)
    second = cpu.run(program(-0.25), [x], x)
    assert len(cpu.programs._built) == built + 1
    cpu.run(program(1.5), [x], x)
    assert len(cpu.programs._built) == built + 1
    assert not np.array_equal(first, second)


def test_includes_keep_file_names_and_lines(sources: Path) -> None:
    text = program_text("scale.cl", (("N", 3), ("F", 0.1), ("LO", -float("inf")), ("TYPE", "float4")))
    lines = text.splitlines()
    assert lines[0] == "#define N 3"
    assert np.float32(lines[1].split()[-1].rstrip("f")) == np.float32(0.1)
    assert lines[2:4] == ["#define LO (-INFINITY)", "#define TYPE float4"]
    assert "#include" not in text
    assert '#line 2 "scale.cl"' in text


def test_a_broken_kernel_shows_the_compilers_log(cpu: Launcher, sources: Path) -> None:
    (sources / "broken.cl").write_text("__kernel void f(__global float *y) {\n    y[0] = undefined_name;\n}\n")
    with pytest.raises(BuildError, match=r"broken\.cl: does not build for .*") as caught:
        cpu.run(program(source="broken.cl", entry="f"), [np.ones(4, np.float32)], np.zeros(4, np.float32))
    assert "undefined_name" in caught.value.log
    assert "broken.cl:2" in caught.value.log
    assert caught.value.exit_code == 3


def test_missing_sources_and_kernels_are_named(cpu: Launcher, sources: Path) -> None:
    x = np.ones(4, np.float32)
    with pytest.raises(DeviceError, match=r"nowhere\.cl is missing"):
        cpu.run(program(source="nowhere.cl"), [x], x)
    with pytest.raises(DeviceError, match=r"scale\.cl: kernel other"):
        cpu.run(program(entry="other"), [x], x)
