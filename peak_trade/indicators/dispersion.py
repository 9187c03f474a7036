"""Dispersion: rolling standard deviation, Bollinger bands, z-scores and realised volatility."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import float64, int64, njit

from peak_trade.core.arrays import FloatArray
from peak_trade.core.compute import Compute, Memory, compute, kept
from peak_trade.indicators.means import READ_ONLY, TIE_RTOL, lag, remember, sma


class Bands(NamedTuple):
    """A channel: three float64 arrays of shape (n,), in the unit of the values."""

    lower: FloatArray
    middle: FloatArray
    upper: FloatArray


def rolling_std(values: FloatArray, window: int, memory: Memory | None = None) -> FloatArray:
    """Return the population standard deviation (ddof 0) of the last `window` values.

    Parameters
    ----------
    values : float64 array of shape (n,), any unit; NaN only at its head (the warm-up of what is measured)
    window : int, number of values, at least 1
    memory : Memory, optional
        Of the earlier values that these ones follow.

    Returns
    -------
    float64 array of shape (n,), unit of `values`, never negative; NaN in the head and the first window - 1 bars after
    it

    Notes
    -----
    Causal. The sum and the sum of squares use double-double arithmetic (Dekker 1971), so they do not drift and stay
    exact when the mean is large. Equal values, and a deviation below 1e-12 of the root mean square, return exactly
    0.0.

    """
    array = np.ascontiguousarray(values, dtype=np.float64)
    deviation: FloatArray = _rolling_std(array, window, kept(memory, 6 + window))
    return deviation


def bollinger(values: FloatArray, window: int, width: float, by: Compute = compute) -> Bands:
    """Return the mean of the last `window` values and the bands `width` population deviations below and above it.

    Notes
    -----
    Causal; NaN in the first window - 1 bars. Bollinger (2001), Bollinger on Bollinger Bands, which uses ddof 0.

    """
    middle, reach = by(sma, values, window), width * by(rolling_std, values, window)
    return Bands(middle - reach, middle, middle + reach)


def z_score(values: FloatArray, window: int, by: Compute = compute) -> FloatArray:
    """Return the z-score of each value among the last `window` values, in population deviations, itself included.

    Notes
    -----
    Causal; NaN in the first window - 1 bars; 0.0 where the values of the window are all equal.

    """
    deviation = by(rolling_std, values, window)
    is_flat = deviation == 0.0
    gap = values - by(sma, values, window)
    scores: FloatArray = np.where(is_flat, 0.0, gap / np.where(is_flat, 1.0, deviation))
    return scores


def realised_volatility(values: FloatArray, window: int, by: Compute = compute) -> FloatArray:
    """Return the population deviation of the last `window` log returns: volatility per bar, a fraction.

    Parameters
    ----------
    values : float64 array of shape (n,), prices above zero
    window : int, number of returns, at least 1

    Notes
    -----
    Causal; NaN in the first `window` bars. Multiply by sqrt(bars_per_year) for the annual volatility.

    """
    logs = np.log(np.asarray(values, dtype=np.float64))
    return by(rolling_std, logs - by(lag, logs), window)


@njit("UniTuple(float64, 2)(float64, float64, float64)", cache=True, nogil=True)
def _add(high: float, low: float, term: float) -> tuple[float, float]:
    total = high + term
    part = total - high
    low += (high - (total - part)) + (term - part)
    high = total + low
    return high, low - (high - total)


@njit("UniTuple(float64, 2)(float64)", cache=True, nogil=True)
def _square(value: float) -> tuple[float, float]:
    product = value * value
    spread = 134217729.0 * value
    big = spread - (spread - value)
    small = value - big
    return product, ((big * big - product) + 2.0 * big * small) + small * small


@njit(float64[::1](READ_ONLY, int64, float64[::1]), cache=True, nogil=True)
def _rolling_std(values: FloatArray, window: int, memory: FloatArray) -> FloatArray:
    deviation = np.full(values.size, np.nan)
    n_seen, n_equal = int(memory[0]), int(memory[1])
    high, low, square_high, square_low = memory[2], memory[3], memory[4], memory[5]
    past = memory[6:]
    for row in range(values.size):
        newest = values[row]
        if n_seen == 0 and np.isnan(newest):
            continue
        last = values[row - 1] if row > 0 else past[window - 1]
        n_equal = n_equal + 1 if n_seen > 0 and newest == last else 1
        high, low = _add(high, low, newest)
        product, rest = _square(newest)
        square_high, square_low = _add(square_high, square_low, product)
        square_high, square_low = _add(square_high, square_low, rest)
        if n_seen >= window:
            leaving = values[row - window] if row >= window else past[row]
            high, low = _add(high, low, -leaving)
            product, rest = _square(leaving)
            square_high, square_low = _add(square_high, square_low, -product)
            square_high, square_low = _add(square_high, square_low, -rest)
        n_seen += 1
        if n_seen >= window:
            # window * squares - sum ** 2, with the leading parts subtracted before the small ones are added
            product, rest = _square(high)
            above, below = _add(-product, -rest - 2.0 * high * low, window * square_high)
            spread = window * square_high
            big = 134217729.0 * square_high
            big = big - (big - square_high)
            error = (window * big - spread) + window * (square_high - big)
            variance = (above + (below + (error + window * square_low))) / (float(window) * window)
            if n_equal >= window or variance <= TIE_RTOL * TIE_RTOL * square_high / window:
                deviation[row] = 0.0
            else:
                deviation[row] = np.sqrt(variance)
    memory[0], memory[1] = n_seen, n_equal
    memory[2], memory[3], memory[4], memory[5] = high, low, square_high, square_low
    remember(past, values)
    return deviation
