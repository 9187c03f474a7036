"""Donchian channel: hold the side on which the close last left the channel."""

from __future__ import annotations

import pandas as pd

from peak_trade.core.arrays import FloatArray
from peak_trade.core.settings import BarCount
from peak_trade.indicators.ranges import donchian
from peak_trade.strategies.base import Direction, Strategy
from peak_trade.strategies.hysteresis import held_exposure


class Donchian(Strategy):
    """Long after a close above the channel of the last `window` bars, until a close below it; short mirrored."""

    window: BarCount = 20
    """Number of preceding bars in the channel."""

    direction: Direction = "long"
    """Which sides may be held."""

    @property
    def warm_up(self) -> int:
        """Bars before the channel exists."""
        return self.window

    def exposure(self, bars: pd.DataFrame) -> FloatArray:
        """Return 1, 0 or -1; NaN during the warm-up."""
        close = bars["close"].to_numpy()
        channel = donchian(bars["high"].to_numpy(), bars["low"].to_numpy(), self.window)
        is_above, is_below = close > channel.upper, close < channel.lower
        return held_exposure(is_above, is_below, is_below, is_above, self.warm_up, self.direction)
