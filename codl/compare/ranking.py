"""How well predictions order plans: what a planner needs of them, whatever their error."""

from __future__ import annotations

from collections.abc import Iterable


def rank_correlation(pairs: Iterable[tuple[float, float]]) -> float | None:
    """Kendall's tau-b between predicted and measured latencies of several plans of one model.

    Args:
        pairs: (simulated, measured) of each plan.

    Returns:
        -1 (reversed) to 1 (same order); None for fewer than two plans, or where one side is all equal.
    """
    from scipy.stats import kendalltau  # half a second to import

    simulated, measured = _columns(pairs)
    if len(set(simulated)) < 2 or len(set(measured)) < 2:
        return None
    return float(kendalltau(simulated, measured).statistic)


def regret(pairs: Iterable[tuple[float, float]]) -> float | None:
    """Measured latency of the plan predicted fastest over that of the plan measured fastest, minus 1.

    Of plans predicted equally fast the slowest counts: a predictor that cannot tell them apart may choose it.

    Args:
        pairs: (simulated, measured) of each plan.

    Returns:
        0 for the best choice; None without plans.
    """
    simulated, measured = _columns(pairs)
    if not simulated:
        return None
    best = min(simulated)
    chosen = max(real for sim, real in zip(simulated, measured, strict=True) if sim == best)
    return chosen / min(measured) - 1


def _columns(pairs: Iterable[tuple[float, float]]) -> tuple[list[float], list[float]]:
    rows = list(pairs)
    return [simulated for simulated, _ in rows], [measured for _, measured in rows]
