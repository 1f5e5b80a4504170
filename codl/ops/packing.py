"""Weights as the kernels want them: packed when asked for, named so that equal names mean equal contents."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import numpy as np

DTYPES = {4: "float32", 2: "float16"}
"""Number format of weights, by bytes."""


class LazyConstants(Mapping[str, np.ndarray]):
    """Constants that are computed on access: a caller that holds a key's buffer already never pays for packing."""

    def __init__(self, makers: Mapping[str, Callable[[], np.ndarray]]) -> None:
        self._makers = dict(makers)

    def __getitem__(self, key: str) -> np.ndarray:
        return self._makers[key]()

    def __iter__(self) -> Iterator[str]:
        return iter(self._makers)

    def __len__(self) -> int:
        return len(self._makers)

    def __or__(self, other: LazyConstants) -> LazyConstants:
        return LazyConstants({**self._makers, **other._makers})


def panels(weights: np.ndarray, width: int, chunk: int, dtype: str = "float32") -> np.ndarray:
    """(G, OC, K) weights as, for each group and each chunk of k, [ceil(OC / width)][k in the chunk][width].

    The last panel is filled up with zeros. Flat.
    """
    count, channels, depth = weights.shape
    if depth == 0:
        return np.zeros(1, dtype=dtype)  # a buffer cannot be empty
    blocks = -(-channels // width)
    packed = np.zeros((count, depth * blocks, width), dtype=dtype)
    for block in range(blocks):  # by panel: the transposed copy stays in cache
        part = weights[:, block * width : (block + 1) * width]
        for start in range(0, depth, chunk):
            stop = min(start + chunk, depth)
            at = start * blocks + block * (stop - start)
            packed[:, at : at + stop - start, : part.shape[1]] = part[:, :, start:stop].transpose(0, 2, 1)
    return packed.reshape(-1)


def padded(bias: np.ndarray, width: int) -> np.ndarray:
    """(G, OC) as [G][ceil(OC / width)][width], filled up with zeros."""
    count, channels = bias.shape
    packed = np.zeros((count, -(-channels // width) * width), dtype=np.float32)
    packed[:, :channels] = bias
    return packed
