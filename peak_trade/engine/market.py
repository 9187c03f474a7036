"""The bars of all symbols of a run on one time grid."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from peak_trade.core.arguments import check_fields
from peak_trade.core.arrays import FloatArray, IntArray
from peak_trade.core.bar_frame import frame_values
from peak_trade.core.bars import Bars
from peak_trade.core.calendar import n_missing, observed_per_year
from peak_trade.core.errors import ConfigError, DataError, listed
from peak_trade.core.time import Timeframe
from peak_trade.core.values import Instrument

MOST_MISSING = 0.01
"""Fraction of missing bars above which a result states them."""


@dataclass(frozen=True, slots=True, eq=False)
class SymbolBars:
    """One symbol's columns on the grid, shape (n_bars,): NaN where it has no bar; `mark` is the last known close."""

    instrument: Instrument
    open: FloatArray
    high: FloatArray
    low: FloatArray
    close: FloatArray
    volume: FloatArray
    mark: FloatArray
    own_bars: IntArray | None
    """Grid index of each of its bars; None if it has one at every index. In a session it grows in place: the places of
    bars that are not known yet hold the length of the grid."""

    def has_bar(self, bar: int) -> bool:
        """Return whether the symbol has a bar at a grid index."""
        return self.own_bars is None or bool(self.close[bar] == self.close[bar])

    def next_bar(self, bar: int) -> int:
        """Return the first grid index after `bar` at which the symbol has a bar, or the length of the grid."""
        if self.own_bars is None:
            return bar + 1
        place = int(np.searchsorted(self.own_bars, bar, side="right"))
        return int(self.own_bars[place]) if place < self.own_bars.size else self.close.size


@dataclass(frozen=True, slots=True, eq=False)
class Market:
    """Symbols in sorted order on the union of their close times (ns UTC), with one timeframe and one quote currency.

    A bar is named by its index on this grid.
    """

    times: IntArray
    timeframe: Timeframe
    symbols: tuple[str, ...]
    columns: tuple[SymbolBars, ...]

    @property
    def instruments(self) -> dict[str, Instrument]:
        """The instruments by symbol."""
        return {column.instrument.symbol: column.instrument for column in self.columns}

    @classmethod
    def of(cls, bars: Sequence[Bars], instruments: dict[str, Instrument] | None = None) -> Market:
        """Align the bars of several symbols.

        Raises
        ------
        DataError
            If there are no bars.
        ConfigError
            If a symbol is given twice, timeframes or quote currencies differ, or an instrument has a wrong field.

        """
        ordered = sorted(bars, key=lambda part: part.symbol)
        symbols = tuple(part.symbol for part in ordered)
        if not ordered:
            raise DataError("a run needs the bars of at least one symbol.")
        if len(set(symbols)) < len(symbols):
            raise ConfigError(f"symbols were {listed(symbols)}: give each symbol once.")
        timeframes = {part.timeframe for part in ordered}
        if len(timeframes) > 1:
            named = listed(f"{part.symbol} {part.timeframe}" for part in ordered)
            raise ConfigError(
                f"timeframes differ ({named}): resample the finer bars first (`peak-trade data resample`)."
            )
        traded = [(instruments or {}).get(symbol, Instrument(symbol)) for symbol in symbols]
        for instrument in traded:
            check_fields(instrument)
        quotes = {instrument.quote for instrument in traded}
        if len(quotes) > 1:
            raise ConfigError(f"quote currencies differ ({listed(sorted(quotes))}): one cash account has one currency.")
        times = ordered[0].times
        for part in ordered[1:]:
            if not np.array_equal(times, part.times):
                times = np.union1d(times, part.times)
        columns = tuple(_on_grid(part, times, instrument) for part, instrument in zip(ordered, traded, strict=True))
        return cls(times, ordered[0].timeframe, symbols, columns)

    @property
    def bars_per_year(self) -> float:
        """Number of bars in a year of 365 days, by elapsed time; see `observed_per_year`."""
        return observed_per_year(self.times, self.timeframe.bars_per_year)

    @property
    def gaps(self) -> dict[str, tuple[int, int]]:
        """Missing bars and all bars from the first to the last one of each symbol, where more than 1 % are missing."""
        gaps = {}
        for symbol, column in zip(self.symbols, self.columns, strict=True):
            own = self.times if column.own_bars is None else self.times[column.own_bars]
            n = n_missing(own, self.timeframe)
            if n > MOST_MISSING * (n + len(own)):
                gaps[symbol] = (n, n + len(own))
        return gaps

    def __len__(self) -> int:
        return self.times.size


def _on_grid(bars: Bars, times: IntArray, instrument: Instrument) -> SymbolBars:
    open_, high, low, close, volume = np.ascontiguousarray(frame_values(bars.frame).T)
    if len(bars) == times.size:
        return SymbolBars(instrument, open_, high, low, close, volume, close, None)
    own = bars.times
    own_bars = np.searchsorted(times, own)

    def on_grid(column: FloatArray) -> FloatArray:
        values = np.full(times.size, np.nan)
        values[own_bars] = column
        return values

    last = np.searchsorted(own, times, side="right") - 1
    mark = np.where(last >= 0, close[np.maximum(last, 0)], np.nan)
    open_, high, low, close, volume = (on_grid(column) for column in (open_, high, low, close, volume))
    return SymbolBars(instrument, open_, high, low, close, volume, mark, own_bars)
