"""Growth, risk and their ratios, from equity or from simple returns."""

from __future__ import annotations

import math
from typing import Any, Literal

import numpy as np
import pandas as pd

from peak_trade.core.arrays import FloatArray
from peak_trade.core.bar_frame import index_ns
from peak_trade.core.calendar import Period, open_times, period_of, period_start
from peak_trade.core.time import SECONDS_PER_YEAR, Timeframe, checked_per_year
from peak_trade.metrics.dependence import long_run_variance
from peak_trade.metrics.drawdowns import max_drawdown
from peak_trade.metrics.measure import (
    MIN_DAYS,
    MIN_RETURNS,
    MIN_ROBUST,
    ROUNDING,
    Measure,
    checked,
    checked_equity,
    finite_or,
    per_year,
    too_few,
)

RUIN = "equity fell to zero or below"
FLAT = "the returns do not vary"
LOG_LARGEST = 709.0
"""Largest argument of an exponential that a float64 can represent."""


def simple_returns(equity: Any) -> FloatArray:
    """Return the simple change over each bar.

    Parameters
    ----------
    equity : Series or float64 array of shape (n_bars,), in quote currency

    Returns
    -------
    float64 array of shape (n_bars - 1,), a fraction
        Shape (0,) if equity falls to zero or below before its last bar, after which no return is defined.

    Raises
    ------
    DataError
        If equity is empty, holds a NaN, or does not start above zero.

    """
    values = checked_equity(equity)
    if (values[:-1] <= 0.0).any():
        return np.empty(0)
    returns: FloatArray = values[1:] / values[:-1]
    returns -= 1.0
    return returns


def period_returns(equity: pd.Series[float], period: Period, timeframe: Timeframe | None = None) -> pd.Series[float]:
    """Return the return over each calendar period that has one, oldest first.

    Parameters
    ----------
    equity : Series of shape (n_bars,), in quote currency
        Index `close_time`, UTC, strictly increasing.
    period : day, week, month, quarter or year
    timeframe : Timeframe, optional
        Length of a bar; by default the smallest step of the index.

    Returns
    -------
    Series of shape (n_periods,), fractions, indexed by the start of the period, UTC
        The change from the last close of an earlier period, or from the first close, to the last close of the period. A
        bar belongs to the period in which it opens. The returns compound to `total_return`.

    Raises
    ------
    DataError
        If equity is empty, holds a NaN, or does not start above zero.

    Examples
    --------
    >>> hours = pd.date_range("2024-02-29 22:00", periods=4, freq="h", tz="UTC")
    >>> period_returns(pd.Series([100.0, 110.0, 120.0, 180.0], index=hours), "month").round(2).tolist()
    [0.2, 0.5]

    """
    values, times = checked_equity(equity), index_ns(equity.index)
    if values.size < 2:
        return pd.Series(dtype=np.float64, index=pd.DatetimeIndex([], tz="UTC"))
    opens = times - int(np.diff(times).min()) if timeframe is None else open_times(times, timeframe)
    numbers = period_of(opens, period)[1:]
    ends = np.append(np.flatnonzero(np.diff(numbers)) + 1, values.size - 1)
    reached = values[np.concatenate([[0], ends])]
    with np.errstate(divide="ignore", invalid="ignore"):
        changes = reached[1:] / reached[:-1] - 1.0
    return pd.Series(changes, index=pd.DatetimeIndex(period_start(numbers[ends - 1], period), tz="UTC"))


def total_return(equity: Any) -> Measure:
    """Return last equity / first equity - 1; n counts bar returns."""
    values = checked_equity(equity)
    if values.size < 2:
        return too_few(values.size - 1, 1, "returns")
    return finite_or(float(values[-1]) / float(values[0]) - 1.0, values.size - 1, "too large to state")


def cagr(equity: Any, bars_per_year: float) -> Measure:
    """Return the compound annual growth rate, a fraction a year of 365 days.

    Parameters
    ----------
    equity : Series or float64 array of shape (n_bars,), in quote currency
    bars_per_year : float
        `timeframe.bars_per_year`. Equity with a time index is annualised by elapsed time, so that gaps count.

    Notes
    -----
    (last / first) ** (1 / years) - 1 with years = n / bars_per_year, n = n_bars - 1. No value below 30 days.

    """
    values = checked_equity(equity)
    n = values.size - 1
    bars_per_year = per_year(equity, bars_per_year)
    needed = fewest_bars(bars_per_year)
    if n < needed:
        return too_few(n, needed, "returns")
    growth = float(values[-1]) / float(values[0])
    if growth <= 0.0:
        return Measure(None, n, note=RUIN)
    log_a_year = math.log(growth) * bars_per_year / n
    return finite_or(math.expm1(log_a_year) if log_a_year < LOG_LARGEST else math.inf, n, "too large to state")


def annual_volatility(returns: Any, bars_per_year: float) -> Measure:
    """Return the standard deviation of simple returns (n - 1 below), times the root of bars_per_year.

    The standard error is that of independent normal returns: value / sqrt(2 (n - 1)).
    """
    values, bars_per_year = checked(returns, "returns"), checked_per_year(bars_per_year)
    n = values.size
    if n < MIN_RETURNS:
        return too_few(n, MIN_RETURNS, "returns")
    value = float(values.std(ddof=1)) * math.sqrt(bars_per_year)
    return finite_or(value, n, "too large to state", stderr=value / math.sqrt(2.0 * (n - 1)))


def sharpe(
    returns: Any, bars_per_year: float, risk_free: float = 0.0, stderr: Literal["robust", "iid"] | None = None
) -> Measure:
    """Return the annualised Sharpe ratio with its standard error.

    Parameters
    ----------
    returns : Series or float64 array of shape (n,), simple returns a bar, fractions
    bars_per_year : float
        `bars.bars_per_year`: bars in a year of 365 days, by elapsed time.
    risk_free : float
        Fraction a year, distributed evenly over the bars.
    stderr : robust or iid
        robust: for returns that depend on earlier ones, see `long_run_variance`. iid: for independent returns. By
        default robust from 120 returns, iid below. The note says which.

    Returns
    -------
    Measure
        No value below 30 returns or 30 days, or if the returns are constant.

    References
    ----------
    Lo (2002), The Statistics of Sharpe Ratios, Financial Analysts Journal 58(4): equation 9 for iid, its GMM estimator
    for robust. Ratio and standard error of one bar are both scaled by sqrt(bars_per_year).

    """
    values, bars_per_year = checked(returns, "returns"), checked_per_year(bars_per_year)
    n, needed = values.size, fewest_for_ratio(bars_per_year)
    if n < needed:
        return too_few(n, needed, "returns")
    deviation = float(values.std(ddof=1))
    if deviation <= ROUNDING:
        return Measure(None, n, note=FLAT)
    excess = float(values.mean()) - risk_free / bars_per_year
    ratio = excess / deviation
    if (stderr or ("robust" if n >= MIN_ROBUST else "iid")) == "iid":
        variance, note = 1.0 + 0.5 * ratio * ratio, "standard error: iid (Lo 2002, eq. 9)"
    else:
        variance, bandwidth = long_run_variance(sharpe_influence(values, ratio))
        note = f"standard error: robust (Lo 2002, GMM; prewhitened Parzen kernel, bandwidth {bandwidth:.1f})"
    scale = math.sqrt(bars_per_year)
    return finite_or(ratio * scale, n, "too large to state", math.sqrt(variance / n) * scale, note)


def sharpe_influence(returns: FloatArray, ratio: float) -> FloatArray:
    """Return the influence of each return on the Sharpe ratio of one bar, shape (n,), mean 0; the returns vary."""
    influence: FloatArray = (returns - returns.mean()) / returns.std()
    return influence - 0.5 * ratio * (influence * influence - 1.0)


def sortino(returns: Any, bars_per_year: float, target: float = 0.0) -> Measure:
    """Return the annualised mean excess over the downside deviation.

    `target` is a fraction a year. The deviation is the root mean square of the shortfalls below the target over all
    n bars (Sortino and Price 1994). No value below 30 returns or 30 days, or without a shortfall.
    """
    values, bars_per_year = checked(returns, "returns"), checked_per_year(bars_per_year)
    n, needed = values.size, fewest_for_ratio(bars_per_year)
    if n < needed:
        return too_few(n, needed, "returns")
    shortfall = values - target / bars_per_year
    excess = float(shortfall.mean())
    np.minimum(shortfall, 0.0, out=shortfall)
    deviation = math.sqrt(float(shortfall @ shortfall) / n)
    if deviation <= ROUNDING:
        return Measure(None, n, note="no return lies below the target")
    return finite_or(excess / deviation * math.sqrt(bars_per_year), n, "too large to state")


def calmar(equity: Any, bars_per_year: float) -> Measure:
    """Return CAGR / maximum drawdown; no value if either has none or there was no drawdown."""
    return growth_per_drawdown(cagr(equity, bars_per_year), max_drawdown(equity))


def growth_per_drawdown(growth: Measure, deepest: Measure) -> Measure:
    """Return `calmar` from a CAGR and a maximum drawdown."""
    if growth.value is None or deepest.value is None:
        return growth if growth.value is None else Measure(None, growth.n, note=deepest.note)
    if deepest.value == 0.0:
        return Measure(None, growth.n, note="there was no drawdown")
    return finite_or(growth.value / deepest.value, growth.n, "too large to state")


def fewest_bars(bars_per_year: float) -> int:
    """Return the number of bars in 30 days, at least 2; shorter spans are not annualised."""
    return max(2, math.ceil(MIN_DAYS * 86_400 / SECONDS_PER_YEAR * checked_per_year(bars_per_year) - 1e-9))


def fewest_for_ratio(bars_per_year: float) -> int:
    """Return the smallest number of returns of an annualised ratio: 30, and those of 30 days."""
    return max(MIN_RETURNS, fewest_bars(bars_per_year))
