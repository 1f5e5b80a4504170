"""Seeded weights of the zoo's networks, scaled so that activations neither vanish nor explode.

Every filter has mean 0: rectified activations are positive, and without this their common mean would dominate deep
layers until the output hardly depended on the input (the mean correlation of He-initialised rectifier networks tends
to 1; Schoenholz et al., "Deep information propagation", 2017). What is left is scaled by the expected variance of the
input around its mean, so that each convolution's output has about unit variance times the square of its gain.
"""

from __future__ import annotations

import zlib
from math import sqrt

import numpy as np

BIAS_STD = 0.1

VARIANCE_AFTER = {"Relu": 0.3408, "LeakyRelu": 0.3763, "Tanh": 0.3943, "": 1.0}
"""Variance of f(z), z standard normal; LeakyRelu with slope 0.1. Relu: 1/2 - 1/(2 pi)."""

VARIANCE_AFTER_POOL = 0.45
"""Variance of the largest of four rectified standard normals, which a 2x2 max pooling gives: about 0.45."""


def filters(
    network: str, layer: int, shape: tuple[int, ...], *, outputs: int, fan_in: float, variance: float, gain: float
) -> np.ndarray:
    """Weights of one layer.

    Args:
        shape: as ONNX wants them; axis `outputs` is the output channel.
        fan_in: how many weights contribute to one output element.
        variance: expected variance of the input's elements around their mean.
        gain: standard deviation wanted at the output.
    """
    weights = _generator(network, layer).standard_normal(shape, dtype=np.float32)
    others = tuple(axis for axis in range(len(shape)) if axis != outputs)
    weights -= weights.mean(axis=others, keepdims=True)
    weights *= np.float32(gain / sqrt(fan_in * variance))
    return weights


def biases(network: str, layer: int, channels: int) -> np.ndarray:
    """Small offsets: large enough that a kernel which forgets them is found out."""
    generator = _generator(network, layer + 10_000)
    return (BIAS_STD * generator.standard_normal(channels)).astype(np.float32)


def _generator(network: str, layer: int) -> np.random.Generator:
    seed = [zlib.crc32(network.encode()), layer]
    return np.random.Generator(np.random.SFC64(seed))  # the quickest of numpy's: VGG-16 has 138 million weights
