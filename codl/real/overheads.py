"""What measuring itself costs and how well clocks are known, of one device."""

from __future__ import annotations

import statistics
from dataclasses import dataclass

from codl.real.clock import ClockOffset, host_ns, measure_offset
from codl.real.devices import open_device
from codl.real.native.devices import is_native
from codl.real.opencl import opencl

_COMMANDS = 100
_ROUNDS = 15
_NOTHING = "__kernel void nothing(__global int *x) { if (x == 0) return; }"


@dataclass(frozen=True, slots=True)
class Overheads:
    """`profiling_ns`: how much longer a command takes because it is time-stamped (0 where it cannot be told)."""

    clock: ClockOffset
    profiling_ns: float


def overheads(device_id: str) -> Overheads:
    """Measure a device that is idle: the same empty kernels on a queue with time stamps and on one without, in turns.

    Raises:
        DeviceError: unknown device.
    """
    if is_native(device_id):  # its commands are stamped whether or not anybody asks
        return Overheads(ClockOffset(0, 0), 0.0)
    ocl = opencl()
    device = open_device(device_id)
    context = ocl.Context([device])
    stamped = ocl.CommandQueue(context, device, properties=ocl.command_queue_properties.PROFILING_ENABLE)
    plain = ocl.CommandQueue(context, device)
    kernel = ocl.Kernel(ocl.Program(context, _NOTHING).build(), "nothing")
    buffer = ocl.Buffer(context, ocl.mem_flags.READ_WRITE, 64)
    kernel.set_args(buffer)
    times: dict[bool, list[float]] = {True: [], False: []}
    for number in range(_ROUNDS + 1):
        for profiled, queue in ((True, stamped), (False, plain)):
            before = host_ns()
            for _ in range(_COMMANDS):
                ocl.enqueue_nd_range_kernel(queue, kernel, (1,), (1,))
            queue.finish()
            if number:  # the first launches compile
                times[profiled].append((host_ns() - before) / _COMMANDS)
    more = statistics.median(times[True]) - statistics.median(times[False])
    return Overheads(measure_offset(stamped), max(0.0, more))
