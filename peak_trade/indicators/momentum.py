"""Momentum: rate of change, relative strength index and MACD."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from peak_trade.core.arrays import FloatArray
from peak_trade.indicators.means import ema, wilder


class MacdLines(NamedTuple):
    """The difference of two averages and its own average: two float64 arrays of shape (n,), unit of the values."""

    line: FloatArray
    signal: FloatArray


def rate_of_change(values: FloatArray, window: int) -> FloatArray:
    """Return the simple return over `window` bars, a fraction. Causal; NaN in the first `window` bars."""
    change = np.full(len(values), np.nan)
    change[window:] = values[window:] / values[:-window] - 1.0
    return change


def rsi(values: FloatArray, window: int) -> FloatArray:
    """Return Wilder's relative strength index, 0 … 100: 100 × average rise / (average rise + average fall).

    Notes
    -----
    Causal; NaN in the first `window` bars. Seeded with the simple mean of the first `window` changes; settled after
    1 + `settled_wilder(window)` bars. 50 where the price is constant. Wilder (1978).

    """
    rises, falls = np.full(len(values), np.nan), np.full(len(values), np.nan)
    changes = np.diff(values)
    rises[1:], falls[1:] = np.maximum(changes, 0.0), np.maximum(-changes, 0.0)
    gain, loss = wilder(rises, window), wilder(falls, window)
    total = gain + loss
    is_still = total == 0.0
    strength: FloatArray = np.where(is_still, 50.0, 100.0 * gain / np.where(is_still, 1.0, total))
    return strength


def macd(values: FloatArray, fast: int, slow: int, signal: int) -> MacdLines:
    """Return EMA(fast) - EMA(slow), and the EMA of that over `signal` bars.

    Notes
    -----
    Causal; NaN in the first slow - 1 bars (line) and slow + signal - 2 bars (signal). Each average is seeded with the
    simple mean of its first values; settled after `settled_ema(slow)` + `settled_ema(signal)` bars. Appel (2005).

    """
    line = ema(values, fast) - ema(values, slow)
    return MacdLines(line, ema(line, signal))
