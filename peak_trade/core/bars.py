"""OHLCV bars of one symbol and timeframe, made of a frame that meets the contract of `bar_frame`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from peak_trade.core.arguments import check_fields, checks_arguments
from peak_trade.core.arrays import IntArray
from peak_trade.core.bar_frame import (
    COLUMNS,
    BarColumns,
    check_frame,
    frame_values,
    immutable_frame,
    index_ns,
    one_zero,
    private_frame,
    values_digest,
)
from peak_trade.core.calendar import close_times, grid_place, observed_per_year
from peak_trade.core.described import Described
from peak_trade.core.digest import digest_bytes, digest_of
from peak_trade.core.errors import ConfigError, DataError, did_you_mean
from peak_trade.core.extra_columns import ExtraColumn, unsigned
from peak_trade.core.time import NS_PER_SECOND, Timeframe, iso, parse_utc, to_ns

if TYPE_CHECKING:
    import pandas as pd

_MONTH = Timeframe.parse("1M")


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Bars(Described):
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
    extra : tuple of ExtraColumn
        Further values, each known at its own instant, such as funding rates; see `with_column`.

    """

    frame: pd.DataFrame
    symbol: str
    timeframe: Timeframe
    exchange: str = "unknown"
    notes: tuple[str, ...] = ()
    extra: tuple[ExtraColumn, ...] = ()

    def __post_init__(self) -> None:
        check_fields(self, timeframe="a Timeframe, for example Timeframe.parse('1h')")
        check_frame(self.frame, f"{self.symbol} {self.timeframe}")
        frame, volume = self.frame, self.frame["volume"].to_numpy()
        if np.signbit(volume).any():
            frame = frame.assign(volume=one_zero(volume))
        _check_spacing(self.times, self.timeframe, self.symbol)
        object.__setattr__(self, "frame", immutable_frame(frame))

    @classmethod
    def over(
        cls,
        frame: pd.DataFrame,
        symbol: str,
        timeframe: Timeframe,
        exchange: str,
        notes: tuple[str, ...] = (),
        extra: tuple[ExtraColumn, ...] = (),
    ) -> Bars:
        """Return bars over a frame that meets the contract and whose values nothing can write to, without a copy."""
        bars = object.__new__(cls)
        for name, value in zip(cls.__slots__, (frame, symbol, timeframe, exchange, notes, extra), strict=True):
            object.__setattr__(bars, name, value)
        return bars

    @property
    def bars_per_year(self) -> float:
        """Number of bars in a year of 365 days, by elapsed time; see `observed_per_year`."""
        return observed_per_year(self.times, self.timeframe.bars_per_year)

    @property
    def times(self) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
        """Close times, shape (n_bars,), ns UTC."""
        return index_ns(self.frame.index)

    @property
    def columns(self) -> BarColumns:
        """Close times, prices and volume, without a copy."""
        return BarColumns.of(self.frame)

    @property
    def has_volume(self) -> bool:
        """Whether the volume is known; otherwise it is NaN in every bar."""
        return not math.isnan(self.frame["volume"].iloc[0])

    def __len__(self) -> int:
        return len(self.frame)

    def description(self) -> tuple[str, dict[str, object]]:
        """Return the symbol and the timeframe, the number of bars, their span and the last close."""
        return (
            f"Bars: {self.symbol} {self.timeframe} ({self.exchange})",
            {
                "bars": f"{len(self):,}",
                "first close": iso(int(self.times[0])),
                "last close": iso(int(self.times[-1])),
                "close": f"{self.frame['close'].iloc[-1]:,.6g}",
                "volume": "" if self.has_volume else "unknown",
                "extra columns": ", ".join(column.name for column in self.extra),
                "notes": " ".join(self.notes),
            },
        )

    def with_column(self, name: str, values: pd.Series[Any]) -> Bars:
        """Return the bars with an extra column, for a strategy that names it in `extra_columns`.

        Parameters
        ----------
        name : str
            Lower-case, for example funding_rate. A column of this name is replaced.
        values : Series of numbers
            Its index holds the instant at which each value became known, with a time zone, increasing.

        Raises
        ------
        DataError
            When an instant has no time zone or they do not increase, a value is no number, or the first value became
            known after the last bar.

        Notes
        -----
        Causal: each bar gets the latest value known at or before its close, NaN before the first one.

        """
        return self.with_columns(ExtraColumn.of(name, values))

    def with_columns(self, *columns: ExtraColumn) -> Bars:
        """Return the bars with extra columns; see `with_column`."""
        bars = self
        for column in columns:
            kept = tuple(each for each in bars.extra if each.name != column.name)
            notes = dict.fromkeys((*bars.notes, column.note_on(bars.symbol, bars.times)))
            bars = Bars.over(bars.frame, bars.symbol, bars.timeframe, bars.exchange, tuple(notes), (*kept, column))
        return bars

    def extra_column(self, name: str) -> ExtraColumn:
        """Return an extra column by its name; ConfigError when the bars do not have it."""
        held = {column.name: column for column in self.extra}
        if name not in held:
            raise ConfigError(
                f"{self.symbol} {self.timeframe}: the bars have no extra column {name}. {did_you_mean(name, held)} "
                "Store it with `peak-trade data import-columns`, or add it with `bars.with_column`."
            )
        return held[name]

    def frame_with(self, names: Sequence[str]) -> pd.DataFrame:
        """Return the frame with the values of extra columns known at each close, in memory that nothing can write to.

        ConfigError when the bars do not have one of them.
        """
        if not names:
            return self.frame
        import pandas as pd

        values = [frame_values(self.frame).T, *(self.extra_column(name).at(self.times)[None] for name in names)]
        memory = np.frombuffer(np.concatenate(values).tobytes()).reshape(-1, len(self))
        return pd.DataFrame(memory.T, self.frame.index, [*COLUMNS, *names], copy=False)

    def for_strategy(self, names: Sequence[str] = ()) -> pd.DataFrame:
        """Return a frame for the code of a strategy, which may change it; see `frame_with` and `private_frame`."""
        return private_frame(self.frame_with(names))

    def between(self, start: datetime | str | None = None, end: datetime | str | None = None) -> Bars:
        """Return the bars with start <= close_time < end; DataError when there is none.

        Instants are datetimes or ISO text; without an offset they are taken as UTC.
        """
        first, after = span_ns(start, end)
        times = self.times
        keep = np.ones(len(times), dtype=bool)
        if first is not None:
            keep &= times >= first
        if after is not None:
            keep &= times < after
        if not keep.any():
            raise no_bar_in_span(self.symbol, self.timeframe, int(times[0]), int(times[-1]))
        return replace(self, frame=self.frame[keep])

    def digest(self) -> str:
        """Return the SHA-256 of symbol, timeframe, exchange, times and values; see `values_digest`.

        Extra columns count with the values known at each close, so that later ones do not change it.
        """

        def chunks(name: str) -> tuple[NDArray[Any]]:
            return (self.times if name == "close_time" else self.frame[name].to_numpy(),)

        own = values_digest(self.symbol, self.timeframe, self.exchange, chunks)
        if not self.extra:
            return own
        seen = {column.name: digest_bytes(unsigned(column.at(self.times)).tobytes()) for column in self.extra}
        return digest_of([own, seen])


def span_ns(start: datetime | str | None, end: datetime | str | None) -> tuple[int | None, int | None]:
    """Return the bounds of a span in ns UTC, None for none; ConfigError unless start is before end."""
    first = None if start is None else parse_utc(start, "start")
    after = None if end is None else parse_utc(end, "end")
    if first is not None and after is not None and first >= after:
        span = f"start was {first:%Y-%m-%d %H:%M}, end {after:%Y-%m-%d %H:%M}"
        raise ConfigError(f"{span}: start must be before end.")
    return None if first is None else to_ns(first), None if after is None else to_ns(after)


def no_bar_in_span(symbol: str, timeframe: Timeframe, first: int, last: int) -> DataError:
    """Return the error of a span without bars; there are bars from `first` to `last`, close times in ns UTC."""
    span = f"{iso(first)} to {iso(last)}"
    return DataError(f"{symbol} {timeframe}: no bar lies in the requested span. There are bars from {span}.")


@checks_arguments()
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
    >>> import pandas as pd
    >>> opens = pd.date_range("2024-01-01", periods=2, freq="h", tz="UTC")
    >>> prices = pd.DataFrame({"Open": 1, "High": 1, "Low": 1, "Close": 1, "Volume": 5}, index=opens)
    >>> bars = as_bars(prices, stamp="open")
    >>> f"{bars.frame.index[0]:%H:%M}", len(bars.notes)
    ('01:00', 3)

    """
    import pandas as pd

    if stamp not in ("open", "close"):
        raise ConfigError(f"{symbol}: stamp was {stamp!r}. Write 'open' or 'close'.")
    frame, notes = _with_bar_columns(frame, symbol)
    step = None if timeframe is None else Timeframe.parse(timeframe)
    check_frame(frame, symbol)
    if step is None:
        step = most_common_step(index_ns(frame.index), symbol)
    if stamp == "open":
        index = pd.DatetimeIndex(frame.index).as_unit("ns")
        closes = pd.DatetimeIndex(close_times(index_ns(index), step)).tz_localize("UTC")
        frame = frame.set_axis(closes.set_names(index.name), axis=0)
        notes.append(f"The index of {symbol} held opens: it was moved to the closes, {step} later.")
    steps = np.diff(index_ns(frame.index))
    if steps.size and not (_lengths(index_ns(frame.index), step) == steps).any():
        raise _contradiction(symbol, step, int(np.median(steps)))
    return Bars(frame, symbol, step, exchange, tuple(notes))


def most_common_step(times: IntArray, where: str, remedy: str = "Name the timeframe") -> Timeframe:
    """Return the timeframe that the most frequent step of increasing times (ns) shows; DataError when there is none."""
    if len(times) < 2:
        raise DataError(f"{where}: the timeframe can not be inferred from one bar. {remedy}.")
    months, offsets = grid_place(times, _MONTH)
    if (offsets == offsets[0]).all():
        return Timeframe.parse(f"{np.gcd.reduce(np.diff(months))}M")
    steps, counts = np.unique(np.diff(times), return_counts=True)
    seconds, rest = divmod(int(steps[counts.argmax()]), NS_PER_SECOND)
    if rest:
        raise DataError(
            f"{where}: the bars are {seconds + rest / NS_PER_SECOND:g} s apart, and a timeframe has whole seconds. "
            "Resample them to a whole number of seconds."
        )
    return Timeframe(seconds)


def _check_spacing(times: IntArray, timeframe: Timeframe, symbol: str) -> None:
    steps = np.diff(times)
    missing = steps - _lengths(times, timeframe)
    if steps.size and missing.min() < 0:
        row = int(missing.argmin())
        raise _contradiction(symbol, timeframe, int(steps[row]), f" at {iso(int(times[row + 1]))}")


def _lengths(times: IntArray, timeframe: Timeframe) -> Any:
    """Return the time from each close but the last to that of the next bar of the grid, ns."""
    return close_times(times[:-1], timeframe) - times[:-1] if timeframe.months else timeframe.ns


def _contradiction(symbol: str, timeframe: Timeframe, step: int, where: str = "") -> DataError:
    return DataError(
        f"{symbol}: the timeframe was {timeframe}, and the bars are {step / NS_PER_SECOND:,g} s apart{where}. "
        "Give the timeframe of the bars."
    )


def _with_bar_columns(frame: pd.DataFrame, symbol: str) -> tuple[pd.DataFrame, list[str]]:
    """Return a frame with the columns of bars under their names as float64, and sentences on what was changed."""
    import pandas as pd

    names: dict[Any, str]
    if frame.columns.equals(pd.RangeIndex(len(COLUMNS))):
        names = dict(enumerate(COLUMNS))
    else:
        names = {each: str(each).strip().lower() for each in frame.columns}
        names = {each: name for each, name in names.items() if name in COLUMNS}
    twice = sorted(name for name in COLUMNS if [names.get(each) for each in frame.columns].count(name) > 1)
    if twice:
        raise DataError(f"{symbol}: two columns are {twice[0]}. Drop one of them.")
    renamed = [f"{each} to {name}" for each, name in names.items() if each != name]
    notes = [f"Columns of {symbol} were renamed: {', '.join(renamed)}."] if renamed else []
    frame = frame.rename(columns=names)
    converted = {
        name: frame[name].dtype
        for name in names.values()
        if frame[name].dtype != np.float64
        and pd.api.types.is_numeric_dtype(frame[name].dtype)
        and frame[name].dtype.kind != "c"
    }
    if converted:
        listed = ", ".join(f"{name} from {dtype}" for name, dtype in converted.items())
        notes.append(f"Columns of {symbol} were converted to float64: {listed}.")
    values = {name: frame[name].to_numpy(np.float64, na_value=np.nan) for name in converted}
    return frame.assign(**values), notes
