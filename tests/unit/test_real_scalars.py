"""Kernels that take their numbers in one structure."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from codl.ops.launch import Input, KernelProgram, Launch, Output
from codl.real.devices import open_device
from codl.real.launcher import Launcher
from codl.real.scalars import gathered
from codl.real.sources import program_text
from tests.opencl import halves

MANY = ", ".join(f"int i{k}" for k in range(8))
TEXT = f"""#define MORE , int last
__kernel void many(__global const float *restrict x, {MANY},
                   float scale, __global float *y
                   MORE)
{{
  i0 += last; y[0] = x[0] * scale + i0 + i7;
}}
__kernel void few(__global float *y, int a, float b) {{ y[0] = a * b; }}
__kernel void apart(__global float *y, WHERE({MANY},) int a) {{ y[0] = a; }}
"""


def test_numbers_become_members() -> None:
    text, kernels = gathered(TEXT)
    assert list(kernels) == ["many"]
    values = ["x", *range(8), 0.5, "y", 9]
    first, second, numbers, last = kernels["many"].arguments(values)
    assert (first, second, last) == ("x", "y", 9)
    assert numbers.tolist() == (*range(8), 0.5)
    assert numbers.dtype.itemsize == 9 * 4
    assert text.count("\n") == TEXT.count("\n")
    assert text.splitlines()[5] == TEXT.splitlines()[5]  # messages of the compiler name the same lines
    assert "const many_numbers numbers" in text
    assert "__kernel void few(__global float *y, int a, float b)" in text


@pytest.mark.parametrize("path", ["conv_tile", "depthwise", "pool", "narrow", "elementwise", "move", "resize"])
def test_kernels_that_networks_launch_most(path: str) -> None:
    """Whoever changes how they are written, should keep them readable for this."""
    _, kernels = gathered(program_text(f"cl/{path}.cl", ()))
    assert len(kernels) == 1


def test_a_kernel_that_would_become_slower_is_left_as_it_is() -> None:
    text = program_text("cl/winograd.cl", ())
    assert gathered(text) == (text, {})


def test_they_compute_the_same(tmp_path: Path) -> None:
    path = tmp_path / "many.cl"
    path.write_text(TEXT.split("__kernel void apart", maxsplit=1)[0])
    launch = Launch(str(path), "many", (), (Input(0), *range(1, 9), 0.5, Output(), 100), (1, 1, 1))
    launcher = Launcher(open_device(halves().cpu.id))
    assert launcher.traits.cpu
    got = launcher.run(KernelProgram((launch,)), [np.array([6], np.float32)], np.zeros(1, np.float32))
    assert got.tolist() == [6 * 0.5 + 101 + 8]
