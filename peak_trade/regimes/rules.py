"""Regimes by rule: RSI gives the direction, ATR the unrest. No fit, so it is also what stands in for a failed one."""

from __future__ import annotations

from typing import Annotated

import numpy as np
import pandas as pd
from numba import njit
from numpy.typing import NDArray
from pydantic import Field

from peak_trade.core.settings import BarCount, Positive, Settings
from peak_trade.indicators.means import sma
from peak_trade.indicators.momentum import rsi
from peak_trade.indicators.ranges import atr

Strength = Annotated[float, Field(ge=0.0, le=100.0, allow_inf_nan=False)]


class RuleSettings(Settings):
    """Windows and thresholds of the rules."""

    rsi_window: BarCount = 168
    """Bars of the relative strength index; a week of hours."""

    atr_window: BarCount = 24
    """Bars of the average true range."""

    atr_baseline: BarCount = 720
    """Bars over which the average true range is averaged again, as the measure of what is usual."""

    bull_above: Strength = 52.0
    """RSI at which a bull regime begins; it lasts until RSI falls below 50."""

    bear_below: Strength = 48.0
    """RSI at which a bear regime begins; it lasts until RSI rises above 50."""

    unrest_above: Positive = 2.5
    """ATR over its baseline above which no bull regime is named: sideways instead."""

    @property
    def warm_up(self) -> int:
        """First bars without a rule's answer; they are sideways."""
        return max(self.rsi_window, self.atr_window + self.atr_baseline - 1)


def rule_labels(bars: pd.DataFrame, settings: RuleSettings) -> NDArray[np.int8]:
    """Return a regime for every bar, shape (n_bars,), int8 of `Regime`; sideways where RSI or ATR is not known yet.

    Notes
    -----
    Causal. Constant prices have RSI 50 and are sideways. RSI and ATR as in Wilder (1978).

    """
    high, low, close = (bars[name].to_numpy() for name in ("high", "low", "close"))
    strength = rsi(close, settings.rsi_window)
    relative_range = atr(high, low, close, settings.atr_window) / close
    usual = np.full(len(close), np.nan)
    known = settings.atr_window
    usual[known:] = sma(relative_range[known:], settings.atr_baseline)
    unrest = np.where(usual > 0.0, relative_range / np.where(usual > 0.0, usual, 1.0), 1.0)
    labels: NDArray[np.int8] = _label(strength, unrest, settings.bull_above, settings.bear_below, settings.unrest_above)
    return labels


@njit("int8[::1](float64[::1], float64[::1], float64, float64, float64)", cache=True)
def _label(strength, unrest, bull_above, bear_below, unrest_above):  # type: ignore[no-untyped-def]
    bear, sideways, bull = 0, 1, 2
    labels = np.full(strength.size, sideways, dtype=np.int8)
    state = sideways
    for row in range(strength.size):
        if np.isnan(strength[row]):
            continue
        if strength[row] >= bull_above:
            state = bull
        elif strength[row] <= bear_below:
            state = bear
        elif (state == bull and strength[row] < 50.0) or (state == bear and strength[row] > 50.0):
            state = sideways
        labels[row] = sideways if state == bull and unrest[row] > unrest_above else state
    return labels
