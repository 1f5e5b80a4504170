"""Calibration without devices: the description of an invented machine, when it is made, and the pace."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

import codl.calibrate as calibrate
from codl.calibrate import geometry
from codl.cost import CostModel
from codl.errors import InputError
from codl.hardware import Hardware, read, write
from codl.ops import REGISTRY, Dimension
from codl.plan import layouts
from codl.plan.planners import make_plan
from codl.real.devices import Assignment
from codl.region import Region
from tests.graphs import residual
from tests.invented import GAP, LANES, ONE_MEMORY, TRAITS, TWO_MEMORIES, invent, kernel_ns
from tests.opencl import halves


@pytest.fixture
def invented(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Replaces the devices by the invented machine."""
    return invent(monkeypatch)


@pytest.fixture(scope="module")
def described() -> Hardware:
    """Of the invented machine, with one memory."""
    with pytest.MonkeyPatch.context() as patch:
        invent(patch)()
        return calibrate.calibrate(ONE_MEMORY, quick=True)


class Ticker:
    def __init__(self) -> None:
        self.steps = 0
        self.totals: list[int] = []
        self.notes: list[str] = []

    def total(self, steps: int) -> None:
        self.totals.append(steps)

    def step(self, what: str) -> None:
        assert self.totals and what
        self.steps += 1

    def note(self, what: str) -> None:
        self.notes.append(what)


def test_an_invented_machine_is_described_as_it_is(invented: Callable[..., None]) -> None:
    invented()
    ticker = Ticker()
    found = calibrate.calibrate(ONE_MEMORY, report=ticker, quick=True)
    assert 0 < ticker.steps <= ticker.totals[0]
    assert list(found.processors) == ["gpu", "cpu"]
    assert found.sharing.kind == "unified"
    assert found.sharing.pre_sync == pytest.approx(20e-6)
    assert found.sharing.post_sync == pytest.approx(40e-6)
    assert found.sharing.host_wait == pytest.approx({"gpu": 60e-6, "cpu": 80e-6})
    assert found.processors["cpu"].enqueue == pytest.approx(7e-6)
    assert found.processors["cpu"].contention == pytest.approx(1.2)
    assert found.alignment == {"output_channel": 16}
    assert found.libraries["codl"].choice == "fastest"
    assert found.processors["gpu"].data_types == ("buffer", "image")
    assert found.processors["cpu"].data_types == ("buffer",)
    assert found.sharing.transform.fixed == pytest.approx(40e-6, rel=1e-2)
    assert found.sharing.transform.per_byte == pytest.approx(0.125e-9, rel=1e-2)
    seen = found.observed
    assert seen is not None
    assert (seen.clock_offset["gpu"], seen.profiling["cpu"]) == (pytest.approx(5e-6), pytest.approx(300e-9))
    assert set(seen.spreads) >= {"processors.cpu.enqueue", "sharing.pre_sync", "sharing.post_sync", "launch.gpu"}
    assert seen.spreads["processors.cpu.enqueue"].low < seen.spreads["processors.cpu.enqueue"].high
    entries = {entry.source for entry in found.calibration}
    assert entries == {"measured", "assumed", "device"}
    # its source is asked for
    assert found.provenance("processors.cpu.active_power").source == "assumed"  # type: ignore[union-attr]
    assert any("conv 34x35x144->144 k3 s1" in entry.shapes for entry in found.calibration)


def test_a_description_predicts_other_networks_on_the_invented_machine(described: Hardware) -> None:
    graph = residual()
    cost = CostModel(described, graph)
    for node in graph.nodes:
        whole = Region.full(graph.tensors[node.output].shape)
        expected = kernel_ns(REGISTRY[node].work(graph, node, whole))
        for algorithm in REGISTRY[node].algorithms(graph, node):
            # The invented machine multiplies as often as the direct kernels of convolutions do.
            if not algorithm.startswith("winograd") and (node.attributes.get("group", 1) == 1 or algorithm != "direct"):
                assert cost.kernel(node, whole, "cpu", algorithm).ns == pytest.approx(expected, rel=0.15)


def test_kernels_on_images_cost_what_they_took(described: Hardware) -> None:
    """On the invented machine three times as much as on buffers: a plan with a free choice takes buffers, and images
    where it is told to and there are kernels on them."""
    graph = residual()
    cost = CostModel(described, graph, {"gpu": "image"})
    for node in graph.nodes:
        whole = Region.full(graph.tensors[node.output].shape)
        for algorithm in REGISTRY[node].image_algorithms(graph, node):
            expected = 3 * (kernel_ns(REGISTRY[node].work(graph, node, whole)) - GAP) + GAP
            assert cost.kernel(node, whole, "gpu", algorithm).ns == pytest.approx(expected, rel=0.3)
    free = make_plan(graph, described, CostModel(described, graph), "gpu")
    assert free.processors["gpu"].data_type == "buffer" and not free.data_types
    told = make_plan(graph, described, CostModel(described, graph), "gpu", data_type="image")
    assert told.processors["gpu"].data_type == "image"
    assert {graph.by_name[name].op for name in told.data_types} == {"reshape", "gemm"}


def test_separate_memories_have_a_cost_of_copies(invented: Callable[..., None]) -> None:
    invented()
    found = calibrate.calibrate(TWO_MEMORIES, quick=True)
    assert found.sharing.kind == "copied"
    assert found.sharing.copy_.fixed == pytest.approx(30e-6, rel=1e-2)
    assert found.sharing.copy_.per_byte == pytest.approx(0.2e-9, rel=1e-2)
    assert found.sharing.packed_copy is not None
    assert found.sharing.packed_copy.fixed == pytest.approx(90e-6, rel=1e-2)
    assert found.sharing.packed_copy.per_byte == pytest.approx(0.25e-9, rel=1e-2)
    assert found.processors["cpu"].contention == 1
    assert found.alignment == {"output_channel": 64}


def test_a_description_survives_its_file(described: Hardware, tmp_path: Path) -> None:
    write(described, tmp_path / "host.yaml")
    again = read(tmp_path / "host.yaml")
    assert again == described
    assert again.digest == described.digest


def test_kernels_on_images_are_timed_on_a_gpu_and_elsewhere_when_asked(invented: Callable[..., None]) -> None:
    invented()
    core = replace(ONE_MEMORY, gpu=replace(ONE_MEMORY.gpu, kind="cpu"))
    for thorough in (False, True):
        found = calibrate.collect(core, quick=True, thorough=thorough)
        assert bool(found.timings("gpu", "image")) is thorough


def test_a_description_outlives_a_change_of_the_memory_that_the_driver_admits() -> None:
    """PoCL says other sizes within an hour on the same machine; another device is another device."""
    known = calibrate.fingerprint(ONE_MEMORY)
    gpu = replace(ONE_MEMORY.gpu, memory_bytes=1 << 33, image_limits=(8192, 8192))
    assert calibrate.fingerprint(replace(ONE_MEMORY, gpu=gpu)) == known
    assert calibrate.fingerprint(replace(ONE_MEMORY, gpu=replace(gpu, compute_units=2))) != known


def test_who_asks_for_images_that_were_not_measured_is_told_how_to_measure_them(described: Hardware) -> None:
    gpu = described.processors["gpu"].model_copy(update={"data_types": ("buffer",)})
    blind = described.model_copy(update={"processors": {**described.processors, "gpu": gpu}})
    with pytest.raises(InputError, match=r"no data type 'image'; it has buffer; `codl calibrate --thorough` measures"):
        layouts.data_types(blind, "image")


def test_a_noisy_machine_is_refused_with_its_numbers(
    invented: Callable[..., None], described: Hardware, monkeypatch: pytest.MonkeyPatch
) -> None:
    invented(jitter=0.8)
    monkeypatch.setattr(calibrate, "describe", lambda *_: described)  # noise is judged by what was measured
    with pytest.raises(calibrate.TooNoisyError, match=r"too noisy.*pocl:0.* spread by \d+% \(allowed: 25%\)"):
        calibrate.calibrate(ONE_MEMORY, quick=True)
    assert calibrate.calibrate(ONE_MEMORY, quick=True, noise_limit=9.0).name == "host"


def test_a_description_made_in_noise_is_used_with_a_note_and_not_kept(
    invented: Callable[..., None], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    invented(jitter=0.8)
    monkeypatch.setenv("CODL_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(calibrate, "choose", lambda cpu, gpu: ONE_MEMORY)
    ticker = Ticker()
    assert calibrate.load_or_calibrate(report=ticker).name == "host"
    (note,) = ticker.notes
    assert "too noisy" in note and "not kept" in note
    assert not list(tmp_path.rglob("*.yaml"))


def test_a_machine_is_described_once(
    invented: Callable[..., None], described: Hardware, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    invented()
    monkeypatch.setenv("CODL_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(calibrate, "choose", lambda cpu, gpu: TWO_MEMORIES if gpu else ONE_MEMORY)
    made = 0

    def counted(assignment: Assignment, **options) -> Hardware:
        nonlocal made
        made += 1
        print_of = calibrate.fingerprint(assignment, options["storage"])
        return described.model_copy(update={"fingerprint": print_of})

    monkeypatch.setattr(calibrate, "calibrate", counted)
    first = calibrate.load_or_calibrate()
    assert (made, calibrate.load_or_calibrate()) == (1, first)
    other = calibrate.load_or_calibrate(gpu="gpu:0")  # other devices: another description
    assert made == 2 and other.fingerprint != first.fingerprint
    monkeypatch.setattr(calibrate, "machine", lambda: {"cpu": "another", "cores": 2})
    assert calibrate.load_or_calibrate().fingerprint != first.fingerprint
    assert made == 3
    for file in tmp_path.rglob("*.yaml"):
        file.write_text("schema: codl.hardware/0\n")  # of an older version: made anew, not an error
    calibrate.load_or_calibrate()
    assert made == 4
    smaller = calibrate.load_or_calibrate(storage="float16")
    assert (made, calibrate.load_or_calibrate(storage="float16")) == (5, smaller)
    with pytest.raises(InputError, match="storage 'float8': allowed are float32 and float16"):
        calibrate.load_or_calibrate(storage="float8")


def test_kernels_that_store_weights_as_float16_are_fitted_as_such(
    invented: Callable[..., None], described: Hardware
) -> None:
    invented()
    smaller = calibrate.calibrate(ONE_MEMORY, quick=True, storage="float16")
    for hardware, sizes in ((described, {4}), (smaller, {2, 4})):
        (library,) = hardware.libraries.values()
        kernels = library.kernels["cpu"]["buffer"]
        assert {kernel.weight_bytes for kernel in kernels} == sizes
        assert all((kernel.weight_bytes == 2) == kernel.algorithm.endswith("-float16") for kernel in kernels)


def test_alignment_is_what_the_kernels_pack(described: Hardware) -> None:
    """Parts that a plan cuts are whole blocks of the convolution kernels."""
    assert geometry.block_channels(replace(TRAITS, simd_width=16)) == 32
    assert geometry.block_channels(replace(TRAITS, cpu=False)) == 64
    assert Dimension.OUTPUT_CHANNEL.value in described.alignment


# -- pace --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("reference", "slower"), [(1000.0, False), (1e-9, True)])
def test_the_pace_is_the_reference_kernels_time_over_what_it_was(
    described: Hardware, reference: float, slower: bool
) -> None:
    assert described.observed is not None
    assert described.observed.reference_kernel == "conv 34x35x144->144 k3 s1"
    assert described.observed.reference["cpu"] > 0 and set(described.observed.reference_together) == set(LANES)
    then = dict.fromkeys(LANES, reference)
    observed = described.observed.model_copy(update={"reference": then, "reference_together": then})
    with calibrate.PaceMeter(described.model_copy(update={"observed": observed}), halves()) as meter:
        assert meter.pace is None
        meter()
        meter()
        pace = meter.pace
    assert pace is not None
    assert (pace > 1) is slower


def test_a_description_without_a_reference_knows_no_pace(described: Hardware) -> None:
    # calibrated: it was observed
    for observed in (None, described.observed.model_copy(update={"reference_kernel": "conv of nobody"})):  # type: ignore[union-attr]
        with calibrate.PaceMeter(described.model_copy(update={"observed": observed}), halves()) as meter:
            meter()
            assert meter.pace is None
