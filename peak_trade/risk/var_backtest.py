"""Backtests of a VaR model: the frequency and independence of exceptions, and the Basel zones."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Literal

import numpy as np

from peak_trade.core.arrays import BoolArray, FloatArray
from peak_trade.core.errors import DataError

Zone = Literal["green", "yellow", "red"]
N_BACKTEST_DAYS = 250
"""Number of days of the Basel zones."""
MIN_DAYS = 40
"""Smallest number of days on which the model is tested on a portfolio that changes."""
_YELLOW_FROM, _RED_FROM = 0.95, 0.9999
_DAYS_PER_REGRESSOR = 5
_RANK_RTOL = 1e-10
"""Singular values of the regressors below this fraction of the largest one count as zero."""


@dataclass(frozen=True, slots=True)
class CoverageTest:
    """A test statistic, its p-value under the chi-squared distribution, and the number of days and exceptions."""

    statistic: float
    p_value: float
    degrees_of_freedom: int
    n_days: int
    n_exceptions: int


def kupiec_pof(exceptions: BoolArray, level: float) -> CoverageTest:
    """Test the frequency of exceptions against that of the model (proportion of failures).

    Parameters
    ----------
    exceptions : bool array of shape (n_days,)
        True on a day whose loss exceeded the VaR stated the day before.
    level : float, confidence of the VaR

    References
    ----------
    Kupiec (1995), "Techniques for verifying the accuracy of risk measurement models", Journal of Derivatives 3(2).

    """
    hits = _checked(exceptions)
    n_days, n_hits = hits.size, int(hits.sum())
    tail = 1.0 - level
    observed = n_hits / n_days
    ratio = -2.0 * (_log_likelihood(n_hits, n_days, tail) - _log_likelihood(n_hits, n_days, observed))
    return _test(ratio, 1, hits)


def christoffersen_independence(exceptions: BoolArray) -> CoverageTest:
    """Test that an exception does not change the probability of one on the next day (first-order Markov).

    References
    ----------
    Christoffersen (1998), "Evaluating interval forecasts", International Economic Review 39(4), section 3.2.

    """
    hits = _checked(exceptions)
    before, after = hits[:-1], hits[1:]
    n_after_quiet, n_after_hit = int((~before).sum()), int(before.sum())
    hits_after_quiet, hits_after_hit = int((~before & after).sum()), int((before & after).sum())
    n_pairs, n_hits = after.size, int(after.sum())
    alone = _log_likelihood(n_hits, n_pairs, n_hits / n_pairs if n_pairs else 0.0)
    chained = sum(
        _log_likelihood(hit, total, hit / total if total else 0.0)
        for hit, total in ((hits_after_quiet, n_after_quiet), (hits_after_hit, n_after_hit))
    )
    return _test(-2.0 * (alone - chained), 1, hits)


def christoffersen_conditional_coverage(exceptions: BoolArray, level: float) -> CoverageTest:
    """Test frequency and independence together: the sum of both ratios, with two degrees of freedom.

    References
    ----------
    Christoffersen (1998), section 3.3.

    """
    hits = _checked(exceptions)
    ratio = kupiec_pof(hits, level).statistic + christoffersen_independence(hits).statistic
    return _test(ratio, 2, hits)


def dynamic_quantile(
    exceptions: BoolArray,
    value_at_risk: FloatArray,
    level: float,
    n_lags: int = 4,
    n_simulated: int = 0,
    seed: int = 1,
) -> CoverageTest:
    """Test that exceptions depend neither on the exceptions of the last days nor on the stated VaR.

    Parameters
    ----------
    exceptions : bool array of shape (n_days,)
        True on a day whose loss exceeded the VaR stated the day before.
    value_at_risk : float64 array of shape (n_days,), the VaR of these days, fractions
    level : float, confidence of the VaR
    n_lags : int, days
    n_simulated : int
        Number of series of independent exceptions, for the same VaR, from which the p-value is simulated; 0 for the
        chi-squared distribution, which rejects too often if exceptions are few.
    seed : int, of the simulation

    Returns
    -------
    CoverageTest
        The first `n_lags` days only explain later ones: `n_days` and `n_exceptions` leave them out. There is one degree
        of freedom for the mean, the VaR and each lag, less those that the others determine, such as a constant VaR.

    Raises
    ------
    DataError
        If the shapes differ, a VaR is not finite, or fewer days than 5 per regressor are left.

    References
    ----------
    Engle and Manganelli (2004), "CAViaR: conditional autoregressive value at risk by regression quantiles", Journal of
    Business and Economic Statistics 22(4), theorem 5 (out of sample), with the regressors of their section 6; Dufour
    (2006), "Monte Carlo tests with nuisance parameters", Journal of Econometrics 133(2), for the simulated p-value.

    """
    hits, stated = _checked(exceptions), np.asarray(value_at_risk, dtype=np.float64)
    if stated.shape != hits.shape or not np.isfinite(stated).all():
        raise DataError(f"the VaR has shape {stated.shape}, the exceptions {hits.shape}; give one finite VaR per day.")
    n_days = hits.size - n_lags
    if n_days < _DAYS_PER_REGRESSOR * (n_lags + 2):
        raise DataError(f"{hits.size} days are too few for {n_lags} lags; give more days.")
    tail = 1.0 - level
    scaled = stated / (stated.mean() or 1.0)
    statistic, degrees = _quantile_statistic(hits, scaled, tail, n_lags)
    test = _test(statistic, degrees, hits[n_lags:])
    if not n_simulated:
        return test
    drawn = np.random.default_rng(seed).random((n_simulated, hits.size)) < tail
    n_larger = sum(_quantile_statistic(days, scaled, tail, n_lags)[0] >= statistic for days in drawn)
    return replace(test, p_value=(1 + n_larger) / (1 + n_simulated))


def traffic_light(n_exceptions: int, n_days: int = N_BACKTEST_DAYS, level: float = 0.99) -> Zone:
    """Return the Basel zone of a number of exceptions.

    A correct model has at most n exceptions with some probability. The yellow zone begins at the smallest n for which
    that probability is at least 95 %, the red zone at the smallest n for which it is at least 99.99 %.

    References
    ----------
    Basel Committee on Banking Supervision (1996), "Supervisory framework for the use of backtesting in conjunction with
    the internal models approach to market risk capital requirements", table 2.

    """
    if n_exceptions > most_yellow(n_days, level):
        return "red"
    return "yellow" if cumulative_probability(n_exceptions, n_days, level) >= _YELLOW_FROM else "green"


@lru_cache(maxsize=64)
def most_yellow(n_days: int = N_BACKTEST_DAYS, level: float = 0.99) -> int:
    """Return the largest number of exceptions below the red zone; no exception at all is never red."""
    count = 0
    while count < n_days and cumulative_probability(count, n_days, level) < _RED_FROM:
        count += 1
    return max(count - 1, 0)


def cumulative_probability(n_exceptions: int, n_days: int, level: float) -> float:
    """Return the probability that a correct model has at most this number of exceptions."""
    tail = 1.0 - level
    return math.fsum(
        math.comb(n_days, count) * tail**count * level ** (n_days - count) for count in range(n_exceptions + 1)
    )


def _quantile_statistic(hits: BoolArray, scaled: FloatArray, tail: float, n_lags: int) -> tuple[float, int]:
    """Return the dynamic quantile statistic and its degrees of freedom."""
    centred, n_days = hits - tail, hits.size
    lagged = [centred[n_lags - lag : n_days - lag] for lag in range(1, n_lags + 1)]
    regressors = np.column_stack([np.ones(n_days - n_lags), scaled[n_lags:], *lagged])
    basis, sizes, _ = np.linalg.svd(regressors, full_matrices=False)
    basis = basis[:, sizes > _RANK_RTOL * sizes[0]]
    projected = (basis * centred[n_lags:, None]).sum(axis=0)
    return float((projected**2).sum()) / (tail * (1.0 - tail)), basis.shape[1]


def _log_likelihood(n_hits: int, n_days: int, rate: float) -> float:
    misses = n_days - n_hits
    return (n_hits * math.log(rate) if n_hits else 0.0) + (misses * math.log1p(-rate) if misses else 0.0)


def _test(ratio: float, degrees: int, hits: BoolArray) -> CoverageTest:
    statistic = max(ratio, 0.0)
    return CoverageTest(statistic, _chi_squared_tail(statistic, degrees), degrees, hits.size, int(hits.sum()))


def _chi_squared_tail(statistic: float, degrees: int) -> float:
    """Return the probability above the statistic, by the recursion in steps of two degrees of freedom."""
    half = statistic / 2.0
    is_odd = degrees % 2 == 1
    tail = math.erfc(math.sqrt(half)) if is_odd else math.exp(-half)
    term = math.exp(-half) * (math.sqrt(half) / math.gamma(1.5) if is_odd else half)
    for step in range((degrees - 1) // 2):
        tail += term
        term *= half / (step + (1.5 if is_odd else 2.0))
    return min(tail, 1.0)


def _checked(exceptions: BoolArray) -> BoolArray:
    hits = np.asarray(exceptions)
    if hits.dtype != np.bool_ or hits.ndim != 1 or hits.size < 2:
        raise DataError(f"exceptions have dtype {hits.dtype} and shape {hits.shape}; give at least two days as bool.")
    return hits
