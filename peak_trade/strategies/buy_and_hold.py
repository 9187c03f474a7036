"""Buy and hold: the benchmark of the other strategies."""

from __future__ import annotations

import numpy as np

from peak_trade.core.arrays import FloatArray
from peak_trade.core.bar_frame import BarColumns
from peak_trade.core.compute import Compute
from peak_trade.strategies.incremental import IncrementalStrategy


class BuyAndHold(IncrementalStrategy):
    """Fully long after the first close."""

    @property
    def warm_up(self) -> int:
        """Always 0."""
        return 0

    def evaluate(self, columns: BarColumns, compute: Compute) -> FloatArray:
        """Return 1 at every bar."""
        return np.ones(columns.close.size)
