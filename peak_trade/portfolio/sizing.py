"""Sizing: the notional of a target exposure, from past bars only.

The scale of a rule is unknown, NaN, until its window is full, and where the returns of its window do not vary: constant
prices say nothing about risk. A target waits until the scale is known.
"""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from peak_trade.core.arrays import FloatArray
from peak_trade.core.bar_frame import BarColumns
from peak_trade.core.calendar import trailing_per_year
from peak_trade.core.compute import Compute, compute
from peak_trade.core.settings import Fraction, Notional, Positive, Settings

LEAST_VOLATILITY = 1e-8
"""Returns with a smaller standard deviation, per bar, count as constant: it can come from the rounding of prices."""

Window = Annotated[int, Field(ge=2)]


class FractionOfEquity(Settings):
    """Notional = target x fraction x equity."""

    kind: Literal["fraction_of_equity"] = "fraction_of_equity"
    fraction: Annotated[float, Field(gt=0.0, le=1.0)] = 1.0
    """Fraction of equity that a target of 1 invests."""

    def scale(self, columns: BarColumns, bars_per_year: float, compute: Compute = compute) -> FloatArray:
        """Return multipliers of equity, shape (n_bars,)."""
        return np.full(columns.close.size, self.fraction)


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
    """Window of the realised volatility, bars; it is annualised by the time that the window spans."""

    max_scale: Positive = 1.0
    """Largest multiplier of equity, at most the instrument's `max_leverage`; above 1 it counts for targets below 1."""

    def scale(self, columns: BarColumns, bars_per_year: float, compute: Compute = compute) -> FloatArray:
        """Return multipliers of equity, shape (n_bars,); NaN if unknown."""
        _, deviation = _past_moments(columns.close, self.window, compute)
        per_year = compute(trailing_per_year, columns.times, bars_per_year, self.window)
        return np.minimum(self.annual_volatility / (deviation * np.sqrt(per_year)), self.max_scale)


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
    """Largest multiplier of equity, at most the instrument's `max_leverage`; above 1 it counts for targets below 1."""

    def scale(self, columns: BarColumns, bars_per_year: float, compute: Compute = compute) -> FloatArray:
        """Return multipliers of equity, shape (n_bars,); 0 unless the mean is positive, NaN if unknown."""
        mean, deviation = _past_moments(columns.close, self.window, compute)
        return np.clip(self.fraction * mean / deviation**2, 0.0, self.max_scale)


class FixedRisk(Settings):
    """Notional = target x equity x risk / stop distance: a stopped trade loses `risk` of equity before costs.

    The stop is the nearest one of the execution policy: stop_loss, stop_loss_atr or trailing_stop.
    """

    kind: Literal["fixed_risk"] = "fixed_risk"
    risk: Annotated[float, Field(gt=0.0, le=0.2)] = 0.01
    """Fraction of equity that one stopped trade may lose."""

    stop_distance: Annotated[float, Field(gt=0.0, lt=1.0)] | None = None
    """Not needed; run files of earlier versions state it. It must equal execution.stop_loss."""

    max_scale: Positive = 1.0
    """Largest multiplier of equity, at most the instrument's `max_leverage`; above 1 it counts for targets below 1."""

    def scale_for(self, stop_distance: FloatArray) -> FloatArray:
        """Return multipliers of equity from the distances of the stop (fraction of the price), both of shape (n_bars,).

        NaN where the distance is NaN or 0, as the average true range of constant prices is.
        """
        known = np.where(stop_distance > 0.0, stop_distance, np.nan)
        return np.minimum(self.risk / known, self.max_scale)


Sizing = Annotated[
    FractionOfEquity | FixedNotional | VolatilityTarget | FractionalKelly | FixedRisk, Field(discriminator="kind")
]


def _past_moments(close: FloatArray, window: int, compute: Compute) -> tuple[FloatArray, FloatArray]:
    from peak_trade.indicators.dispersion import rolling_std  # loads numba
    from peak_trade.indicators.means import sma
    from peak_trade.indicators.momentum import rate_of_change

    returns = compute(rate_of_change, close, 1)
    to_sample = np.sqrt(window / (window - 1.0))
    mean, deviation = compute(sma, returns, window), to_sample * compute(rolling_std, returns, window)
    return mean, np.where(deviation >= LEAST_VOLATILITY, deviation, np.nan)
