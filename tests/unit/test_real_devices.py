"""Devices are found, numbered stably, and given the roles of CPU and GPU for stated reasons."""

from __future__ import annotations

import dataclasses

import pytest

from codl.errors import DeviceError
from codl.real import devices
from codl.real.devices import Assignment, DeviceInfo, choose, find
from codl.real.environment import fingerprint


def test_every_device_is_found_under_an_id_that_opens_it() -> None:
    found = find()
    assert len({info.id for info in found}) == len(found)
    for info in found:
        assert devices.describe(info.id) == info
        assert info.compute_units >= 1 and info.memory_bytes > 0


def test_without_a_gpu_two_halves_share_one_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    cpu = next(info for info in find() if info.kind == "cpu")
    monkeypatch.setattr(devices, "find", lambda: (cpu,))
    assignment = choose()
    assert assignment.shared_memory
    assert "no GPU found" in assignment.why
    if cpu.compute_units >= 2:
        assert assignment.gpu.id != assignment.cpu.id
        assert assignment.gpu.compute_units == assignment.cpu.compute_units == cpu.compute_units // 2
        assert assignment.gpu.root == assignment.cpu.root == cpu.id


def test_one_core_plays_both_roles_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    cpu = next(info for info in find() if info.kind == "cpu")
    lonely = dataclasses.replace(cpu, compute_units=1)
    monkeypatch.setattr(devices, "find", lambda: (lonely,))
    assignment = choose()
    assert assignment.gpu == assignment.cpu == lonely
    assert "both roles share it" in assignment.why


def gpu(identity: str, units: int) -> DeviceInfo:
    return DeviceInfo(
        identity,
        identity,
        f"GPU with {units} units",
        "Some CUDA",
        "3.0",
        "gpu",
        units,
        1e9,
        2**30,
        1,
        True,
        (16384, 16384),
        False,
    )


def test_the_largest_gpu_is_used_and_memory_is_copied(monkeypatch: pytest.MonkeyPatch) -> None:
    cpu = next(info for info in find() if info.kind == "cpu")
    small, large = gpu("nvidia:0", 4), gpu("nvidia:1", 8)
    monkeypatch.setattr(devices, "find", lambda: (small, cpu, large))
    assignment = choose()
    assert (assignment.gpu, assignment.cpu) == (large, cpu)
    assert not assignment.shared_memory
    assert "GPU with 8 units" in assignment.why and "copied" in assignment.why
    monkeypatch.setattr(devices, "find", lambda: (small,))
    alone = choose()
    assert alone.gpu == alone.cpu == small
    assert "both roles" in alone.why


def test_ids_that_the_user_gives_are_taken() -> None:
    whole = next(info for info in find() if info.kind == "cpu")
    both = choose(whole.id, whole.id)
    assert both.cpu == both.gpu == whole
    if whole.compute_units >= 2:
        first = choose(cpu=f"{whole.id}.0")
        assert first.cpu.id == f"{whole.id}.0" and first.cpu.compute_units == 1
        assert choose(gpu=f"{whole.id}.0").gpu.id == f"{whole.id}.0"


@pytest.mark.parametrize("unknown", ["cuda:9", "pocl", "pocl:0.99", "pocl:0.1-0", ""])
def test_unknown_ids_are_refused_with_the_known_ones(unknown: str) -> None:
    with pytest.raises(DeviceError, match="this machine has: ") as caught:
        devices.open_device(unknown)
    assert find()[0].id in str(caught.value)
    assert caught.value.exit_code == 3


def test_lanes_are_matched_to_roles_by_name() -> None:
    one, two = gpu("a:0", 1), gpu("b:0", 2)
    assignment = Assignment(cpu=one, gpu=two, why="", shared_memory=False)
    assert assignment.for_lanes(["gpu0", "cpu"]) == {"gpu0": two, "cpu": one}
    with pytest.raises(DeviceError, match="'npu'"):
        assignment.for_lanes(["npu"])


def test_no_platform_at_all_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    class Nothing:
        Error = RuntimeError

        @staticmethod
        def get_platforms() -> list[object]:
            raise RuntimeError("PLATFORM_NOT_FOUND_KHR")

    monkeypatch.setattr(devices, "opencl", lambda: Nothing)
    devices._roots.cache_clear()
    try:
        with pytest.raises(DeviceError, match=r"pip install 'pyopencl\[pocl\]'"):
            devices._roots()
    finally:
        devices._roots.cache_clear()


def test_the_fingerprint_names_processor_devices_and_versions() -> None:
    facts = fingerprint()
    assert {"cpu", "cores", "python", "numpy", "pyopencl", "onnxruntime"} <= set(facts)
    assert any(key.startswith("device ") for key in facts)
