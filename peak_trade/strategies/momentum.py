"""Momentum: enter after a large return, exit after a reversal."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from peak_trade.core.arrays import FloatArray
from peak_trade.core.bar_frame import BarColumns
from peak_trade.core.compute import Compute
from peak_trade.core.settings import BarCount
from peak_trade.indicators.momentum import rate_of_change
from peak_trade.strategies.base import Direction
from peak_trade.strategies.hysteresis import held_exposure
from peak_trade.strategies.incremental import IncrementalStrategy


class Momentum(IncrementalStrategy):
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

    def evaluate(self, columns: BarColumns, compute: Compute) -> FloatArray:
        """Return 1, 0 or -1; NaN during the warm-up."""
        change = compute(rate_of_change, columns.close, self.window)
        return held_exposure(
            enter_long=change > self.enter,
            leave_long=change < self.leave,
            enter_short=change < -self.enter,
            leave_short=change > -self.leave,
            warm_up=self.warm_up,
            direction=self.direction,
            by=compute,
        )
