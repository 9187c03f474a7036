"""Cross-sectional momentum: hold the symbols with the largest past returns."""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from peak_trade.core.arrays import FloatArray
from peak_trade.core.settings import BarCount
from peak_trade.strategies.panel import Panel, PanelStrategy, held_since


class CrossSectionalMomentum(PanelStrategy):
    """Long the symbols with the largest returns over `window` bars, in equal parts; short the smallest ones if asked.

    Source of the rule: Jegadeesh and Titman (1993), Returns to Buying Winners and Selling Losers, Journal of Finance
    48(1).
    """

    window: BarCount = 720
    """Number of bars in the return."""

    n_held: Annotated[int, Field(ge=1)] = 1
    """Number of symbols held on each side."""

    every: BarCount = 24
    """The symbols are ranked at one of this many closes, counted from 1970, and held until the next ranking."""

    direction: Literal["long", "both"] = "long"
    """long: the largest returns with an exposure of 1 / n_held each. both: half of that each, and the smallest ones
    short."""

    @property
    def warm_up(self) -> int:
        """Bars before the first return and the first ranking after it."""
        return self.window + self.every

    def exposure(self, panel: Panel) -> FloatArray:
        """Return the exposures of the latest ranking; 0 before the first one.

        Symbols without a return are not ranked. Of equal returns the symbol that comes first by name ranks higher. With
        fewer symbols than asked for, the part of those that are missing stays in cash. A symbol is never on both sides.
        """
        close = panel.close.to_numpy()
        exposure = np.zeros(close.shape)
        due = np.flatnonzero(panel.is_due(self.every))
        due = due[due >= self.window]
        part = 1.0 / self.n_held if self.direction == "long" else 0.5 / self.n_held
        for row in due:
            change = close[row] / close[row - self.window]
            ranked = np.argsort(-change, kind="stable")[: np.count_nonzero(~np.isnan(change))]
            held = np.zeros(change.size)
            if self.direction == "both":
                n_sides = min(self.n_held, ranked.size // 2)
                held[ranked[ranked.size - n_sides :]] = -part
                ranked = ranked[:n_sides]
            held[ranked[: self.n_held]] = part
            exposure[row] = held
        return held_since(exposure, due)
