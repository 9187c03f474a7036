"""OHLCV bars of one symbol and timeframe, and the check that every frame of bars passes."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
import pandas as pd

from peak_trade.core.digest import digest_bytes
from peak_trade.core.errors import ConfigError, DataError
from peak_trade.core.time import Timeframe, iso

COLUMNS = ("open", "high", "low", "close", "volume")


def check_frame(frame: pd.DataFrame, where: str = "bars") -> None:
    """Check that a frame meets the bar contract.

    Parameters
    ----------
    frame : DataFrame of shape (n_bars, 5)
        Columns open, high, low, close (quote currency, above zero) and volume (base units, not negative), float64;
        index `close_time`, UTC nanoseconds, strictly increasing. low <= open, close <= high.
    where : str
        Start of an error message: a file, or symbol and timeframe.

    Raises
    ------
    DataError
        When a column or the index breaks the contract; the first bar at fault is named.

    """
    missing = [name for name in COLUMNS if name not in frame.columns]
    if missing:
        raise DataError(
            f"{where}: no column {', '.join(missing)}; the columns are {', '.join(map(str, frame.columns))}."
        )
    index = frame.index
    if not isinstance(index, pd.DatetimeIndex) or str(index.tz) != "UTC":
        raise DataError(f"{where}: the index must be close times in UTC; localize it with tz_localize('UTC').")
    if len(frame) == 0:
        raise DataError(f"{where}: there are no bars. Give at least one.")
    times = index_ns(index)
    steps = np.diff(times)
    if (steps <= 0).any():
        row = int(np.flatnonzero(steps <= 0)[0]) + 1
        fault = "appears twice" if steps[row - 1] == 0 else "goes back in time"
        raise DataError(f"{where}: {iso(int(times[row]))} (row {row}) {fault}. Sort the bars and drop duplicates.")
    for name in COLUMNS:
        if frame[name].dtype != np.float64:
            raise DataError(f"{where}: column {name} is {frame[name].dtype}; convert it to float64.")
    values = frame[list(COLUMNS)].to_numpy()
    finite = np.isfinite(values)
    if not finite.all():
        row, column = (int(part) for part in np.argwhere(~finite)[0])
        raise DataError(
            f"{where}: {COLUMNS[column]} was {values[row, column]} at {iso(int(times[row]))}. Drop or fix that bar."
        )
    open_, high, low, close, volume = values.T
    faults = (
        ("has a price that is not above zero", (values[:, :4] <= 0.0).any(axis=1)),
        ("has a negative volume", volume < 0.0),
        ("has a high below its open, low or close", high < np.maximum(np.maximum(open_, close), low)),
        ("has a low above its open or close", low > np.minimum(open_, close)),
    )
    for fault, rows in faults:
        if rows.any():
            row = int(np.flatnonzero(rows)[0])
            raise DataError(
                f"{where}: the bar of {iso(int(times[row]))} {fault} "
                f"(open {open_[row]:g}, high {high[row]:g}, low {low[row]:g}, close {close[row]:g}, "
                f"volume {volume[row]:g}). Drop or fix it."
            )


def index_ns(index: pd.Index[Any]) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Return a UTC DatetimeIndex as int64 nanoseconds."""
    times: np.ndarray[tuple[int], np.dtype[np.int64]] = pd.DatetimeIndex(index).as_unit("ns").asi8
    return times


@dataclass(frozen=True, slots=True, eq=False)
class Bars:
    """Validated bars of one symbol and timeframe; each is known at its `close_time`, never before.

    Parameters
    ----------
    frame : DataFrame of shape (n_bars, 5)
        See `check_frame`. Extra columns are dropped; rows must be in order.
    symbol : str
        For example BTC/USDT.
    timeframe : Timeframe
    exchange : str
        Exchange where the bars were traded; `sample` for generated bars.

    """

    frame: pd.DataFrame
    symbol: str
    timeframe: Timeframe
    exchange: str = "unknown"

    def __post_init__(self) -> None:
        check_frame(self.frame, f"{self.symbol} {self.timeframe}")
        frame = self.frame[list(COLUMNS)]
        index = pd.DatetimeIndex(frame.index).as_unit("ns")
        object.__setattr__(self, "frame", frame.set_axis(index.rename("close_time"), axis=0))

    @property
    def times(self) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
        """Close times, shape (n_bars,), ns UTC."""
        return index_ns(self.frame.index)

    def __len__(self) -> int:
        return len(self.frame)

    def between(self, start: datetime | None = None, end: datetime | None = None) -> Bars:
        """Return the bars with start <= close_time < end; DataError when there is none."""
        if start is not None and end is not None and start >= end:
            raise ConfigError(f"start was {start:%Y-%m-%d %H:%M}, end {end:%Y-%m-%d %H:%M}: start must be before end.")
        index = self.frame.index
        keep = np.ones(len(index), dtype=bool)
        if start is not None:
            keep &= np.asarray(index >= pd.Timestamp(start))
        if end is not None:
            keep &= np.asarray(index < pd.Timestamp(end))
        if not keep.any():
            span = f"{iso(int(self.times[0]))} to {iso(int(self.times[-1]))}"
            raise DataError(
                f"{self.symbol} {self.timeframe}: no bar lies in the requested span. There are bars from {span}."
            )
        return Bars(self.frame[keep], self.symbol, self.timeframe, self.exchange)

    def digest(self) -> str:
        """Return the SHA-256 of symbol, timeframe, exchange, times and values."""
        header = f"{self.symbol} {self.timeframe} {self.exchange}".encode()
        columns = [np.ascontiguousarray(self.frame[name].to_numpy()).tobytes() for name in COLUMNS]
        return digest_bytes(header, self.times.tobytes(), *columns)


def as_bars(
    frame: pd.DataFrame, symbol: str = "X/USD", timeframe: str | None = None, exchange: str = "unknown"
) -> Bars:
    """Return a frame as Bars; the timeframe is by default the most common step of the index."""
    if timeframe is not None:
        return Bars(frame, symbol, Timeframe.parse(timeframe), exchange)
    check_frame(frame, symbol)
    if len(frame) < 2:
        raise DataError(f"{symbol}: the timeframe can not be inferred from one bar. Name the timeframe.")
    steps, counts = np.unique(np.diff(index_ns(frame.index)), return_counts=True)
    return Bars(frame, symbol, Timeframe(int(steps[counts.argmax()]) // 1_000_000_000), exchange)
