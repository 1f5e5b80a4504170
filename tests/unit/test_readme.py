"""The README's Python example runs as it stands."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from codl.hardware import Hardware

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")


def test_the_python_example_gives_outputs(host: Hardware) -> None:
    (example,) = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    scope: dict[str, object] = {}
    exec(compile(example, "README.md", "exec"), scope)
    outputs = scope["outputs"]
    assert isinstance(outputs, list) and outputs
    assert all(np.isfinite(array).all() for array in outputs)


@pytest.mark.parametrize("command", re.findall(r"^codl (\w+)", README, flags=re.MULTILINE))
def test_every_command_of_the_readme_exists(codl, command: str) -> None:
    assert codl(command, "--help").code == 0
