"""Drawdowns of equity: depth, length and recovery."""

from __future__ import annotations

from typing import Any, overload

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from peak_trade.core.arrays import FloatArray
from peak_trade.metrics.measure import Measure, checked_equity

RowArray = NDArray[np.intp]


@overload
def drawdown(equity: pd.Series[float]) -> pd.Series[float]: ...
@overload
def drawdown(equity: FloatArray) -> FloatArray: ...
def drawdown(equity: pd.Series[float] | FloatArray) -> pd.Series[float] | FloatArray:
    """Return the fraction of the running peak that is lost at each bar.

    Parameters
    ----------
    equity : Series or float64 array of shape (n_bars,), in quote currency
        Account value at each bar's close; index in UTC, strictly increasing.

    Returns
    -------
    Series or array of shape (n_bars,), a fraction, never negative
        0.0 at every new peak; 0.25 when a quarter of the peak is lost; above 1 when equity is below zero.

    Raises
    ------
    DataError
        If equity is empty, has a NaN, or does not start above zero.

    Notes
    -----
    Causal: value t is computed from values up to t.

    Examples
    --------
    >>> hours = pd.date_range("2024-01-01", periods=4, freq="h", tz="UTC")
    >>> drawdown(pd.Series([100.0, 120.0, 90.0, 130.0], index=hours)).tolist()
    [0.0, 0.0, 0.25, 0.0]

    """
    lost, _ = _lost_and_peak(checked_equity(equity))
    return pd.Series(lost, index=equity.index, name="drawdown") if isinstance(equity, pd.Series) else lost


def drawdown_measures(equity: Any) -> tuple[Measure, Measure, Measure]:
    """Return `max_drawdown`, `longest_drawdown` and `recovery`, computed in one pass."""
    values = checked_equity(equity)
    lost, peak = _lost_and_peak(values)
    return _depth(lost), _longest(values, peak), _recovery(lost)


def max_drawdown(equity: Any) -> Measure:
    """Return the deepest drawdown, a fraction, never negative; n counts bars."""
    return drawdown_measures(equity)[0]


def longest_drawdown(equity: Any) -> Measure:
    """Return the largest number of bars from a peak to its recovery; an open drawdown counts to the last bar."""
    return drawdown_measures(equity)[1]


def recovery(equity: Any) -> Measure:
    """Return the number of bars from the trough of the deepest drawdown to its recovery; none while it is open."""
    return drawdown_measures(equity)[2]


def drawdown_table(equity: pd.Series[float], n_deepest: int = 10) -> pd.DataFrame:
    """Return the deepest drawdowns, deepest first.

    Parameters
    ----------
    equity : Series of shape (n_bars,), in quote currency
        Index `close_time` in UTC.
    n_deepest : int
        Largest number of rows.

    Returns
    -------
    DataFrame
        peak_time, trough_time, recovery_time (NaT while open), depth (fraction), length and recovery (bars; recovery is
        missing while open).

    """
    values = checked_equity(equity)
    lost, peak = _lost_and_peak(values)
    peaks, ends = _episodes(values, peak)
    depths = np.maximum.reduceat(lost, peaks) if peaks.size else np.empty(0)
    order = np.argsort(-depths, kind="stable")[:n_deepest]
    peaks, ends, depths = peaks[order], ends[order], depths[order]
    troughs = np.array(
        [start + int(lost[start:end].argmax()) for start, end in zip(peaks, ends, strict=True)], dtype=int
    )
    is_open = ends == values.size
    index = pd.Index(equity.index)
    last = np.minimum(ends, values.size - 1)
    return pd.DataFrame(
        {
            "peak_time": index[peaks],
            "trough_time": index[troughs],
            "recovery_time": pd.Series(index[last]).mask(pd.Series(is_open)),
            "depth": depths,
            "length": last - peaks,
            "recovery": pd.array(last - troughs, dtype="Int64").copy(),
        }
    ).assign(recovery=lambda table: table["recovery"].mask(pd.Series(is_open)))


def _lost_and_peak(values: FloatArray) -> tuple[FloatArray, FloatArray]:
    peak: FloatArray = np.maximum.accumulate(values)
    lost = peak - values
    lost /= peak
    return lost, peak


def _depth(lost: FloatArray) -> Measure:
    return Measure(float(lost.max()), lost.size)


def _longest(values: FloatArray, peak: FloatArray) -> Measure:
    peaks, ends = _episodes(values, peak)
    if peaks.size == 0:
        return Measure(0.0, values.size)
    lengths = np.minimum(ends, values.size - 1) - peaks
    longest = int(lengths.argmax())
    note = "not recovered at the last bar" if ends[longest] == values.size else ""
    return Measure(float(lengths[longest]), values.size, note=note)


def _recovery(lost: FloatArray) -> Measure:
    trough = int(lost.argmax())
    if lost[trough] == 0.0:
        return Measure(None, lost.size, note="there was no drawdown")
    back = int((lost[trough:] == 0.0).argmax())
    if back == 0:
        return Measure(None, lost.size, note="not recovered at the last bar")
    return Measure(float(back), lost.size)


def _episodes(values: FloatArray, peak: FloatArray) -> tuple[RowArray, RowArray]:
    is_under = values < peak
    change = np.flatnonzero(is_under[1:] != is_under[:-1])
    peaks = change[::2]
    ends = change[1::2] + 1
    if peaks.size > ends.size:
        ends = np.append(ends, values.size)
    return peaks, ends
