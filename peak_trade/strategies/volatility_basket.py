"""Volatility-scaled basket: hold all symbols, each with a part that is inverse to its volatility."""

from __future__ import annotations

from typing import Annotated

import numpy as np
from pydantic import Field

from peak_trade.core.arrays import FloatArray
from peak_trade.core.settings import BarCount, Positive
from peak_trade.strategies.panel import Panel, PanelStrategy, held_since


class VolatilityBasket(PanelStrategy):
    """Long every symbol with exposure `annual_volatility` / (n × its volatility), scaled down to a sum of at most 1.

    The volatility is the standard deviation of the logarithmic returns over `window` bars, per year of 365 days. Source
    of the scaling: Moskowitz, Ooi and Pedersen (2012), Time Series Momentum, Journal of Financial Economics 104(2),
    equation 1 with equal weights of past returns.
    """

    window: Annotated[int, Field(ge=20)] = 720
    """Number of bars in the volatility."""

    annual_volatility: Positive = 0.4
    """Volatility of the basket per year if its symbols moved as one; diversification makes it smaller."""

    every: BarCount = 24
    """The exposures are set at one of this many closes, counted from 1970, and held until the next."""

    @property
    def warm_up(self) -> int:
        """Bars before the first volatility and the first setting after it."""
        return self.window + self.every

    def exposure(self, panel: Panel) -> FloatArray:
        """Return the exposures of the latest setting; 0 for a symbol whose volatility is not known, or is 0.

        n is the number of symbols with a volatility. A volatility is known where a symbol has a bar at every close of
        the window.
        """
        close = panel.close.to_numpy()
        returns = np.diff(np.log(close), axis=0, prepend=np.nan)
        due = np.flatnonzero(panel.is_due(self.every))
        due = due[due >= self.window]
        exposure = np.zeros(close.shape)
        per_year = panel.timeframe.bars_per_year
        for row in due:
            volatility = returns[row + 1 - self.window : row + 1].std(axis=0, ddof=1) * np.sqrt(per_year)
            is_known = volatility > 0.0
            wanted = np.zeros(volatility.size)
            wanted[is_known] = self.annual_volatility / (is_known.sum() * volatility[is_known])
            exposure[row] = wanted / max(wanted.sum(), 1.0)
        return held_since(exposure, due)
