"""Resampling of fine bars to coarse bars, such as 1h to 4h or 5m to 1d."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np
import pandas as pd

from peak_trade.core.arguments import checks_arguments
from peak_trade.core.arrays import IntArray
from peak_trade.core.bar_frame import COLUMNS, immutable_frame, index_ns
from peak_trade.core.bars import Bars
from peak_trade.core.calendar import NS_PER_DAY, close_times, grid_place, open_times, period_start
from peak_trade.core.described import Described
from peak_trade.core.errors import ConfigError, DataError
from peak_trade.core.time import NS_PER_SECOND, Timeframe
from peak_trade.data.merging import merge
from peak_trade.data.series import Origin, StoredSeries
from peak_trade.data.store import SaveResult, find_series, is_outdated, list_bars, read_file, save_bars

RTOL_VOLUME = 1e-9
"""Relative difference up to which two sums of volumes are equal: above that of sums of 10 million terms."""

_WEEK = Timeframe.parse("1w")
_FIRST_MONDAY_NS = 4 * NS_PER_DAY


@dataclass(frozen=True, slots=True)
class PartialBar:
    """A coarse bar or bucket with missing fine bars: its close time, ns UTC, and the number of fine bars."""

    close_time: int
    n_fine: int


@dataclass(frozen=True, slots=True, repr=False)
class ResampleResult(Described):
    """Coarse bars and the incomplete buckets.

    `n_fine_per_bar` is None for months, which differ; see `n_expected`. `partial` are coarse bars with missing fine
    bars (an outage). `unstarted` and `unfinished` are the buckets in which the data starts or ends; they have no coarse
    bar.
    """

    bars: Bars
    n_fine_per_bar: int | None
    partial: tuple[PartialBar, ...]
    unstarted: PartialBar | None
    unfinished: PartialBar | None
    fine: Timeframe

    def description(self) -> tuple[str, dict[str, object]]:
        """Return the coarse bars, and the number of those with missing fine bars."""
        title, facts = self.bars.description()
        return (
            f"ResampleResult: {title.partition(': ')[2]} from {self.fine}",
            {**facts, "incomplete": f"{len(self.partial):,}" if self.partial else "", "in": "result.bars"},
        )

    def n_expected(self, part: PartialBar) -> int:
        """Return the number of fine bars of a coarse bar or bucket without a gap."""
        return int(_n_fine(np.array([part.close_time]), self.fine, self.bars.timeframe)[0])


@checks_arguments()
def resample(bars: Bars, timeframe: str | Timeframe) -> ResampleResult:
    """Resample fine bars to a coarser timeframe.

    Parameters
    ----------
    bars : Bars
    timeframe : str or Timeframe
        For example 4h. A whole multiple of the timeframe of the bars, or calendar months (1M) of bars that divide a
        day. Buckets start at 1970-01-01 UTC, whole weeks on Monday, months on the first. A fine bar belongs to the
        bucket of its open: days that close at 16:00 make weeks that start on Monday 16:00.

    Returns
    -------
    ResampleResult
        Open of the first fine bar, highest high, lowest low, close of the last fine bar, sum of volumes. A bucket
        without fine bars is a gap.

    Raises
    ------
    ConfigError
        When the timeframe is not coarser, or not a whole multiple.
    DataError
        When the data covers no complete bucket.

    Notes
    -----
    Causal: a coarse bar exists once its last fine bar exists, or the data reaches its close time. Later bars never
    change it: resampling the first part of the data gives the first part of the result.

    """
    step = Timeframe.parse(timeframe)
    if not _is_multiple(bars.timeframe, step):
        example = Timeframe(4 * bars.timeframe.seconds, 4 * bars.timeframe.months)
        raise ConfigError(
            f"{bars.symbol}: bars of {step} can not be made from {bars.timeframe}. "
            f"Use a whole multiple of {bars.timeframe}, such as {example}."
        )
    closes = _bucket_closes(open_times(bars.times, bars.timeframe), bars.timeframe, step)
    starts = np.flatnonzero(np.concatenate(([True], closes[1:] != closes[:-1])))
    bucket_closes = closes[starts]
    n_fine = np.diff(np.append(starts, len(closes)))
    is_started = np.ones(len(starts), dtype=bool)
    is_started[0] = bars.times[0] == close_times(open_times(bucket_closes[:1], step), bars.timeframe)[0]
    is_finished = bucket_closes <= bars.times[-1]
    exists = is_started & is_finished
    if not exists.any():
        raise DataError(
            f"{bars.exchange} {bars.symbol} {bars.timeframe}: the {len(bars)} bars do not fill a bar of {step}. "
            "Load a longer span."
        )
    fine = {name: bars.frame[name].to_numpy() for name in bars.frame.columns}
    ends = np.append(starts[1:], len(closes)) - 1
    coarse = pd.DataFrame(
        {
            "open": fine["open"][starts],
            "high": np.maximum.reduceat(fine["high"], starts),
            "low": np.minimum.reduceat(fine["low"], starts),
            "close": fine["close"][ends],
            "volume": np.add.reduceat(fine["volume"], starts),
        },
        index=pd.DatetimeIndex(bucket_closes, name="close_time").tz_localize("UTC"),
    )

    def named(rows: np.ndarray[tuple[int], np.dtype[np.bool_]]) -> tuple[PartialBar, ...]:
        return tuple(PartialBar(int(bucket_closes[row]), int(n_fine[row])) for row in np.flatnonzero(rows))

    unstarted, unfinished = named(~is_started), named(~is_finished)
    return ResampleResult(
        bars=Bars.over(immutable_frame(coarse[exists]), bars.symbol, step, bars.exchange, bars.notes),
        n_fine_per_bar=None if step.months else step.seconds // bars.timeframe.seconds,
        partial=named(exists & (n_fine < _n_fine(bucket_closes, bars.timeframe, step))),
        unstarted=unstarted[0] if unstarted else None,
        unfinished=unfinished[0] if unfinished else None,
        fine=bars.timeframe,
    )


@checks_arguments()
def at_timeframe(bars: pd.DataFrame, timeframe: str | Timeframe) -> pd.DataFrame:
    """Return, for each bar of a strategy, the last coarse bar that had closed at its close.

    Parameters
    ----------
    bars : DataFrame of shape (n_bars, 5)
        Bars of one symbol, index `close_time` in UTC, as a strategy gets them.
    timeframe : str or Timeframe
        For example 4h; see `resample`.

    Returns
    -------
    DataFrame of shape (n_bars, 5), with the index of `bars`
        NaN before the first whole coarse bar has closed.

    Raises
    ------
    ConfigError
        When the timeframe is not a whole multiple of that of the bars, which is the smallest step of their index.
    DataError
        When a column of bars is missing, or the index holds no increasing times.

    Notes
    -----
    Causal: row t is computed from rows up to t. The coarse bar that row t belongs to counts only if it closes at t.

    Examples
    --------
    >>> index = pd.date_range("2024-01-01 01:00", periods=5, freq="h", tz="UTC")
    >>> hours = pd.DataFrame({name: [1.0, 2.0, 3.0, 4.0, 5.0] for name in ("open", "high", "low", "close")}, index)
    >>> at_timeframe(hours.assign(volume=1.0), "2h")["close"].tolist()
    [nan, 2.0, 2.0, 4.0, 4.0]

    """
    missing = [name for name in COLUMNS if name not in bars.columns]
    if missing:
        raise DataError(f"at_timeframe: the frame has no column {missing[0]}. Give the bars that a strategy gets.")
    is_ordered = isinstance(bars.index, pd.DatetimeIndex) and not bars.index.hasnans
    if not (is_ordered and bars.index.is_monotonic_increasing and bars.index.is_unique):
        raise DataError("at_timeframe: the index does not hold increasing times. Give the bars that a strategy gets.")
    times = index_ns(bars.index)
    found = pd.DataFrame(np.nan, bars.index, list(COLUMNS))
    if times.size < 2:
        return found
    seconds, rest = divmod(int(np.diff(times).min()), NS_PER_SECOND)
    if rest:
        raise ConfigError(f"at_timeframe: the bars are {seconds + rest / NS_PER_SECOND:g} s apart. Use whole seconds.")
    try:
        coarse = resample(Bars.over(bars[list(COLUMNS)], "the bars", Timeframe(seconds), "given"), timeframe).bars
    except DataError:  # no coarse bar is whole yet
        return found
    place = np.searchsorted(coarse.times, times, side="right") - 1
    values = np.where(place[:, None] >= 0, coarse.frame.to_numpy()[np.maximum(place, 0)], np.nan)
    return pd.DataFrame(values, bars.index, list(COLUMNS))


def resample_stored(
    symbol: str, timeframe: Timeframe, to: Timeframe, exchange: str | None = None, *, replace: bool = False
) -> tuple[ResampleResult, SaveResult]:
    """Resample the stored bars of a symbol and save the result with its origin; see `resample`.

    Stored bars that were resampled from this timeframe are renewed. Other stored bars must be equal, except for volumes
    within `RTOL_VOLUME`, where the stored value is kept, unless `replace` is set.
    """
    source = find_series(symbol, timeframe, exchange)
    made = resample(read_file(source.path), to)
    held = next((item for item in list_bars() if _names(item) == (source.exchange, symbol, to)), None)
    origin = Origin(timeframe, source.digest)
    if held is None:
        return made, save_bars(made.bars, origin=origin)
    stored = read_file(held.path)
    bars = _with_stored_volumes(made.bars, stored)
    if held.origin is None or held.origin.timeframe != timeframe:
        merge(stored, bars, replace=replace)
        if np.setdiff1d(stored.times, bars.times).size:
            return made, save_bars(bars, replace=replace)
    return made, save_bars(bars, origin=origin)


def renew_resampled(symbol: str, timeframe: Timeframe, exchange: str) -> list[SaveResult]:
    """Resample stored bars again into the series that were resampled from them before they changed, and so on."""
    renewed = []
    stored = list_bars()
    for item in stored:
        source = None if item.origin is None else (item.exchange, item.symbol, item.origin.timeframe)
        if source == (exchange, symbol, timeframe) and is_outdated(item, stored):
            _, saved = resample_stored(symbol, timeframe, item.timeframe, exchange)
            renewed += [saved, *renew_resampled(symbol, item.timeframe, exchange)]
    return renewed


def _names(series: StoredSeries) -> tuple[str, str, Timeframe]:
    return series.exchange, series.symbol, series.timeframe


def _with_stored_volumes(bars: Bars, stored: Bars) -> Bars:
    """Return bars with the stored volume where both are equal up to the rounding of a sum."""
    _, rows, rows_stored = np.intersect1d(bars.times, stored.times, assume_unique=True, return_indices=True)
    volume, stored_volume = bars.frame["volume"].to_numpy().copy(), stored.frame["volume"].to_numpy()[rows_stored]
    is_close = np.isclose(volume[rows], stored_volume, rtol=RTOL_VOLUME, atol=0.0)
    volume[rows[is_close]] = stored_volume[is_close]
    return dataclasses.replace(bars, frame=bars.frame.assign(volume=volume))


def _is_multiple(fine: Timeframe, coarse: Timeframe) -> bool:
    """Return whether coarse bars are whole numbers of fine bars, at least two."""
    if coarse.months and not fine.months:
        return NS_PER_DAY % fine.ns == 0
    n_fine, rest = divmod(coarse.seconds, fine.seconds)
    return rest == 0 and n_fine >= 2 and bool(coarse.months) == bool(fine.months)


def _n_fine(closes: IntArray, fine: Timeframe, coarse: Timeframe) -> IntArray:
    """Return the number of fine bars in each bucket without a gap, from the closes of the buckets."""
    n_fine: IntArray = (closes - open_times(closes, coarse)) // fine.ns
    return n_fine if not fine.months else np.full(len(closes), coarse.months // fine.months)


def _bucket_closes(opens: IntArray, fine: Timeframe, coarse: Timeframe) -> IntArray:
    """Return the close of the bucket of each open. Buckets start at the first open of a fine bar in their period."""
    if coarse.months:
        phase = int(grid_place(opens[0], fine)[1])
        numbers = grid_place(opens - phase, coarse)[0]
        starts = period_start(numbers * coarse.months, "month").astype(np.int64)
        months: IntArray = close_times(starts, coarse) + phase
        return months
    phase = _FIRST_MONDAY_NS if coarse.seconds % _WEEK.seconds == 0 else 0
    phase += int(opens[0] - phase) % fine.ns
    closes: IntArray = ((opens - phase) // coarse.ns + 1) * coarse.ns + phase
    return closes
