"""MACD: long while the MACD line is above its signal line."""

from __future__ import annotations

from typing import Self

import numpy as np
from pydantic import model_validator

from peak_trade.core.arrays import FloatArray
from peak_trade.core.bar_frame import BarColumns
from peak_trade.core.compute import Compute
from peak_trade.core.settings import BarCount
from peak_trade.indicators.means import TIE_RTOL, hide_head, settled_ema
from peak_trade.indicators.momentum import macd
from peak_trade.strategies.base import Direction, allow, check_windows
from peak_trade.strategies.incremental import IncrementalStrategy


class Macd(IncrementalStrategy):
    """Long while the MACD line is above its signal line, short while below; a tie is flat."""

    fast: BarCount = 12
    """Window of the fast exponential average, bars."""

    slow: BarCount = 26
    """Window of the slow exponential average, bars."""

    signal: BarCount = 9
    """Window of the signal line, bars."""

    direction: Direction = "long"
    """Which sides may be held."""

    @model_validator(mode="after")
    def _fast_is_faster(self) -> Self:
        check_windows(self.fast, self.slow)
        return self

    @property
    def warm_up(self) -> int:
        """Bars until the seeds of the averages have settled."""
        return settled_ema(self.slow) + settled_ema(self.signal)

    def evaluate(self, columns: BarColumns, compute: Compute) -> FloatArray:
        """Return 1 above, -1 below, 0 on a tie (to 1e-12 of the close); NaN during the warm-up."""
        close = columns.close
        lines = macd(close, self.fast, self.slow, self.signal, compute)
        gap = lines.line - lines.signal
        side = np.where(np.abs(gap) <= TIE_RTOL * close, 0.0, np.sign(gap))
        return allow(compute(hide_head, side, self.warm_up), self.direction)
