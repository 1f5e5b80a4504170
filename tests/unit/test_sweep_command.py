"""Sweeps from the command line: packaged ones, interrupts, one message for every mistake; what a fleet study says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import codl.sweep
from codl.errors import FileError, InputError
from codl.sweep import journal_path, load, names, run_sweep
from codl.sweep.expansion import expand
from codl.sweep.spec import Fleet
from codl.sweep.work import work
from tests.sweeping import GRID, Row, sweep


def test_the_packaged_sweeps_are_well_formed() -> None:
    assert set(names()) >= {"variants", "fleet"}
    for name in names():
        chosen, folder = load(name)
        assert chosen.name == name and expand(chosen, folder)
    variants, folder = load("variants")
    runs = expand(variants, folder)
    assert len(runs) == 20 and sum(run.requests for run in runs) == 10_000


def test_the_fleet_study_answers_which_variant_to_ship(codl: Any, tmp_path: Path) -> None:
    folder = load("fleet")[1]
    text = (folder / "fleet.yaml").read_text().replace("repetitions: 20", "repetitions: 2")
    text = text.replace("[null, 300 MHz]", "[null]").replace("[null, 17 GB/s]", "[null]")
    for size in (320, 224):
        (tmp_path / f"yolov2-{size}.csv").write_bytes((folder / f"yolov2-{size}.csv").read_bytes())
    (tmp_path / "fleet.yaml").write_text(text)
    arguments = ("sweep", tmp_path / "fleet.yaml", "-o", tmp_path / "f.parquet", "-j", "1")
    outcome = codl(*arguments)
    assert outcome.code == 0 and "72 runs, 0 of them from before" in outcome.err
    assert all(len(line) <= 80 for line in outcome.out.splitlines())
    assert "ship: yolov2-320.csv with planner codl" in outcome.out
    document = codl(*arguments, "--resume", "--json").json
    assert document["kept"] == document["runs"] == 72 and document["failed"] == 0
    assert document["ship"]["model"] == "yolov2-320.csv" and document["ship"]["decisive_ms"] <= 120
    better = [v for v in document["fleet"] if v["model"] == "paper/yolov2"]
    assert len(better) == 3 and all(v["decisive_ms"] > 120 for v in better)


def test_ctrl_c_leaves_a_state_to_continue_from(codl: Any, tmp_path: Path, monkeypatch: Any) -> None:
    file, output = tmp_path / "s.yaml", tmp_path / "r.parquet"
    file.write_text(json.dumps({"name": "mine", "grid": GRID}))
    done = 0

    def interrupted(chunk: Any) -> Any:
        nonlocal done
        done += 1
        if done > 5:
            raise KeyboardInterrupt
        return work(chunk)

    with monkeypatch.context() as patch:
        patch.setattr("codl.sweep.local.work", interrupted)
        outcome = codl("sweep", file, "-o", output, "-j", "1")
    assert outcome.code == 130 and "continue with --resume" in outcome.err and not output.exists()
    outcome = codl("sweep", file, "-o", output, "-j", "1", "--resume")
    assert outcome.code == 0 and "8 runs, 5 of them from before" in outcome.err


MISTAKES: list[tuple[Any, str]] = [
    ([1], "must be a mapping"),
    ({"name": "a"}, "nothing to run"),
    ({"name": "a", "grid": {**GRID, "planner": ["cpu"]}}, "grid.planner: unknown field"),
    ({"name": "a", "grid": {**GRID, "planners": ["magic"]}}, "grid.planners.0"),
    ({"name": "a", "grid": {**GRID, "models": ["yolov2", "yolov2"]}}, "'yolov2' is listed twice"),
    ({"name": "a", "grid": {**GRID, "overrides": {"gpu.frequency": []}}}, "overrides.gpu.frequency: is empty"),
    ({"name": "a", "grid": {**GRID, "models": ["yolo9000"]}}, "no model is called 'yolo9000'"),
    ({"name": "a", "grid": {**GRID, "models": ["gone.onnx"]}}, "gone.onnx: no such file"),
    ({"name": "a", "grid": {**GRID, "hardware": ["sd866"]}}, "sd866: no such hardware"),
    ({"name": "a", "grid": {**GRID, "overrides": {"gpu.colour": ["red"]}}}, "unknown name 'gpu.colour'"),
    ({"name": "a", "grid": {**GRID, "overrides": {"gpu.frequency": ["500"]}}}, "has no unit"),
    ({"name": "a", "grid": GRID, "exclude": [{}]}, "names no factor"),
    ({"name": "a", "grid": GRID, "exclude": [{"objective": "latency"}]}, "leaves out every run"),
    (
        {"name": "a", "grid": GRID, "runs": [{"model": "fst", "hardware": "s10", "workload": "x"}]},
        "runs.0.workload",
    ),
    ({"name": "a", "grid": GRID, "workloads": {"w": {"requests": 0}}}, "workloads.w.inferences.requests"),
    ({"name": "a", "grid": GRID, "workloads": {"w": {"streams": [{"model": "fst"}]}}}, "in a sweep the grid does"),
    ({"name": "a", "grid": GRID, "workloads": {"w": {"repetitions": 1_000_000}}}, "at most 1,000,000 are allowed"),
    ({"name": "a", "grid": GRID, "fleet": {"shares": {"sd865": 0.7}}}, "sum to 1, not to 0.7"),
    ({"name": "a", "grid": GRID, "fleet": {"shares": {"s10": 1}}}, "'s10' is not in the sweep; it has sd865, sd855"),
    ({"name": "a", "grid": GRID, "fleet": {"shares": {"sd865": 1}, "latency_bound": 30}}, "has no unit"),
    ({"name": "a", "grid": GRID, "shapes": {"x": [0]}}, "is not a shape"),
]


@pytest.mark.parametrize(("document", "message"), MISTAKES, ids=[message for _, message in MISTAKES])
def test_a_mistake_gets_one_message(codl: Any, tmp_path: Path, document: Any, message: str) -> None:
    file = tmp_path / "s.yaml"
    file.write_text(json.dumps(document))
    outcome = codl("sweep", file, "-o", tmp_path / "r.parquet")
    assert outcome.code == 2 and message in outcome.err and outcome.out == ""
    assert [path.name for path in tmp_path.iterdir()] == ["s.yaml"]


def test_unwritable_outputs_and_unknown_names_are_told_before_the_work(codl: Any, tmp_path: Path) -> None:
    assert "no such sweep; known: " in codl("sweep", "flee", "-o", tmp_path / "r.parquet").err
    assert "is a folder" in codl("sweep", "fleet", "-o", tmp_path).err
    assert "cannot be written" in codl("sweep", "fleet", "-o", tmp_path / "none" / "r.parquet").err
    both = codl("sweep", "fleet", "-o", tmp_path / "r.parquet", "-j", "2", "--scheduler", "tcp://127.0.0.1:1")
    assert both.code == 2 and "not both" in both.err


def test_a_missing_extra_is_named(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pyarrow.parquet", None)
    with pytest.raises(InputError, match=r"pip install 'codl\[sweep\]'"):
        run_sweep(sweep(), tmp_path, tmp_path / "r.parquet")
    assert not list(tmp_path.iterdir())


def test_a_strange_file_in_the_journals_place_is_left_alone(tmp_path: Path) -> None:
    output = tmp_path / "r.parquet"
    for text in ("my notes\n", "[]\n", '{"schema":"codl.sweep-journal/1"}\n{"run":3}\n'):
        journal_path(output).write_text(text)
        with pytest.raises(FileError, match="is not a journal of a sweep"):
            run_sweep(sweep(), tmp_path, output, resume=True)
        assert journal_path(output).read_text() == text


def fleet_rows(latencies: dict[tuple[str, str], list[float | None]]) -> list[Row]:
    return [
        {"model": model, "planner": "codl", "hardware": hardware, "latency_ms": ms, "energy_j": 1.0,
         "error": "broken" if ms is None else None}
        for (model, hardware), values in latencies.items() for ms in values
    ]  # fmt: skip


def test_percentiles_weigh_hardware_by_its_share_however_many_runs_it_has() -> None:
    from codl.sweep.fleet import study

    fleet = Fleet.model_validate({"shares": {"fast": 0.9, "slow": 0.1}, "percentile": 90, "latency_bound": 0.015})
    (found,) = study(fleet_rows({("m", "fast"): [10.0], ("m", "slow"): [20.0] * 50, ("m", "other"): [99.0]}), fleet)
    assert found.percentiles_ms[50] == 10.0 and found.percentiles_ms[95] == 20.0
    assert found.bound_ms == 10.0  # exactly 90 % are that fast
    assert found.within == pytest.approx(0.9) and found.covered == pytest.approx(1.0)


def test_the_most_preferred_model_that_runs_everywhere_in_time_is_shipped() -> None:
    from codl.sweep.fleet import study, to_ship

    shares = {"a": 0.5, "b": 0.5}
    rows = fleet_rows(
        {
            ("best", "a"): [10.0], ("best", "b"): [None],  # does not run on b
            ("good", "a"): [10.0], ("good", "b"): [11.0],
            ("small", "a"): [1.0], ("small", "b"): [1.0],
        }
    )  # fmt: skip
    models = ["best", "good", "small"]
    for bound, expected in ((0.012, "good"), (0.0105, "small"), (0.0001, None)):
        fleet = Fleet.model_validate({"shares": shares, "latency_bound": bound})
        ship = to_ship(study(rows, fleet), fleet, models)
        assert (ship.model if ship else None) == expected
    preferred = Fleet.model_validate({"shares": shares, "preference": ["small"]})
    ship = to_ship(study(rows, preferred), preferred, models)
    assert ship is not None and ship.model == "small"


def test_the_public_names_are_there() -> None:
    assert all(hasattr(codl.sweep, name) for name in codl.sweep.__all__)
