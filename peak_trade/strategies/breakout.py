"""Breakout: enter on a close outside the recent range, exit at the opposite side of a shorter range."""

from __future__ import annotations

from peak_trade.core.arrays import FloatArray
from peak_trade.core.bar_frame import BarColumns
from peak_trade.core.compute import Compute
from peak_trade.core.settings import BarCount, NonNegative
from peak_trade.indicators.means import settled_wilder
from peak_trade.indicators.ranges import atr, donchian
from peak_trade.strategies.base import Direction
from peak_trade.strategies.hysteresis import held_exposure
from peak_trade.strategies.incremental import IncrementalStrategy


class Breakout(IncrementalStrategy):
    """Long after a close above the highest high of `window` bars, until one below the lowest low of `exit_window`."""

    window: BarCount = 20
    """Number of preceding bars whose range the close must leave to enter."""

    exit_window: BarCount = 10
    """Number of preceding bars whose opposite side ends the position."""

    atr_multiple: NonNegative = 0.0
    """ATR filter: distance from the range in average true ranges that an entry needs; 0 disables the filter."""

    atr_window: BarCount = 14
    """Window of the average true range, bars; used when atr_multiple is above 0."""

    direction: Direction = "long"
    """Which sides may be held."""

    @property
    def warm_up(self) -> int:
        """Bars before the ranges exist and the seed of the ATR is settled."""
        filter_bars = 1 + settled_wilder(self.atr_window) if self.atr_multiple > 0.0 else 0
        return max(self.window, self.exit_window, filter_bars)

    def evaluate(self, columns: BarColumns, compute: Compute) -> FloatArray:
        """Return 1, 0 or -1; NaN during the warm-up."""
        high, low, close = columns.high, columns.low, columns.close
        wide, narrow = donchian(high, low, self.window, compute), donchian(high, low, self.exit_window, compute)
        is_filtered = self.atr_multiple > 0.0
        margin = self.atr_multiple * atr(high, low, close, self.atr_window, compute) if is_filtered else 0.0
        return held_exposure(
            enter_long=close > wide.upper + margin,
            leave_long=close < narrow.lower,
            enter_short=close < wide.lower - margin,
            leave_short=close > narrow.upper,
            warm_up=self.warm_up,
            direction=self.direction,
            by=compute,
        )
