"""Launches on a native device: kernels found, and their slots filled with addresses and numbers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from codl.errors import DeviceError
from codl.ops.launch import Constant, DeviceTraits, Input, KernelProgram, Launch, Output, Scratch
from codl.real.native.devices import ROOT, affinity, cores_of
from codl.real.native.queue import Command, Event, NativeQueue


def traits(compute_units: int) -> DeviceTraits:
    """What kernel variants may know of so many cores."""
    from codl.ops.native.abi import LANES

    return DeviceTraits(cpu=True, compute_units=compute_units, max_work_group_size=1, simd_width=LANES)


def native_launcher(device_id: str) -> NativeLauncher:
    """A launcher with a queue of its own. The threads of a part of the cores stay there, as other parts work beside
    them; those of the whole device go where the system puts them."""
    cores = cores_of(device_id)
    assert cores is not None
    part = device_id != ROOT
    return NativeLauncher(len(cores), NativeQueue(len(cores), affinity(cores) if part else None))


class NativeLauncher:
    """Prepares and enqueues launches: what `codl.real.launcher.Launcher` is to an OpenCL device. Buffers are arrays."""

    def __init__(self, compute_units: int, queue: NativeQueue) -> None:
        self.queue = queue
        self.traits = traits(compute_units)

    def prepare(
        self,
        program: KernelProgram,
        inputs: Sequence[np.ndarray | None],
        output: np.ndarray | None,
        constants: Mapping[str, np.ndarray],
        scratch: Mapping[str, np.ndarray],
    ) -> tuple[Command, ...]:
        """The launches of a program with buffers bound: `inputs` by position among the variable inputs, `constants`
        and `scratch` by key.

        Raises:
            DeviceError: there is no native kernel for a launch.
        """

        def buffer(argument: Input | Output | Constant | Scratch) -> np.ndarray | None:
            match argument:
                case Input(index):
                    return inputs[index]
                case Output():
                    return output
                case Constant(key):
                    return constants[key]
                case Scratch(key):
                    return scratch[key]

        return tuple(_command(launch, buffer) for launch in program.launches)

    def bound(self, command: Command) -> Callable[[Sequence[Event] | None], Event]:
        """What enqueues a command on this launcher's queue, given what it waits for."""
        return lambda waits: self.queue.enqueue(command, waits)

    def enqueue(
        self, command: Command, wait_for: Sequence[Event] | None = None, queue: NativeQueue | None = None
    ) -> Event:
        """Append one launch to this launcher's queue, or to another one."""
        return (queue or self.queue).enqueue(command, wait_for)


def _command(launch: Launch, buffer: Callable[[Any], np.ndarray | None]) -> Command:
    from codl.ops import native

    try:
        kernel = native.find(launch.source, launch.entry)
    except KeyError as error:
        raise DeviceError(f"native devices have no kernel {launch.entry} of {launch.source}") from error
    defines = dict(launch.defines)
    values = [*(defines.get(name, 0) for name in kernel.defines), *launch.arguments]
    slots, held = np.zeros(len(values), np.int64), []
    for position, value in enumerate(values):
        if isinstance(value, float):
            slots.view(np.float64)[position] = value
        elif isinstance(value, int):
            slots[position] = value
        elif (array := buffer(value)) is not None:
            slots[position] = array.ctypes.data
            held.append(array)
    width, height, depth = (*launch.global_size, 1, 1)[:3]
    return Command(kernel.address, slots, (width, height, depth), (kernel, *held))
