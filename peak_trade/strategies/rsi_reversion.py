"""RSI reversion: enter when the relative strength index is extreme, exit when it is neutral."""

from __future__ import annotations

from typing import Annotated, Self

import numpy as np
from pydantic import Field, model_validator

from peak_trade.core.arrays import FloatArray
from peak_trade.core.bar_frame import BarColumns
from peak_trade.core.compute import Compute
from peak_trade.core.settings import BarCount
from peak_trade.indicators.means import TIE_RTOL, lag, settled_wilder, sma
from peak_trade.indicators.momentum import rsi
from peak_trade.strategies.base import Direction
from peak_trade.strategies.hysteresis import held_exposure
from peak_trade.strategies.incremental import IncrementalStrategy

Level = Annotated[float, Field(ge=0.0, le=100.0, allow_inf_nan=False)]


class RsiReversion(IncrementalStrategy):
    """Long from RSI < oversold until RSI >= exit_level; short from RSI > overbought until RSI <= exit_level."""

    window: BarCount = 14
    """Window of the RSI, bars."""

    oversold: Level = 30.0
    """RSI below which a long position is entered."""

    overbought: Level = 70.0
    """RSI above which a short position is entered."""

    exit_level: Level = 50.0
    """RSI at which a position of either side is closed."""

    trend_window: BarCount | None = None
    """Window of a trend filter, bars: long entries only while this simple average rises, short ones while it falls."""

    direction: Direction = "long"
    """Which sides may be held."""

    @model_validator(mode="after")
    def _levels_are_in_order(self) -> Self:
        if not self.oversold < self.exit_level < self.overbought:
            raise ValueError(
                f"oversold was {self.oversold:g}, exit_level {self.exit_level:g}, overbought {self.overbought:g}: "
                "they must increase in this order."
            )
        return self

    @property
    def warm_up(self) -> int:
        """Bars until the seed of the RSI has settled and the trend filter exists."""
        return max(1 + settled_wilder(self.window), self.trend_window or 0)

    def evaluate(self, columns: BarColumns, compute: Compute) -> FloatArray:
        """Return 1, 0 or -1; NaN during the warm-up."""
        close = columns.close
        strength = compute(rsi, close, self.window)
        is_rising = is_falling = np.ones(len(close), dtype=np.bool_)
        if self.trend_window is not None:
            trend = compute(sma, close, self.trend_window)
            slope = trend - compute(lag, trend)
            is_rising, is_falling = slope > TIE_RTOL * trend, slope < -TIE_RTOL * trend
        return held_exposure(
            enter_long=(strength < self.oversold) & is_rising,
            leave_long=strength >= self.exit_level,
            enter_short=(strength > self.overbought) & is_falling,
            leave_short=strength <= self.exit_level,
            warm_up=self.warm_up,
            direction=self.direction,
            by=compute,
        )
