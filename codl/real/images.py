"""Images: storage of boxes of feature maps, four channels a texel (docs/data-types.md), and what changes data types."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from codl.errors import DeviceError, PlanError
from codl.ops.image import Layout, pack, to_buffer, to_image, unpack
from codl.ops.image.layout import CHANNELS, FLOATS, TEXEL_BYTES
from codl.ops.launch import KernelProgram, View
from codl.real.memory import Allocation, Memory
from codl.region import Region
from codl.tasks import Task, TaskGraph


@dataclass(slots=True)
class ImageStorage(Allocation):
    """Storage for a box of one tensor in an image. `device` is the OpenCL image, `host` its texels where the device
    works in the host's memory."""

    def write(self, array: np.ndarray) -> None:
        """Fill it from an array in logical axis order, of the region's shape."""
        if not array.size:
            return
        texels = pack(array, _first_channel(self.region))
        if self.host is not None:
            self.host[...] = texels
        else:
            self.memory.write_image(self.device, texels)

    def read(self) -> np.ndarray:
        """A copy of the contents, in logical axis order."""
        if self.region.empty:
            return np.zeros(self.region.shape, np.float32)
        texels = self.host
        if texels is None:
            layout = Layout.of(self.region)
            texels = np.empty((layout.height, layout.width, CHANNELS), np.float32)
            self.memory.read_image(self.device, texels)
        return unpack(texels, self.region.shape, _first_channel(self.region))


def allocate_image(memory: Memory, name: str, region: Region) -> ImageStorage:
    """Zeroed storage for a box of a tensor.

    Raises:
        DeviceError: a device of this memory has no images, or none so large, or no memory is left.
    """
    layout = Layout.of(region)
    width, height = max(1, layout.width), max(1, layout.height)
    require_images(memory, name, width, height)
    image, host = memory.image(name, width, height)
    return ImageStorage(name, region, np.dtype(FLOATS), width * height * TEXEL_BYTES, memory, image, host)


def require_images(memory: Memory, name: str, width: int, height: int) -> None:
    """Raise `DeviceError` unless the devices of a memory have images of this size."""
    for device in memory.context.devices:
        if not device.image_support:
            raise DeviceError(
                f"{memory.label} ({device.name}) has no images, which the plan asks for; plan with --data-type buffer"
            )
        if width > device.image2d_max_width or height > device.image2d_max_height:
            raise DeviceError(
                f"{memory.label}: {name} needs an image of {width} x {height} texels; the device allows "
                f"{device.image2d_max_width} x {device.image2d_max_height}; plan with --data-type buffer"
            )


def check_cuts(tasks: TaskGraph) -> None:
    """Raise `PlanError` where a task writes a part of a texel: others hold the rest of it."""
    for task in tasks.tasks:
        for access in task.writes:
            buffer = tasks.buffers[access.buffer]
            if buffer.data_type != "image" or access.region.empty:
                continue
            (start, stop), last = _channels(access.region), _channels(buffer.region)[1]
            if (start % CHANNELS and start != _channels(buffer.region)[0]) or (stop % CHANNELS and stop != last):
                raise PlanError(
                    f"{task.id}: writes channels {start} to {stop} of {buffer.tensor}, but images hold {CHANNELS} "
                    f"channels a texel: output channels must be cut at multiples of {CHANNELS}"
                )


def transform(task: Task, source: Allocation, target: Allocation, box: Region) -> KernelProgram:
    """What changes the data type of one box.

    Raises:
        PlanError: the data type stays the same.
    """
    if isinstance(source, ImageStorage) == isinstance(target, ImageStorage):
        raise PlanError(f"task {task.id}: from {source.name} to {target.name} the data type does not change")
    if isinstance(target, ImageStorage):
        return to_image(View.of(source.region), target.region, box)
    return to_buffer(source.region, View.of(target.region), box)


def _channels(region: Region) -> tuple[int, int]:
    return Layout.of(region).box.ranges[1]


def _first_channel(region: Region) -> int:
    return _channels(region)[0]
