"""OHLCV bars of one symbol and timeframe, and the check that every frame of bars passes."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Literal

import numpy as np
import pandas as pd

from peak_trade.core.arrays import IntArray
from peak_trade.core.calendar import observed_per_year
from peak_trade.core.digest import digest_bytes
from peak_trade.core.errors import ConfigError, DataError
from peak_trade.core.time import NS_PER_SECOND, Timeframe, iso

COLUMNS = ("open", "high", "low", "close", "volume")


def check_frame(frame: pd.DataFrame, where: str = "bars") -> None:
    """Check that a frame meets the bar contract.

    Parameters
    ----------
    frame : DataFrame of shape (n_bars, 5)
        Columns open, high, low, close (quote currency, above zero) and volume (base units, not negative; NaN in every
        bar if it is unknown), float64; index `close_time`, UTC nanoseconds, strictly increasing.
        low <= open, close <= high.
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
    if np.isnan(values[:, 4]).all():
        finite[:, 4] = True
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


def immutable_frame(frame: pd.DataFrame) -> pd.DataFrame:
    """Return a copy of the columns of bars whose values nothing can write to; they need not meet the bar contract."""
    values = np.frombuffer(frame[list(COLUMNS)].to_numpy(np.float64).T.tobytes()).reshape(len(COLUMNS), -1)
    index = pd.DatetimeIndex(frame.index).as_unit("ns").copy(name="close_time", deep=True)
    return pd.DataFrame(values.T, index, list(COLUMNS), copy=False)


def private_frame(frame: pd.DataFrame) -> pd.DataFrame:
    """Return a frame with the same values that can be changed without any effect on `frame`.

    Values are copied only where they are changed. Arrays of the values are read-only, and those of Bars stay so.
    """
    own = frame.copy(deep=False)
    own.index = frame.index.copy(deep=True)
    return own


@dataclass(frozen=True, slots=True, eq=False)
class Bars:
    """Validated bars of one symbol and timeframe; each is known at its `close_time`, never before.

    Bars are immutable: they keep a copy of the values in memory that nothing can write to.

    Parameters
    ----------
    frame : DataFrame of shape (n_bars, 5)
        See `check_frame`. Extra columns are dropped; rows must be in order.
    symbol : str
        For example BTC/USDT.
    timeframe : Timeframe
    exchange : str
        Exchange where the bars were traded; `sample` for generated bars.
    notes : tuple of str
        Sentences on how the bars were read, which a result repeats among its assumptions.

    """

    frame: pd.DataFrame
    symbol: str
    timeframe: Timeframe
    exchange: str = "unknown"
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_frame(self.frame, f"{self.symbol} {self.timeframe}")
        object.__setattr__(self, "frame", immutable_frame(self.frame))
        _check_spacing(self.times, self.timeframe, self.symbol)

    @property
    def bars_per_year(self) -> float:
        """Number of bars in a year of 365 days, by elapsed time; see `observed_per_year`."""
        return observed_per_year(self.times, self.timeframe.bars_per_year)

    @property
    def times(self) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
        """Close times, shape (n_bars,), ns UTC."""
        return index_ns(self.frame.index)

    @property
    def has_volume(self) -> bool:
        """Whether the volume is known; otherwise it is NaN in every bar."""
        return not math.isnan(self.frame["volume"].iloc[0])

    def __len__(self) -> int:
        return len(self.frame)

    def for_strategy(self) -> pd.DataFrame:
        """Return a frame for the code of a strategy, which may change it; see `private_frame`."""
        return private_frame(self.frame)

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
        return replace(self, frame=self.frame[keep])

    def digest(self) -> str:
        """Return the SHA-256 of symbol, timeframe, exchange, times and values."""
        header = f"{self.symbol} {self.timeframe} {self.exchange}".encode()
        columns = [np.ascontiguousarray(self.frame[name].to_numpy()).tobytes() for name in COLUMNS]
        return digest_bytes(header, self.times.tobytes(), *columns)


def as_bars(
    frame: pd.DataFrame,
    symbol: str = "X/USD",
    timeframe: str | None = None,
    exchange: str = "unknown",
    *,
    stamp: Literal["open", "close"] = "close",
) -> Bars:
    """Return a DataFrame of prices as Bars.

    Parameters
    ----------
    frame : DataFrame of shape (n_bars, 5)
        Columns open, high, low, close and volume, in any case, of any numeric type; or five columns 0 to 4 in this
        order. Other columns are dropped. The index holds one time per bar, in UTC.
    symbol : str
    timeframe : str, optional
        For example 1h. Defaults to the most common step of the index.
    exchange : str
    stamp : "open" or "close"
        Meaning of the index: the time at which a bar opens, or the time at which it closes and its values are known.
        Times of opens, which most exchanges and pandas write, are moved to the close, one timeframe later.

    Returns
    -------
    Bars
        Indexed by close times. `notes` states what was renamed, converted or moved.

    Raises
    ------
    ConfigError
        On a stamp other than the two.
    DataError
        See `check_frame`. Also when two columns have one name, or the timeframe can not be inferred.

    Examples
    --------
    >>> opens = pd.date_range("2024-01-01", periods=2, freq="h", tz="UTC")
    >>> prices = pd.DataFrame({"Open": 1, "High": 1, "Low": 1, "Close": 1, "Volume": 5}, index=opens)
    >>> bars = as_bars(prices, stamp="open")
    >>> f"{bars.frame.index[0]:%H:%M}", len(bars.notes)
    ('01:00', 3)

    """
    if stamp not in ("open", "close"):
        raise ConfigError(f"{symbol}: stamp was {stamp!r}. Write 'open' or 'close'.")
    frame, notes = _with_bar_columns(frame, symbol)
    step = None if timeframe is None else Timeframe.parse(timeframe)
    check_frame(frame, symbol)
    if step is None:
        step = _most_common_step(frame, symbol)
    if stamp == "open":
        index = pd.DatetimeIndex(frame.index).as_unit("ns")
        frame = frame.set_axis(index + pd.Timedelta(step.ns, unit="ns"), axis=0)
        notes.append(f"The index of {symbol} held opens: it was moved to the closes, {step} later.")
    steps = np.diff(index_ns(frame.index))
    if steps.size and not (steps == step.ns).any():
        raise _contradiction(symbol, step, int(np.median(steps)))
    return Bars(frame, symbol, step, exchange, tuple(notes))


def _most_common_step(frame: pd.DataFrame, symbol: str) -> Timeframe:
    if len(frame) < 2:
        raise DataError(f"{symbol}: the timeframe can not be inferred from one bar. Name the timeframe.")
    steps, counts = np.unique(np.diff(index_ns(frame.index)), return_counts=True)
    seconds, rest = divmod(int(steps[counts.argmax()]), NS_PER_SECOND)
    if rest:
        raise DataError(
            f"{symbol}: the bars are {seconds + rest / NS_PER_SECOND:g} s apart, and a timeframe has whole seconds. "
            "Resample them to a whole number of seconds."
        )
    return Timeframe(seconds)


def _check_spacing(times: IntArray, timeframe: Timeframe, symbol: str) -> None:
    steps = np.diff(times)
    if steps.size and steps.min() < timeframe.ns:
        row = int(steps.argmin())
        raise _contradiction(symbol, timeframe, int(steps[row]), f" at {iso(int(times[row + 1]))}")


def _contradiction(symbol: str, timeframe: Timeframe, step: int, where: str = "") -> DataError:
    return DataError(
        f"{symbol}: the timeframe was {timeframe}, and the bars are {step / NS_PER_SECOND:,g} s apart{where}. "
        "Give the timeframe of the bars."
    )


def _with_bar_columns(frame: pd.DataFrame, symbol: str) -> tuple[pd.DataFrame, list[str]]:
    """Return a frame with the columns of bars under their names as float64, and sentences on what was changed."""
    names: dict[Any, str]
    if frame.columns.equals(pd.RangeIndex(len(COLUMNS))):
        names = dict(enumerate(COLUMNS))
    else:
        names = {each: str(each).strip().lower() for each in frame.columns}
        names = {each: name for each, name in names.items() if name in COLUMNS}
    twice = sorted(name for name in COLUMNS if list(names.values()).count(name) > 1)
    if twice:
        raise DataError(f"{symbol}: two columns are {twice[0]}. Drop one of them.")
    renamed = [f"{each} to {name}" for each, name in names.items() if each != name]
    notes = [f"Columns of {symbol} were renamed: {', '.join(renamed)}."] if renamed else []
    frame = frame.rename(columns=names)
    converted = {
        name: frame[name].dtype
        for name in names.values()
        if frame[name].dtype != np.float64 and pd.api.types.is_numeric_dtype(frame[name].dtype)
    }
    if converted:
        listed = ", ".join(f"{name} from {dtype}" for name, dtype in converted.items())
        notes.append(f"Columns of {symbol} were converted to float64: {listed}.")
    values = {name: frame[name].to_numpy(np.float64, na_value=np.nan) for name in converted}
    return frame.assign(**values), notes
