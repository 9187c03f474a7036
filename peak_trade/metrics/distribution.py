"""Distribution of returns: mean, spread, shape and the lower quantile."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from peak_trade.core.errors import DataError
from peak_trade.metrics.dependence import long_run_variance
from peak_trade.metrics.measure import MIN_RETURNS, MIN_ROBUST, ROUNDING, Measure, checked, finite_or, too_few

DISTRIBUTION = ("mean", "deviation", "skewness", "excess_kurtosis", "quantile", "worst", "best")
"""Measures of a distribution, in the order of the table."""


def return_distribution(returns: Any, level: float = 0.05) -> dict[str, Measure]:
    """Return the measures `DISTRIBUTION` of simple returns by name.

    Parameters
    ----------
    returns : Series or float64 array of shape (n,), simple returns, fractions
        Of days, where the tear sheet shows them.
    level : float
        Probability of the quantile, above 0 and below 1.

    Returns
    -------
    dict of name to Measure
        mean, with the standard error that is robust to dependence from 120 returns and s / sqrt(n) below; deviation
        (n - 1 below); skewness and excess kurtosis (0 for normal returns; moments with n below), without values where
        the returns do not vary; quantile, linear between the two nearest returns; worst and best. No values below 30
        returns.

    Raises
    ------
    DataError
        If a return is NaN or infinite, or the level is not between 0 and 1.

    """
    values, n = checked(returns, "returns"), np.size(returns)
    if not 0.0 < level < 1.0:
        raise DataError(f"the level of a quantile was {level:g}; give a number between 0 and 1.")
    if n < MIN_RETURNS:
        return dict.fromkeys(DISTRIBUTION, too_few(n, MIN_RETURNS, "returns"))
    mean, deviation = float(values.mean()), float(values.std(ddof=1))
    centred = values - mean
    variance = long_run_variance(centred).variance if n >= MIN_ROBUST else deviation**2
    shape = [math.nan, math.nan]
    if deviation > ROUNDING:
        scaled = centred / float(values.std())
        shape = [float((scaled**3).mean()), float((scaled**4).mean()) - 3.0]
    flat = "the returns do not vary"
    measures = (
        Measure(mean, n, math.sqrt(variance / n)),
        Measure(deviation, n),
        *(finite_or(each, n, flat) for each in shape),
        *(Measure(float(each), n) for each in (np.quantile(values, level), values.min(), values.max())),
    )
    return dict(zip(DISTRIBUTION, measures, strict=True))
