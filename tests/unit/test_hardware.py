"""Hardware files: what is packaged, what is refused, what `--set` changes."""

from __future__ import annotations

from pathlib import Path

import jsonschema
import pytest

from codl import hardware as hw
from codl.documents import validate
from codl.errors import FileError, InputError, SchemaError
from codl.hardware import Hardware
from codl.hardware.schema import Observed
from codl.io import read_yaml

PHONES = ("sd855", "sd865", "sd888", "kirin990", "pixel4", "s10")

SMALL = """\
schema: codl.hardware/1
name: small
processors:
  cpu:
    kind: cpu
    clusters: [{name: big, cores: 4, frequency: 2 GHz}]
    bandwidth: 20 GB/s
    active_power: 3 W
memory: {bandwidth: 25.6 GB/s, energy: 60 pJ/byte}
sharing: {kind: unified, pre_sync: 10 us, post_sync: 10 us}
power: {idle: 1 W}
library: ours
libraries:
  ours:
    kernels:
      cpu:
        buffer: [{name: any, algorithm: direct, form: stream, memory: {data: 0.1 ns/byte}}]
calibration:
  - {constants: ["*"], source: nowhere, method: invented for a test, date: "2026-11-24"}
"""


def small(tmp_path: Path, *changes: tuple[str, str]) -> Path:
    text = SMALL
    for before, after in changes:
        assert before in text
        text = text.replace(before, after)
    path = tmp_path / "small.yaml"
    path.write_text(text)
    return path


def test_the_phones_are_packaged() -> None:
    assert set(PHONES) <= set(hw.names())


@pytest.mark.parametrize("name", PHONES)
def test_a_packaged_file_says_where_each_constant_comes_from(name: str) -> None:
    hardware = hw.load(name)
    assert hardware.name == name
    assert len(hardware.constants) > 50
    for path in hardware.constants:
        entry = hardware.provenance(path)
        assert entry is not None and entry.source and entry.method and entry.date, path
    fitted = {hardware.provenance(p) for p in hardware.constants if p.startswith("libraries.")}
    assert all(entry is not None and entry.residual for entry in fitted)


@pytest.mark.parametrize("name", PHONES)
def test_a_file_written_and_read_again_is_equal(name: str, tmp_path: Path) -> None:
    hardware = hw.load(name)
    path = tmp_path / "copy.yaml"
    hw.write(hardware, path)
    again = hw.load(path)
    assert again == hardware
    assert again.digest == hardware.digest
    jsonschema.validate(read_yaml(path), hw.json_schema())


def test_quantities_are_read_with_their_units(tmp_path: Path) -> None:
    hardware = hw.load(small(tmp_path))
    assert hardware.memory.bandwidth == 25.6e9
    assert hardware.processors["cpu"].peak_flops == 4 * 2e9 * 16
    assert hardware.processors["cpu"].slots == 4
    assert hardware.kernels("cpu", "buffer")[0].memory == {"data": pytest.approx(1e-10)}


@pytest.mark.parametrize(
    ("change", "field", "message"),
    [
        (("25.6 GB/s", "25.6 GHz"), "memory.bandwidth", "wrong unit"),
        (("25.6 GB/s", "25.6"), "memory.bandwidth", "no unit"),
        (("idle: 1 W", "idle: -1 W"), "power.idle", "out of range"),
        (("idle: 1 W", "idel: 1 W"), "power.idel", "unknown field"),
        (("library: ours", "library: theirs"), "", "'theirs' is not one of libraries"),
        (('["*"]', '["power.*"]'), "", "no entry of calibration covers processors.cpu"),
        (
            ("form: stream", "blocks: {out_chanels: 8}, form: stream"),
            "libraries.ours.kernels.cpu.buffer.0.blocks",
            "unknown block 'out_chanels'; allowed: out_channels, out_h, ",
        ),
        (("kind: cpu\n", "kind: gpu\n"), "processors.cpu", "clusters belong to a cpu"),
        (("cpu:\n        buffer", "npu:\n        buffer"), "", "unknown processor 'npu'"),
        (("{kind: unified,", "{kind: unified, home: gpu,"), "", "sharing.home 'gpu' is not a processor"),
    ],
)
def test_wrong_fields_are_named(tmp_path: Path, change: tuple[str, str], field: str, message: str) -> None:
    path = small(tmp_path, change)
    with pytest.raises(SchemaError) as raised:
        hw.load(path)
    assert str(path) in str(raised.value)
    assert any(where == field and message in what for where, what in raised.value.problems)


def test_every_problem_of_a_file_is_reported_at_once(tmp_path: Path) -> None:
    with pytest.raises(SchemaError) as raised:
        hw.load(small(tmp_path, ("25.6 GB/s", "fast"), ("idle: 1 W", "idle: 1 s")))
    assert {where for where, _ in raised.value.problems} >= {"memory.bandwidth", "power.idle"}


def test_unknown_names_list_the_known_ones() -> None:
    with pytest.raises(FileError, match=r"no such hardware; known: .*sd865"):
        hw.load("sd866")


def test_a_packaged_file_is_found_by_its_path_in_the_repository_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert hw.load("hardware/sd865.yaml") == hw.load("sd865")
    (tmp_path / "hardware").mkdir()
    (tmp_path / "hardware" / "sd865.yaml").write_text("name: mine")
    with pytest.raises(SchemaError):  # one that is there comes first
        hw.load("hardware/sd865.yaml")
    with pytest.raises(FileError, match="no such file"):
        hw.load("hardware/sd866.yaml")


def test_a_machine_without_description_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CODL_CACHE_DIR", str(tmp_path))
    with pytest.raises(FileError, match="run `codl calibrate`"):
        hw.load(hw.HOST)


def test_host_is_the_newest_description(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CODL_CACHE_DIR", str(tmp_path))
    path = hw.host_path("abc")
    path.parent.mkdir(parents=True)
    hw.write(hw.load("sd855"), path)
    assert hw.load(hw.HOST).name == "sd855"


# Overrides


def test_a_clock_scales_the_rates_of_its_processor() -> None:
    nominal = hw.load("sd865")
    changed = hw.overrides(nominal, ["gpu.frequency=293.5 MHz"])
    assert changed.processors["gpu"].clock_scale == pytest.approx(0.5)
    assert changed.processors["cpu"].clock_scale == 1.0
    assert changed.settings == ("gpu.frequency=293.5 MHz",)
    assert changed.digest != nominal.digest


def test_overrides_apply_in_order_and_clocks_multiply() -> None:
    changed = hw.overrides(hw.load("sd865"), ["gpu.frequency=293.5 MHz", "gpu.frequency=587 MHz"])
    assert changed.processors["gpu"].clock_scale == pytest.approx(1.0)


def test_cores_and_cluster_clocks_scale_by_peak() -> None:
    nominal = hw.load("sd855")
    changed = hw.overrides(nominal, ["cpu.gold.cores=1", "cpu.prime.frequency=1.42 GHz"])
    expected = (1.42 + 2.42) / (2.84 + 3 * 2.42)
    assert changed.processors["cpu"].clock_scale == pytest.approx(expected)
    assert changed.processors["cpu"].slots == 2


def test_other_values_replace_the_file_s() -> None:
    settings = ["memory.bandwidth=12 GB/s", "sharing.map.per_byte=1 ns/byte", "gpu.contention=1.05", "power.idle=2 W"]
    changed = hw.overrides(hw.load("sd865"), settings)
    assert changed.memory.bandwidth == 12e9
    assert changed.sharing.map.per_byte == pytest.approx(1e-9)
    assert changed.processors["gpu"].contention == 1.05
    entry = changed.provenance("memory.bandwidth")
    assert entry is not None


def test_a_core_set_is_a_library() -> None:
    nominal = hw.load("pixel4")
    changed = hw.overrides(nominal, ["library=tflite-1small"])
    assert changed.kernels("gpu", "buffer") == nominal.kernels("gpu", "buffer")
    assert changed.kernels("cpu", "buffer") != nominal.kernels("cpu", "buffer")
    assert changed.start("gpu") == nominal.start("gpu") > 0


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("gpu.frequency", "write NAME=VALUE"),
        ("gpu.frequenzy=1 GHz", "unknown name 'gpu.frequenzy'; allowed: .*gpu.frequency"),
        ("gpu.frequency=1 GB/s", "wrong unit"),
        ("gpu.frequency=0 Hz", "above 0"),
        ("gpu.compute_units=two", "invalid literal"),
        ("gpu.contention=0.5", "greater than or equal to 1"),
        ("library=ncnn", "not one of libraries"),
    ],
)
def test_wrong_settings_are_named(setting: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        hw.overrides(hw.load("sd865"), [setting])


def test_a_bad_document_is_refused() -> None:
    with pytest.raises(SchemaError):
        validate(Hardware, {"name": "x"}, "x.yaml")


def test_a_device_s_clock_may_run_ahead_of_the_host_s() -> None:
    """A GPU that counts from 1970 is decades ahead of a host that counts from its start."""
    ahead = Observed(clock_offset={"gpu": -1795580370.505348})
    written = ahead.model_dump(mode="json")
    assert written["clock_offset"]["gpu"].startswith("-")
    assert Observed.model_validate(written, context={"file": "host.yaml"}) == ahead
