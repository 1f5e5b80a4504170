"""Fits that find known unit times, and tables of operators: read, predicted, fitted, refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from codl.cost.features import FORMS
from codl.cost.fit import Prior, fit_units, maximum_a_posteriori
from codl.cost.table_fit import fit_table
from codl.cost.tables import conv_work, predict_table, predict_works, read_works, write_table
from codl.errors import FileError, InputError, SchemaError, UncalibratedError
from tests.processors import CPU, kernel, load


def test_least_squares_finds_known_unit_times_in_spite_of_outliers() -> None:
    known = kernel(compute={"multiply": "10 ps/flop"}, memory={"weights": "0.1 ns/byte"}, fixed={"launch": "50 us"})
    works = [conv_work(s, s, c, d, 3) for s in (7, 14, 28, 56) for c in (8, 32, 64) for d in (16, 32, 128)]
    units = {**known.compute, **known.memory, **known.fixed}
    seconds = []
    for work in works:
        amounts = FORMS["direct"].quantities(work, known, CPU)
        seconds.append(sum(float(amounts[unit]) * time for unit, time in units.items()))
    seconds[5] *= 4
    fitted = fit_units(known, CPU, works, seconds)
    found = {**fitted.compute, **fitted.memory, **fitted.fixed}
    for unit, time in units.items():
        assert found[unit] == pytest.approx(time, rel=0.02)
    assert fitted.residual is not None and fitted.residual < 0.01


def test_no_unit_time_falls_below_what_is_known() -> None:
    """Of quantities in proportion, measurements do not tell which takes how long."""
    works = [conv_work(s, s, c, 32, 3) for s in (14, 28) for c in (16, 32, 64)]
    seconds = [1e-11 * work.flops + 20e-6 for work in works]
    fitted = fit_units(kernel(), CPU, works, seconds, least={"multiply": 8e-12})
    assert 8e-12 <= fitted.compute["multiply"] <= 1e-11
    above = fit_units(kernel(), CPU, works, seconds, least={"multiply": 1.2e-11})
    assert above.compute["multiply"] == pytest.approx(1.2e-11)


def test_a_fit_needs_measurements_or_a_parent() -> None:
    with pytest.raises(UncalibratedError, match="kernel k: 1 pieces of work"):
        fit_units(kernel(), CPU, [conv_work(8, 8, 8, 8, 3)], [1e-3])
    assert fit_units(kernel(), CPU, [], [], {"multiply": 1e-11}).compute == {"multiply": 1e-11}


def test_the_posterior_lies_between_prior_and_measurement() -> None:
    def predict(values: Any) -> np.ndarray:
        return np.array([values["a"]])

    found = maximum_a_posteriori(
        predict, np.array([4.0]), np.array([0.3]), {"a": Prior(1.0, 0.3), "b": Prior(2.0, 0.2)}
    )
    assert found.values["a"] == pytest.approx(2.0)  # equally sure: the geometric mean
    assert found.values["b"] == pytest.approx(2.0)
    assert found.spread["a"] == pytest.approx(0.3 / 2**0.5, rel=1e-3)
    assert found.spread["b"] == pytest.approx(0.2, rel=1e-3)


# Tables

HEADER = "kind,in_h,in_w,in_channels,out_channels,kernel_h,kernel_w,stride_h,stride_w,pad,groups"


def test_a_table_of_operators_is_read(tmp_path: Path) -> None:
    path = tmp_path / "ops.csv"
    rows = [
        "conv,56,56,64,128,3,3,2,2,1,1",
        "conv,14,14,96,96,5,5,1,1,same,96",
        "fc,7,7,64,10,1,1,1,1,,",
        "pool,8,8,4,4,2,2,2,2,0,1",
    ]
    path.write_text("\n".join([HEADER, *rows]) + "\n")
    conv, depthwise, fc, pool = read_works(path)
    assert (conv.out_h, conv.out_w, conv.flops) == (28, 28, 2 * 28 * 28 * 128 * 64 * 9)
    assert (depthwise.kind, depthwise.out_h, depthwise.in_channels) == ("depthwise", 14, 1)
    assert (fc.in_channels, fc.out_channels, fc.weight_bytes) == (7 * 7 * 64, 10, 4 * 7 * 7 * 64 * 10)
    assert (pool.kind, pool.out_h, pool.weight_bytes) == ("pool", 4, 0)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("kind,in_h\nconv,3\n", "in_w, in_channels, .* missing"),
        (HEADER + "\n", "no operators"),
        (HEADER + "\nconv,x,5,3,3,3,3,1,1,0,1\n", "line 2, in_h: 'x' is not a number"),
        (HEADER + "\nconv,5,5,3,0,3,3,1,1,0,1\n", "line 2, out_channels: 0 is out of range"),
        (HEADER + "\nlstm,5,5,3,3,3,3,1,1,0,1\n", "line 2, kind: unknown 'lstm'; known: conv"),
        (HEADER + "\nconv,2,2,3,3,3,3,1,1,0,1\n", "a 3x3 kernel does not fit 2x2"),
    ],
)
def test_wrong_tables_are_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "ops.csv"
    path.write_text(text)
    with pytest.raises(SchemaError, match=message):
        read_works(path)


def test_a_missing_table_and_an_unknown_processor_are_named(tmp_path: Path) -> None:
    hardware = load("sd855")
    with pytest.raises(FileError):
        predict_table(tmp_path / "none.csv", hardware, "gpu")
    path = tmp_path / "ops.csv"
    path.write_text(HEADER + "\nconv,56,56,64,128,3,3,2,2,1,1\n")
    with pytest.raises(InputError, match="no processor 'npu'; it has gpu, cpu"):
        predict_table(path, hardware, "npu")
    with pytest.raises(SchemaError, match="latency_us"):
        fit_table(path, hardware, "gpu")


def test_fitting_to_predictions_gives_the_same_predictions(tmp_path: Path) -> None:
    hardware = load("sd865")
    path, copy = tmp_path / "ops.csv", tmp_path / "measured.csv"
    rows = [
        f"conv,{s},{s},{c},{d},{k},{k},1,1,0,1,m{(s + c + k) % 3}"
        for s in (20, 34, 60)
        for c in (8, 32, 96)
        for d in (16, 64, 160)
        for k in (1, 3, 7)
    ]
    path.write_text("\n".join([HEADER + ",model", *rows]) + "\n")
    truth = predict_table(path, hardware, "gpu")
    write_table([{**row, "latency_us": 2 * float(row["latency_us"])} for row in truth], copy)
    fitted = fit_table(copy, hardware, "gpu", cross_validate="model")
    everything = fitted.accuracy[-1]
    assert everything["operators"] == len(rows)
    assert everything["within_10_percent"] == everything["left_out_within_10_percent"] == 1.0
    again = predict_table(path, fitted.hardware, "gpu")
    ratio = np.array([float(b["latency_us"]) / float(a["latency_us"]) for a, b in zip(truth, again, strict=True)])
    assert ratio == pytest.approx(np.full(len(rows), 2.0), rel=0.02)
    entry = fitted.hardware.provenance("libraries.mace.gpu.image.conv3x3.multiply")
    assert entry is not None and "codl fit" in entry.method
    with pytest.raises(SchemaError, match="'family' to cross-validate by is missing"):
        fit_table(copy, hardware, "gpu", cross_validate="family")


def test_the_paper_s_microbenchmarks_are_reproduced() -> None:
    """Figures 2 and 4 of the CoDL paper (Snapdragon 855), within 20 %."""
    hardware = load("sd855")
    measured_ms = {(256, "gpu"): 21.4, (128, "gpu"): 5.6, (64, "gpu"): 1.7}
    for (size, processor), expected in measured_ms.items():
        seconds = predict_works([conv_work(size, size, 64, 64, 3)], hardware, processor)[0]
        assert seconds * 1e3 == pytest.approx(expected, rel=0.2)
    small = [conv_work(52, 52, 256, 128, 1)]
    assert predict_works(small, hardware, "cpu")[0] * 1e6 == pytest.approx(1505, rel=0.2)
    assert predict_works(small, hardware, "gpu")[0] * 1e6 == pytest.approx(1126, rel=0.2)


def test_pixel_4_operators_are_predicted() -> None:
    """A sample of mobile-ml-benchmark: most convolutions within 10 %, nearly all within 20 %."""
    hardware = load("pixel4")
    rows = predict_table(Path(__file__).parent.parent / "data" / "pixel4_convolutions.csv", hardware, "gpu")
    error = np.array([abs(row["latency_us"] / float(row["measured_us"]) - 1) for row in rows])
    assert len(error) > 70
    assert np.mean(error <= 0.1) >= 0.7
    assert np.mean(error <= 0.2) >= 0.9
