"""The bars of a session in one growing buffer, which the event loop and the strategy read in place."""

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
from peak_trade.core.errors import SessionError
from peak_trade.core.history import DailyHistory, ReturnHistory, extend_history
from peak_trade.core.time import Timeframe, iso
from peak_trade.core.values import Instrument
from peak_trade.engine.market import Market, SymbolBars
from peak_trade.engine.sleeve import Sleeve
from peak_trade.journal.events import BarEvent
from peak_trade.sessions.feeds.base import fault_of
from peak_trade.wiring.sleeves import Evaluation, Targets


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


def _mapped_twice(values: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return two arrays over one memory with these values: one to write to, and one that nothing can unlock."""
    with TemporaryFile() as file:
        file.write(values.data)
        file.flush()
        maps = [mmap(file.fileno(), values.nbytes, access=access) for access in (ACCESS_WRITE, ACCESS_READ)]
    writable, readable = (np.frombuffer(each).reshape(values.shape) for each in maps)
    return writable, readable


class BufferedHistory(DailyHistory):
    """Daily returns and volumes of a declared past and the bars known so far, computed again once per day.

    They are equal to those computed over all bars at once.
    """

    def __init__(self, buffer: BarBuffer, source: str, n_days: int, past: Sequence[Bars] = ()) -> None:
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
            self._daily = DailyHistory(extend_history(self._past, [self._buffer.bars()]), self._declared, self._longest)
            self._day = period_of(as_of - self._daily.delay, "day")
        return self._daily


class LiveSleeve:
    """A sleeve that is filled as bars arrive.

    Its strategy is evaluated once over a recording. Without one it continues with each bar if it is incremental, and is
    evaluated at each bar over all history if it is not.
    """

    def __init__(self, buffer: BarBuffer, evaluation: Evaluation, name: str, recording: Bars | None) -> None:
        self._buffer, self._evaluation = buffer, evaluation
        n_bars, timeframe = len(buffer.market), buffer.market.timeframe
        self.sleeve = Sleeve(
            name, buffer.market.symbols[0], np.zeros(n_bars), scale=np.ones(n_bars), atr=np.zeros(n_bars)
        )
        self.sleeve.stepper = evaluation.stepper(buffer.market.times, buffer.columns)
        self._times = None if recording is None else recording.times
        self._whole = None if recording is None else evaluation.over(recording)
        self._continued = None if recording is not None else evaluation.continued(timeframe.bars_per_year)
        self._n_continued = 0

    def fill(self, bar: int) -> None:
        """Fill in the values at a bar that has just closed."""
        place, targets = self._targets(bar)
        self.sleeve.exposure[bar] = targets.exposure[place]
        for values, evaluated in ((self.sleeve.scale, targets.scale), (self.sleeve.atr, targets.atr)):
            if values is not None and evaluated is not None:
                values[bar] = evaluated[place]

    def _targets(self, bar: int) -> tuple[int, Targets | Sleeve]:
        """Return targets and the place in them that is the bar's."""
        if self._continued is not None:
            targets = self._continued.targets(self._buffer.since(self._n_continued))
            self._n_continued = self._buffer.n_bars
            return -1, targets
        if self._whole is None or self._times is None:
            return bar, self._evaluation.over(self._buffer.bars())
        if bar >= self._times.size or self._times[bar] != self._buffer.market.times[bar]:
            raise SessionError(
                "the recording is not the one that this session started on: its bars differ. Start a new session."
            )
        return bar, self._whole
