"""Measures over time: of rolling windows, causal, and of calendar years."""

from __future__ import annotations

import numpy as np
import pandas as pd

from peak_trade.core.arrays import FloatArray
from peak_trade.core.bar_frame import index_ns
from peak_trade.core.calendar import open_times, period_of, period_start, trailing_per_year
from peak_trade.core.errors import DataError
from peak_trade.core.time import Timeframe, checked_per_year
from peak_trade.metrics.drawdowns import max_drawdown
from peak_trade.metrics.measure import MIN_RETURNS, ROUNDING, Measure, checked_equity, per_year
from peak_trade.metrics.returns import RUIN, annual_volatility, sharpe, simple_returns, total_return

YEARLY = ("total_return", "annual_volatility", "sharpe", "max_drawdown")
"""Measures of a year, in the order of the table."""


def rolling_volatility(equity: pd.Series[float], window: int, bars_per_year: float) -> pd.Series[float]:
    """Return the annualised standard deviation of the last `window` returns at each close.

    Parameters
    ----------
    equity : Series of shape (n_bars,), in quote currency
        Index `close_time`, UTC, strictly increasing; above zero.
    window : int
        Number of returns, at least 30.
    bars_per_year : float
        `timeframe.bars_per_year`. Each window is annualised by the time that it spans.

    Returns
    -------
    Series of shape (n_bars,), fraction a year
        NaN at the first `window` bars. All NaN if equity falls to zero before its last bar.

    Raises
    ------
    DataError
        If the window is below 30, or equity holds a NaN or does not start above zero.

    Notes
    -----
    Causal: value t is computed from equity up to t. The standard deviation has n - 1 below, as `annual_volatility`.

    """
    returns, scale = _windows(equity, window, bars_per_year)
    return (returns.rolling(window).std(ddof=1) * scale).rename("rolling_volatility")


def rolling_sharpe(equity: pd.Series[float], window: int, bars_per_year: float) -> pd.Series[float]:
    """Return the annualised Sharpe ratio of the last `window` returns at each close, without a risk-free rate.

    Parameters, errors and causality are those of `rolling_volatility`. NaN also where the returns of a window do not
    vary. Of independent normal returns without skill it is within ±1.96 / sqrt(years of the window) in 95 % of the
    windows (Lo 2002, equation 9, at a ratio of 0).
    """
    returns, scale = _windows(equity, window, bars_per_year)
    rolling = returns.rolling(window)
    deviation = rolling.std(ddof=1)
    ratio = rolling.mean() / deviation.where(deviation > ROUNDING)
    return (ratio * scale).rename("rolling_sharpe")


def _windows(equity: pd.Series[float], window: int, bars_per_year: float) -> tuple[pd.Series[float], FloatArray]:
    """Return the returns, NaN at the first bar, and the root of the bars per year of each window, shape (n_bars,)."""
    if window < MIN_RETURNS:
        raise DataError(f"a rolling window has {window} returns; give at least {MIN_RETURNS}.")
    changes = simple_returns(equity)
    padded = np.full(len(equity), np.nan)
    padded[len(equity) - changes.size :] = changes
    per_year = trailing_per_year(index_ns(equity.index), checked_per_year(bars_per_year), window)
    return pd.Series(padded, index=equity.index), np.sqrt(per_year)


def yearly_measures(
    equity: pd.Series[float], bars_per_year: float, timeframe: Timeframe | None = None
) -> dict[int, dict[str, Measure]]:
    """Return total return, volatility, Sharpe ratio and largest drawdown of each calendar year (UTC), oldest first.

    Parameters
    ----------
    equity : Series of shape (n_bars,), in quote currency
        Index `close_time`, UTC, strictly increasing.
    bars_per_year : float
        `timeframe.bars_per_year`. Each year is annualised by the time between its first and its last close.
    timeframe : Timeframe, optional
        Length of a bar; by default the smallest step of the index.

    Returns
    -------
    dict of year to the measures `YEARLY` by name
        A year starts at the last close of the year before, the first one at the first close; a bar belongs to the year
        in which it opens. The total returns compound to that of equity. A drawdown starts at a peak of the same year.

    Raises
    ------
    DataError
        If equity is empty, holds a NaN, or does not start above zero.

    """
    values, times = checked_equity(equity), index_ns(equity.index)
    if values.size < 2:
        return {}
    opens = times - int(np.diff(times).min()) if timeframe is None else open_times(times, timeframe)
    numbers = period_of(opens, "year")[1:]
    edges = [0, *(np.flatnonzero(np.diff(numbers)) + 1).tolist(), values.size - 1]
    years = pd.DatetimeIndex(period_start(numbers[[end - 1 for end in edges[1:]]], "year"), tz="UTC").year
    return {
        int(year): _measures(equity.iloc[first : last + 1], bars_per_year)
        for year, first, last in zip(years, edges, edges[1:], strict=False)
    }


def _measures(equity: pd.Series[float], bars_per_year: float) -> dict[str, Measure]:
    if not equity.iloc[0] > 0.0:
        return dict.fromkeys(YEARLY, Measure(None, len(equity) - 1, note=RUIN))
    returns, per = simple_returns(equity), per_year(equity, bars_per_year)
    measures = (
        total_return(equity),
        annual_volatility(returns, per),
        sharpe(returns, per),
        max_drawdown(equity),
    )
    return dict(zip(YEARLY, measures, strict=True))
