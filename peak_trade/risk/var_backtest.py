"""Backtests of a VaR model: the frequency and independence of exceptions, and the Basel zones."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np

from peak_trade.core.arrays import BoolArray, FloatArray
from peak_trade.core.errors import DataError
from peak_trade.core.history import ReturnHistory
from peak_trade.core.time import NS_PER_SECOND
from peak_trade.risk.limits import VarMethod
from peak_trade.risk.var import estimate

Zone = Literal["green", "yellow", "red"]
N_BACKTEST_DAYS = 250
"""Number of days of the Basel zones."""
_NS_PER_DAY = 86_400 * NS_PER_SECOND
_YELLOW_FROM, _RED_FROM = 0.95, 0.9999


@dataclass(frozen=True, slots=True)
class LikelihoodRatioTest:
    """A likelihood ratio, its p-value under the chi-squared distribution, and the number of days and exceptions."""

    statistic: float
    p_value: float
    degrees_of_freedom: int
    n_days: int
    n_exceptions: int


def kupiec_pof(exceptions: BoolArray, level: float) -> LikelihoodRatioTest:
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


def christoffersen_independence(exceptions: BoolArray) -> LikelihoodRatioTest:
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


def christoffersen_conditional_coverage(exceptions: BoolArray, level: float) -> LikelihoodRatioTest:
    """Test frequency and independence together: the sum of both ratios, with two degrees of freedom.

    References
    ----------
    Christoffersen (1998), section 3.3.

    """
    hits = _checked(exceptions)
    ratio = kupiec_pof(hits, level).statistic + christoffersen_independence(hits).statistic
    return _test(ratio, 2, hits)


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
    """Return the largest number of exceptions below the red zone."""
    count = 0
    while count < n_days and cumulative_probability(count, n_days, level) < _RED_FROM:
        count += 1
    return count - 1


def cumulative_probability(n_exceptions: int, n_days: int, level: float) -> float:
    """Return the probability that a correct model has at most this number of exceptions."""
    tail = 1.0 - level
    return math.fsum(
        math.comb(n_days, count) * tail**count * level ** (n_days - count) for count in range(n_exceptions + 1)
    )


def exceptions(
    weights: FloatArray,
    history: ReturnHistory,
    method: VarMethod,
    level: float,
    n_days: int = N_BACKTEST_DAYS,
    ewma_decay: float = 0.94,
) -> tuple[BoolArray, FloatArray]:
    """Walk forward over the last days and compare each day's loss with the VaR of the day before.

    Returns
    -------
    (bool array, float64 array), both of shape (n_days,)
        Exceptions, and the VaR of each day, a fraction. Every fit uses the same number of days: those of the history
        minus the tested ones, directly before the day.

    Raises
    ------
    DataError
        If fewer than 100 days are left to fit the model on.

    """
    window = history.n_days - n_days
    if window < 100:
        raise DataError(f"{history!r} leaves {window} days to fit a VaR model; 100 are needed.")
    stated = np.empty(n_days)
    for day in range(n_days):
        as_of = history.as_of - (n_days - day) * _NS_PER_DAY
        past = ReturnHistory(history.source, as_of, history.symbols, history.returns[:, day : day + window])
        stated[day] = estimate(weights, past, method, level, ewma_decay)[0]
    realised = np.array([float((weights * day).sum()) for day in history.returns[:, window:].T])
    return -realised > stated, stated


def _log_likelihood(n_hits: int, n_days: int, rate: float) -> float:
    misses = n_days - n_hits
    return (n_hits * math.log(rate) if n_hits else 0.0) + (misses * math.log1p(-rate) if misses else 0.0)


def _test(ratio: float, degrees: int, hits: BoolArray) -> LikelihoodRatioTest:
    statistic = max(ratio, 0.0)
    tail = math.erfc(math.sqrt(statistic / 2.0)) if degrees == 1 else math.exp(-statistic / 2.0)
    return LikelihoodRatioTest(statistic, tail, degrees, hits.size, int(hits.sum()))


def _checked(exceptions: BoolArray) -> BoolArray:
    hits = np.asarray(exceptions)
    if hits.dtype != np.bool_ or hits.ndim != 1 or hits.size < 2:
        raise DataError(f"exceptions have dtype {hits.dtype} and shape {hits.shape}; give at least two days as bool.")
    return hits
