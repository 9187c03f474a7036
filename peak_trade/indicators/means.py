"""Moving averages: simple ones with compensated summation, recursive ones with a documented seed."""

from __future__ import annotations

import math

import numpy as np
from numba import float64, int64, njit, types

from peak_trade.core.arrays import FloatArray
from peak_trade.core.compute import Memory, kept

READ_ONLY = types.Array(float64, 1, "C", readonly=True)
"""Array type of the kernels, which accepts read-only columns of a frame and other arrays."""
TIE_RTOL = 1e-12
"""Relative difference up to which two averages count as equal."""
SEED_WEIGHT = 1e-3
"""Weight of the seed below which a recursive average counts as settled."""


def lag(values: FloatArray, n_bars: int = 1, memory: Memory | None = None) -> FloatArray:
    """Return the values `n_bars` bars before, at least 1. Causal; NaN in the first `n_bars` bars."""
    past = kept(memory, n_bars, np.nan)
    joined = np.concatenate([past, values])
    past[:] = joined[len(values) :]
    return joined[: len(values)]


def hide_head(values: FloatArray, n_bars: int, memory: Memory | None = None) -> FloatArray:
    """Return the values with NaN in the first `n_bars` bars, a warm-up. Causal."""
    n_seen = kept(memory, 1)
    hidden = values.copy()
    hidden[: max(n_bars - int(n_seen[0]), 0)] = np.nan
    n_seen[0] += len(values)
    return hidden


def sma(values: FloatArray, window: int, memory: Memory | None = None) -> FloatArray:
    """Return the simple moving average over the last `window` values.

    Parameters
    ----------
    values : float64 array of shape (n,), any unit; NaN only at its head (the warm-up of what is averaged)
    window : int, number of values, at least 1
    memory : Memory, optional
        Of the earlier values that these ones follow.

    Returns
    -------
    float64 array of shape (n,), unit of `values`; NaN in the head and the first window - 1 bars after it

    Notes
    -----
    Causal. The rounding error of each addition is computed exactly (Knuth, TAOCP 2, 4.2.2) and kept in a second sum
    (Neumaier 1974). The running sum does not drift, and depends on the start of the history in the last bit only.

    """
    means = np.empty(len(values))  # by NumPy, which asks for large pages
    _sma(np.ascontiguousarray(values, dtype=np.float64), window, kept(memory, 3 + window), means)
    return means


@njit(types.void(float64[::1], READ_ONLY), cache=True, nogil=True)
def remember(past: FloatArray, values: FloatArray) -> None:
    """Replace the oldest values of `past`, the newest one last, by those that follow them."""
    n_left = max(past.size - values.size, 0)
    past[:n_left] = past[past.size - n_left :]
    past[n_left:] = values[values.size - (past.size - n_left) :]


@njit(types.void(READ_ONLY, int64, float64[::1], float64[::1]), cache=True, nogil=True)
def _sma(values: FloatArray, window: int, memory: FloatArray, means: FloatArray) -> None:
    n_seen, total, lost = int(memory[0]), memory[1], memory[2]
    for row in range(values.size):
        newest, leaving = values[row], 0.0
        if n_seen == 0 and np.isnan(newest):
            means[row] = np.nan
            continue
        if n_seen >= window:
            leaving = values[row - window] if row >= window else memory[3 + row]
        term = newest - leaving
        part = term - newest
        lost += (newest - (term - part)) - (leaving + part)
        rounded = total + term
        part = rounded - total
        lost += (total - (rounded - part)) + (term - part)
        total = rounded
        n_seen += 1
        means[row] = (total + lost) / window if n_seen >= window else np.nan
    memory[0], memory[1], memory[2] = n_seen, total, lost
    remember(memory[3:], values)


def ema(values: FloatArray, window: int, memory: Memory | None = None) -> FloatArray:
    """Return the exponential moving average with weight 2 / (window + 1) on the newest value.

    Parameters
    ----------
    values : float64 array of shape (n,), any unit; NaN only at its head (the warm-up of what is averaged)
    window : int, number of values, at least 1
    memory : Memory, optional
        Of the earlier values that these ones follow.

    Returns
    -------
    float64 array of shape (n,), unit of `values`; NaN in the head and the first window - 1 bars after it

    Notes
    -----
    Causal. The seed is the simple mean of the first `window` values; after `settled_ema(window)` values its weight is
    below `SEED_WEIGHT`.

    """
    means: FloatArray = _recursive_mean(
        np.ascontiguousarray(values, dtype=np.float64), window, 2.0 / (window + 1.0), kept(memory, 2)
    )
    return means


def wilder(values: FloatArray, window: int, memory: Memory | None = None) -> FloatArray:
    """Return Wilder's moving average, which puts weight 1 / window on the newest value.

    Parameters
    ----------
    values : float64 array of shape (n,), any unit; NaN only at its head (the warm-up of what is averaged)
    window : int, number of values, at least 1
    memory : Memory, optional
        Of the earlier values that these ones follow.

    Returns
    -------
    float64 array of shape (n,), unit of `values`; NaN in the head and the first window - 1 bars after it

    Notes
    -----
    Causal. Wilder (1978), New Concepts in Technical Trading Systems. The seed is the simple mean of the first `window`
    values; after `settled_wilder(window)` values its weight is below `SEED_WEIGHT`.

    """
    means: FloatArray = _recursive_mean(
        np.ascontiguousarray(values, dtype=np.float64), window, 1.0 / window, kept(memory, 2)
    )
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


@njit(float64[::1](READ_ONLY, int64, float64, float64[::1]), cache=True, nogil=True)
def _recursive_mean(values: FloatArray, window: int, newest: float, memory: FloatArray) -> FloatArray:
    means = np.full(values.size, np.nan)
    n_seen, mean = int(memory[0]), memory[1]
    for row in range(values.size):
        if n_seen == 0 and np.isnan(values[row]):
            continue
        mean += values[row] / window if n_seen < window else newest * (values[row] - mean)
        n_seen += 1
        if n_seen >= window:
            means[row] = mean
    memory[0], memory[1] = n_seen, mean
    return means
