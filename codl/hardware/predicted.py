"""What planners' predictors know of a kernel library, where that is less than what is known here."""

from __future__ import annotations

from codl.hardware.library import Kernel
from codl.hardware.schema import Hardware

_AXES = ("kernel_h", "kernel_w")


def as_predicted(hardware: Hardware) -> Hardware:
    """The hardware as predictors see it that were trained on convolutions up to a size (`Library.predicted_up_to`).

    They take larger ones for convolutions of that size with more taps. Where there is no limit, `hardware` itself.
    """
    library = hardware.libraries[hardware.library]
    limit = library.predicted_up_to
    if not limit:
        return hardware
    kernels = {
        processor: {
            data_type: tuple(_seen(kernel, limit) for kernel in known if _size(kernel) <= limit)
            for data_type, known in by_type.items()
        }
        for processor, by_type in library.kernels.items()
    }
    seen = library.model_copy(update={"kernels": kernels})
    return hardware.model_copy(update={"libraries": {**hardware.libraries, hardware.library: seen}})


def _size(kernel: Kernel) -> int:
    """The one size of convolution that a kernel is for; 0 if it is for several."""
    return max((size for axis in _AXES if isinstance(size := kernel.when.get(axis), int)), default=0)


def _seen(kernel: Kernel, limit: int) -> Kernel:
    """A kernel for the largest size known, which is taken for that of all larger ones."""
    if _size(kernel) < limit:
        return kernel
    return kernel.model_copy(update={"when": {**kernel.when, **dict.fromkeys(_AXES, f">= {limit}")}})
