"""Trades and activity: win rate, profit factor, time in market and turnover."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from peak_trade.core.arrays import FloatArray
from peak_trade.core.bar_frame import index_ns
from peak_trade.core.calendar import NS_PER_DAY
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


def trade_excursions(trades: pd.DataFrame, closes: Mapping[str, pd.Series[float]]) -> pd.DataFrame:
    """Return length, return, and largest adverse and favourable excursion of each closed trade, in their order.

    Parameters
    ----------
    trades : DataFrame of shape (n_trades, ...)
        Columns symbol, side (`long` or `short`), entry_time, exit_time (UTC), entry_price, exit_price (mean prices of
        the fills, quote currency) and return (after fees, fraction).
    closes : mapping of symbol to Series of shape (n_bars,), in quote currency
        Index close times in UTC; NaN where the symbol has no bar.

    Returns
    -------
    DataFrame of shape (n_trades, 4)
        days (entry to exit), return, adverse and favourable: fractions of the entry price, before fees, never negative.

    Notes
    -----
    The excursion is the largest move against (adverse, MAE) or for (favourable, MFE) the position from the entry
    price, over the closes strictly between entry and exit and the exit price; 0 if there was no such move. The position
    was held at each of these closes. The highs and lows of the bars do not count. The return before fees lies between
    -adverse and favourable.

    References
    ----------
    Sweeney (1996), Maximum Adverse Excursion: Analyzing Price Fluctuations for Trading Management, Wiley.

    """
    known = {symbol: series.dropna() for symbol, series in closes.items()}
    times = {symbol: index_ns(series.index) for symbol, series in known.items()}
    entries, exits = (index_ns(pd.DatetimeIndex(trades[name])) for name in ("entry_time", "exit_time"))
    moves = np.zeros((len(trades), 2))
    prices = zip(trades["symbol"], trades["side"], trades["entry_price"], trades["exit_price"], strict=True)
    for row, (symbol, side, entry, exit_price) in enumerate(prices):
        first = int(np.searchsorted(times[symbol], entries[row], side="right"))
        last = int(np.searchsorted(times[symbol], exits[row], side="left"))
        held = np.append(known[symbol].to_numpy()[first:last], exit_price)
        gains = (held / entry - 1.0) * (1.0 if side == "long" else -1.0)
        moves[row] = max(-gains.min(), 0.0), max(gains.max(), 0.0)
    return pd.DataFrame(
        {
            "days": (exits - entries) / NS_PER_DAY,
            "return": trades["return"].to_numpy(dtype=np.float64),
            "adverse": moves[:, 0],
            "favourable": moves[:, 1],
        }
    )


@dataclass(frozen=True, slots=True)
class CostBreakdown:
    """Profit before costs, the costs, and what is left, in quote currency: gross - fees - slippage + carry = net.

    `fees` and `slippage` are positive where they cost; a fill better than its reference price has a negative slippage.
    `carry` is funding, borrow and write-offs, negative where it is paid. `traded` is the notional of all `n_fills`.
    """

    net: float
    fees: float
    slippage: float
    carry: float
    traded: float
    n_fills: int

    @property
    def gross(self) -> float:
        """Profit at the reference prices, before any cost."""
        return self.net + self.costs

    @property
    def costs(self) -> float:
        """Fees, slippage and paid carry together; negative where carry earned more than the others cost."""
        return self.fees + self.slippage - self.carry

    @property
    def share_of_gross(self) -> float | None:
        """Costs as a fraction of the gross profit; None without a gross profit."""
        return self.costs / self.gross if self.gross > 0.0 else None

    @property
    def break_even_bps(self) -> float | None:
        """Costs, in bps of the traded notional, at which nothing would be left; None without fills."""
        return self._bps(self.gross)

    @property
    def paid_bps(self) -> float | None:
        """Costs, in bps of the traded notional; None without fills."""
        return self._bps(self.costs)

    def _bps(self, amount: float) -> float | None:
        return 1e4 * amount / self.traded if self.traded > 0.0 else None


def cost_breakdown(fills: pd.DataFrame, net: float, carry: float = 0.0) -> CostBreakdown:
    """Return the costs of a run.

    Parameters
    ----------
    fills : DataFrame of shape (n_fills, ...)
        Columns side (`buy` or `sell`), quantity, price, reference_price (before slippage) and fee, quote currency.
    net : float
        Change of the equity over the run, quote currency.
    carry : float
        Sum of the cash flows without a fill, quote currency; negative amounts are paid.

    """
    sign = np.where(fills["side"] == "buy", 1.0, -1.0)
    quantity, price = (fills[name].to_numpy(dtype=np.float64) for name in ("quantity", "price"))
    slippage = sign * (price - fills["reference_price"].to_numpy(dtype=np.float64)) * quantity
    fees = fills["fee"].to_numpy(dtype=np.float64)
    return CostBreakdown(
        net, math.fsum(fees), math.fsum(slippage), carry, math.fsum(np.abs(quantity * price)), len(fills)
    )
