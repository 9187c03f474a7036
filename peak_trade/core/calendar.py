"""Calendar periods in UTC and years. Every grouping of bars by day, week, month, quarter or year uses `period_of`."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from peak_trade.core.arrays import FloatArray, IntArray
from peak_trade.core.compute import Memory, kept
from peak_trade.core.time import NS_PER_SECOND, SECONDS_PER_YEAR, Timeframe, checked_per_year

NS_PER_DAY = 86_400 * NS_PER_SECOND
NS_PER_YEAR = SECONDS_PER_YEAR * NS_PER_SECOND
_MONTHS = {"month": 1, "quarter": 3, "year": 12}

Period = Literal["day", "week", "month", "quarter", "year"]
"""A calendar period in UTC; weeks begin on Monday."""


def period_of(instants: Any, period: Period) -> Any:
    """Return the number of the period that contains each instant.

    Parameters
    ----------
    instants : int or int64 array of shape (n,), ns UTC
        A bar belongs to the period of its open: pass `open_times(times, timeframe)` for bars with close times `times`.
        A bar that closes at midnight on 1 April then belongs to 31 March.
    period : Period

    Returns
    -------
    int or int64 array of shape (n,)
        Days, months, quarters and years are counted from 1970-01-01, weeks from Monday 1969-12-29. An instant at the
        start of a period belongs to it.

    Examples
    --------
    >>> hour = 3_600_000_000_000
    >>> closes = hour * np.array([23, 24, 25])
    >>> period_of(closes - hour, "day").tolist()
    [0, 0, 1]

    """
    days = instants // NS_PER_DAY
    if period == "day":
        return days
    if period == "week":
        return (days + 3) // 7
    months = np.asarray(days).astype("datetime64[D]").astype("datetime64[M]").astype(np.int64)
    return months // _MONTHS[period]


def period_start(numbers: Any, period: Period) -> Any:
    """Return the start of each period from its number, datetime64[ns] in UTC; see `period_of`."""
    if period in _MONTHS:
        starts = (np.asarray(numbers) * _MONTHS[period]).astype("datetime64[M]")
    else:
        starts = (np.asarray(numbers) * (7 if period == "week" else 1) - 3 * (period == "week")).astype("datetime64[D]")
    return starts.astype("datetime64[ns]")


def open_times(closes: Any, timeframe: Timeframe) -> Any:
    """Return the open of bars from their closes, ns UTC, an int or an int64 array of shape (n,); see `close_times`."""
    return _moved(closes, -timeframe.months) if timeframe.months else closes - timeframe.ns


def close_times(opens: Any, timeframe: Timeframe) -> Any:
    """Return the close of bars from their opens, ns UTC, an int or an int64 array of shape (n,).

    A bar of a month that opens at 16:00 on the first closes at 16:00 on the first of the next month.

    Examples
    --------
    >>> opened = int(np.datetime64("2024-02-01T16:00", "ns").astype(np.int64))
    >>> str(np.datetime64(close_times(opened, Timeframe.parse("1M")), "ns"))[:16]
    '2024-03-01T16:00'

    """
    return _moved(opens, timeframe.months) if timeframe.months else opens + timeframe.ns


def grid_place(instants: Any, timeframe: Timeframe) -> tuple[Any, Any]:
    """Return the bar of the grid from 1970-01-01 UTC that contains each instant, by number, and the ns since its open.

    Bars of one series have consecutive numbers, except for gaps, and one distance from the grid.
    """
    if not timeframe.months:
        return instants // timeframe.ns, instants % timeframe.ns
    numbers = period_of(instants, "month") // timeframe.months
    starts = period_start(numbers * timeframe.months, "month").astype(np.int64)
    return numbers, instants - starts


def _moved(instants: Any, months: int) -> Any:
    numbers = period_of(instants, "month")
    starts, ends = (period_start(part, "month").astype(np.int64) for part in (numbers, numbers + months))
    moved = instants - starts + ends
    return moved if isinstance(instants, np.ndarray) else int(moved)


def lateness(first_close: int, timeframe: Timeframe) -> int:
    """Return how long after midnight the last bar of a day can close, ns; 0 if the bars of a day end at midnight.

    `first_close` is the close time of any bar, ns UTC. The bound is the timeframe if it does not divide a day.
    """
    if NS_PER_DAY % timeframe.ns:
        return timeframe.ns
    return first_close % timeframe.ns


def observed_per_year(times: IntArray, bars_per_year: float) -> float:
    """Return the number of bars in a year of 365 days by the time that elapsed between the first and the last close.

    Parameters
    ----------
    times : int64 array of shape (n_bars,), close times, ns UTC
    bars_per_year : float
        `timeframe.bars_per_year`; it is returned, exactly, if no bar is missing.

    Examples
    --------
    >>> hours = 3_600_000_000_000 * np.array([0, 1, 2, 4, 8])
    >>> observed_per_year(hours[:3], 8760.0), observed_per_year(hours, 8760.0)
    (8760.0, 4380.0)

    """
    n, elapsed = len(times) - 1, int(times[-1]) - int(times[0])
    if elapsed == n * _nominal(bars_per_year):
        return float(bars_per_year)
    return n * float(NS_PER_YEAR) / max(elapsed, 1)


def trailing_per_year(times: IntArray, bars_per_year: float, window: int, memory: Memory | None = None) -> FloatArray:
    """Return `observed_per_year` of the last `window` returns at each close, shape (n_bars,); fewer at the start.

    Causal: value t is computed from times up to t.
    """
    past = kept(memory, 1 + window, 0)  # the number of earlier bars, and the close times of the last ones
    joined, rows = np.concatenate([past[1:], times]), np.arange(len(times))
    n = np.minimum(past[0] + rows, window)
    elapsed = times - joined[window + rows - n]
    past[0], past[1:] = past[0] + len(times), joined[len(times) :]
    is_whole = elapsed == n * _nominal(bars_per_year)
    return np.where(is_whole, bars_per_year, n * float(NS_PER_YEAR) / np.where(elapsed > 0, elapsed, 1))


def n_missing(times: IntArray, timeframe: Timeframe) -> int:
    """Return the number of bars that are missing between the first and the last close."""
    if timeframe.months:
        first, last = grid_place(times[[0, -1]], timeframe)[0].tolist()
        return int(last - first) - (len(times) - 1)
    return max(round(int(times[-1] - times[0]) / timeframe.ns) - (len(times) - 1), 0)


def _nominal(bars_per_year: float) -> int:
    """Return the time between two bars where none is missing, ns."""
    return round(NS_PER_YEAR / checked_per_year(bars_per_year))
