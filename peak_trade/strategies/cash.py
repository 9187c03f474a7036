"""Cash: the return without any position."""

from __future__ import annotations

import numpy as np

from peak_trade.core.arrays import FloatArray
from peak_trade.core.bar_frame import BarColumns
from peak_trade.core.compute import Compute
from peak_trade.strategies.incremental import IncrementalStrategy


class Cash(IncrementalStrategy):
    """Flat at every bar."""

    @property
    def warm_up(self) -> int:
        """Always 0."""
        return 0

    def evaluate(self, columns: BarColumns, compute: Compute) -> FloatArray:
        """Return 0 at every bar."""
        return np.zeros(columns.close.size)
