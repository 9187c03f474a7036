"""Momentum: rate of change, relative strength index and MACD."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from peak_trade.core.arrays import FloatArray
from peak_trade.core.compute import Compute, compute
from peak_trade.indicators.means import ema, lag, wilder


class MacdLines(NamedTuple):
    """The difference of two averages and its own average: two float64 arrays of shape (n,), unit of the values."""

    line: FloatArray
    signal: FloatArray


def rate_of_change(values: FloatArray, window: int, by: Compute = compute) -> FloatArray:
    """Return the simple return over `window` bars, a fraction. Causal; NaN in the first `window` bars."""
    return values / by(lag, values, window) - 1.0


def rsi(values: FloatArray, window: int, by: Compute = compute) -> FloatArray:
    """Return Wilder's relative strength index, 0 … 100: 100 × average rise / (average rise + average fall).

    Notes
    -----
    Causal; NaN in the first `window` bars. Seeded with the simple mean of the first `window` changes; settled after
    1 + `settled_wilder(window)` bars. 50 where the price is constant. Wilder (1978).

    """
    changes = values - by(lag, values)
    gain, loss = by(wilder, np.maximum(changes, 0.0), window), by(wilder, np.maximum(-changes, 0.0), window)
    total = gain + loss
    is_still = total == 0.0
    strength: FloatArray = np.where(is_still, 50.0, 100.0 * gain / np.where(is_still, 1.0, total))
    return strength


def macd(values: FloatArray, fast: int, slow: int, signal: int, by: Compute = compute) -> MacdLines:
    """Return EMA(fast) - EMA(slow), and the EMA of that over `signal` bars.

    Notes
    -----
    Causal; NaN in the first slow - 1 bars (line) and slow + signal - 2 bars (signal). Each average is seeded with the
    simple mean of its first values; settled after `settled_ema(slow)` + `settled_ema(signal)` bars. Appel (2005).

    """
    line = by(ema, values, fast) - by(ema, values, slow)
    return MacdLines(line, by(ema, line, signal))
