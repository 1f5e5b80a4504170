"""Learning unit times: non-negative least squares on many measurements, maximum a posteriori on few.

Both work on relative errors, since a kernel of 50 us matters as much to a plan's quality as one of 50 ms.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.optimize import least_squares, nnls

from codl.cost.features import form
from codl.errors import UncalibratedError
from codl.hardware import Kernel, Processor


@dataclass(frozen=True, slots=True)
class Prior:
    """A log-normal prior: its median and the standard deviation of its logarithm."""

    centre: float
    sigma: float


@dataclass(frozen=True)
class Posterior:
    """What a fit leaves: values and relative standard deviations by parameter; predictions in observation order."""

    values: Mapping[str, float]
    spread: Mapping[str, float]
    predicted: np.ndarray

    def errors(self, observed: np.ndarray) -> np.ndarray:
        """Signed relative errors (predicted - observed) / observed."""
        return np.asarray((self.predicted - observed) / observed)


def maximum_a_posteriori(
    predict: Callable[[Mapping[str, float]], np.ndarray],
    observed: np.ndarray,
    sigma: np.ndarray,
    priors: Mapping[str, Prior],
) -> Posterior:
    """The most probable positive parameters, given observations with log-normal errors.

    Args:
        predict: parameters -> predicted observations, all positive.
        observed: measured values, positive.
        sigma: standard deviation of the logarithm of each observation.
        priors: by parameter name.

    Returns:
        the posterior; its spread is the Laplace approximation (from the Jacobian at the maximum).
    """
    names = list(priors)
    centre = np.log([priors[name].centre for name in names])
    width = np.array([priors[name].sigma for name in names])
    target = np.log(observed)

    def residuals(z: np.ndarray) -> np.ndarray:
        values = dict(zip(names, np.exp(centre + width * z).tolist(), strict=True))
        return np.concatenate([(np.log(predict(values)) - target) / sigma, z])

    solution = least_squares(residuals, np.zeros(len(names)), method="trf", x_scale=1.0, xtol=1e-10, ftol=1e-10)
    covariance = np.linalg.inv(solution.jac.T @ solution.jac)
    values = dict(zip(names, np.exp(centre + width * solution.x).tolist(), strict=True))
    spread = dict(zip(names, (width * np.sqrt(np.diag(covariance))).tolist(), strict=True))
    return Posterior(values, spread, predict(values))


def fit_units(
    kernel: Kernel,
    processor: Processor,
    works: Sequence[Any],
    seconds: Sequence[float],
    parent: Mapping[str, float] | None = None,
    strength: float = 0.1,
    least: Mapping[str, float] | None = None,
) -> Kernel:
    """The kernel with unit times fitted to measured latencies by non-negative least squares on relative errors.

    Units that the measurements do not need come out as zero and are left out. Later passes give outliers (a
    measurement disturbed by something else) less weight.

    Args:
        kernel: name, conditions, formula and blocks; its unit times are ignored.
        works: pieces of work (`codl.ops.spec.Work`) that this kernel computed.
        seconds: the latency of each.
        parent: unit times (by unit name) that hold where the measurements say nothing: a ridge towards them, weighing
            as much as `strength` measurements. With a parent, no measurement at all will do.
        least: bounds of unit times from below (by unit name), where others are known to be no faster.

    Raises:
        UncalibratedError: without a parent, fewer than two measurements.
    """
    if len(works) != len(seconds) or (len(works) < 2 and parent is None):
        raise UncalibratedError(
            f"kernel {kernel.name}: {len(works)} pieces of work and {len(seconds)} latencies; at least two are needed"
        )
    shape = form(replace_none(kernel))
    if not works and parent is not None:
        return replace_units(kernel, {unit: time for unit, time in parent.items() if time > 0}, {}, None)
    matrix = amounts(kernel, processor, works)
    measured = np.asarray(seconds, dtype=float)
    prior = None if parent is None else np.array([parent.get(unit, 0.0) for unit in shape.units])
    floor = np.array([(least or {}).get(unit, 0.0) for unit in shape.units])
    times = relative_nnls(matrix, measured, prior, strength, floor=floor)
    units = {unit: float(time) for unit, time in zip(shape.units, times, strict=True) if time > 0}
    errors = np.abs(matrix @ times - measured) / measured
    spread = _spread(matrix, measured, times, shape.units)
    return replace_units(kernel, units, spread, float(np.median(errors)))


def amounts(kernel: Kernel, processor: Processor, works: Sequence[Any]) -> np.ndarray:
    """Quantities of pieces of work, (works, units of the kernel's formula)."""
    shape = form(replace_none(kernel))
    rows = [shape.quantities(work, kernel, processor) for work in works]
    return np.array([[float(row[unit]) for unit in shape.units] for row in rows]).reshape(len(works), len(shape.units))


def replace_units(
    kernel: Kernel, units: Mapping[str, float], spread: Mapping[str, float], residual: float | None
) -> Kernel:
    """The kernel with other unit times (SI, by unit name)."""
    shape = form(replace_none(kernel))
    update: dict[str, Any] = {
        section: {unit: units[unit] for unit in getattr(shape, section) if unit in units}
        for section in ("compute", "memory", "fixed")
    }
    update["spread"] = {unit: round(float(spread[unit]), 4) for unit in units if unit in spread}
    update["residual"] = None if residual is None else round(residual, 4)
    return kernel.model_copy(update=update)


def replace_none(kernel: Kernel) -> Kernel:
    """The kernel without unit times."""
    return kernel.model_copy(update={"compute": {}, "memory": {}, "fixed": {}})


def relative_nnls(
    matrix: np.ndarray, measured: np.ndarray, prior: np.ndarray | None = None, strength: float = 0.0, passes: int = 6,
    floor: np.ndarray | float = 0.0,
) -> np.ndarray:  # fmt: skip
    """Times x >= `floor` for which matrix @ x is relatively closest to `measured`, with Huber's weights."""
    scaled = matrix / measured[:, None]
    typical = np.median(scaled, axis=0) * np.sqrt(strength)  # of a unit's part in the latency
    weights = np.ones(len(measured))
    floor = np.broadcast_to(floor, matrix.shape[1])
    times = np.zeros(matrix.shape[1])
    for _ in range(passes):
        left, right = scaled * weights[:, None], weights
        if prior is not None:
            left, right = np.vstack([left, np.diag(typical)]), np.concatenate([weights, typical * prior])
        column = np.linalg.norm(left, axis=0)
        column[column == 0] = 1.0
        times = floor + nnls(left / column, right - left @ floor)[0] / column
        error = np.abs(scaled @ times - 1)
        limit = 1.5 * max(float(np.median(error)), 1e-6)  # Huber's weights
        weights = np.sqrt(np.minimum(1.0, limit / np.maximum(error, 1e-12)))
    negligible = (scaled * times).max(axis=0, initial=0.0) < 1e-9  # rounding, not a unit that anything needs
    return np.where(negligible, 0.0, times)


def _spread(matrix: np.ndarray, measured: np.ndarray, times: np.ndarray, units: Sequence[str]) -> dict[str, float]:
    active = times > 0
    scaled = matrix[:, active] / measured[:, None] * times[active]
    freedom = max(1, len(measured) - int(active.sum()))
    noise = float(np.sum((scaled.sum(axis=1) - 1) ** 2)) / freedom
    covariance = noise * np.linalg.pinv(scaled.T @ scaled)
    names = [unit for unit, used in zip(units, active, strict=True) if used]
    variances = np.maximum(np.diag(covariance), 0.0)  # of a singular matrix, rounding may leave less than nothing
    return dict(zip(names, np.sqrt(variances).tolist(), strict=True))
