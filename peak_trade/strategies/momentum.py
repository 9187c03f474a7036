"""Momentum: enter after a large return, exit after a reversal."""

from __future__ import annotations

from typing import Annotated

import pandas as pd
from pydantic import Field

from peak_trade.core.arrays import FloatArray
from peak_trade.core.settings import BarCount
from peak_trade.indicators.momentum import rate_of_change
from peak_trade.strategies.base import Compute, Direction, Strategy, compute
from peak_trade.strategies.hysteresis import held_exposure


class Momentum(Strategy):
    """Long after a return over `window` bars above `enter`, until one below `leave`; short mirrored."""

    window: BarCount = 20
    """Number of bars in the return."""

    enter: Annotated[float, Field(gt=0.0, le=1.0)] = 0.02
    """Return above which a long position is entered, a fraction; shorts use the negative value."""

    leave: Annotated[float, Field(ge=-1.0, le=0.0)] = -0.01
    """Return below which a long position is closed, a fraction, at most 0; shorts use the negative value."""

    direction: Direction = "long"
    """Which sides may be held."""

    @property
    def warm_up(self) -> int:
        """Bars before the return exists."""
        return self.window

    def exposure(self, bars: pd.DataFrame) -> FloatArray:
        """Return 1, 0 or -1; NaN during the warm-up."""
        return self.exposure_by(bars, compute)

    def exposure_by(self, bars: pd.DataFrame, compute: Compute) -> FloatArray:
        """Return `exposure`, with the indicators taken from `compute`."""
        change = compute(rate_of_change, bars["close"].to_numpy(), self.window)
        return held_exposure(
            enter_long=change > self.enter,
            leave_long=change < self.leave,
            enter_short=change < -self.enter,
            leave_short=change > -self.leave,
            warm_up=self.warm_up,
            direction=self.direction,
        )
