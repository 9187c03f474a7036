"""Moving-average crossover: long while the fast average is above the slow one."""

from __future__ import annotations

from typing import Self

import numpy as np
import pandas as pd
from numba import float64, njit
from pydantic import model_validator

from peak_trade.core.arrays import FloatArray
from peak_trade.core.settings import BarCount
from peak_trade.indicators.means import READ_ONLY, TIE_RTOL, sma
from peak_trade.strategies.base import Compute, Direction, Strategy, check_windows, compute


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
        close = bars["close"].to_numpy()
        above, below = 0.0 if self.direction == "short" else 1.0, 0.0 if self.direction == "long" else -1.0
        side: FloatArray = _side(compute(sma, close, self.fast), compute(sma, close, self.slow), above, below)
        return side


@njit(float64[::1](READ_ONLY, READ_ONLY, float64, float64), cache=True)
def _side(fast: FloatArray, slow: FloatArray, above: float, below: float) -> FloatArray:
    side = np.full(fast.size, np.nan)
    for row in range(fast.size):
        gap = fast[row] - slow[row]
        if abs(gap) <= TIE_RTOL * slow[row]:
            side[row] = 0.0
        elif gap > 0.0:
            side[row] = above
        elif gap < 0.0:
            side[row] = below
    return side
