"""Prices of bars by time, as arrays: of many orders, each finds its bar without a search in a frame."""

from __future__ import annotations

import numpy as np

from peak_trade.core.bars import Bars

_BLOCK = 4_096
"""Bars that are compared with a level at once."""


class BarPrices:
    """Close times (ns UTC) and prices (quote currency) of the bars of one symbol."""

    def __init__(self, bars: Bars) -> None:
        columns = bars.columns
        self.times, self.open, self.close = columns.times, columns.open, columns.close
        self.high, self.low = columns.high, columns.low
        self.step = bars.timeframe.ns

    def __len__(self) -> int:
        return len(self.times)

    def bar_at(self, time: int) -> int:
        """Return the index of the bar that contains a time, open included and close excluded; of the nearest one."""
        return min(int(np.searchsorted(self.times, time, side="right")), len(self) - 1)

    def price_at(self, time: int) -> float:
        """Return the price at a time (ns UTC), interpolated between the open and the close of its bar."""
        bar = self.bar_at(time)
        open_, close = float(self.open[bar]), float(self.close[bar])
        elapsed = 1.0 - (int(self.times[bar]) - time) / self.step
        return open_ + (close - open_) * min(max(elapsed, 0.0), 1.0)

    def last_close(self, time: int) -> float:
        """Return the last close up to a time (ns UTC), the first open before any."""
        n_known = int(np.searchsorted(self.times, time, side="right"))
        return float(self.close[n_known - 1] if n_known else self.open[0])

    def first_reaching(self, level: float, first: int, *, is_low: bool) -> int | None:
        """Return the index of the first bar from `first` on whose low or high reaches a level; None without one."""
        extremes = self.low if is_low else self.high
        for start in range(first, len(self), _BLOCK):
            part = extremes[start : start + _BLOCK]
            reached = np.flatnonzero(part <= level if is_low else part >= level)
            if reached.size:
                return start + int(reached[0])
        return None
