"""The bars of a session in growing buffers, which the event loop and the strategies read in place."""

from __future__ import annotations

import math
from collections.abc import Sequence
from mmap import ACCESS_READ, ACCESS_WRITE, mmap
from tempfile import TemporaryFile
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from peak_trade.core.arrays import FloatArray
from peak_trade.core.bar_frame import COLUMNS, BarColumns
from peak_trade.core.bars import Bars
from peak_trade.core.calendar import period_of
from peak_trade.core.errors import SessionError, listed
from peak_trade.core.history import DailyHistory, ReturnHistory, extend_history
from peak_trade.core.time import Timeframe, iso
from peak_trade.core.values import Instrument
from peak_trade.engine.market import Market, SymbolBars
from peak_trade.journal.events import BarEvent
from peak_trade.sessions.feeds.base import fault_of


class BarBuffer:
    """Memory for `capacity` bars of one symbol; prices and volumes are NaN after the last known bar.

    The prices are mapped twice: the session writes each bar once into the first mapping, and the frames of `bars` are
    views of the second one, which is read-only and knows nothing of the first.
    """

    def __init__(self, instrument: Instrument, timeframe: Timeframe, capacity: int, exchange: str) -> None:
        self._exchange = exchange
        self._columns, self._readable = _mapped_twice(np.full((len(COLUMNS), capacity), np.nan))
        times = np.full(capacity, np.iinfo(np.int64).max, dtype=np.int64)
        open_, high, low, close, volume = self._columns
        symbol_bars = SymbolBars(instrument, open_, high, low, close, volume, close, None)
        self.market = Market(times, timeframe, (instrument.symbol,), (symbol_bars,))
        self.n_bars = 0

    def add(self, bar: BarEvent) -> int:
        """Write the next bar and return its index; SessionError when it breaks the contract or the buffer is full."""
        index = self.n_bars
        if index == self.market.times.size:
            raise SessionError(f"{bar.symbol}: the session holds {index} bars, its maximum. Start a new session.")
        fault = self._fault_of(bar)
        if fault:
            raise SessionError(
                f"{bar.symbol}: the bar of {iso(bar.ts_event)} breaks the contract of bars ({fault}). Drop or fix it."
            )
        self.market.times[index] = bar.ts_event
        self._columns[:, index] = (bar.open, bar.high, bar.low, bar.close, bar.volume)
        self.n_bars = index + 1
        return index

    @property
    def columns(self) -> tuple[FloatArray, ...]:
        """Open, high, low, close and volume, each of shape (capacity,), which grow in place."""
        return tuple(self._readable)

    def bars(self) -> Bars:
        """Return the bars known so far, without a copy of their prices."""
        index = pd.DatetimeIndex(self.market.times[: self.n_bars], tz="UTC", name="close_time")
        frame = pd.DataFrame(self._readable[:, : self.n_bars].T, index, list(COLUMNS), copy=False)
        return Bars.over(frame, self.market.symbols[0], self.market.timeframe, self._exchange)

    def since(self, first: int) -> BarColumns:
        """Return the columns of the known bars from an index on; nothing can write to them."""
        span = slice(first, self.n_bars)

        def column(name: str) -> NDArray[Any]:
            return self.market.times[span].copy() if name == "close_time" else self._readable[COLUMNS.index(name), span]

        return BarColumns(column)

    def _fault_of(self, bar: BarEvent) -> str:
        """Return why a bar can not follow the known ones; empty if it can. Either all bars have a volume or none."""
        if self.n_bars and bar.ts_event <= self.market.times[self.n_bars - 1]:
            return "it does not close after the bar before it"
        first_volume = self._columns[-1, 0] if self.n_bars else bar.volume
        return fault_of(bar, 0.0 if math.isnan(first_volume) and math.isnan(bar.volume) else bar.volume)


def _empty_grid(instrument: Instrument, capacity: int) -> SymbolBars:
    open_, high, low, close, volume, mark = np.full((6, capacity), np.nan)
    return SymbolBars(instrument, open_, high, low, close, volume, mark, np.full(capacity, capacity, dtype=np.int64))


def _mapped_twice(values: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return two arrays over one memory with these values: one to write to, and one that nothing can unlock."""
    with TemporaryFile() as file:
        file.write(values.data)
        file.flush()
        maps = [mmap(file.fileno(), values.nbytes, access=access) for access in (ACCESS_WRITE, ACCESS_READ)]
    writable, readable = (np.frombuffer(each).reshape(values.shape) for each in maps)
    return writable, readable


class MarketBuffer:
    """The bars of the symbols of a session on one grid of close times, which grows.

    A close is part of the grid once every symbol has its bar, or once the others are known to have none at it; until
    then it is open. With one symbol the grid is the memory of its buffer.

    Parameters
    ----------
    instruments : sequence of Instrument
    timeframe : Timeframe
    capacity : int
        Largest number of closes.
    exchange : str

    Attributes
    ----------
    parts : dict of symbol to BarBuffer
        The bars of each symbol without the closes at which it has none, in the order of the symbols.
    market : Market
    n_bars : int
        Number of closes of the grid, without an open one.

    """

    def __init__(self, instruments: Sequence[Instrument], timeframe: Timeframe, capacity: int, exchange: str) -> None:
        ordered = sorted(instruments, key=lambda instrument: instrument.symbol)
        self.parts = {each.symbol: BarBuffer(each, timeframe, capacity, exchange) for each in ordered}
        self.n_bars = 0
        self._first = 0
        self._arrived: set[str] = set()
        if len(self.parts) == 1:
            self.market = next(iter(self.parts.values())).market
            return
        times = np.full(capacity, np.iinfo(np.int64).max, dtype=np.int64)
        columns = tuple(_empty_grid(each, capacity) for each in ordered)
        self.market = Market(times, timeframe, tuple(self.parts), columns)

    @property
    def is_open(self) -> bool:
        """Whether a close has the bars of some symbols only."""
        return bool(self._arrived)

    def is_open_at(self, time: int) -> bool:
        """Return whether the close at `time`, ns UTC, is open."""
        return self.is_open and int(self.market.times[self.n_bars]) == time

    @property
    def missing(self) -> tuple[str, ...]:
        """The symbols without a bar at the open close."""
        return tuple(symbol for symbol in self.parts if symbol not in self._arrived)

    def holds(self, symbol: str, time: int) -> bool:
        """Return whether the open close is at `time`, ns UTC, and has the bar of a symbol."""
        return symbol in self._arrived and self.is_open_at(time)

    def start(self) -> None:
        """Begin to trade: from here on the marks of the market are closes that were traded on."""
        self.close()
        self._first = self.n_bars

    def add(self, bar: BarEvent) -> bool:
        """Write the next bar; return whether every symbol has its bar now, so that the close is part of the grid.

        SessionError if the bar breaks the contract, belongs to another close than the open one, or does not fit in.
        """
        part = self.parts.get(bar.symbol)
        if part is None:
            raise SessionError(f"{bar.symbol}: the session trades {listed(self.parts)} only. Drop its bars.")
        if len(self.parts) == 1:
            self.n_bars = part.add(bar) + 1
            return True
        self._check_place(bar)
        row, place = self.n_bars, part.add(bar)
        if not self._arrived:
            self.market.times[row] = bar.ts_event
            for column in self.market.columns:
                column.mark[row] = column.mark[row - 1] if row > self._first else np.nan
        column = self.market.columns[self.market.symbols.index(bar.symbol)]
        assert column.own_bars is not None
        column.own_bars[place] = row
        column.open[row], column.high[row], column.low[row] = bar.open, bar.high, bar.low
        column.close[row], column.mark[row], column.volume[row] = bar.close, bar.close, bar.volume
        self._arrived.add(bar.symbol)
        return len(self._arrived) == len(self.parts) and self.close()

    def close(self) -> bool:
        """Make the open close part of the grid; return whether there was one. Its missing bars do not come any more."""
        if not self._arrived:
            return False
        self._arrived.clear()
        self.n_bars += 1
        return True

    def bars(self) -> list[Bars]:
        """Return the known bars of each symbol that has some, without a copy of their prices."""
        return [part.bars() for part in self.parts.values() if part.n_bars]

    def _check_place(self, bar: BarEvent) -> None:
        row, times = self.n_bars, self.market.times
        if row == times.size:
            raise SessionError(f"the session holds {row} closes, its maximum. Start a new session.")
        if self._arrived and int(times[row]) != bar.ts_event:
            raise SessionError(
                f"{bar.symbol}: its bar of {iso(bar.ts_event)} came before the bars of {iso(int(times[row]))} were "
                "complete. Send the bars of one close together."
            )
        if not self._arrived and row and bar.ts_event <= int(times[row - 1]):
            raise SessionError(
                f"{bar.symbol}: its bar of {iso(bar.ts_event)} came after that close was decided on. Drop it."
            )


class BufferedHistory(DailyHistory):
    """Daily returns and volumes of a declared past and the bars known so far, computed again once per day.

    They are equal to those computed over all bars at once.
    """

    def __init__(self, buffer: MarketBuffer, source: str, n_days: int, past: Sequence[Bars] = ()) -> None:
        self._buffer, self._declared, self._longest, self._past = buffer, source, n_days, past
        self._day = -1
        self._daily: DailyHistory | None = None

    def returns_at(self, as_of: int) -> ReturnHistory | None:
        """Return the newest daily returns known at an instant, ns UTC; None before two days are over."""
        return self._at(as_of).returns_at(as_of)

    def activity_at(self, symbol: str, as_of: int) -> tuple[float, float]:
        """Return average daily volume and volatility of daily returns known at an instant, ns UTC."""
        return self._at(as_of).activity_at(symbol, as_of)

    def _at(self, as_of: int) -> DailyHistory:
        day = period_of(as_of - (0 if self._daily is None else self._daily.delay), "day")
        if self._daily is None or day != self._day:
            self._daily = DailyHistory(extend_history(self._past, self._buffer.bars()), self._declared, self._longest)
            self._day = period_of(as_of - self._daily.delay, "day")
        return self._daily
