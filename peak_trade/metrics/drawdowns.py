"""How deep equity fell below its running peak, for how long, and how long it took to come back."""

from __future__ import annotations

from typing import Any, overload

import numpy as np
import pandas as pd

from peak_trade.metrics.measure import FloatArray, Measure, checked_equity


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
        0.0 at every new peak; 0.25 when a quarter of the peak is gone; above 1 when equity is below zero.

    Raises
    ------
    DataError
        If equity is empty, holds a NaN, or does not start above zero.

    Notes
    -----
    Causal: row t is computed from rows up to t.

    Examples
    --------
    >>> hours = pd.date_range("2024-01-01", periods=4, freq="h", tz="UTC")
    >>> drawdown(pd.Series([100.0, 120.0, 90.0, 130.0], index=hours)).tolist()
    [0.0, 0.0, 0.25, 0.0]

    """
    values = checked_equity(equity)
    peak = np.maximum.accumulate(values)
    lost: FloatArray = (peak - values) / peak
    return pd.Series(lost, index=equity.index, name="drawdown") if isinstance(equity, pd.Series) else lost


def max_drawdown(equity: Any) -> Measure:
    """Return the deepest drawdown, a fraction, never negative; n counts bars."""
    lost = drawdown(checked_equity(equity))
    return Measure(float(lost.max()), lost.size)


def longest_drawdown(equity: Any) -> Measure:
    """Return the most bars from a peak until it was reached again; a drawdown still open counts to the last bar."""
    values = checked_equity(equity)
    peaks, ends = _episodes(values)
    if peaks.size == 0:
        return Measure(0.0, values.size)
    lengths = np.minimum(ends, values.size - 1) - peaks
    longest = int(lengths.argmax())
    note = "not recovered at the last bar" if ends[longest] == values.size else ""
    return Measure(float(lengths[longest]), values.size, note=note)


def recovery(equity: Any) -> Measure:
    """Return the bars from the trough of the deepest drawdown to the next new peak; no value while it is open."""
    values = checked_equity(equity)
    lost = drawdown(values)
    trough = int(lost.argmax())
    if lost[trough] == 0.0:
        return Measure(None, values.size, note="there was no drawdown")
    back = np.flatnonzero(lost[trough:] == 0.0)
    if back.size == 0:
        return Measure(None, values.size, note="not recovered at the last bar")
    return Measure(float(back[0]), values.size)


def drawdown_table(equity: pd.Series[float], n_deepest: int = 10) -> pd.DataFrame:
    """Return the deepest drawdowns, deepest first.

    Parameters
    ----------
    equity : Series of shape (n_bars,), in quote currency
        Index `close_time` in UTC.
    n_deepest : int
        Most rows returned.

    Returns
    -------
    DataFrame
        peak_time, trough_time, recovery_time (NaT while open), depth (fraction), length and recovery (bars; recovery is
        missing while open).

    """
    values = checked_equity(equity)
    lost = drawdown(values)
    peaks, ends = _episodes(values)
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


def _episodes(values: FloatArray) -> tuple[np.ndarray[Any, np.dtype[np.intp]], np.ndarray[Any, np.dtype[np.intp]]]:
    is_under = values < np.maximum.accumulate(values)
    change = np.flatnonzero(np.diff(is_under))
    peaks = change[::2]
    ends = change[1::2] + 1
    if peaks.size > ends.size:
        ends = np.append(ends, values.size)
    return peaks, ends
