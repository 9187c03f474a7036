"""Mean reversion: enter far from the mean, exit near it, by z-score."""

from __future__ import annotations

from typing import Self

import numpy as np
from pydantic import model_validator

from peak_trade.core.arrays import FloatArray
from peak_trade.core.bar_frame import BarColumns
from peak_trade.core.compute import Compute
from peak_trade.core.settings import BarCount, Finite, Positive
from peak_trade.indicators.dispersion import realised_volatility, z_score
from peak_trade.strategies.base import Direction
from peak_trade.strategies.hysteresis import held_exposure
from peak_trade.strategies.incremental import IncrementalStrategy


class MeanReversion(IncrementalStrategy):
    """Long after a z-score of the log close below `enter`, until one at or above `leave`; short mirrored."""

    window: BarCount = 20
    """Window of mean and deviation, bars."""

    enter: Finite = -2.0
    """Z-score below which a long position is entered; shorts use the negative value."""

    leave: Finite = 0.0
    """Z-score at which a long position is closed; shorts use the negative value."""

    max_volatility: Positive | None = None
    """Volatility filter: no entries above this volatility per bar, a fraction."""

    volatility_window: BarCount = 50
    """Number of returns in the volatility; used with max_volatility."""

    direction: Direction = "long"
    """Which sides may be held."""

    @model_validator(mode="after")
    def _enters_before_it_leaves(self) -> Self:
        if self.enter >= self.leave or self.enter > -self.leave:
            raise ValueError(
                f"enter was {self.enter:g}, leave {self.leave:g}: enter must lie below leave, and below minus leave."
            )
        return self

    @property
    def warm_up(self) -> int:
        """Bars before the z-score and the filter exist."""
        return max(self.window - 1, self.volatility_window if self.max_volatility is not None else 0)

    def evaluate(self, columns: BarColumns, compute: Compute) -> FloatArray:
        """Return 1, 0 or -1; NaN during the warm-up."""
        close = columns.close
        score = compute(z_score, compute(np.log, close), self.window)
        is_calm = np.ones(len(close), dtype=np.bool_)
        if self.max_volatility is not None:
            is_calm = compute(realised_volatility, close, self.volatility_window) <= self.max_volatility
        return held_exposure(
            enter_long=(score < self.enter) & is_calm,
            leave_long=score >= self.leave,
            enter_short=(score > -self.enter) & is_calm,
            leave_short=score <= -self.leave,
            warm_up=self.warm_up,
            direction=self.direction,
            by=compute,
        )
