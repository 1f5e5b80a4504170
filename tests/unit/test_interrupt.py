"""Ctrl-C, whenever it comes: exit code 130, no traceback, nothing half-written."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

BLOCK = """
import sys, time
from pathlib import Path
from codl.cli import main
from codl.report import page
from codl import trace

def waits(*arguments, **named):
    Path("waiting").touch()
    time.sleep(60)

{patch} = waits
sys.argv = ["codl", *{arguments!r}]
main()
"""
SIMULATE = ("simulate", "--model", "paper/yolov2", "--hardware", "sd865", "--trace", "t.json", "--report", "r.html")


def interrupted(code: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run Python code; send SIGINT when the file `waiting` turns up."""
    process = subprocess.Popen(
        [sys.executable, "-c", code], cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 60
    while not (folder / "waiting").exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


@pytest.mark.parametrize(
    "patch",
    [
        "__import__('codl.runs').runs.Prepared.simulate",  # while it works
        "page.write_text",  # when it would write the report
        "Path.replace",  # when the temporary file, complete, would take its place
    ],
)
def test_an_interrupted_command_leaves_nothing(tmp_path: Path, patch: str) -> None:
    done = interrupted(BLOCK.format(patch=patch, arguments=list(SIMULATE)), tmp_path)
    assert done.returncode == 130, done.stderr
    assert "Traceback" not in done.stderr
    assert "interrupted" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["waiting"]


def test_an_interrupt_while_the_program_loads_is_no_traceback(tmp_path: Path) -> None:
    code = """
import sys
from pathlib import Path
from codl.cli import main

class Slow:
    def find_spec(self, name, path, target=None):
        if name == "codl.cli.app":
            Path("waiting").touch()
            import time
            time.sleep(60)

sys.meta_path.insert(0, Slow())
main()
"""
    done = interrupted(code, tmp_path)
    assert done.returncode == 130
    assert done.stderr == ""
