"""Images: where elements lie, and that kernels on images compute what kernels on buffers do."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codl.errors import DeviceError, PlanError
from codl.graph import Activation, Graph, Tensor
from codl.hardware import load
from codl.ops import Dimension
from codl.ops.image import Layout, pack, unpack
from codl.plan.lower import lower
from codl.plan.model import Chain, Plan
from codl.real import images, lanes, memory
from codl.real.devices import Assignment, describe
from codl.real.executor import Executor
from codl.real.reference import max_relative_error
from codl.region import Region
from codl.runs import Workspace, with_own_kernels
from codl.tasks import TaskKind
from tests.graphs import Builder, networks, residual
from tests.opencl import halves, inputs_of
from tests.plans import placed, plan_of, plans, split


@pytest.fixture(scope="module")
def devices() -> Assignment:
    return halves()


def run(graph: Graph, plan: Plan, devices: Assignment | dict) -> dict[str, np.ndarray]:
    with Executor(graph, lower(graph, plan), devices) as executor:
        executor.run(inputs_of(graph, seed=3))  # the second run must not see what the first left behind
        return executor.run(inputs_of(graph, seed=3))[0]


def on_images(graph: Graph, buffers: tuple[str, ...] = (), **fields) -> Plan:
    """Everything on the GPU, whose kernels take images but for those of some operators."""
    return placed(graph, "gpu", image=True, data_types={name: {"gpu": "buffer"} for name in buffers}, **fields)


# -- layout ------------------------------------------------------------------------------------------------------------


@given(st.tuples(*[st.integers(1, 9)] * 4), st.integers(0, 9))
def test_texels_lie_where_the_layout_says(shape: tuple[int, ...], first: int) -> None:
    array = np.arange(1, 1 + np.prod(shape), dtype=np.float32).reshape(shape)
    box = Region(((2, 2 + shape[0]), (first, first + shape[1]), (5, 5 + shape[2]), (1, 1 + shape[3])))
    texels = pack(array, first)
    layout = Layout.of(box)
    assert texels.shape == (layout.height, layout.width, 4)
    x, y, columns, rows = layout.place
    for n, c, row, column in np.ndindex(shape):
        block, lane = divmod(first + c, 4)
        place = y + (n + 2) * rows + row + 5, x + block * columns + column + 1
        assert texels[place][lane] == array[n, c, row, column]
    assert np.count_nonzero(texels) == array.size
    assert np.array_equal(unpack(texels, shape, first), array)


# -- kernels -----------------------------------------------------------------------------------------------------------


def _every_kernel() -> Graph:
    """Strides, groups, kernels larger than their input, broadcasting, odd channels, a batch of two."""
    b = Builder((2, 6, 13, 11))
    wide = b.conv(b.conv("x", 16, 5, 2), 32, groups=4)
    one = b.conv(wide, 10, 1, relu=False)
    deep = b.conv(one, 10, 3, 2, groups=10)
    pooled = b.pool(deep, 3, 1)
    average = b._node(
        "pool", (deep,), b.tensors[deep].shape, mode="average", kernel=(3, 3), stride=(1, 1), pads=(1,) * 4,
        dilation=(1, 1), count_include_pad=1,
    )  # fmt: skip
    whole = b._node(
        "pool", (deep,), (2, 10, 1, 1), mode="average", kernel=b.tensors[deep].shape[2:], stride=(1, 1), pads=(0,) * 4,
        dilation=(1, 1), count_include_pad=0,
    )  # fmt: skip
    shape = b.tensors[average].shape
    gated = b._node("binary", (average, whole), shape, Activation("sigmoid"), kind="mul")
    plane = b._constant("plane", b.rng.standard_normal(shape[2:]))
    raised = b._node("binary", (plane, gated), shape, kind="sub")
    single = b.conv(raised, 1, 1)
    added = b._node("binary", (raised, single), shape, kind="max")
    slopes = b._constant("slopes", b.rng.standard_normal((10, 1, 1)))
    bent = b._node("binary", (added, slopes), shape, kind="prelu")
    end = b._node("unary", (bent,), shape, kind="exp", params=())
    eight = b.conv(end, 8, 1)
    for when, groups in (("before", 1), ("after", 2)):
        weights = b._constant(f"weights {when}", b.rng.standard_normal((8, 8 // groups, 3, 3)) / 8)
        bias = b._constant(f"bias {when}", b.rng.standard_normal(8))
        eight = b._node(
            "conv", (eight, weights, bias, eight), b.tensors[eight].shape, Activation("relu"), kernel=(3, 3),
            stride=(1, 1), pads=(1,) * 4, dilation=(1, 1), group=groups, residual=when,
        )  # fmt: skip
    return b.graph(b.concat(eight, end), pooled, b.conv(end, 3, 9))


def test_every_kernel_computes_the_same(devices: Assignment) -> None:
    graph = _every_kernel()
    tasks = lower(graph, on_images(graph))
    kernels = [task for task in tasks.tasks if task.kind is TaskKind.KERNEL]
    assert {task.data_type for task in kernels} == {"image"}
    expected = run(graph, placed(graph, "gpu"), devices)
    assert max_relative_error(run(graph, on_images(graph), devices), expected) < 1e-5


@pytest.mark.parametrize("sharing", ["unified", "mapped", "copied"])
@pytest.mark.parametrize("dimension", list(Dimension))
def test_parts_of_every_kernel(sharing: str, dimension: Dimension, devices: Assignment) -> None:
    graph = _every_kernel()
    fields = {
        "sharing": sharing,
        "alignment": {Dimension.OUTPUT_CHANNEL: 4},
        "home": "gpu" if sharing == "mapped" else None,
    }
    plan = split(graph, dimension, 0.6, image=True, **fields)
    assert any(task.kind is TaskKind.TRANSFORM for task in lower(graph, plan).tasks)
    assert max_relative_error(run(graph, plan, devices), run(graph, placed(graph, "cpu"), devices)) < 1e-5


@settings(max_examples=4, deadline=None)
@given(data=st.data())
def test_any_plan_on_images(data: st.DataObject) -> None:
    """Random networks, chains and cuts, and operators with buffers among those with images."""
    graph = data.draw(networks(4))
    plan = data.draw(plans(graph, mixed=True).filter(lambda plan: plan.processors["gpu"].data_type == "image"))
    plan = plan.model_copy(update={"alignment": {Dimension.OUTPUT_CHANNEL: 4}})
    assert max_relative_error(run(graph, plan, halves()), run(graph, placed(graph, "cpu"), halves())) < 1e-5


def test_separate_memories(devices: Assignment, monkeypatch: pytest.MonkeyPatch) -> None:
    """A GPU with a memory of its own: what it makes in images is transformed there, then copied, and back."""
    whole = describe(devices.gpu.root)  # PoCL 3 crashes where images of parts of a device are transferred
    if devices.cpu.id == whole.id:
        pytest.skip("one core: there is one context only")
    gpu = dataclasses.replace(whole, root="another")
    apart = lanes._context((gpu.id,))[0]
    monkeypatch.setattr(memory, "works_in_host_memory", lambda context: context is not apart)
    graph = _every_kernel()
    plan = split(graph, Dimension.HEIGHT, 0.4, image=True, sharing="copied")
    expected = run(graph, placed(graph, "cpu"), devices)
    assert max_relative_error(run(graph, plan, {"cpu": devices.cpu, "gpu": gpu}), expected) < 1e-5


# -- transforms --------------------------------------------------------------------------------------------------------


def _line() -> Graph:
    b = Builder()
    return b.graph(b.conv(b.conv(b.conv("x", 8), 8), 8))


def _transforms(plan: Plan, graph: Graph) -> list[str]:
    return [task.id for task in lower(graph, plan).tasks if task.kind is TaskKind.TRANSFORM]


def test_neighbours_that_agree_need_no_transform() -> None:
    graph = _line()
    assert _transforms(on_images(graph), graph) == ["c00/x/transform@gpu"]
    assert _transforms(on_images(graph, ("conv0",)), graph) == ["c01/conv0/transform@gpu"]
    assert _transforms(on_images(graph, ("conv1",)), graph) == [
        "c00/x/transform@gpu", "c01/conv0-as-buffer/transform@gpu", "c02/conv1/transform@gpu",
    ]  # fmt: skip


def test_one_value_is_copied_for_kernels_of_either_data_type() -> None:
    """A chain's pool, on images, needs four of five rows, its concatenation, on buffers, all of them: two copies."""
    b = Builder((1, 4, 5, 4))
    made = b.conv("x", 4, 1)
    pooled, joined = b.pool(made), b.concat(made, made)
    graph = b.graph(pooled, joined)
    chains = [
        Chain(operators=(made,), dimension=Dimension.HEIGHT, shares={"gpu": 0.5, "cpu": 0.5}),
        Chain(operators=(pooled, joined), shares={"gpu": 1.0}),
    ]
    plan = plan_of(graph, chains, "copied", image=True, data_types={joined: {"gpu": "buffer"}})
    copies = [t.id for t in lower(graph, plan).tasks if t.kind is TaskKind.COPY and t.id.startswith("c01")]
    assert copies == [f"c01/{made}/copy@gpu", f"c01/{made}-as-buffer/copy@gpu"]


def test_inside_a_chain_too(devices: Assignment) -> None:
    graph = _line()
    names = tuple(node.name for node in graph.nodes)
    chain = Chain(operators=names, dimension=Dimension.HEIGHT, shares={"gpu": 0.5, "cpu": 0.5})
    plan = plan_of(graph, [chain], image=True, data_types={"conv1": {"gpu": "buffer"}})
    made = [task.split("/")[1] for task in _transforms(plan, graph)]
    assert made == ["x", "conv0-as-buffer-for-conv1", "conv1-as-image-for-conv2", "conv2-for-cpu"]
    assert max_relative_error(run(graph, plan, devices), run(graph, placed(graph, "cpu"), devices)) < 1e-5


@pytest.mark.parametrize("planner", ["gpu", "codl"])
def test_a_phones_plan_runs_here(planner: str, devices: Assignment) -> None:
    """Its decisions and data types, with kernels of codl's where it names its framework's."""
    graph = residual()
    planned = Workspace(load("sd865"), graphs={"small": graph}).prepare("small", planner)
    with pytest.raises(PlanError):
        run(graph, planned.plan, devices)
    own, foreign = with_own_kernels(planned)
    assert foreign > 0 and own.plan.chains == planned.plan.chains
    assert own.plan.processors["gpu"].data_type == "image"
    on_buffers = {graph.by_name[name].op for name in own.plan.data_types}
    assert on_buffers <= {"reshape", "gemm"} and (planner == "codl" or on_buffers)
    assert max_relative_error(run(graph, own.plan, devices), run(graph, placed(graph, "cpu"), devices)) < 1e-5
    assert with_own_kernels(own) == (own, 0)


# -- what is refused ---------------------------------------------------------------------------------------------------


def test_images_beyond_the_device(devices: Assignment) -> None:
    b = Builder((1, 4, 2, 20_000))
    graph = b.graph(b.relu("x"))
    with pytest.raises(DeviceError, match=r"x@gpu needs an image of 20000 x 2 texels; the device allows \d+ x \d+"):
        run(graph, on_images(graph), devices)


def test_devices_without_images(devices: Assignment, monkeypatch: pytest.MonkeyPatch) -> None:
    class Blind:
        name, image_support = "blind", False

    class Context:
        devices = (Blind(),)

    class Memory:
        label, context = "gpu", Context()

    with pytest.raises(DeviceError, match=r"gpu \(blind\) has no images, which the plan asks for"):
        images.require_images(Memory(), "x@gpu", 1, 1)  # type: ignore[arg-type]  # a stand-in with what is read of it


def test_tensors_of_more_axes() -> None:
    with pytest.raises(PlanError, match="up to 4 axes; this one has 5"):
        Layout.of(Region.full((1, 2, 3, 4, 5)))


def test_other_numbers_stay_in_buffers() -> None:
    graph = _line()
    tensors = {**graph.tensors, "x": Tensor("x", graph.tensors["x"].shape, "int32")}
    odd = dataclasses.replace(graph, tensors=tensors)
    buffers = lower(odd, on_images(odd, sharing="mapped")).buffers
    assert {b.data_type for b in buffers.values() if b.tensor == "x"} == {"buffer"}
    assert {b.data_type for b in buffers.values() if b.tensor != "x"} == {"image"}
