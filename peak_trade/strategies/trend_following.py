"""Trend following: the side of a moving average while the ADX shows a trend."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, model_validator

from peak_trade.core.arrays import FloatArray
from peak_trade.core.bar_frame import BarColumns
from peak_trade.core.compute import Compute
from peak_trade.core.settings import BarCount
from peak_trade.indicators.means import TIE_RTOL, settled_wilder, sma
from peak_trade.indicators.ranges import adx
from peak_trade.strategies.base import Direction
from peak_trade.strategies.hysteresis import held_exposure
from peak_trade.strategies.incremental import IncrementalStrategy

Level = Annotated[float, Field(ge=0.0, le=100.0, allow_inf_nan=False)]


class TrendFollowing(IncrementalStrategy):
    """Long above the average after ADX > enter_level, until ADX < leave_level or a close below it; short mirrored."""

    adx_window: BarCount = 14
    """Window of the average directional index, bars."""

    enter_level: Level = 25.0
    """ADX above which a position is entered."""

    leave_level: Level = 20.0
    """ADX below which a position is closed."""

    ma_window: BarCount = 50
    """Window of the simple moving average that determines the side, bars."""

    direction: Direction = "long"
    """Which sides may be held."""

    @model_validator(mode="after")
    def _levels_are_in_order(self) -> Self:
        if self.leave_level > self.enter_level:
            raise ValueError(
                f"leave_level was {self.leave_level:g}, enter_level {self.enter_level:g}: "
                "leave_level must not be higher."
            )
        return self

    @property
    def warm_up(self) -> int:
        """Bars until the seeds of the ADX have settled and the average exists."""
        return max(1 + 2 * settled_wilder(self.adx_window), self.ma_window - 1)

    def evaluate(self, columns: BarColumns, compute: Compute) -> FloatArray:
        """Return 1, 0 or -1; NaN during the warm-up. A close within 1e-12 of the average is on neither side."""
        close = columns.close
        strength = adx(columns.high, columns.low, close, self.adx_window, compute)
        gap = close - compute(sma, close, self.ma_window)
        is_above, is_below = gap > TIE_RTOL * close, gap < -TIE_RTOL * close
        is_trending, is_over = strength > self.enter_level, strength < self.leave_level
        return held_exposure(
            enter_long=is_trending & is_above,
            leave_long=is_over | is_below,
            enter_short=is_trending & is_below,
            leave_short=is_over | is_above,
            warm_up=self.warm_up,
            direction=self.direction,
            by=compute,
        )
