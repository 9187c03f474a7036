"""Cash: the return without any position."""

from __future__ import annotations

import numpy as np
import pandas as pd

from peak_trade.core.arrays import FloatArray
from peak_trade.strategies.base import Strategy


class Cash(Strategy):
    """Flat at every bar."""

    @property
    def warm_up(self) -> int:
        """Always 0."""
        return 0

    def exposure(self, bars: pd.DataFrame) -> FloatArray:
        """Return 0 at every bar."""
        return np.zeros(len(bars))
