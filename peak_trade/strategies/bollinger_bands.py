"""Bollinger bands: enter outside a band, exit at the middle."""

from __future__ import annotations

from peak_trade.core.arrays import FloatArray
from peak_trade.core.bar_frame import BarColumns
from peak_trade.core.compute import Compute
from peak_trade.core.settings import BarCount, Positive
from peak_trade.indicators.dispersion import bollinger
from peak_trade.indicators.means import TIE_RTOL
from peak_trade.strategies.base import Direction
from peak_trade.strategies.hysteresis import held_exposure
from peak_trade.strategies.incremental import IncrementalStrategy


class BollingerBands(IncrementalStrategy):
    """Long after a close below the lower band, until one at or above the middle; short mirrored at the upper band."""

    window: BarCount = 20
    """Window of the middle and of the deviation, bars."""

    width: Positive = 2.0
    """Distance of the bands from the middle, in population standard deviations."""

    direction: Direction = "long"
    """Which sides may be held."""

    @property
    def warm_up(self) -> int:
        """Bars before the bands exist."""
        return self.window - 1

    def evaluate(self, columns: BarColumns, compute: Compute) -> FloatArray:
        """Return 1, 0 or -1; NaN during the warm-up. A close within 1e-12 of a band is not outside it."""
        close = columns.close
        bands = bollinger(close, self.window, self.width, compute)
        tie = TIE_RTOL * close
        return held_exposure(
            enter_long=close < bands.lower - tie,
            leave_long=close >= bands.middle - tie,
            enter_short=close > bands.upper + tie,
            leave_short=close <= bands.middle + tie,
            warm_up=self.warm_up,
            direction=self.direction,
            by=compute,
        )
