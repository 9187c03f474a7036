"""Frames and columns of OHLCV bars: the contract that every frame of bars meets, its check and its digest."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from peak_trade.core.arrays import FloatArray, IntArray
from peak_trade.core.digest import digest_chunks
from peak_trade.core.errors import DataError, exact, listed
from peak_trade.core.time import Timeframe, iso

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = ("open", "high", "low", "close", "volume")


class BarColumns:
    """Columns of consecutive bars of one symbol, arrays of one shape, each read when it is asked for.

    Parameters
    ----------
    column : callable
        Returns a column of COLUMNS, float64, or `close_time`, int64 ns UTC, by its name.

    """

    __slots__ = ("_column",)

    def __init__(self, column: Callable[[str], NDArray[Any]]) -> None:
        self._column = column

    @classmethod
    def of(cls, frame: pd.DataFrame) -> BarColumns:
        """Return the columns of a frame of bars, without a copy."""
        return cls(lambda name: index_ns(frame.index) if name == "close_time" else frame[name].to_numpy())

    @property
    def times(self) -> IntArray:
        """Close times, ns UTC."""
        return self._column("close_time")

    @property
    def open(self) -> FloatArray:
        """First prices, quote currency."""
        return self._column("open")

    @property
    def high(self) -> FloatArray:
        """Highest prices, quote currency."""
        return self._column("high")

    @property
    def low(self) -> FloatArray:
        """Lowest prices, quote currency."""
        return self._column("low")

    @property
    def close(self) -> FloatArray:
        """Last prices, quote currency."""
        return self._column("close")

    @property
    def volume(self) -> FloatArray:
        """Volume, base units; NaN if it is not known."""
        return self._column("volume")


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
    import pandas as pd

    missing = [name for name in COLUMNS if name not in frame.columns]
    if missing:
        raise DataError(f"{where}: no column {', '.join(missing)}; the columns are {listed(map(str, frame.columns))}.")
    twice = [name for name in COLUMNS if isinstance(frame[name], pd.DataFrame)]
    if twice:
        raise DataError(f"{where}: two columns are {twice[0]}. Drop one of them.")
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
    values = frame_values(frame)
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
        ("has a high below its open, low or close", (high < open_) | (high < close) | (high < low)),
        ("has a low above its open or close", (low > open_) | (low > close)),
    )
    for fault, rows in faults:
        if rows.any():
            row = int(np.flatnonzero(rows)[0])
            raise DataError(
                f"{where}: the bar of {iso(int(times[row]))} {fault} "
                f"({', '.join(f'{name} {exact(value)}' for name, value in zip(COLUMNS, values[row], strict=True))}). "
                "Drop or fix it."
            )


def index_ns(index: pd.Index[Any]) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Return a UTC DatetimeIndex as int64 nanoseconds."""
    import pandas as pd

    times = index if isinstance(index, pd.DatetimeIndex) else pd.DatetimeIndex(index)
    found: np.ndarray[tuple[int], np.dtype[np.int64]] = (times if times.unit == "ns" else times.as_unit("ns")).asi8
    return found


def immutable_frame(frame: pd.DataFrame) -> pd.DataFrame:
    """Return a copy of the columns of bars whose memory nothing can write to; they need not meet the bar contract."""
    return frame_over(index_ns(frame.index).tobytes(), frame_values(frame).T.tobytes())


def frame_values(frame: pd.DataFrame) -> FloatArray:
    """Return the values of the columns of bars, without a copy where the frame has only these in one block."""
    columns = list(COLUMNS)
    return (frame if list(frame.columns) == columns else frame[columns]).to_numpy(np.float64)


def frame_over(times: bytes, values: bytes) -> pd.DataFrame:
    """Return the frame of bars of which the bytes are the close times, int64 ns, and the columns one after another."""
    import pandas as pd

    columns = np.frombuffer(values).reshape(len(COLUMNS), -1)
    index = pd.DatetimeIndex(np.frombuffer(times, np.int64), dtype="datetime64[ns, UTC]", name="close_time", copy=False)
    return pd.DataFrame(columns.T, index, list(COLUMNS), copy=False)


def values_digest(
    symbol: str, timeframe: Timeframe, exchange: str, chunks: Callable[[str], Iterable[NDArray[Any]]]
) -> str:
    """Return the SHA-256 of the names, close times and values of bars; a volume of -0.0 counts as 0.0.

    `chunks` returns the arrays of a column, or of close_time in ns UTC, one after another.
    """

    def content() -> Iterator[bytes | memoryview]:
        yield f"{symbol} {timeframe} {exchange}".encode()
        for name in ("close_time", *COLUMNS):
            for chunk in chunks(name):
                yield np.ascontiguousarray(one_zero(chunk) if name == "volume" else chunk).data

    return digest_chunks(content())


def one_zero(volume: FloatArray) -> FloatArray:
    """Return a volume of which equal values have equal bytes: there is one zero, and one NaN."""
    return np.full(len(volume), np.nan) if np.isnan(volume[0]) else volume + 0.0


def private_frame(frame: pd.DataFrame) -> pd.DataFrame:
    """Return a frame with the same values that can be changed without any effect on `frame`.

    Values are copied only where they are changed. Arrays of the values are read-only, and those of Bars stay so.
    """
    import pandas as pd

    own, index = frame.copy(deep=False), frame.index
    if not isinstance(index, pd.DatetimeIndex) or index.asi8.flags.writeable:
        own.index = index.copy(deep=True)
    return own
