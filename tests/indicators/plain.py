"""The indicators written as their definitions: the reference for the fast ones."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np

from peak_trade.core.arrays import FloatArray

Floats = FloatArray


def sma(values: Floats, window: int) -> Floats:
    return _over(values, window, lambda part: math.fsum(part) / window)


def rolling_std(values: Floats, window: int) -> Floats:
    def deviation(part: Floats) -> float:
        mean = math.fsum(part) / window
        return math.sqrt(math.fsum((value - mean) ** 2 for value in part) / window)

    return _over(values, window, deviation)


def highest(values: Floats, window: int) -> Floats:
    return _over(values, window, max)


def lowest(values: Floats, window: int) -> Floats:
    return _over(values, window, min)


def _over(values, window, measure):
    return np.array(
        [math.nan if row < window - 1 else measure(values[row - window + 1 : row + 1]) for row in range(len(values))]
    )


def recursive(values: Floats, window: int, newest: float) -> Floats:
    means = [math.nan] * len(values)
    head = next((row for row, value in enumerate(values) if not math.isnan(value)), len(values))
    first = head + window - 1
    for row in range(first, len(values)):
        if row == first:
            means[row] = sum(values[head : first + 1]) / window
        else:
            means[row] = (1.0 - newest) * means[row - 1] + newest * values[row]
    return np.array(means)


def ema(values: Floats, window: int) -> Floats:
    return recursive(values, window, 2.0 / (window + 1.0))


def wilder(values: Floats, window: int) -> Floats:
    return recursive(values, window, 1.0 / window)


def macd(values: Floats, fast: int, slow: int, signal: int) -> tuple[Floats, Floats]:
    line = ema(values, fast) - ema(values, slow)
    return line, ema(line, signal)


def rsi(values: Floats, window: int) -> Floats:
    gains, losses = [math.nan], [math.nan]
    for before, now in pairwise(values):
        gains.append(max(now - before, 0.0))
        losses.append(max(before - now, 0.0))
    strengths = []
    for gain, loss in zip(wilder(np.array(gains), window), wilder(np.array(losses), window), strict=True):
        if math.isnan(gain):
            strengths.append(math.nan)
        elif gain == loss == 0.0:
            strengths.append(50.0)
        elif loss == 0.0:
            strengths.append(100.0)
        else:
            strengths.append(100.0 - 100.0 / (1.0 + gain / loss))
    return np.array(strengths)


def true_range(high: Floats, low: Floats, close: Floats) -> Floats:
    ranges = [math.nan]
    for row in range(1, len(close)):
        before = close[row - 1]
        ranges.append(max(high[row] - low[row], abs(high[row] - before), abs(low[row] - before)))
    return np.array(ranges)


def atr(high: Floats, low: Floats, close: Floats, window: int) -> Floats:
    return wilder(true_range(high, low, close), window)


def adx(high: Floats, low: Floats, close: Floats, window: int) -> Floats:
    ups, downs = [math.nan], [math.nan]
    for row in range(1, len(close)):
        rise, fall = high[row] - high[row - 1], low[row - 1] - low[row]
        ups.append(rise if rise > fall and rise > 0.0 else 0.0)
        downs.append(fall if fall > rise and fall > 0.0 else 0.0)
    average = atr(high, low, close, window)
    plus, minus = 100.0 * wilder(np.array(ups), window) / average, 100.0 * wilder(np.array(downs), window) / average
    movement = [
        math.nan if math.isnan(up) else 0.0 if up + down == 0.0 else 100.0 * abs(up - down) / (up + down)
        for up, down in zip(plus, minus, strict=True)
    ]
    return wilder(np.array(movement), window)
