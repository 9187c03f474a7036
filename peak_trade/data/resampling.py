"""Resampling of fine bars to coarse bars, such as 1h to 4h or 5m to 1d."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from peak_trade.core.arrays import IntArray
from peak_trade.core.bars import Bars
from peak_trade.core.errors import ConfigError, DataError
from peak_trade.core.time import Timeframe
from peak_trade.data.store import SaveResult, load_bars, save_bars

_WEEK = Timeframe.parse("1w")
_FIRST_MONDAY_NS = 4 * 86_400 * 1_000_000_000


@dataclass(frozen=True, slots=True)
class PartialBar:
    """A coarse bar or bucket with missing fine bars: its close time, ns UTC, and the number of fine bars."""

    close_time: int
    n_fine: int


@dataclass(frozen=True, slots=True)
class ResampleResult:
    """Coarse bars and the incomplete buckets.

    `partial` are coarse bars with missing fine bars (an outage). `unstarted` and `unfinished` are the buckets in which
    the data starts or ends; they have no coarse bar.
    """

    bars: Bars
    n_fine_per_bar: int
    partial: tuple[PartialBar, ...]
    unstarted: PartialBar | None
    unfinished: PartialBar | None


def resample(bars: Bars, timeframe: Timeframe) -> ResampleResult:
    """Resample fine bars to a coarser timeframe.

    Parameters
    ----------
    bars : Bars
    timeframe : Timeframe
        A whole multiple of the timeframe of the bars. Buckets start at 1970-01-01 UTC, whole weeks on Monday.

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
    n_fine_per_bar, rest = divmod(timeframe.seconds, bars.timeframe.seconds)
    if rest or n_fine_per_bar < 2:
        raise ConfigError(
            f"{bars.symbol}: bars of {timeframe} can not be made from {bars.timeframe}. "
            f"Use a whole multiple of {bars.timeframe}, such as {Timeframe(4 * bars.timeframe.seconds)}."
        )
    closes = _bucket_closes(bars.times, timeframe)
    starts = np.flatnonzero(np.concatenate(([True], closes[1:] != closes[:-1])))
    bucket_closes = closes[starts]
    n_fine = np.diff(np.append(starts, len(closes)))
    is_started = np.ones(len(starts), dtype=bool)
    is_started[0] = bars.times[0] == bucket_closes[0] - timeframe.ns + bars.timeframe.ns
    is_finished = bucket_closes <= bars.times[-1]
    exists = is_started & is_finished
    if not exists.any():
        raise DataError(
            f"{bars.exchange} {bars.symbol} {bars.timeframe}: the {len(bars)} bars do not fill a bar of {timeframe}. "
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
        bars=Bars(coarse[exists], bars.symbol, timeframe, bars.exchange),
        n_fine_per_bar=n_fine_per_bar,
        partial=named(exists & (n_fine < n_fine_per_bar)),
        unstarted=unstarted[0] if unstarted else None,
        unfinished=unfinished[0] if unfinished else None,
    )


def resample_stored(
    symbol: str, timeframe: Timeframe, to: Timeframe, exchange: str | None = None
) -> tuple[ResampleResult, SaveResult]:
    """Resample the stored bars of a symbol and save the result; see `resample`."""
    made = resample(load_bars(symbol, timeframe, exchange), to)
    return made, save_bars(made.bars)


def _bucket_closes(times: IntArray, timeframe: Timeframe) -> IntArray:
    phase = _FIRST_MONDAY_NS if timeframe.seconds % _WEEK.seconds == 0 else 0
    closes: IntArray = -((phase - times) // timeframe.ns) * timeframe.ns + phase
    return closes
