"""Moving-average crossover: long while the fast average is above the slow one."""

from __future__ import annotations

from typing import Self

import pandas as pd
from pydantic import model_validator

from peak_trade.core.arrays import FloatArray
from peak_trade.core.settings import BarCount
from peak_trade.indicators.means import sma
from peak_trade.strategies.base import Compute, Direction, Strategy, check_windows, compute
from peak_trade.strategies.crossing import Crossing, Line, crossing_exposure


class MaCrossover(Strategy):
    """Long while SMA(fast) > SMA(slow), short while below; an exact tie is flat."""

    fast: BarCount = 20
    """Window of the fast average, bars."""

    slow: BarCount = 50
    """Window of the slow average, bars."""

    direction: Direction = "long"
    """Which sides may be held."""

    @model_validator(mode="after")
    def _fast_is_faster(self) -> Self:
        check_windows(self.fast, self.slow)
        return self

    @property
    def warm_up(self) -> int:
        """Bars before the slow average exists."""
        return self.slow - 1

    def exposure(self, bars: pd.DataFrame) -> FloatArray:
        """Return 1 above, -1 below, 0 on a tie; NaN during the warm-up."""
        return self.exposure_by(bars, compute)

    def exposure_by(self, bars: pd.DataFrame, compute: Compute) -> FloatArray:
        """Return `exposure`, with the averages taken from `compute`."""
        line, other, direction = self.crossing
        close = bars["close"].to_numpy()
        return crossing_exposure(compute(sma, close, *line.numbers), compute(sma, close, *other.numbers), direction)

    @property
    def crossing(self) -> Crossing:
        """The crossing that decides the exposure."""
        return Crossing(Line(sma, (self.fast,)), Line(sma, (self.slow,)), self.direction)
