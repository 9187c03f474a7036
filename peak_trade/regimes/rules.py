"""Regimes by rule: the direction from RSI, the turbulence from ATR. They also replace a fit that failed."""

from __future__ import annotations

from typing import Annotated

import numpy as np
import pandas as pd
from numba import njit
from numpy.typing import NDArray
from pydantic import Field

from peak_trade.core.arrays import FloatArray
from peak_trade.core.bar_frame import index_ns
from peak_trade.core.errors import DataError
from peak_trade.core.settings import BarCount, Positive, Settings
from peak_trade.indicators.means import sma
from peak_trade.indicators.momentum import rsi
from peak_trade.indicators.ranges import atr
from peak_trade.regimes.detector import Detector, certain
from peak_trade.regimes.states import FilteredRegimes, Regime, SmoothedRegimes, with_min_duration

Strength = Annotated[float, Field(ge=0.0, le=100.0, allow_inf_nan=False)]


class RuleSettings(Settings):
    """Windows and thresholds of the rules. Windows are in bars; the defaults suit hourly bars."""

    rsi_window: BarCount = 168
    """Bars of the relative strength index; a week of hourly bars."""

    atr_window: BarCount = 24
    """Bars of the average true range."""

    atr_baseline: BarCount = 720
    """Bars of the mean of the relative average true range, which is its usual level."""

    bull_above: Strength = 52.0
    """RSI at which a bull regime begins; it lasts until RSI falls below 50."""

    bear_below: Strength = 48.0
    """RSI at which a bear regime begins; it lasts until RSI rises above 50."""

    unrest_above: Positive = 2.5
    """ATR over its baseline above which a bull regime is called sideways."""

    @property
    def warm_up(self) -> int:
        """Number of first bars without RSI or ATR; `rule_labels` calls them sideways."""
        return max(self.rsi_window, self.atr_window + self.atr_baseline - 1)


def rule_labels(bars: pd.DataFrame, settings: RuleSettings) -> NDArray[np.int8]:
    """Return the regime of every bar by rule.

    Parameters
    ----------
    bars : DataFrame of shape (n_bars, 5)
        Checked bars of one symbol.
    settings : RuleSettings

    Returns
    -------
    int8 array of shape (n_bars,), values of `Regime`
        SIDEWAYS where RSI or ATR is not known yet.

    Notes
    -----
    Causal: the label of bar t is computed from bars up to t. Constant prices have RSI 50 and are sideways. RSI and ATR
    are Wilder's (1978), the ATR relative to the close.

    """
    high, low, close = (bars[name].to_numpy() for name in ("high", "low", "close"))
    strength = rsi(close, settings.rsi_window)
    relative_range = atr(high, low, close, settings.atr_window) / close
    usual = np.full(len(close), np.nan)
    known = settings.atr_window
    usual[known:] = sma(relative_range[known:], settings.atr_baseline)
    turbulence = np.where(usual > 0.0, relative_range / np.where(usual > 0.0, usual, 1.0), 1.0)
    labels: NDArray[np.int8] = _label(
        strength, turbulence, settings.bull_above, settings.bear_below, settings.unrest_above
    )
    return labels


class RulesDetector(Detector):
    """Regimes by `rule_labels`, without a model."""

    rules: RuleSettings = RuleSettings()
    """Windows and thresholds."""

    @property
    def warm_up(self) -> int:
        """Number of first bars without RSI or ATR."""
        return self.rules.warm_up

    def filter(self, bars: pd.DataFrame) -> FilteredRegimes:
        """Label every bar by rule; DataError when there are no more bars than the warm-up."""
        labels, probabilities = self._label(bars)
        return FilteredRegimes(index_ns(bars.index), labels, probabilities, self.warm_up, self.name)

    def smooth(self, bars: pd.DataFrame) -> SmoothedRegimes:
        """Return the labels of `filter`, because the rules do not use later bars."""
        labels, probabilities = self._label(bars)
        return SmoothedRegimes(index_ns(bars.index), labels, probabilities, self.warm_up, self.name)

    def _label(self, bars: pd.DataFrame) -> tuple[NDArray[np.int8], FloatArray]:
        if len(bars) <= self.warm_up:
            raise DataError(
                f"{len(bars)} bars are too few for the rules detector: RSI and ATR need {self.warm_up + 1}. "
                "Give more bars, or lower the windows of the rules."
            )
        labels = rule_labels(bars, self.rules)
        probabilities = certain(labels)
        labels[: self.warm_up] = Regime.UNKNOWN
        probabilities[: self.warm_up] = np.nan
        return with_min_duration(labels, self.min_duration), probabilities


@njit("int8[::1](float64[::1], float64[::1], float64, float64, float64)", cache=True)
def _label(
    strength: FloatArray, turbulence: FloatArray, bull_above: float, bear_below: float, turbulence_above: float
) -> NDArray[np.int8]:
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
        labels[row] = sideways if state == bull and turbulence[row] > turbulence_above else state
    return labels
