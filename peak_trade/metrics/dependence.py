"""Dependence of returns on earlier ones: the long-run variance of a series, and the annualisation of a Sharpe ratio."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from peak_trade.core.arrays import FloatArray
from peak_trade.core.errors import DataError
from peak_trade.metrics.measure import ROUNDING, checked

LARGEST_COEFFICIENT = 0.97
"""Largest absolute autoregressive coefficient that is used; beyond it the estimate of the variance explodes."""
PARZEN = 2.6614
"""Constant of the optimal bandwidth of the Parzen kernel (Andrews 1991)."""


class LongRun(NamedTuple):
    """Long-run variance of a series, and the bandwidth of its kernel in lags."""

    variance: float
    bandwidth: float


def long_run_variance(values: FloatArray) -> LongRun:
    """Return the variance of sqrt(n) times the mean of a series that depends on its past.

    Parameters
    ----------
    values : float64 array of shape (n,), n at least 2
        With mean 0, for example the influence of each return on an estimate.

    Returns
    -------
    LongRun
        The variance, never negative, and the bandwidth of the kernel.

    Notes
    -----
    An autoregression of order 1 is fitted, its residuals are measured with the Parzen kernel, and the fitted dependence
    is added again. The bandwidth is the optimal one for an autoregression of order 1 of the residuals. Coefficients are
    limited to 0.97 in absolute value.

    References
    ----------
    Andrews and Monahan (1992), An Improved Heteroskedasticity and Autocorrelation Consistent Covariance Matrix
    Estimator, Econometrica 60(4), for the prewhitening. Andrews (1991), Heteroskedasticity and Autocorrelation
    Consistent Covariance Matrix Estimation, Econometrica 59(3), for kernel and bandwidth.

    Examples
    --------
    >>> import numpy as np
    >>> averages = np.convolve(np.random.default_rng(1).standard_normal(1_000), np.ones(5))
    >>> bool(long_run_variance(averages - averages.mean()).variance > 5.0 * averages.var())
    True

    """
    n = values.size
    coefficient = _coefficient(values)
    residuals = values[1:] - coefficient * values[:-1]
    again = _coefficient(residuals)
    bandwidth = PARZEN * (4.0 * again**2 / (1.0 - again) ** 4 * n) ** 0.2
    variance = parzen_variance(residuals, bandwidth)
    return LongRun(variance / (1.0 - coefficient) ** 2, bandwidth)


def parzen_variance(values: FloatArray, bandwidth: float) -> float:
    """Return the sum of the autocovariances of values of mean 0, weighted by the Parzen kernel, shape (n,)."""
    n = values.size
    total = float(values @ values)
    for lag in range(1, min(math.ceil(bandwidth), n)):
        x = lag / bandwidth
        weight = 1.0 - 6.0 * x**2 * (1.0 - x) if x <= 0.5 else 2.0 * (1.0 - x) ** 3
        total += 2.0 * weight * float(values[lag:] @ values[:-lag])
    return total / n


def aggregation_factor(returns: Any, n_periods: float) -> float:
    """Return the factor that turns the Sharpe ratio of one return into that of `n_periods` returns.

    Parameters
    ----------
    returns : Series or float64 array of shape (n,), simple returns, fractions
    n_periods : float
        Number of returns, for example `bars_per_year`; above 0.

    Returns
    -------
    float
        sqrt(n_periods) for independent returns; smaller when returns follow each other, larger when they revert. NaN
        for constant returns, and where the estimated variance of the sum is not positive.

    Notes
    -----
    The factor is q / sqrt(q + 2 Σ (q - k) ρ_k), with the sample autocorrelations ρ_k of lags 1 … q - 1, of which the
    first 10 log10(n) count; later ones are taken as 0, because their sum is mostly noise.

    Raises
    ------
    DataError
        If there are fewer than 2 returns, or n_periods is not above 0.

    References
    ----------
    Lo (2002), The Statistics of Sharpe Ratios, Financial Analysts Journal 58(4), η(q).

    """
    values = checked(returns, "returns")
    if values.size < 2 or not 0.0 < n_periods < math.inf:
        raise DataError(f"a factor needs 2 returns and n_periods above 0; these were {values.size} and {n_periods:g}.")
    centred = values - values.mean()
    squares = float(centred @ centred)
    if squares <= values.size * ROUNDING**2:
        return math.nan
    n_lags = min(math.ceil(n_periods) - 1, int(10.0 * math.log10(values.size)), values.size - 1)
    lags = range(1, n_lags + 1)
    total = n_periods + 2.0 * sum((n_periods - k) * float(centred[k:] @ centred[:-k]) / squares for k in lags)
    return n_periods / math.sqrt(total) if total > 0.0 else math.nan


def _coefficient(values: FloatArray) -> float:
    earlier = values[:-1]
    squares = float(earlier @ earlier)
    if squares == 0.0:
        return 0.0
    return min(max(float(values[1:] @ earlier) / squares, -LARGEST_COEFFICIENT), LARGEST_COEFFICIENT)
