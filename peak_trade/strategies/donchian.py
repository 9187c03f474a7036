"""Donchian channel: hold the side on which the close last left the channel."""

from __future__ import annotations

from peak_trade.core.arrays import FloatArray
from peak_trade.core.bar_frame import BarColumns
from peak_trade.core.compute import Compute
from peak_trade.core.settings import BarCount
from peak_trade.indicators.ranges import donchian
from peak_trade.strategies.base import Direction
from peak_trade.strategies.hysteresis import held_exposure
from peak_trade.strategies.incremental import IncrementalStrategy


class Donchian(IncrementalStrategy):
    """Long after a close above the channel of the last `window` bars, until a close below it; short mirrored."""

    window: BarCount = 20
    """Number of preceding bars in the channel."""

    direction: Direction = "long"
    """Which sides may be held."""

    @property
    def warm_up(self) -> int:
        """Bars before the channel exists."""
        return self.window

    def evaluate(self, columns: BarColumns, compute: Compute) -> FloatArray:
        """Return 1, 0 or -1; NaN during the warm-up."""
        close = columns.close
        channel = donchian(columns.high, columns.low, self.window, compute)
        is_above, is_below = close > channel.upper, close < channel.lower
        return held_exposure(is_above, is_below, is_below, is_above, self.warm_up, self.direction, compute)
