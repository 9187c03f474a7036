"""Estimates of fees, slippage and latency from fills, each with an interval."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from peak_trade.core.arrays import FloatArray

MIN_FILLS = 5
"""Smallest number of observations from which a cost is estimated."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """An estimate with the interval [low, high] that contains the true value at the stated level; `n` observations."""

    value: float
    low: float
    high: float
    n: int

    def __str__(self) -> str:
        return f"{self.value:.2f} ({self.low:.2f} to {self.high:.2f}, n = {self.n:,})"


def mean_estimate(observed: Sequence[float], level: float = 0.95) -> Estimate | None:
    """Return the mean with its t interval; None with fewer than MIN_FILLS observations.

    Examples
    --------
    >>> print(mean_estimate([9.0, 10.0, 11.0, 10.0, 10.0]))
    10.00 (9.12 to 10.88, n = 5)

    """
    values = np.asarray(observed, dtype=np.float64)
    if len(values) < MIN_FILLS:
        return None
    half = _t_quantile(level, len(values) - 1) * float(np.std(values, ddof=1)) / math.sqrt(len(values))
    mean = float(np.mean(values))
    return Estimate(mean, mean - half, mean + half, len(values))


def median_estimate(observed: Sequence[float], level: float = 0.95) -> Estimate | None:
    """Return the median with an interval between two order statistics; None with fewer than MIN_FILLS observations.

    The number of observations below the median is binomial for any continuous distribution, so the interval contains
    the median at least at the level (Conover 1999, Practical Nonparametric Statistics, section 3.2). With few
    observations it is the whole range, and its level is lower: 1 − 2^(1−n).
    """
    values = np.sort(np.asarray(observed, dtype=np.float64))
    n = len(values)
    if n < MIN_FILLS:
        return None
    from scipy.special import bdtr

    below = bdtr(np.arange(n), n, 0.5)
    rank = int(np.searchsorted(below, 0.5 * (1.0 - level), side="right"))
    place = max(rank - 1, 0)
    return Estimate(float(np.median(values)), float(values[place]), float(values[n - 1 - place]), n)


def line_estimate(
    sizes: Sequence[float], observed: Sequence[float], level: float = 0.95
) -> tuple[Estimate, Estimate] | None:
    """Return intercept and slope of the least-squares line of observations over sizes, with their t intervals.

    None with fewer than MIN_FILLS observations, or if all sizes are equal.
    """
    x, y = (np.asarray(values, dtype=np.float64) for values in (sizes, observed))
    n = len(y)
    spread = float(np.sum((x - np.mean(x)) ** 2)) if n else 0.0
    if n < MIN_FILLS or spread <= 1e-24 * float(np.sum(x**2)):
        return None
    slope = float(np.sum((x - np.mean(x)) * y)) / spread
    intercept = float(np.mean(y)) - slope * float(np.mean(x))
    residuals: FloatArray = y - intercept - slope * x
    error = math.sqrt(float(np.sum(residuals**2)) / (n - 2))
    quantile = _t_quantile(level, n - 2)
    half_slope = quantile * error / math.sqrt(spread)
    half_intercept = quantile * error * math.sqrt(1.0 / n + float(np.mean(x)) ** 2 / spread)
    return (
        Estimate(intercept, intercept - half_intercept, intercept + half_intercept, n),
        Estimate(slope, slope - half_slope, slope + half_slope, n),
    )


def _t_quantile(level: float, degrees: int) -> float:
    from scipy.special import stdtrit

    return float(stdtrit(degrees, 0.5 + 0.5 * level))
