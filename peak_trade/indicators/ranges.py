"""Ranges: true range, ATR, ADX, highest and lowest values, Donchian channel."""

from __future__ import annotations

import numpy as np
from numba import float64, int64, njit

from peak_trade.core.arrays import FloatArray
from peak_trade.core.compute import Compute, Memory, compute, kept
from peak_trade.indicators.dispersion import Bands
from peak_trade.indicators.means import READ_ONLY, hide_head, lag, wilder


def true_range(high: FloatArray, low: FloatArray, close: FloatArray, by: Compute = compute) -> FloatArray:
    """Return max(high, previous close) - min(low, previous close), in quote currency; NaN at the first bar. Causal."""
    before = by(lag, close)
    ranges: FloatArray = np.maximum(high, before) - np.minimum(low, before)
    return ranges


def atr(high: FloatArray, low: FloatArray, close: FloatArray, window: int, by: Compute = compute) -> FloatArray:
    """Return the average true range: Wilder's average of the true range, in quote currency.

    Notes
    -----
    Causal; NaN in the first `window` bars. The seed is the simple mean of the first `window` true ranges; it is
    settled after 1 + `settled_wilder(window)` bars. Wilder (1978).

    """
    return by(wilder, true_range(high, low, close, by), window)


def adx(high: FloatArray, low: FloatArray, close: FloatArray, window: int, by: Compute = compute) -> FloatArray:
    """Return Wilder's average directional index, 0 … 100: the strength of a trend, whatever its direction.

    Notes
    -----
    Causal; NaN in the first 2 * window - 1 bars; settled after 1 + 2 * `settled_wilder(window)` bars. A market without
    directional movement has 0. Wilder (1978), with averages in place of his running sums: the ratio is the same.

    """
    rise, fall = high - by(lag, high), by(lag, low) - low
    up = by(hide_head, np.where((rise > fall) & (rise > 0.0), rise, 0.0), 1)
    down = by(hide_head, np.where((fall > rise) & (fall > 0.0), fall, 0.0), 1)
    plus, minus = by(wilder, up, window), by(wilder, down, window)
    total = plus + minus
    is_still = total == 0.0
    movement = np.where(is_still, 0.0, 100.0 * np.abs(plus - minus) / np.where(is_still, 1.0, total))
    return by(wilder, movement, window)


def highest(values: FloatArray, window: int, memory: Memory | None = None) -> FloatArray:
    """Return the largest of the last `window` values, current one included. Causal; NaN at the first window - 1."""
    past = kept(memory, window - 1, np.nan)
    joined = np.concatenate([past, values])
    past[:] = joined[len(values) :]
    peaks: FloatArray = _highest(joined, window)[window - 1 :]
    return peaks


def lowest(values: FloatArray, window: int, by: Compute = compute) -> FloatArray:
    """Return the smallest of the last `window` values, current one included. Causal; NaN at the first window - 1."""
    return -by(highest, -np.asarray(values, dtype=np.float64), window)


def donchian(high: FloatArray, low: FloatArray, window: int, by: Compute = compute) -> Bands:
    """Return the channel of the `window` bars *before* each bar: lowest low, middle, highest high.

    Notes
    -----
    Causal; NaN in the first `window` bars. The bar itself is excluded, so that its close can leave the channel.

    """
    lower, upper = by(lag, lowest(low, window, by)), by(lag, by(highest, high, window))
    return Bands(lower, (lower + upper) / 2.0, upper)


@njit(float64[::1](READ_ONLY, int64), cache=True, nogil=True)
def _highest(values: FloatArray, window: int) -> FloatArray:
    peaks = np.full(values.size, np.nan)
    candidates = np.empty(values.size, dtype=np.int64)
    first, end = 0, 0
    last_nan = -1
    for row in range(values.size):
        if np.isnan(values[row]):
            last_nan = row
        while end > first and not values[candidates[end - 1]] > values[row]:
            end -= 1
        candidates[end] = row
        end += 1
        if candidates[first] <= row - window:
            first += 1
        if row >= window - 1 and last_nan <= row - window:
            peaks[row] = values[candidates[first]]
    return peaks
