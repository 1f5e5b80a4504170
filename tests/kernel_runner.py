"""Runs the kernels of one node on the first OpenCL CPU device, in buffers made to betray mistakes.

Each box lies inside a larger buffer (unless `margin=0`), so that views have offsets and foreign strides. Everything
around an input box, and the whole output buffer, is NaN: a kernel that reads or writes outside its boxes is found.
"""

from __future__ import annotations

import ctypes
import os
import warnings
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

import numpy as np
import pyopencl as cl

import codl.ops
from codl.graph import Graph, Node
from codl.ops.launch import (
    Constant,
    DeviceTraits,
    Input,
    KernelProgram,
    KernelRequest,
    Launch,
    Output,
    Scratch,
    View,
    memory_order,
)
from codl.real import launcher
from codl.region import Region

SOURCES = Path(codl.ops.__file__).parent
GUARD = 64
"""Floats of NaN after a scratch buffer's and every other buffer's end."""


@cache
def queue() -> cl.CommandQueue:
    devices = [device for platform in cl.get_platforms() for device in platform.get_devices()]
    device = next(device for device in devices if device.type & cl.device_type.CPU)
    return cl.CommandQueue(cl.Context([device]))


@cache
def simd_width() -> int:
    """Floats in a register of the instruction set that the device's compiler emits (see `codl.real.launcher`)."""
    return launcher.traits(queue().device).simd_width


def traits(cpu: bool = True, simd: int = 0) -> DeviceTraits:
    """The test device as it is, or posing as a GPU or as a processor with other vectors."""
    device = queue().device
    return DeviceTraits(
        cpu=cpu,
        compute_units=device.max_compute_units,
        max_work_group_size=min(device.max_work_group_size, 1024),
        simd_width=(simd or simd_width()) if cpu else 1,
    )


@cache
def _kernel(source: str, entry: str, defines: tuple[tuple[str, int | float | str], ...]) -> cl.Kernel:
    options = [f"-D{name}={value}" for name, value in defines] + ["-I", str(SOURCES / "cl")]
    with warnings.catch_warnings():
        if dict(defines).get("SIMD", 0) != simd_width():  # vectors wider than the registers change calls
            warnings.simplefilter("ignore", cl.CompilerWarning)
        program = cl.Program(queue().context, (SOURCES / source).read_text()).build(options)
    return cl.Kernel(program, entry)


def embed(region: Region, margin: int) -> tuple[View, tuple[int, ...]]:
    """A view of `region` in the middle of a larger buffer, and that buffer's shape in memory order."""
    if margin == 0:
        order = memory_order(len(region.ranges))
        return View.of(region), tuple(region.shape[axis] for axis in order)
    ranges = []
    for axis, (lo, hi) in enumerate(region.ranges):
        wide = margin if axis % 2 else 1  # unequal, so that no stride is a multiple of another
        ranges.append((lo - 1 - (wide - 1) // 2, hi + wide))
    outer, shape = embed(Region(tuple(ranges)), 0)
    return View(region, outer.offset, outer.strides), shape


def _index(view: View, region: Region, lead: int = 0) -> np.ndarray:
    """Element offset in the buffer of each element of a box, in logical axis order."""
    offsets = np.full(region.shape, view.offset + lead, dtype=np.int64)
    for axis, (lo, hi) in enumerate(region.ranges):
        shape = [1] * len(region.ranges)
        shape[axis] = hi - lo
        offsets += (np.arange(lo, hi, dtype=np.int64) * view.strides[axis]).reshape(shape)
    return offsets


def _upload(array: np.ndarray) -> cl.Buffer:
    flags = cl.mem_flags.READ_WRITE | cl.mem_flags.COPY_HOST_PTR
    return cl.Buffer(queue().context, flags, hostbuf=np.ascontiguousarray(array))


def request(
    graph: Graph,
    node: Node,
    out: Region | None = None,
    algorithm: str = "",
    *,
    margin: int = 3,
    cpu: bool = True,
    simd: int = 0,
) -> KernelRequest:
    """A request for `out` (default: all of the output) whose boxes lie in buffers with a margin."""
    spec = codl.ops.REGISTRY[node]
    out = Region.full(graph.tensor(node.output).shape) if out is None else out
    return KernelRequest(
        graph=graph,
        node=node,
        out=out,
        inputs=tuple(embed(region, margin)[0] for region in spec.input_regions(graph, node, out)),
        output=embed(out, margin)[0],
        algorithm=algorithm or spec.algorithms(graph, node)[0],
        device=traits(cpu, simd),
    )


def run_node(
    graph: Graph,
    node: Node,
    inputs: Mapping[str, np.ndarray],
    out: Region | None = None,
    algorithm: str = "",
    *,
    margin: int = 3,
    cpu: bool = True,
    simd: int = 0,
) -> np.ndarray:
    """The box `out` of the node's output, as a logical array, computed from boxes of the logical arrays `inputs`.

    Raises:
        AssertionError: an element outside the box was written.
    """
    wanted = request(graph, node, out, algorithm, margin=margin, cpu=cpu, simd=simd)
    spec = codl.ops.REGISTRY[node]
    program = spec.program(wanted)
    buffers: list[np.ndarray] = []
    for (_, tensor), view in zip(graph.variable_inputs(node), wanted.inputs, strict=True):
        _, shape = embed(view.region, margin)
        stored = np.full(int(np.prod(shape)) + GUARD, np.nan, dtype=np.float32)
        if not view.region.empty:
            box = inputs[tensor.name][tuple(slice(lo, hi) for lo, hi in view.region.ranges)]
            stored[_index(view, view.region).reshape(-1)] = box.reshape(-1)
        buffers.append(stored)
    _, shape = embed(wanted.out, margin)
    output = np.full(int(np.prod(shape)) + GUARD, np.nan, dtype=np.float32)
    native = NATIVE and wanted.device.cpu and wanted.device.simd_width == simd_width()
    output = launch_native(program, buffers, output) if native else launch(program, buffers, output)
    index = _index(wanted.output, wanted.out)
    result = output[index]
    output[index.reshape(-1)] = np.nan
    assert np.isnan(output).all(), f"{node.name}: wrote outside {wanted.out}"
    return np.asarray(result)


NATIVE = os.environ.get("CODL_TEST_KERNELS") == "native"
"""Whether the CPU kernels under test are the native ones."""


def launch_native(program: KernelProgram, inputs: Sequence[np.ndarray], output: np.ndarray) -> np.ndarray:
    """As `launch`, by native kernels."""
    from codl.ops.native import find

    output = output.copy()
    constants = {key: np.ascontiguousarray(program.constants[key]) for key in program.constants}
    scratch = {key: np.full(n // 4 + GUARD, np.nan, np.float32) for key, n in program.scratch.items()}

    def address(argument: Input | Output | Constant | Scratch) -> int:
        match argument:
            case Input():
                return int(inputs[argument.index].ctypes.data)
            case Output():
                return int(output.ctypes.data)
            case Constant():
                return int(constants[argument.key].ctypes.data)
            case Scratch():
                return int(scratch[argument.key].ctypes.data)

    for step in program.launches:
        kernel, defines = find(step.source, step.entry), dict(step.defines)
        values = [*(defines.get(name, 0) for name in kernel.defines), *step.arguments]
        slots = np.zeros(len(values), np.int64)
        for n, value in enumerate(values):
            if isinstance(value, float):
                slots.view(np.float64)[n] = value
            else:
                slots[n] = value if isinstance(value, int) else address(value)
        call = ctypes.CFUNCTYPE(None, *[ctypes.c_int64] * 4)(kernel.address)
        for at in np.ndindex(*reversed((*step.global_size, 1, 1)[:3])):
            call(slots.ctypes.data, *reversed(at))
    return output


def launch(program: KernelProgram, inputs: Sequence[np.ndarray], output: np.ndarray) -> np.ndarray:
    """Enqueues a program's launches on copies of the flat buffers; returns the output buffer's contents."""
    device_inputs = [_upload(array) for array in inputs]
    device_output = _upload(output)
    constants = {key: _upload(array) for key, array in program.constants.items()}
    scratch = {
        key: _upload(np.full(nbytes // 4 + GUARD, np.nan, dtype=np.float32)) for key, nbytes in program.scratch.items()
    }
    for step in program.launches:
        _enqueue(step, device_inputs, device_output, constants, scratch)
    result = np.empty_like(output)
    cl.enqueue_copy(queue(), result, device_output)
    return result


def _enqueue(
    step: Launch,
    inputs: Sequence[cl.Buffer],
    output: cl.Buffer,
    constants: Mapping[str, cl.Buffer],
    scratch: Mapping[str, cl.Buffer],
) -> cl.Event:
    kernel = _kernel(step.source, step.entry, step.defines)
    for position, argument in enumerate(step.arguments):
        match argument:
            case Input():
                kernel.set_arg(position, inputs[argument.index])
            case Output():
                kernel.set_arg(position, output)
            case Constant():
                kernel.set_arg(position, constants[argument.key])
            case Scratch():
                kernel.set_arg(position, scratch[argument.key])
            case int():
                kernel.set_arg(position, np.int32(argument))
            case float():
                kernel.set_arg(position, np.float32(argument))
    event = cl.enqueue_nd_range_kernel(queue(), kernel, step.global_size, step.local_size)
    event.wait()
    return event
