"""The array kernel: one compiled pass over open, close and exposure, for screening many parameter sets.

It supports market orders of one symbol under the fraction-of-equity rule, with fee and slippage, and has no volume cap,
protective orders, gates or events. Within these limits its fills and equity equal those of the event loop.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from numba import njit, types

from peak_trade.core.arrays import FloatArray, IntArray
from peak_trade.costs.model import Costs
from peak_trade.strategies.crossing import fill_exposure

SAME_RETURNS = 1e-12
"""Returns whose squared deviations are below this fraction of their squares count as equal."""
INITIAL_CASH = 10_000.0
"""Cash at the start of a screened run, quote currency."""
NO_BARS = np.zeros(0, np.int64)
_NONE, _NO_ROWS = np.zeros(0), np.zeros((0, 0))
_INPUT = types.Array(types.float64, 1, "C", readonly=True)


@dataclass(frozen=True, slots=True)
class Screen:
    """Statistics of one run: total return and drawdown as fractions, the Sharpe ratio per bar, the number of fills.

    `sharpe` is 0.0 if the returns do not vary; multiply it by the square root of `bars_per_year` to annualise it.
    `skewness` and `kurtosis` are the moment ratios of the same returns (3 for normal ones), NaN if they do not vary.
    """

    total_return: float
    sharpe: float
    max_drawdown: float
    n_fills: int
    skewness: float
    kurtosis: float


STATISTICS = tuple(each.name for each in fields(Screen))
"""Names of the statistics of a run, in the order of the columns of `screen_sets`."""


def simulate(
    open_: FloatArray, close: FloatArray, exposure: FloatArray, costs: Costs, initial_cash: float = 10_000.0
) -> tuple[FloatArray, FloatArray]:
    """Return equity and position at each close, both of shape (n_bars,).

    Parameters
    ----------
    open_, close : float64 arrays of shape (n_bars,), quote currency
    exposure : float64 array of shape (n_bars,), in [-1, 1], no NaN
    costs : Costs
        Only `fee_bps` and `slippage_bps` are used.
    initial_cash : float, quote currency

    Notes
    -----
    Causal. After a bankruptcy, equity and position are 0.0.
    """
    equity, position = np.zeros(close.size), np.zeros(close.size)
    _pass(open_, close, exposure, costs.taker_rate, costs.slippage_rate, initial_cash, equity, position, NO_BARS, _NONE)
    return equity, position


def screen(open_: FloatArray, close: FloatArray, exposure: FloatArray, costs: Costs) -> Screen:
    """Return the statistics of one run without its path, with an initial cash of 10,000; see `simulate`."""
    total, sharpe, drawdown, n_fills, skewness, kurtosis = screen_sets(open_, close, exposure[None], costs)[0].tolist()
    return Screen(total, sharpe, drawdown, int(n_fills), skewness, kurtosis)


def screen_sets(
    open_: FloatArray,
    close: FloatArray,
    exposures: FloatArray,
    costs: Costs,
    bars: IntArray = NO_BARS,
    equity_out: FloatArray = _NO_ROWS,
) -> FloatArray:
    """Return the statistics of several runs, shape (k, len(STATISTICS)), with the GIL released meanwhile.

    `exposures` has shape (k, n_bars), and `equity_out`, of shape (k, len(bars)), gets equity at the close of each of
    `bars`, increasing indices; the other arguments are those of `screen`.
    """
    statistics = np.empty((len(exposures), len(STATISTICS)))
    _screens(open_, close, exposures, costs.taker_rate, costs.slippage_rate, INITIAL_CASH, bars, equity_out, statistics)
    return statistics


def screen_crossings(
    open_: FloatArray,
    close: FloatArray,
    lines: FloatArray,
    pairs: IntArray,
    sides: FloatArray,
    costs: Costs,
    bars: IntArray = NO_BARS,
    equity_out: FloatArray = _NO_ROWS,
) -> FloatArray:
    """Return the statistics of k crossings, shape (k, len(STATISTICS)), with the GIL released meanwhile.

    `lines` has shape (n_lines, n_bars). Row r of `pairs`, shape (k, 2), has the places of a line and of the other one,
    and row r of `sides` the exposure above and below it; where a line is unknown, it is 0. See `screen_sets` for the
    rest.
    """
    statistics = np.empty((len(pairs), len(STATISTICS)))
    rates = costs.taker_rate, costs.slippage_rate
    _screen_crossings(open_, close, lines, pairs, sides, *rates, INITIAL_CASH, bars, equity_out, statistics)
    return statistics


@njit(types.int64(_INPUT, types.int64[::1]), cache=True, nogil=True)
def _find_changes(exposure, bars):  # type: ignore[no-untyped-def]
    """Write the bars whose exposure differs from that of the bar before, 0 before the first; return their number."""
    n_changes, before = 0, 0.0
    for bar in range(exposure.size):
        bars[n_changes] = bar  # without a branch, which would be predicted badly
        n_changes += exposure[bar] != before
        before = exposure[bar]
    return n_changes


@njit(
    types.UniTuple(types.float64, 6)(
        *3 * (_INPUT,), *3 * (types.float64,), *2 * (types.float64[::1],), types.int64[::1], types.float64[::1]
    ),
    cache=True,
    nogil=True,
    error_model="numpy",
)
def _pass(  # type: ignore[no-untyped-def]
    open_, close, exposure, fee, slippage, initial_cash, equity_out, position_out, bars, at_bars
):
    keeps_path = equity_out.size > 0
    at_bars[:] = 0.0
    place = 0
    cash, position, target, pending = initial_cash, 0.0, 0.0, 0.0
    equity, peak, trough, drawdown = initial_cash, initial_cash, initial_cash, 0.0
    total, squares, cubes, fourths, n_fills = 0.0, 0.0, 0.0, 0.0, 0.0
    changes = np.empty(close.size, np.int64)
    n_changes, n_decided, bar = _find_changes(exposure, changes), 0, 0
    while bar < close.size and equity > 0.0:
        if pending != 0.0:
            sign = 1.0 if pending > 0.0 else -1.0
            price = open_[bar] * (1.0 + sign * slippage)
            quantity = pending
            if pending > 0.0:
                affordable = max(cash / (price * (1.0 + fee)), -position, 0.0)
                quantity = min(pending, affordable)
            if quantity != 0.0:
                cash -= quantity * price
                cash -= abs(quantity) * price * fee
                position += quantity
                n_fills += 1.0
            pending = 0.0
        decision = changes[n_decided] if n_decided < n_changes else close.size - 1
        n_decided += 1
        last = decision
        end = decision + 1 if position != 0.0 else bar + 1
        for row in range(bar, end):
            worth = max(cash + position * close[row] if position != 0.0 else cash, 0.0)
            change = worth / equity - 1.0
            square = change * change
            total += change
            squares += square
            cubes += square * change
            fourths += square * square
            equity = worth
            if equity > peak:
                drawdown = max(drawdown, 1.0 - trough / peak)
                peak, trough = equity, equity
            elif equity < trough:
                trough = equity
                if equity == 0.0:
                    last = row - 1
                    break
        while place < bars.size and bars[place] <= last:
            at_bars[place] = cash + position * close[bars[place]] if position != 0.0 else cash
            place += 1
        if keeps_path:
            for row in range(bar, last + 1):
                equity_out[row] = cash + position * close[row] if position != 0.0 else cash
                position_out[row] = position
        if exposure[decision] != target:
            target = exposure[decision]
            pending = target * equity / close[decision] - position
        bar = decision + 1
    drawdown = max(drawdown, 1.0 - trough / peak)
    n_returns = close.size - 1
    sharpe, skewness, kurtosis = 0.0, np.nan, np.nan
    if n_returns > 1:
        mean = total / n_returns
        spread = squares - total * mean
        if spread > SAME_RETURNS * squares:
            sharpe = mean / np.sqrt(spread / (n_returns - 1))
            variance = spread / n_returns
            skewness = (cubes / n_returns - 3.0 * mean * squares / n_returns + 2.0 * mean**3) / variance**1.5
            powers = fourths - 4.0 * mean * cubes + 6.0 * mean * mean * squares
            kurtosis = (powers / n_returns - 3.0 * mean**4) / variance**2
    return equity / initial_cash - 1.0, sharpe, drawdown, n_fills, skewness, kurtosis


@njit(
    types.void(
        *2 * (_INPUT,),
        types.Array(types.float64, 2, "C", readonly=True),
        *3 * (types.float64,),
        types.int64[::1],
        *2 * (types.float64[:, ::1],),
    ),
    cache=True,
    nogil=True,
)
def _screens(  # type: ignore[no-untyped-def]
    open_, close, exposures, fee, slippage, initial_cash, bars, at_bars, statistics
):
    nothing = np.zeros(0)
    for row in range(len(exposures)):
        equity = at_bars[row] if bars.size > 0 else nothing
        found = _pass(open_, close, exposures[row], fee, slippage, initial_cash, nothing, nothing, bars, equity)
        for column in range(statistics.shape[1]):
            statistics[row, column] = found[column]


@njit(
    types.void(
        *2 * (_INPUT,),
        types.float64[:, ::1],
        types.int64[:, ::1],
        types.float64[:, ::1],
        *3 * (types.float64,),
        types.int64[::1],
        *2 * (types.float64[:, ::1],),
    ),
    cache=True,
    nogil=True,
)
def _screen_crossings(  # type: ignore[no-untyped-def]
    open_, close, lines, pairs, sides, fee, slippage, initial_cash, bars, at_bars, statistics
):
    nothing, exposure = np.zeros(0), np.empty(close.size)
    for row in range(len(pairs)):
        line, other = lines[pairs[row, 0]], lines[pairs[row, 1]]
        fill_exposure(line, other, sides[row, 0], sides[row, 1], 0.0, exposure)
        equity = at_bars[row] if bars.size > 0 else nothing
        found = _pass(open_, close, exposure, fee, slippage, initial_cash, nothing, nothing, bars, equity)
        for column in range(statistics.shape[1]):
            statistics[row, column] = found[column]
