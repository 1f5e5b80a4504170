"""Implicit GEMM: the one algorithm behind convolution, transposed convolution, matrix products and Winograd's products.

A `TileProblem` says which pixels are computed from which elements; `program` turns it into launches for a device.
"""

from codl.ops.launch import DeviceTraits, KernelProgram
from codl.ops.tile.cpu import cpu_program, register_pixels, simd
from codl.ops.tile.gpu import GPU_TILE, gpu_program, one_each
from codl.ops.tile.problem import Strided, TileProblem, end_of, joined


def program(problem: TileProblem, device: DeviceTraits) -> KernelProgram:
    """The launches that compute a problem on a device, with the constants and the working memory they need."""
    return cpu_program(problem, device) if device.cpu else gpu_program(problem, device)


__all__ = [
    "GPU_TILE", "Strided", "TileProblem",
    "end_of", "joined", "one_each", "program", "register_pixels", "simd",
]  # fmt: skip
