"""Sizing: the notional of a target exposure, from past bars only."""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
import pandas as pd
from pydantic import Field

from peak_trade.core.arrays import FloatArray
from peak_trade.core.settings import Fraction, Notional, Positive, Settings
from peak_trade.indicators.dispersion import rolling_std
from peak_trade.indicators.means import sma

Window = Annotated[int, Field(ge=2)]


class FractionOfEquity(Settings):
    """Notional = target x fraction x equity."""

    kind: Literal["fraction_of_equity"] = "fraction_of_equity"
    fraction: Annotated[float, Field(gt=0.0, le=1.0)] = 1.0
    """Fraction of equity that a target of 1 invests."""

    def scale(self, bars: pd.DataFrame, bars_per_year: float) -> FloatArray:
        """Return multipliers of equity, shape (n_bars,)."""
        return np.full(len(bars), self.fraction)


class FixedNotional(Settings):
    """Notional = target x a fixed amount of quote currency, independent of equity."""

    kind: Literal["fixed_notional"] = "fixed_notional"
    notional: Notional
    """Amount that a target of 1 invests, in quote currency."""


class VolatilityTarget(Settings):
    """Notional = target x equity x (target volatility / realised volatility), capped."""

    kind: Literal["volatility_target"] = "volatility_target"
    annual_volatility: Positive = 0.2
    """Target volatility, per year of 365 days."""

    window: Window = 100
    """Window of the realised volatility, bars."""

    max_scale: Positive = 1.0
    """Largest multiplier of equity."""

    def scale(self, bars: pd.DataFrame, bars_per_year: float) -> FloatArray:
        """Return multipliers of equity, shape (n_bars,); 0 until the window is full."""
        _, deviation = _past_moments(bars, self.window)
        with np.errstate(divide="ignore", invalid="ignore"):
            wanted = self.annual_volatility / (deviation * np.sqrt(bars_per_year))
        return _capped(wanted, self.max_scale)


class FractionalKelly(Settings):
    """Notional = target x equity x fraction x mean / variance of past returns, never negative, capped.

    Kelly (1956) in the Gaussian form f = mu / sigma^2 of Thorp (2006, eq. 7.3), with no riskless return.
    """

    kind: Literal["fractional_kelly"] = "fractional_kelly"
    fraction: Fraction = 0.25
    """Fraction of the full Kelly bet."""

    window: Window = 500
    """Window of mean and variance, bars."""

    max_scale: Positive = 1.0
    """Largest multiplier of equity."""

    def scale(self, bars: pd.DataFrame, bars_per_year: float) -> FloatArray:
        """Return multipliers of equity, shape (n_bars,); 0 until the window is full or without a positive mean."""
        mean, deviation = _past_moments(bars, self.window)
        with np.errstate(divide="ignore", invalid="ignore"):
            wanted = self.fraction * mean / deviation**2
        return _capped(wanted, self.max_scale)


class FixedRisk(Settings):
    """Notional = target x equity x risk / stop distance: a stopped trade loses `risk` of equity before costs."""

    kind: Literal["fixed_risk"] = "fixed_risk"
    risk: Annotated[float, Field(gt=0.0, le=0.2)] = 0.01
    """Fraction of equity that one stopped trade may lose."""

    stop_distance: Annotated[float, Field(gt=0.0, lt=1.0)]
    """Distance of the stop as a fraction of the entry price; use the same stop_loss in the execution policy."""

    max_scale: Positive = 1.0
    """Largest multiplier of equity."""

    def scale(self, bars: pd.DataFrame, bars_per_year: float) -> FloatArray:
        """Return multipliers of equity, shape (n_bars,)."""
        return np.full(len(bars), min(self.risk / self.stop_distance, self.max_scale))


Sizing = Annotated[
    FractionOfEquity | FixedNotional | VolatilityTarget | FractionalKelly | FixedRisk, Field(discriminator="kind")
]


def _past_moments(bars: pd.DataFrame, window: int) -> tuple[FloatArray, FloatArray]:
    close = bars["close"].to_numpy()
    mean, deviation = np.full(close.size, np.nan), np.full(close.size, np.nan)
    returns = close[1:] / close[:-1] - 1.0
    to_sample = np.sqrt(window / (window - 1.0))
    mean[1:], deviation[1:] = sma(returns, window), to_sample * rolling_std(returns, window)
    return mean, deviation


def _capped(wanted: FloatArray, cap: float) -> FloatArray:
    return np.where(np.isfinite(wanted), np.clip(wanted, 0.0, cap), np.where(wanted == np.inf, cap, 0.0))
