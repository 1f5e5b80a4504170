"""From times to unit times: which formula describes each kernel variant, and with which constants.

For every kind of work and kernel variant a few formulas are tried, with and without a distinction by stride or kernel
size; the one with the smallest cross-validated error is kept. Folds leave out whole operators, so that a part of an
operator never predicts its other part.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from codl.calibrate.geometry import block_channels, blocks
from codl.cost.choice import matcher
from codl.cost.features import FORMS
from codl.cost.fit import fit_units
from codl.hardware import Kernel, Processor
from codl.ops.fft import ALGORITHM as FFT
from codl.ops.launch import FLOAT16, DeviceTraits
from codl.ops.spec import Work
from codl.ops.winograd import ALGORITHMS as WINOGRAD

_FOLDS = 5
_WORTH = 0.97
_NOTABLE = 0.002
"""A later (more detailed) candidate must be better than the earlier ones by this factor and by this much."""

Conditions = Mapping[str, int | str]
_ALL: tuple[Conditions, ...] = ({},)
_STRIDES: tuple[Conditions, ...] = ({"stride_w": 1}, {"stride_w": ">= 2"})
_TAPS: tuple[Conditions, ...] = ({"kernel_h": 1}, {"kernel_h": ">= 2"})
_DEPTHS: tuple[Conditions, ...] = ({"in_channels": "< 8"}, {"in_channels": ">= 8"})
_GROUPED: Conditions = {"groups": ">= 2"}


def _ungrouped(conditions: tuple[Conditions, ...]) -> tuple[Conditions, ...]:
    return (*({"groups": 1, **condition} for condition in conditions), _GROUPED)


_DISTINCTIONS: Mapping[str, tuple[tuple[Conditions, ...], ...]] = {
    "conv": (_ALL, *(_ungrouped(conditions) for conditions in (_ALL, _STRIDES, _TAPS, _DEPTHS)), _STRIDES),
    "depthwise": (_ALL, _STRIDES),
    "pool": (
        _ALL,
        ({"kernel_h": "<= 5"}, {"kernel_h": "> 5"}),
        (
            {"kernel_h": "<= 5", "out_channels": "< 200"},
            {"kernel_h": "<= 5", "out_channels": ">= 200"},
            {"kernel_h": "> 5"},
        ),
    ),
    "fc": (_ALL, ({"batch": 1}, {"batch": ">= 2"})),
    "move": (_ALL, ({"out_h": 1}, {"out_h": ">= 2"})),
}
"""By kind of work: conditions that tell its kernels apart. The conditions of one tuple exclude each other and cover
everything."""
_PRODUCTS = frozenset({"conv", "depthwise", "conv_transpose", "fc"})
"""Kinds of work that multiply inputs by weights in blocks; all others are bound by what they read and write."""


@dataclass(frozen=True, slots=True)
class Timing:
    """A measured piece of work. `operator` names what must not be divided among folds."""

    work: Work
    algorithm: str
    operator: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Fitted:
    """A kernel with its unit times, and its cross-validated relative errors (absolute values)."""

    kernel: Kernel
    errors: np.ndarray
    timings: tuple[Timing, ...]

    @property
    def accuracy(self) -> str:
        """In words, for the description."""
        half, most = np.percentile(self.errors, [50, 90])
        return f"cross-validated error {half:.1%} median, {most:.1%} 90th percentile, {len(self.errors)} timings"


def fit_library(
    timings: Sequence[Timing], processor: Processor, traits: DeviceTraits, data_type: str = "buffer"
) -> list[Fitted]:
    """Kernels for all kinds of work and variants that were timed.

    Args:
        timings: of one processor, alone on the machine.
        traits: of its device; they decide what its kernels compute together.
        data_type: of the kernels.

    Raises:
        UncalibratedError: a variant was timed on one shape only.
    """
    groups: dict[tuple[str, str], list[Timing]] = defaultdict(list)
    for timing in timings:
        groups[timing.work.kind, timing.algorithm].append(timing)
    fitted: list[Fitted] = []
    for (kind, algorithm), group in sorted(groups.items()):
        best: list[Fitted] = []
        least = _fastest(fitted, kind) if algorithm in (FFT, *WINOGRAD) else {}
        for candidate in _candidates(kind, algorithm, processor, traits, data_type):
            found = _fit(candidate, group, processor, least)
            if found and (not best or _score(found) < _WORTH * _score(best) - _NOTABLE):
                best = found
        fitted.extend(best)
    return fitted


def _fastest(fitted: Sequence[Fitted], kind: str) -> Mapping[str, float]:
    """Unit times of the arithmetic of matrix kernels of a kind on a CPU, where they are shortest. Products of
    transforms are computed by the same instructions and cannot be faster; measurements alone hardly tell them from the
    reading of weights, which is proportional to them in all but the smallest maps."""
    kernels = [one.kernel for one in fitted if one.kernel.form == "tiled" and one.kernel.when.get("kind") == kind]
    times = [time for kernel in kernels if (time := kernel.compute.get("multiply"))]
    return {"multiply": min(times)} if times else {}


def _candidates(
    kind: str, algorithm: str, processor: Processor, traits: DeviceTraits, data_type: str
) -> Iterator[list[Kernel]]:
    """Descriptions to try, simplest first: each a list of kernels that together cover all work of this kind."""
    formulas = _image_formulas(kind, processor) if data_type == "image" else None
    for conditions in _DISTINCTIONS.get(kind, (({},),)):
        for form, sizes, parallel, tile in formulas or _formulas(kind, algorithm, processor, traits):
            yield [
                Kernel(
                    name=_name(kind, algorithm, condition),
                    algorithm=algorithm,
                    when={"kind": kind, **condition},
                    form=form,
                    blocks=sizes,
                    parallel=parallel,
                    tile=tile,
                    weight_bytes=2 if algorithm.endswith(FLOAT16) else 4,
                )
                for condition in conditions
            ]


def _formulas(
    kind: str, algorithm: str, processor: Processor, traits: DeviceTraits
) -> Iterator[tuple[str, dict[str, int], tuple[str, ...], int]]:
    """(form, blocks, parallel axes, Winograd tile) to try."""
    algorithm = algorithm.removesuffix(FLOAT16)
    if kind not in _PRODUCTS:
        yield "stream", {}, (), 0
        if traits.cpu:
            yield "vector", {"out_channels": block_channels(traits)}, (), 0
        return
    winograd = WINOGRAD.get(algorithm, 0)
    if algorithm == "narrow" and traits.cpu:
        yield "narrow", {"in_channels": blocks("direct", traits)["in_channels"]}, (), 0
        return
    if algorithm == FFT:
        yield "fft", {"out_channels": block_channels(traits)}, (), 0
        return
    if traits.cpu and algorithm != "depthwise":
        yield "tiled-winograd" if winograd else "tiled", blocks(algorithm, traits), (), winograd
    if not traits.cpu and algorithm != "depthwise":
        yield "tiled-gpu-winograd" if winograd else "tiled-gpu", {}, (), winograd
    size = {"out_channels": block_channels(traits)}
    if winograd:
        yield "winograd", size, (), winograd
        return
    if traits.cpu and algorithm == "depthwise":
        yield "vector", size, (), 0
    axes: list[tuple[str, ...]] = [()]
    if processor.slots > 1:
        axes.append(("out_channels", "out_h", "out_w"))
    if kind == "fc":
        yield "stream", {}, (), 0
    for parallel in axes:
        for form in ("direct", "gemm"):
            yield form, size, parallel, 0


def _image_formulas(kind: str, processor: Processor) -> list[tuple[str, dict[str, int], tuple[str, ...], int]]:
    """As `_formulas`, of kernels whose work-items compute pixels x blocks of four channels (codl/ops/cl/image_*.cl)."""
    if kind not in _PRODUCTS:
        return [("stream", {}, (), 0)]
    size = {"out_channels": 4 if kind == "depthwise" else 8, "out_w": 4, "in_channels": 1 if kind == "depthwise" else 4}
    axes: list[tuple[str, ...]] = [()]
    if processor.slots > 1:
        axes.append(("out_channels", "out_h", "out_w"))
    return [("direct", size, parallel, 0) for parallel in axes]


def _name(kind: str, algorithm: str, condition: Conditions) -> str:
    words = {"stride_w": "stride", "kernel_h": "kernel", "in_channels": "channels", "out_h": "height"}
    signs = {">=": "from", "<=": "to", "<": "below", ">": "above"}
    name = kind if kind == algorithm else f"{kind}-{algorithm}"
    for field, value in condition.items():
        sign, _, number = str(value).rpartition(" ")
        name += f"-{words.get(field, field)}{'-' + signs[sign] if sign else ''}-{number}"
    return name


def _fit(
    kernels: list[Kernel], timings: list[Timing], processor: Processor, least: Mapping[str, float]
) -> list[Fitted]:
    """The kernels fitted, each to the timings that it covers; nothing if one covers too few to tell."""
    fitted = []
    for kernel in kernels:
        matches = matcher(kernel)
        mine = [timing for timing in timings if matches(timing.work)]
        operators = {timing.operator for timing in mine}
        if len(operators) < 3:
            if len(kernels) > 1 or len(mine) < 2:
                return []
            errors = np.array([_errors(kernel, processor, mine, mine, least)]).reshape(-1)
        else:
            errors = _cross_validated(kernel, processor, mine, sorted(operators), least)
        fitted.append(Fitted(_fit_once(kernel, processor, mine, least), errors, tuple(mine)))
    return fitted


def _cross_validated(
    kernel: Kernel, processor: Processor, timings: list[Timing], operators: list[str], least: Mapping[str, float]
) -> np.ndarray:
    """The absolute relative error of each timing, predicted from the folds that leave out its operator."""
    folds = min(_FOLDS, len(operators))
    fold_of = {operator: index % folds for index, operator in enumerate(operators)}
    errors = []
    for fold in range(folds):
        rest = [timing for timing in timings if fold_of[timing.operator] != fold]
        left_out = [timing for timing in timings if fold_of[timing.operator] == fold]
        errors.append(_errors(kernel, processor, rest, left_out, least))
    return np.concatenate(errors)


def _errors(
    kernel: Kernel, processor: Processor, known: list[Timing], asked: list[Timing], least: Mapping[str, float]
) -> np.ndarray:
    fitted = _fit_once(kernel, processor, known, least)
    measured = np.array([timing.seconds for timing in asked])
    predicted = predict(fitted, processor, [timing.work for timing in asked])
    return np.asarray(np.abs(predicted - measured) / measured)


def _fit_once(kernel: Kernel, processor: Processor, timings: Sequence[Timing], least: Mapping[str, float]) -> Kernel:
    works, seconds = [timing.work for timing in timings], [timing.seconds for timing in timings]
    return fit_units(kernel, processor, works, seconds, least=least)


def predict(kernel: Kernel, processor: Processor, works: Sequence[Work]) -> np.ndarray:
    """Seconds of pieces of work by a fitted kernel."""
    units = {**kernel.compute, **kernel.memory, **kernel.fixed}
    quantities = FORMS[kernel.form].quantities
    amounts = [quantities(work, kernel, processor) for work in works]
    return np.array([sum(float(amount[unit]) * time for unit, time in units.items()) for amount in amounts])


def _score(fitted: list[Fitted]) -> float:
    errors = np.concatenate([one.errors for one in fitted])
    return float(np.mean(np.percentile(errors, [50, 90])))
