"""Normalisation at run time: by instance, by layer, by group of channels."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np

from codl.graph import Attribute
from codl.onnx_reader.network import Network, OnnxNode, Operator


def instance_normalization(network: Network, node: OnnxNode) -> list[Operator] | None:
    """InstanceNormalization: every channel of every image by itself."""
    affine = _affine(network, node)
    if affine is None:
        return None
    rank = len(network.shape(node.input(0)))
    by_channel = (-1, *[1] * (rank - 2))
    scale, shift = (array.reshape(by_channel) for array in affine)
    return [_normalize(network, node, node.input(0), node.outputs[0], range(2, rank), scale, shift)]


def layer_normalization(network: Network, node: OnnxNode) -> list[Operator] | None:
    """LayerNormalization: all axes from `axis` on, together."""
    affine = _affine(network, node)
    if affine is None or any(node.outputs[1:]):
        return None
    shape = network.shape(node.input(0))
    axis = int(node.attribute("axis", -1)) % len(shape)
    if any(array.size not in (1, prod(shape[axis:])) for array in affine):
        return None
    scale, shift = affine
    return [_normalize(network, node, node.input(0), node.outputs[0], range(axis, len(shape)), scale, shift)]


def group_normalization(network: Network, node: OnnxNode) -> list[Operator] | None:
    """GroupNormalization: the channels of a group together, so that they get an axis of their own meanwhile.

    Scale and shift are given by group before operator set 21, by channel after.
    """
    affine = _affine(network, node)
    if affine is None:
        return None
    batch, channels, *rest = network.shape(node.input(0))
    groups = int(node.attribute("num_groups"))
    apart = (batch, groups, channels // groups, *rest)
    grouped = network.add_value(f"{node.name}.grouped", apart)
    normalised = network.add_value(f"{node.name}.normalised", apart)
    by_group = (groups, -1, *[1] * len(rest))
    scale, shift = (array.reshape(by_group) for array in affine)
    reshaped = network.names.fresh(f"{node.name}.group"), network.names.fresh(f"{node.name}.ungroup")
    return [
        Operator(reshaped[0], "reshape", [node.input(0)], [grouped]),
        _normalize(network, node, grouped, normalised, range(2, len(apart)), scale, shift),
        Operator(reshaped[1], "reshape", [normalised], [node.outputs[0]]),
    ]


def _affine(network: Network, node: OnnxNode) -> tuple[np.ndarray, np.ndarray] | None:
    """Constant scale and shift; no shift is zero."""
    scale, shift = network.constant(node.input(1)), network.constant(node.input(2))
    if not network.is_variable(node.input(0)) or len(network.shape(node.input(0))) < 2 or scale is None:
        return None
    if node.input(2) and shift is None:
        return None
    if shift is None:
        shift = np.zeros(1, np.float32)
    return (scale, shift) if scale.dtype == shift.dtype == np.float32 else None


def _normalize(
    network: Network, node: OnnxNode, x: str, out: str, axes: Sequence[int], scale: np.ndarray, shift: np.ndarray
) -> Operator:
    """Scale and shift have shapes that broadcast to x."""
    constants = [
        network.add_constant(f"{node.name}.{label}", np.ascontiguousarray(array))
        for label, array in (("scale", scale), ("shift", shift))
    ]
    attributes: dict[str, Attribute] = {"axes": tuple(axes), "epsilon": float(node.attribute("epsilon", 1e-5))}
    return Operator(node.name, "normalize", [x, *constants], [out], attributes)


RULES = {
    "InstanceNormalization": instance_normalization,
    "LayerNormalization": layer_normalization,
    "GroupNormalization": group_normalization,
}
