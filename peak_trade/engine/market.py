"""The bars of all symbols of a run on one time grid."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from peak_trade.core.arrays import FloatArray, IntArray
from peak_trade.core.bars import COLUMNS, Bars
from peak_trade.core.errors import ConfigError, DataError
from peak_trade.core.time import Timeframe
from peak_trade.core.values import Instrument


@dataclass(frozen=True, slots=True, eq=False)
class SymbolBars:
    """One symbol's columns on the grid, shape (n,): NaN where it has no bar; `mark` keeps the last known close."""

    instrument: Instrument
    open: FloatArray
    high: FloatArray
    low: FloatArray
    close: FloatArray
    volume: FloatArray
    mark: FloatArray
    rows: IntArray | None
    """Grid row of each of its bars; None when it has one at every row."""

    def has_bar(self, row: int) -> bool:
        """Return whether the symbol traded in the bar of `row`."""
        return self.rows is None or bool(self.close[row] == self.close[row])

    def next_row(self, row: int) -> int:
        """Return the first grid row after `row` with a bar of this symbol, or the grid's length."""
        if self.rows is None:
            return row + 1
        place = int(np.searchsorted(self.rows, row, side="right"))
        return int(self.rows[place]) if place < self.rows.size else self.close.size


@dataclass(frozen=True, slots=True, eq=False)
class Market:
    """Symbols in sorted order on the union of their close times (ns UTC); all of one timeframe and quote currency."""

    times: IntArray
    timeframe: Timeframe
    symbols: tuple[str, ...]
    columns: tuple[SymbolBars, ...]

    @classmethod
    def of(cls, bars: Sequence[Bars], instruments: dict[str, Instrument] | None = None) -> Market:
        """Align bars; ConfigError on a symbol given twice, different timeframes or different quote currencies."""
        ordered = sorted(bars, key=lambda part: part.symbol)
        symbols = tuple(part.symbol for part in ordered)
        if not ordered:
            raise DataError("a run needs the bars of at least one symbol.")
        if len(set(symbols)) < len(symbols):
            raise ConfigError(f"symbols were {', '.join(symbols)}: give each symbol once.")
        timeframes = {part.timeframe for part in ordered}
        if len(timeframes) > 1:
            named = ", ".join(f"{part.symbol} {part.timeframe}" for part in ordered)
            raise ConfigError(
                f"timeframes differ ({named}): resample the finer bars first (`peak-trade data resample`)."
            )
        listed = [(instruments or {}).get(symbol, Instrument(symbol)) for symbol in symbols]
        quotes = {instrument.quote for instrument in listed}
        if len(quotes) > 1:
            raise ConfigError(f"quote currencies differ ({', '.join(sorted(quotes))}): one cash pool has one currency.")
        times = ordered[0].times
        for part in ordered[1:]:
            times = np.union1d(times, part.times)
        columns = tuple(_on_grid(part, times, instrument) for part, instrument in zip(ordered, listed, strict=True))
        return cls(times, ordered[0].timeframe, symbols, columns)

    def __len__(self) -> int:
        return self.times.size


def _on_grid(bars: Bars, times: IntArray, instrument: Instrument) -> SymbolBars:
    open_, high, low, close, volume = (np.ascontiguousarray(bars.frame[name].to_numpy()) for name in COLUMNS)
    own = bars.times
    if own.size == times.size:
        return SymbolBars(instrument, open_, high, low, close, volume, close, None)
    rows = np.searchsorted(times, own)

    def spread(column: FloatArray) -> FloatArray:
        on_grid = np.full(times.size, np.nan)
        on_grid[rows] = column
        return on_grid

    last = np.searchsorted(own, times, side="right") - 1
    mark = np.where(last >= 0, close[np.maximum(last, 0)], np.nan)
    return SymbolBars(instrument, spread(open_), spread(high), spread(low), spread(close), spread(volume), mark, rows)
