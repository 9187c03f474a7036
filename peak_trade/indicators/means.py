"""Moving averages: simple ones with compensated summation, recursive ones with a documented seed."""

from __future__ import annotations

import math

import numpy as np
from numba import float64, int64, njit, types

from peak_trade.core.arrays import FloatArray

READ_ONLY = types.Array(float64, 1, "C", readonly=True)
"""Array type of the kernels, which accepts read-only columns of a frame and other arrays."""
TIE_RTOL = 1e-12
"""Relative difference up to which two averages count as equal."""
SEED_WEIGHT = 1e-3
"""Weight of the seed below which a recursive average counts as settled."""


def sma(values: FloatArray, window: int) -> FloatArray:
    """Return the simple moving average over the last `window` values.

    Parameters
    ----------
    values : float64 array of shape (n,), any unit
    window : int, number of values, at least 1

    Returns
    -------
    float64 array of shape (n,), unit of `values`; NaN in the first window - 1 bars

    Notes
    -----
    Causal. The rounding error of each addition is computed exactly (Knuth, TAOCP 2, 4.2.2) and kept in a second sum
    (Neumaier 1974). The running sum does not drift, and depends on the start of the history in the last bit only.

    """
    means: FloatArray = _sma(np.ascontiguousarray(values, dtype=np.float64), window)
    return means


@njit(float64[::1](READ_ONLY, int64), cache=True, nogil=True)
def _sma(values: FloatArray, window: int) -> FloatArray:
    means = np.full(values.size, np.nan)
    total, lost = 0.0, 0.0
    for row in range(values.size):
        newest, leaving = values[row], values[row - window] if row >= window else 0.0
        term = newest - leaving
        part = term - newest
        lost += (newest - (term - part)) - (leaving + part)
        rounded = total + term
        part = rounded - total
        lost += (total - (rounded - part)) + (term - part)
        total = rounded
        if row >= window - 1:
            means[row] = (total + lost) / window
    return means


def ema(values: FloatArray, window: int) -> FloatArray:
    """Return the exponential moving average with weight 2 / (window + 1) on the newest value.

    Parameters
    ----------
    values : float64 array of shape (n,), any unit; NaN only at its head (the warm-up of what is averaged)
    window : int, number of values, at least 1

    Returns
    -------
    float64 array of shape (n,), unit of `values`; NaN in the head and the first window - 1 bars after it

    Notes
    -----
    Causal. The seed is the simple mean of the first `window` values; after `settled_ema(window)` values its weight is
    below `SEED_WEIGHT`.

    """
    means: FloatArray = _recursive_mean(np.ascontiguousarray(values, dtype=np.float64), window, 2.0 / (window + 1.0))
    return means


def wilder(values: FloatArray, window: int) -> FloatArray:
    """Return Wilder's moving average, which puts weight 1 / window on the newest value.

    Parameters
    ----------
    values : float64 array of shape (n,), any unit; NaN only at its head (the warm-up of what is averaged)
    window : int, number of values, at least 1

    Returns
    -------
    float64 array of shape (n,), unit of `values`; NaN in the head and the first window - 1 bars after it

    Notes
    -----
    Causal. Wilder (1978), New Concepts in Technical Trading Systems. The seed is the simple mean of the first `window`
    values; after `settled_wilder(window)` values its weight is below `SEED_WEIGHT`.

    """
    means: FloatArray = _recursive_mean(np.ascontiguousarray(values, dtype=np.float64), window, 1.0 / window)
    return means


def settled_ema(window: int) -> int:
    """Return the index of the first value at which the weight of the seed of `ema` is below `SEED_WEIGHT`."""
    return _settled(window, 2.0 / (window + 1.0))


def settled_wilder(window: int) -> int:
    """Return the index of the first value at which the weight of the seed of `wilder` is below `SEED_WEIGHT`."""
    return _settled(window, 1.0 / window)


def _settled(window: int, newest: float) -> int:
    if newest >= 1.0:
        return window - 1
    return window - 1 + math.ceil(math.log(SEED_WEIGHT) / math.log1p(-newest))


@njit(float64[::1](READ_ONLY, int64, float64), cache=True, nogil=True)
def _recursive_mean(values: FloatArray, window: int, newest: float) -> FloatArray:
    means = np.full(values.size, np.nan)
    head = 0
    while head < values.size and np.isnan(values[head]):
        head += 1
    if head + window > values.size:
        return means
    mean = 0.0
    for row in range(head, head + window):
        mean += values[row] / window
    means[head + window - 1] = mean
    for row in range(head + window, values.size):
        mean += newest * (values[row] - mean)
        means[row] = mean
    return means
