"""Kernel launches on one device: programs built once, kernels with their arguments set, ready to be enqueued."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from codl.errors import BuildError, DeviceError
from codl.ops.launch import Constant, DeviceTraits, Input, KernelProgram, Launch, Output, Scratch
from codl.real.opencl import opencl
from codl.real.scalars import gathered
from codl.real.sources import program_text

if TYPE_CHECKING:
    import pyopencl as cl

# -- programs ----------------------------------------------------------------------------------------------------------


class ProgramCache:
    """Built programs of one context. The driver's or pyopencl's cache on disk serves later processes."""

    def __init__(self, context: cl.Context) -> None:
        self.context = context
        self._built: dict[tuple[Any, str], cl.Program] = {}

    def get(self, device: cl.Device, source: str, text: str) -> cl.Program:
        """A program's text, from the file `source`, built for a device of the context.

        Raises:
            BuildError: it does not build; carries the log.
        """
        key = (device, text)
        if key not in self._built:
            self._built[key] = self._build(device, source, text)
        return self._built[key]

    def _build(self, device: cl.Device, source: str, text: str) -> cl.Program:
        ocl = opencl()
        program = ocl.Program(self.context, text)
        try:
            built: cl.Program = program.build(devices=[device])
        except ocl.Error as error:
            raise BuildError(source, device.name, _log(str(error))) from None
        return built


def _log(message: str) -> str:
    """The compiler's part of pyopencl's message."""
    return message.split(">:", 1)[-1].split("\n(options:", 1)[0]


# -- launches ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Command:
    """One kernel with its arguments set. `held` keeps alive what the kernel points to; OpenCL does not."""

    kernel: cl.Kernel
    global_size: tuple[int, ...]
    local_size: tuple[int, ...] | None
    held: tuple[cl.MemoryObject, ...]


_SIMD_PROBE = """
__kernel void simd_width(__global int *width) {
#if defined(__AVX512F__)
    *width = 16;
#elif defined(__AVX__)
    *width = 8;
#elif defined(__SSE2__) || defined(__ARM_NEON)
    *width = 4;
#else
    *width = 0;
#endif
}
"""


_simd_widths: dict[tuple[str, str, str], int] = {}


def _simd_width(device: cl.Device) -> int:
    """As `_compiled_simd_width`, asked once for all parts of a device."""
    key = (device.platform.version, device.name, device.driver_version)
    if key not in _simd_widths:
        _simd_widths[key] = _compiled_simd_width(device)
    return _simd_widths[key]


def _compiled_simd_width(device: cl.Device) -> int:
    """Floats in a register of the instruction set that a CPU device's compiler emits; 0 if it does not say.

    Neither the processor nor the device's preferred width tells: an older compiler may not know the processor.
    """
    ocl = opencl()
    context = ocl.Context([device])
    queue = ocl.CommandQueue(context)
    width = np.zeros(1, np.int32)
    try:
        buffer = ocl.Buffer(context, ocl.mem_flags.READ_WRITE, width.nbytes)
        kernel = ocl.Kernel(ocl.Program(context, _SIMD_PROBE).build(), "simd_width")
        kernel.set_args(buffer)
        ocl.enqueue_nd_range_kernel(queue, kernel, (1,), (1,))
        ocl.enqueue_copy(queue, width, buffer)
    except ocl.Error:
        return 0
    return int(width[0])


def traits(device: cl.Device) -> DeviceTraits:
    """What kernel variants may know of a device."""
    ocl = opencl()
    cpu = bool(device.type & ocl.device_type.CPU)
    return DeviceTraits(
        cpu=cpu,
        compute_units=device.max_compute_units,
        max_work_group_size=device.max_work_group_size,
        simd_width=(_simd_width(device) if cpu else 0) or max(1, device.preferred_vector_width_float),
    )


class Launcher:
    """Prepares and enqueues launches on one device of a context.

    Args:
        device: an OpenCL device.
        context: a context that holds it; its own if left out.
        programs: the context's built programs, to share them among launchers.
    """

    def __init__(
        self, device: cl.Device, context: cl.Context | None = None, programs: ProgramCache | None = None
    ) -> None:
        ocl = opencl()
        self.device = device
        self.context = context if context is not None else ocl.Context([device])
        self.programs = programs if programs is not None else ProgramCache(self.context)
        self.traits = traits(device)
        self.queue = ocl.CommandQueue(self.context, device, properties=ocl.command_queue_properties.PROFILING_ENABLE)
        self._enqueue: Callable[..., Any] = ocl.enqueue_nd_range_kernel

    def prepare(
        self,
        program: KernelProgram,
        inputs: Sequence[cl.MemoryObject | None],
        output: cl.MemoryObject | None,
        constants: Mapping[str, cl.MemoryObject],
        scratch: Mapping[str, cl.MemoryObject],
    ) -> tuple[Command, ...]:
        """The launches of a program with buffers bound: `inputs` by position among the variable inputs, `constants`
        and `scratch` by key.

        Raises:
            BuildError: a program does not build.
            DeviceError: a kernel refuses its arguments.
        """
        return tuple(self._command(launch, inputs, output, constants, scratch) for launch in program.launches)

    def _command(
        self,
        launch: Launch,
        inputs: Sequence[cl.MemoryObject | None],
        output: cl.MemoryObject | None,
        constants: Mapping[str, cl.MemoryObject],
        scratch: Mapping[str, cl.MemoryObject],
    ) -> Command:
        ocl = opencl()
        values: list[Any] = []
        for argument in launch.arguments:
            match argument:
                case Input(index):
                    values.append(inputs[index])
                case Output():
                    values.append(output)
                case Constant(key):
                    values.append(constants[key])
                case Scratch(key):
                    values.append(scratch[key])
                case int():  # bool is an int, as in C
                    values.append(np.int32(argument))
                case float():
                    values.append(np.float32(argument))
        text = program_text(launch.source, launch.defines)
        if self.traits.cpu:
            text, kernels = gathered(text)
            if launch.entry in kernels:
                values = kernels[launch.entry].arguments(values)
        built = self.programs.get(self.device, launch.source, text)
        try:
            kernel = ocl.Kernel(built, launch.entry)
            kernel.set_args(*values)
        except ocl.Error as error:
            raise DeviceError(f"{launch.source}: kernel {launch.entry} on {self.device.name}: {error}") from None
        held = tuple(value for value in values if isinstance(value, ocl.MemoryObject))
        return Command(kernel, launch.global_size, launch.local_size, held)

    def bound(self, command: Command) -> Callable[[Sequence[cl.Event] | None], cl.Event]:
        """What enqueues a command on this launcher's queue, given what it waits for: as little as can be, since it is
        called for every launch of every inference."""
        enqueue, queue = self._enqueue, self.queue

        def issue(waits: Sequence[cl.Event] | None) -> Any:  # holds the command, and so all that its kernel points to
            return enqueue(queue, command.kernel, command.global_size, command.local_size, None, waits)

        return issue

    def enqueue(
        self, command: Command, wait_for: Sequence[cl.Event] | None = None, queue: cl.CommandQueue | None = None
    ) -> cl.Event:
        """Hand one launch to this launcher's queue, or to another one of its context."""
        event: cl.Event = self._enqueue(
            queue or self.queue, command.kernel, command.global_size, command.local_size, None, wait_for
        )
        return event

    def run(self, program: KernelProgram, inputs: Sequence[np.ndarray], output: np.ndarray) -> np.ndarray:
        """Compute once, from arrays to an array: for tests and measurements of single kernels.

        Args:
            inputs: what each input buffer holds, as it lies in memory (`codl.ops.launch.to_memory`).
            output: what the output buffer holds before; it is not changed.

        Returns:
            The output buffer's contents afterwards, of `output`'s shape and dtype.
        """
        ocl = opencl()

        def upload(array: np.ndarray) -> Any:
            flat = np.ascontiguousarray(array).reshape(-1)
            buffer = ocl.Buffer(self.context, ocl.mem_flags.READ_WRITE, max(64, flat.nbytes))
            if flat.nbytes:
                ocl.enqueue_copy(self.queue, buffer, flat, is_blocking=True)
            return buffer

        target = upload(output)
        commands = self.prepare(
            program,
            [upload(array) for array in inputs],
            target,
            {key: upload(array) for key, array in program.constants.items()},
            {
                key: ocl.Buffer(self.context, ocl.mem_flags.READ_WRITE, max(64, nbytes))
                for key, nbytes in program.scratch.items()
            },
        )
        for command in commands:
            self.enqueue(command)
        result = np.empty_like(np.ascontiguousarray(output))
        if result.nbytes:
            ocl.enqueue_copy(self.queue, result.reshape(-1), target, is_blocking=True)
        self.queue.finish()
        return result
