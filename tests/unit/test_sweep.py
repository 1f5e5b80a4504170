"""Sweeps: expansion, resuming after a kill, and one table whatever ran it."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import pyarrow.parquet
import pytest

from codl.errors import FileError, InputError
from codl.sweep import journal_path, load, run_sweep
from codl.sweep.expansion import chunks, expand
from codl.sweep.local import DIED, run_in_processes
from codl.sweep.spec import Inferences
from codl.sweep.work import work
from tests.sweeping import GRID, Killed, KilledAfter, sweep, table


def test_the_grid_is_every_combination_and_explicit_runs_come_after_it() -> None:
    points = list(sweep(runs=[{"model": "paper/yolov2", "hardware": "sd888"}]).points())
    assert len(points) == 8 + 1
    assert [(p.model, p.hardware, p.planner) for p in points[:3]] == [
        ("paper/vgg16", "sd865", "cpu"), ("paper/vgg16", "sd865", "gpu"), ("paper/vgg16", "sd855", "cpu"),
    ]  # fmt: skip
    assert points[-1].hardware == "sd888"


def test_a_run_that_is_listed_twice_runs_once() -> None:
    twice = sweep(runs=[{"model": "paper/vgg16", "hardware": "sd865", "planner": "gpu"}])
    assert len(list(twice.points())) == 8


def test_exclusions_match_every_field_that_they_give() -> None:
    grid = {**GRID, "overrides": {"gpu.frequency": [None, "300 MHz"]}}
    rules = [
        {"planner": "cpu", "hardware": "sd855"},
        {"model": "paper/fst", "overrides": {"gpu.frequency": None}},
    ]
    left = list(sweep(grid=grid, exclude=rules).points())
    assert len(left) == 16 - 4 - 3  # one of paper/fst's four without override falls under the first rule
    assert not any(p.planner == "cpu" and p.hardware == "sd855" for p in left)
    assert all(p.overrides for p in left if p.model == "paper/fst")


def test_workloads_multiply_and_repetitions_differ_in_their_seeds() -> None:
    described = {"one": {"requests": 1}, "noisy": {"jitter": 0.1, "seed": 5, "repetitions": 3}}
    runs = expand(sweep(workloads=described, grid={**GRID, "models": ["paper/vgg16"]}), Path())
    assert len(runs) == 4 * (1 + 3)
    assert len({run.id for run in runs}) == len(runs)
    assert [run.work.seed for run in runs[1:4]] == [5, 6, 7]


def test_runs_of_one_setup_are_handed_over_together() -> None:
    runs = expand(sweep(workloads={"many": {"requests": 100, "repetitions": 4}}), Path())
    portions = list(chunks(runs))
    assert [len(portion.runs) for portion in portions] == [3, 1] * 8
    assert [run for portion in portions for run, _ in portion.runs] == [run.id for run in runs]


def test_an_identity_depends_on_what_determines_the_result(tmp_path: Path) -> None:
    small = {"models": ["net.csv"], "hardware": ["sd865"]}
    head = "op,kind,in_h_padded,in_w_padded,in_channels,out_channels,kernel_h,kernel_w,stride_h,stride_w\n"
    (tmp_path / "net.csv").write_text(head + "0,conv,16,16,8,8,3,3,1,1\n")
    (before,) = expand(sweep(grid=small), tmp_path)
    (override,) = expand(sweep(grid={**small, "overrides": {"memory.bandwidth": ["9 GB/s"]}}), tmp_path)
    (tmp_path / "net.csv").write_text(head + "0,conv,16,16,8,16,3,3,1,1\n")
    (changed,) = expand(sweep(grid=small), tmp_path)
    (again,) = expand(sweep(grid=small, description="other words"), tmp_path)
    assert len({before.id, override.id, changed.id}) == 3
    assert changed.id == again.id


def test_one_row_a_run_with_factors_results_and_the_figures_of_simulate(tmp_path: Path, codl: Any) -> None:
    output = tmp_path / "r.parquet"
    grid = {
        **GRID,
        "models": ["paper/vgg16"],
        "planners": ["codl", "ideal"],
        "overrides": {"gpu.frequency": ["300 MHz"]},
    }
    outcome = run_sweep(sweep(grid=grid), tmp_path, output)
    rows = table(output)
    assert len(rows) == len(outcome.rows) == 4
    assert [row["error"] for row in rows] == [None] * 4
    assert rows[0]["set.gpu.frequency"] == "300 MHz"
    arguments = ("--model", "paper/vgg16", "--hardware", "sd865", "--set", "gpu.frequency=300 MHz", "--json")
    alone = codl("simulate", *arguments).json["runs"][0]
    for name in ("latency_ms", "energy_j", "throughput_per_s", "peak_memory_mb", "cpu_busy", "chains", "data_type"):
        assert rows[0][name] == alone[name], name
    bound = rows[1]
    assert bound["planner"] == "ideal" and bound["latency_ms"] < rows[0]["latency_ms"] and bound["energy_j"] is None


def test_a_run_that_fails_is_a_row_with_an_error(tmp_path: Path) -> None:
    (tmp_path / "broken.onnx").write_bytes(b"this is no model")
    output = tmp_path / "r.parquet"
    grid = {"models": ["broken.onnx", "paper/vgg16"], "hardware": ["sd865"]}
    outcome = run_sweep(sweep(grid=grid), tmp_path, output)
    broken, good = table(output)
    assert "broken.onnx" in broken["error"] and broken["latency_ms"] is None
    assert good["error"] is None and good["latency_ms"] > 0
    assert outcome.failed == [outcome.rows[0]]


def test_a_sweep_that_was_killed_continues_and_gives_the_same_table(tmp_path: Path, monkeypatch: Any) -> None:
    whole, parts = tmp_path / "whole.parquet", tmp_path / "parts.parquet"
    run_sweep(sweep(), tmp_path, whole)
    with pytest.raises(Killed):
        run_sweep(sweep(), tmp_path, parts, report=KilledAfter(3))
    assert not parts.exists() and journal_path(parts).exists()
    with journal_path(parts).open("ab") as journal:
        journal.write(b'{"rows":[{"latency_ms":1.5')  # torn in the middle of a line

    asked: list[str] = []

    def watched(chunk: Any) -> Any:
        asked.extend(run for run, *_ in chunk.runs)
        return work(chunk)

    monkeypatch.setattr("codl.sweep.local.work", watched)
    outcome = run_sweep(sweep(), tmp_path, parts, resume=True)
    assert outcome.kept == 3 and len(asked) == 5  # nothing lost, nothing twice
    assert table(parts) == table(whole)
    assert [path.name for path in tmp_path.iterdir() if "parts" in path.name] == ["parts.parquet"]


def test_without_resume_an_unfinished_sweep_is_not_thrown_away(tmp_path: Path) -> None:
    output = tmp_path / "r.parquet"
    with pytest.raises(Killed):
        run_sweep(sweep(), tmp_path, output, report=KilledAfter(2))
    with pytest.raises(InputError, match="2 finished runs; continue it with --resume"):
        run_sweep(sweep(), tmp_path, output)


def test_resuming_a_finished_sweep_runs_only_what_is_new_or_failed(tmp_path: Path) -> None:
    output = tmp_path / "r.parquet"
    (tmp_path / "net.onnx").write_bytes(b"not yet")
    run_sweep(sweep(runs=[{"model": "net.onnx", "hardware": "sd865"}]), tmp_path, output)
    larger = {**GRID, "planners": ["cpu", "gpu", "codl"]}
    outcome = run_sweep(
        sweep(grid=larger, runs=[{"model": "net.onnx", "hardware": "sd865"}]), tmp_path, output, resume=True
    )
    assert outcome.kept == 8 and len(outcome.rows) == 13
    with pytest.raises(InputError, match="is not a Parquet file"):
        output.write_text("something else")
        run_sweep(sweep(), tmp_path, output, resume=True)


def test_the_old_table_stays_until_the_new_one_is_whole(tmp_path: Path, monkeypatch: Any) -> None:
    output = tmp_path / "r.parquet"
    run_sweep(sweep(), tmp_path, output)
    before = output.read_bytes()

    def full(*_: Any, **__: Any) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(pyarrow.parquet, "write_table", full)
    with pytest.raises(FileError, match="no space left"):
        run_sweep(sweep(), tmp_path, output, resume=True)
    assert output.read_bytes() == before
    assert not [path for path in tmp_path.iterdir() if path.suffix == ".parquet" and path != output]


def test_two_sweeps_cannot_write_one_table(tmp_path: Path) -> None:
    output = tmp_path / "r.parquet"
    two = sweep(grid={**GRID, "models": ["paper/vgg16"], "hardware": ["sd865"]})

    class Rival(KilledAfter):
        def step(self, what: str = "", count: int = 1) -> None:
            with pytest.raises(InputError, match="another sweep is writing it"):
                run_sweep(two, tmp_path, output, resume=True)

    assert len(run_sweep(two, tmp_path, output, report=Rival(99)).rows) == 2


def test_code_of_another_version_is_not_mixed_in(tmp_path: Path, monkeypatch: Any) -> None:
    output = tmp_path / "r.parquet"
    run_sweep(sweep(), tmp_path, output)
    monkeypatch.setattr("codl.sweep.expansion.code_version", lambda: "other")
    monkeypatch.setattr("codl.sweep.work.code_version", lambda: "other")
    assert run_sweep(sweep(), tmp_path, output, resume=True).kept == 0
    monkeypatch.setattr("codl.sweep.work.code_version", lambda: "third")
    with pytest.raises(InputError, match="a worker runs codl's code third, this sweep is for other"):
        run_sweep(sweep(), tmp_path, tmp_path / "s.parquet")


def test_a_worker_that_dies_costs_only_the_run_that_kills_it(tmp_path: Path) -> None:
    """One portion kills its process every time (a signal to itself, as the kernel sends it when memory is short)."""
    runs = expand(sweep(), Path())
    portions = list(chunks(runs))
    results = [result for some in run_in_processes([*portions, Suicidal(portions[0])], 2) for result in some]
    assert sorted(run for run, _ in results) == sorted([*(run.id for run in runs), "lost"])
    assert dict(results)["lost"] == [{"error": DIED}]
    assert not any("error" in row for run, rows in results if run != "lost" for row in rows)


class Suicidal:
    """Looks like a portion, and kills the worker that looks at its `code`."""

    def __init__(self, like: Any) -> None:
        self.like, self.runs, self.parent = like, (("lost", Inferences()),), os.getpid()

    @property
    def code(self) -> str:
        if os.getpid() != self.parent:
            os.kill(os.getpid(), signal.SIGKILL)
        return self.like.code

    def singles(self) -> list[Suicidal]:
        return [self]


def test_a_workload_as_in_a_scenario_has_a_row_a_stream(tmp_path: Path) -> None:
    (tmp_path / "arrivals.csv").write_text("arrival_ms\n0\n5\n9\n")
    streams = [
        {"name": "camera", "arrivals": {"periodic": "4 Hz"}, "requests": 5, "priority": 1},
        {"name": "other", "arrivals": {"trace": "arrivals.csv"}, "requests": 3},
    ]
    grid = {"models": ["paper/vgg16"], "hardware": ["sd865"], "planners": ["cpu", "ideal"]}
    file = tmp_path / "s.yaml"
    file.write_text(json.dumps({"name": "w", "grid": grid, "workloads": {"two": {"streams": streams}, "one": {}}}))
    chosen, folder = load(file)
    outcome = run_sweep(chosen, folder, tmp_path / "r.parquet")
    rows = table(tmp_path / "r.parquet")
    assert [(row["workload"], row["stream"], row["planner"]) for row in rows] == [
        ("two", "camera", "cpu"), ("two", "other", "cpu"), ("one", None, "cpu"),
        ("two", None, "ideal"), ("one", None, "ideal"),
    ]  # fmt: skip
    assert rows[0]["run"] == rows[1]["run"] and rows[0]["requests"] == 8
    assert rows[0]["completed"] == 5 and rows[0]["utilisation.cpu"] > 0 and rows[2]["completed"] is None
    assert "cannot serve" in rows[3]["error"] and len(outcome.failed) == 1
    assert run_sweep(chosen, folder, tmp_path / "r.parquet", resume=True).kept == 3
    (tmp_path / "arrivals.csv").write_text("arrival_ms\n0\n50\n90\n")
    assert run_sweep(chosen, folder, tmp_path / "r.parquet", resume=True).kept == 2
