"""Returns against those of a benchmark: alpha, beta and the share of variance that the benchmark explains."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from peak_trade.core.arrays import FloatArray
from peak_trade.core.errors import DataError
from peak_trade.core.time import checked_per_year
from peak_trade.metrics.dependence import long_run_variance
from peak_trade.metrics.measure import MIN_ROBUST, ROUNDING, Measure, checked, finite_or, too_few
from peak_trade.metrics.returns import fewest_for_ratio


class AlphaBeta(NamedTuple):
    """Regression on a benchmark: alpha (fraction a year), beta, and R², the explained fraction of the variance."""

    alpha: Measure
    beta: Measure
    r_squared: Measure


def alpha_beta(returns: Any, benchmark: Any, bars_per_year: float) -> AlphaBeta:
    """Return intercept and slope of the least-squares line of returns over the benchmark's returns.

    Parameters
    ----------
    returns, benchmark : Series or float64 array of shape (n,), simple returns of the same bars, fractions
    bars_per_year : float
        `bars.bars_per_year`: bars in a year of 365 days, by elapsed time.

    Returns
    -------
    AlphaBeta
        Without values below 30 returns or 30 days, and for a benchmark that does not vary.

    Raises
    ------
    DataError
        If the two have another length, or one holds a NaN.

    Notes
    -----
    r_t = a + β b_t + e_t by ordinary least squares, without a risk-free rate; alpha is a · bars_per_year, arithmetic
    and not compounded. From 120 returns the standard errors are robust to heteroskedasticity and dependence: the root
    of V / n with the long-run variance V of the influence of each return, e_t (b_t - mean b) / var b for β, and
    e_t - mean b · (influence on β) for a; see `long_run_variance`. Below they are the classical ones with n - 2
    degrees of freedom. The note says which.

    References
    ----------
    Jensen (1968), The Performance of Mutual Funds in the Period 1945-1964, Journal of Finance 23(2), equation 8, for
    alpha. Andrews (1991), Heteroskedasticity and Autocorrelation Consistent Covariance Matrix Estimation, Econometrica
    59(3), for the errors.

    Examples
    --------
    >>> import numpy as np
    >>> market = np.random.default_rng(1).normal(0.0, 0.01, 500)
    >>> fit = alpha_beta(0.0001 + 0.5 * market, market, 365.0)
    >>> round(fit.alpha.value, 6), round(fit.beta.value, 6)
    (0.0365, 0.5)

    """
    values, passive = checked(returns, "returns"), checked(benchmark, "benchmark")
    if values.size != passive.size:
        raise DataError(
            f"there are {values.size:,} returns and {passive.size:,} of the benchmark; give those of the same bars."
        )
    n, needed = values.size, fewest_for_ratio(checked_per_year(bars_per_year))
    if n < needed:
        none = too_few(n, needed, "returns")
        return AlphaBeta(none, none, none)
    if float(passive.std()) <= ROUNDING:
        none = Measure(None, n, note="the benchmark's returns do not vary")
        return AlphaBeta(none, none, none)
    mean = float(passive.mean())
    centred = passive - mean
    squares = float(centred @ centred)
    slope = float(centred @ values) / squares
    intercept = float(values.mean()) - slope * mean
    residuals = values - intercept - slope * passive
    total = values - values.mean()
    variance = float(total @ total)
    explained = 1.0 - float(residuals @ residuals) / variance if variance > n * ROUNDING**2 else math.nan
    alpha_error, beta_error, note = _errors(residuals, centred, mean)
    return AlphaBeta(
        finite_or(intercept * bars_per_year, n, "too large to state", alpha_error * bars_per_year, note),
        finite_or(slope, n, "too large to state", beta_error, note),
        finite_or(explained, n, "the returns do not vary"),
    )


def _errors(residuals: FloatArray, centred: FloatArray, mean: float) -> tuple[float, float, str]:
    """Return the standard errors of intercept and slope, and what they allow for."""
    n = residuals.size
    spread = float(centred @ centred) / n
    if n < MIN_ROBUST:
        noise = float(residuals @ residuals) / (n - 2)
        errors = math.sqrt(noise / n * (1.0 + mean**2 / spread)), math.sqrt(noise / n / spread)
        return *errors, "standard error: classical least squares"
    on_slope = residuals * centred / spread
    on_intercept = residuals - mean * on_slope
    robust = [math.sqrt(long_run_variance(each).variance / n) for each in (on_intercept, on_slope)]
    return robust[0], robust[1], "standard error: robust (prewhitened Parzen kernel)"
