"""A strategy, a detector and an allocator that only the tests know."""

from __future__ import annotations

import numpy as np
import pandas as pd

from peak_trade.core.arrays import FloatArray
from peak_trade.core.bars import index_ns
from peak_trade.regimes.detector import Detector
from peak_trade.regimes.states import FilteredRegimes, Regime, SmoothedRegimes
from peak_trade.strategies.base import Strategy


class HalfLong(Strategy):
    """Half long after every close."""

    @property
    def warm_up(self) -> int:
        return 0

    def exposure(self, bars: pd.DataFrame) -> FloatArray:
        return np.full(len(bars), 0.5)


class AlwaysBull(Detector):
    """A bull regime at every bar."""

    @property
    def warm_up(self) -> int:
        return 0

    def filter(self, bars: pd.DataFrame) -> FilteredRegimes:
        labels, probabilities = self._bull(len(bars))
        return FilteredRegimes(index_ns(bars.index), labels, probabilities, 0, self.name)

    def smooth(self, bars: pd.DataFrame) -> SmoothedRegimes:
        labels, probabilities = self._bull(len(bars))
        return SmoothedRegimes(index_ns(bars.index), labels, probabilities, 0, self.name)

    def _bull(self, n_bars: int) -> tuple[np.ndarray, FloatArray]:
        return np.full(n_bars, Regime.BULL, dtype=np.int8), np.tile([0.0, 0.0, 1.0], (n_bars, 1))


def rising(past_returns: FloatArray, max_weight: float) -> FloatArray:
    """Return weights in the ratio 1, 2, 3 …, whatever the returns."""
    raw = np.arange(1.0, past_returns.shape[1] + 1.0)
    weights: FloatArray = raw / raw.sum()
    return weights
