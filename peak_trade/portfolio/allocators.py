"""Allocators: long-only weights of sleeves, estimated from their past returns.

An allocator takes the past returns of the sleeves and the largest weight of one sleeve:

past_returns : float64 array of shape (n_bars, n_sleeves), simple returns per bar, finite, no column constant; at
    least two columns
max_weight : float, a fraction; n_sleeves times it is above 1

It returns a float64 array of shape (n_sleeves,): fractions, not negative, at most `max_weight`, with sum 1. Weights do
not depend on the scale of the returns, up to the tolerance of the optimiser (1e-6).
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from peak_trade.core.arrays import FloatArray
from peak_trade.core.errors import DataError


def inverse_volatility(past_returns: FloatArray, max_weight: float) -> FloatArray:
    """Return weights proportional to 1 / standard deviation (n - 1 in the denominator), capped."""
    raw = 1.0 / past_returns.std(axis=0, ddof=1)
    weights: FloatArray = raw / raw.sum()
    at_cap = np.zeros(raw.size, dtype=bool)
    while (weights > max_weight).any():
        at_cap |= weights >= max_weight
        left = 1.0 - max_weight * at_cap.sum()
        weights = np.where(at_cap, max_weight, raw * left / raw[~at_cap].sum())
    return weights


def risk_parity(past_returns: FloatArray, max_weight: float) -> FloatArray:
    """Return weights whose contributions to the variance are equal, by skfolio.

    Raises
    ------
    DataError
        If the optimiser finds no weights.

    References
    ----------
    Maillard, Roncalli and Teiletche (2010), "The properties of equally weighted risk contribution portfolios".

    """
    from skfolio.optimization import RiskBudgeting

    return _optimised("risk_parity", RiskBudgeting(max_weights=max_weight), past_returns, max_weight)


def minimum_variance(past_returns: FloatArray, max_weight: float) -> FloatArray:
    """Return the weights of minimum variance, by skfolio; DataError if the optimiser finds none."""
    from skfolio.optimization import MeanRisk, ObjectiveFunction

    model = MeanRisk(objective_function=ObjectiveFunction.MINIMIZE_RISK, max_weights=max_weight)
    return _optimised("minimum_variance", model, past_returns, max_weight)


def _optimised(method: str, model: Any, past_returns: FloatArray, cap: float) -> FloatArray:
    from skfolio.exceptions import SkfolioError

    past = past_returns / past_returns.std(axis=0, ddof=1).mean()
    try:
        with warnings.catch_warnings():
            # skfolio clips the eigenvalues of singular covariances: more sleeves than bars, or two equal sleeves.
            warnings.filterwarnings("ignore", message="The covariance matrix is not positive definite")
            raw: FloatArray = np.clip(np.asarray(model.fit(past).weights_, dtype=np.float64), 0.0, cap)
    except (ValueError, ArithmeticError, SkfolioError) as error:
        raise DataError(
            f"{method} of {past.shape[1]} sleeves found no weights from {past.shape[0]} past bars ({error}). "
            "Lengthen allocation.window, or use inverse_volatility."
        ) from None
    weights: FloatArray = raw / raw.sum()
    return weights
