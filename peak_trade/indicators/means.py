"""Moving averages whose ties are ties: sums are carried with their rounding error."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
TIE_RTOL = 1e-12
"""Two averages this close, relative, count as equal."""


def sma(values: FloatArray, window: int) -> FloatArray:
    """Return the simple moving average over the last `window` values.

    Parameters
    ----------
    values : float64 array of shape (n,), any unit
    window : int, number of values, at least 1

    Returns
    -------
    float64 array of shape (n,), unit of `values`; NaN in the first window - 1 rows

    Notes
    -----
    Causal. The running sum is kept in double-double arithmetic (Dekker 1971; Knuth, TAOCP 2, 4.2.2), so that it does
    not drift and does not depend on where the history starts beyond the last bit.

    """
    means: FloatArray = _sma(np.ascontiguousarray(values, dtype=np.float64), window)
    return means


@njit("float64[::1](float64[::1], int64)", cache=True)
def _sma(values, window):  # type: ignore[no-untyped-def]
    means = np.full(values.size, np.nan)
    high, low = 0.0, 0.0
    for row in range(values.size):
        for term in (values[row], -values[row - window] if row >= window else 0.0):
            total = high + term
            part = total - high
            low += (high - (total - part)) + (term - part)
            high = total
            total = high + low
            low -= total - high
            high = total
        if row >= window - 1:
            means[row] = (high + low) / window
    return means
