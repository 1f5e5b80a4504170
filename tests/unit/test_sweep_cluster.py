"""A sweep on a Dask cluster of separate processes, one of which is killed half-way."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from codl.errors import InputError
from codl.sweep import Sweep, run_sweep

pytest.importorskip("distributed")  # comes with the extra sweep

SWEEP = {
    "name": "cluster",
    "grid": {"models": ["paper/vgg16"], "hardware": ["sd865", "sd855"], "planners": ["cpu", "gpu", "codl"]},
    "workloads": {"many": {"requests": 128, "jitter": 0.1, "repetitions": 4}},
}


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[tuple[str, list[subprocess.Popen[bytes]]]]:
    """Address of a scheduler, and its two workers: three processes that talk over loopback."""
    file = tmp_path / "scheduler.json"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    environment["DASK_DISTRIBUTED__WORKER__PRELOAD"] = "[]"
    started: list[subprocess.Popen[bytes]] = []

    def start(*arguments: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-W", "ignore", "-m", "distributed.cli." + arguments[0], *arguments[1:]]
        process = subprocess.Popen(command, env=environment, cwd=tmp_path, stderr=subprocess.DEVNULL)
        started.append(process)
        return process

    start("dask_scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--scheduler-file", str(file))
    single = ("--nworkers", "1", "--nthreads", "1", "--no-nanny", "--no-dashboard", "--host", "127.0.0.1")
    workers = [start("dask_worker", "--scheduler-file", str(file), *single) for _ in range(2)]
    try:
        yield _address(file, started), workers
    finally:
        for process in started:
            process.kill()
        for process in started:
            process.wait()


def _address(file: Path, processes: list[subprocess.Popen[bytes]]) -> str:
    import json

    for _ in range(600):
        if file.exists() and (text := file.read_text()):
            return str(json.loads(text)["address"])
        assert all(process.poll() is None for process in processes)
        time.sleep(0.05)
    raise AssertionError("the scheduler did not start")


def workers_of(address: str) -> set[int]:
    """Process ids of the workers that the scheduler knows."""
    from distributed import Client

    with Client(address, timeout=30, set_as_default=False) as client:
        client.wait_for_workers(2, timeout=60)
        return set(client.run(os.getpid).values())


def test_a_worker_is_killed_half_way_and_nothing_is_lost_or_doubled(cluster: Any, tmp_path: Path) -> None:
    address, workers = cluster
    assert workers_of(address) == {worker.pid for worker in workers}

    class Killer:
        done = 0

        def total(self, steps: int) -> None:
            assert steps == 24

        def step(self, what: str = "", count: int = 1) -> None:
            if self.done == 0:
                workers[0].send_signal(signal.SIGKILL)
            self.done += count

    killer = Killer()
    sweep = Sweep.model_validate(SWEEP)
    spread = run_sweep(sweep, tmp_path, tmp_path / "spread.parquet", scheduler=address, report=killer)
    assert workers[0].wait() == -signal.SIGKILL and workers[1].poll() is None
    assert killer.done == 24  # every run reported once
    here = run_sweep(sweep, tmp_path, tmp_path / "here.parquet")
    for row in (*spread.rows, *here.rows):
        del row["planning_ms"]
    assert spread.rows == here.rows
    assert not spread.failed


def test_no_scheduler_is_one_message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("codl.sweep.cluster.CONNECT_S", 0.3)
    for address in ("tcp://127.0.0.1:9", "nonsense://x"):
        with pytest.raises(InputError, match="no Dask scheduler answers"):
            run_sweep(Sweep.model_validate(SWEEP), tmp_path, tmp_path / "r.parquet", scheduler=address)
    assert not list(tmp_path.iterdir())
