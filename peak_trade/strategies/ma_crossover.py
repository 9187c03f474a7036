"""Hold while the fast moving average lies above the slow one."""

from __future__ import annotations

from typing import Self

import numpy as np
import pandas as pd
from pydantic import model_validator

from peak_trade.core.settings import BarCount
from peak_trade.indicators.means import TIE_RTOL, sma
from peak_trade.strategies.base import Direction, FloatArray, Strategy, allow


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
        if self.fast >= self.slow:
            raise ValueError(f"fast was {self.fast}, slow {self.slow}: fast must be the smaller.")
        return self

    @property
    def warm_up(self) -> int:
        """Bars before the slow average exists."""
        return self.slow - 1

    def exposure(self, bars: pd.DataFrame) -> FloatArray:
        """Return 1 above, -1 below, 0 on a tie; NaN during the warm-up."""
        close = bars["close"].to_numpy()
        fast, slow = sma(close, self.fast), sma(close, self.slow)
        gap = fast - slow
        side = np.where(np.abs(gap) <= TIE_RTOL * slow, 0.0, np.sign(gap))
        return allow(side, self.direction)
