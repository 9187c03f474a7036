"""Trades and activity: win rate, profit factor, time in market and turnover."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd

from peak_trade.core.arrays import FloatArray
from peak_trade.metrics.measure import MIN_TRADES, Measure, checked, checked_equity, finite_or, per_year, too_few
from peak_trade.metrics.returns import fewest_bars


def net_pnl(trades: pd.DataFrame) -> FloatArray:
    """Return pnl - fees of each closed trade, shape (n_trades,), in quote currency."""
    return checked(trades["pnl"], "pnl") - checked(trades["fees"], "fees")


def win_rate(trades: pd.DataFrame) -> Measure:
    """Return the fraction of trades with a profit after fees.

    Parameters
    ----------
    trades : DataFrame of shape (n_trades, ...)
        One row per closed round trip, with `pnl` before fees and `fees`, both in quote currency.

    Returns
    -------
    Measure
        A fraction, standard error sqrt(p (1 - p) / n); no value below 10 trades. A trade of exactly zero is not a win.

    """
    won = net_pnl(trades) > 0.0
    if won.size < MIN_TRADES:
        return too_few(won.size, MIN_TRADES, "trades")
    share = float(won.mean())
    return Measure(share, won.size, math.sqrt(share * (1.0 - share) / won.size))


def profit_factor(trades: pd.DataFrame) -> Measure:
    """Return the profit of the winning trades over the loss of the losing ones, both after fees.

    Parameters
    ----------
    trades : DataFrame of shape (n_trades, ...)
        See `win_rate`.

    Returns
    -------
    Measure
        A ratio, above 1 if the trades made a profit in total; no value below 10 trades or without a losing one.

    """
    net = net_pnl(trades)
    if net.size < MIN_TRADES:
        return too_few(net.size, MIN_TRADES, "trades")
    loss = -float(net[net < 0.0].sum())
    if loss == 0.0:
        return Measure(None, net.size, note="no trade lost")
    return finite_or(float(net[net > 0.0].sum()) / loss, net.size, "too large to state")


def time_in_market(exposure: Any) -> Measure:
    """Return the fraction of bars with a position at their close.

    Parameters
    ----------
    exposure : Series or float64 array of shape (n_bars,), or DataFrame of shape (n_bars, n_symbols)
        Net exposure held at each close, a fraction of equity; NaN counts as flat.

    Returns
    -------
    Measure
        A fraction; n counts bars.

    """
    values = np.asarray(exposure, dtype=np.float64)
    held = np.abs(values) > 0.0
    if values.ndim == 2:
        held = np.logical_or.reduce(held, axis=1)
    if held.size == 0:
        return too_few(0, 1, "bars")
    return Measure(float(held.mean()), held.size)


def turnover(fills: pd.DataFrame, equity: Any, bars_per_year: float) -> Measure:
    """Return the notional traded a year over mean equity, buys and sells both counted.

    Parameters
    ----------
    fills : DataFrame of shape (n_fills, ...)
        With `quantity` (base units, either sign) and `price` (quote currency).
    equity : Series or float64 array of shape (n_bars,), in quote currency
    bars_per_year : float
        `timeframe.bars_per_year`. Equity with a time index is annualised by elapsed time.

    Returns
    -------
    Measure
        A ratio a year: 2 when the whole account was bought and sold once. n counts fills; no value below 30 days.

    """
    values, bars_per_year = checked_equity(equity), per_year(equity, bars_per_year)
    n_bars, needed = values.size - 1, fewest_bars(bars_per_year)
    if n_bars < needed:
        return too_few(n_bars, needed, "returns")
    traded = float(np.abs(checked(fills["quantity"], "quantity") * checked(fills["price"], "price")).sum())
    mean = float(values.mean())
    if mean <= 0.0:
        return Measure(None, len(fills), note="mean equity is not above zero")
    return finite_or(traded / mean * bars_per_year / n_bars, len(fills), "too large to state")
