"""Moving-average crossover: long while the fast average is above the slow one."""

from __future__ import annotations

from typing import Self

from pydantic import model_validator

from peak_trade.core.arrays import FloatArray
from peak_trade.core.bar_frame import BarColumns
from peak_trade.core.compute import Compute
from peak_trade.core.settings import BarCount
from peak_trade.indicators.means import sma
from peak_trade.strategies.base import Direction, check_windows
from peak_trade.strategies.crossing import Crossing, Line, crossing_exposure
from peak_trade.strategies.incremental import IncrementalStrategy


class MaCrossover(IncrementalStrategy):
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

    def evaluate(self, columns: BarColumns, compute: Compute) -> FloatArray:
        """Return 1 above, -1 below, 0 on a tie; NaN during the warm-up."""
        line, other, direction = self.crossing
        close = columns.close
        return crossing_exposure(compute(sma, close, *line.numbers), compute(sma, close, *other.numbers), direction)

    @property
    def crossing(self) -> Crossing:
        """The crossing that decides the exposure."""
        return Crossing(Line(sma, (self.fast,)), Line(sma, (self.slow,)), self.direction)
