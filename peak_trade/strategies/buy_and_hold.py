"""Buy and hold: the benchmark of the other strategies."""

from __future__ import annotations

import numpy as np
import pandas as pd

from peak_trade.core.arrays import FloatArray
from peak_trade.strategies.base import Strategy


class BuyAndHold(Strategy):
    """Fully long after the first close."""

    @property
    def warm_up(self) -> int:
        """Always 0."""
        return 0

    def exposure(self, bars: pd.DataFrame) -> FloatArray:
        """Return 1 at every bar."""
        return np.ones(len(bars))
