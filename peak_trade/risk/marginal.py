"""Marginal value at risk: what a little more of each position adds, for each of the four estimators."""

from __future__ import annotations

import math

import numpy as np

from peak_trade.core.arrays import FloatArray
from peak_trade.core.errors import DataError
from peak_trade.core.history import ReturnHistory
from peak_trade.risk.limits import VarMethod
from peak_trade.risk.var import estimate, filtered_returns, ledoit_wolf, normal_tail, portfolio_returns


def marginal_var(
    weights: FloatArray, history: ReturnHistory, method: VarMethod, level: float, ewma_decay: float = 0.94
) -> FloatArray:
    """Return the derivative of the one-day value at risk in each weight.

    Parameters
    ----------
    weights : float64 array of shape (n_symbols,), signed exposures, fractions of equity, in the history's order
    history : ReturnHistory
    method : one of historical, parametric, cornish_fisher, filtered_historical
    level : float, confidence
    ewma_decay : float, of the filtered historical method

    Returns
    -------
    float64 array of shape (n_symbols,), value at risk per unit of weight; negative where more of it would hedge
        Weights times this sum to the value at risk (Euler), since it grows in proportion to the weights.

    Raises
    ------
    DataError
        Where `estimate` does.

    Notes
    -----
    Exact derivatives of `estimate`, with m the mean returns, S the shrunk covariance, d = sqrt(w'Sw), z the normal
    quantile. Parametric: -(m + z S w / d). Cornish-Fisher: -(m + q S w / d + d q'), with q the expanded quantile and q'
    its derivative through skewness and kurtosis. Historical and filtered: minus the returns of the day (or of the two,
    interpolated) on which the quantile lies, so it rests on two days and jumps where another one takes their place.
    Without any movement, minus the mean returns.

    References
    ----------
    Jorion (2007), "Value at Risk", third edition, chapter 7; Boudt, Peterson and Croux (2008), "Estimation and
    decomposition of downside risk for portfolios with non-normal returns"; Hallerbach (2003), "Decomposing portfolio
    value-at-risk: a general analysis", for the tail scenario.

    """
    if method == "historical":
        return _tail_scenario(weights, history.returns, level)
    if method == "filtered_historical":
        return _tail_scenario(weights, filtered_returns(history, ewma_decay), level)
    means = history.returns.mean(axis=1)
    pull = (ledoit_wolf(history) * weights[None, :]).sum(axis=1)
    deviation = math.sqrt(max(float((weights * pull).sum()), 0.0))
    if deviation == 0.0:
        return np.asarray(-means)
    quantile, bend = normal_tail(level)[0], np.zeros_like(means)
    if method == "cornish_fisher":
        estimate(weights, history, method, level)  # refuses what lies outside the expansion's domain
        quantile, bend = _expanded(weights, history, quantile)
    return np.asarray(-(means + quantile * pull / deviation + deviation * bend))


def component_var(weights: FloatArray, history: ReturnHistory, level: float) -> FloatArray:
    """Return what each position adds to the parametric value at risk.

    Returns
    -------
    float64 array of shape (n_symbols,), fractions of equity
        They sum to the parametric value at risk; a negative one is a hedge.

    References
    ----------
    Jorion (2007), "Value at Risk", third edition, equation 7.30.

    """
    return weights * marginal_var(weights, history, "parametric", level)


def _tail_scenario(weights: FloatArray, returns: FloatArray, level: float) -> FloatArray:
    series = portfolio_returns(weights, returns)
    if not math.isfinite(float(series.sum())):
        raise DataError("the returns have days that are not finite; estimate from a complete history.")
    place = (series.size - 1) * (1.0 - level)
    order = np.argsort(series, kind="stable")
    below = int(place)
    lower, upper = returns[:, order[below]], returns[:, order[min(below + 1, series.size - 1)]]
    return np.asarray(-(lower + (place - below) * (upper - lower)))


def _expanded(weights: FloatArray, history: ReturnHistory, z: float) -> tuple[float, FloatArray]:
    """Return the Cornish-Fisher quantile and its derivative in each weight."""
    own = history.returns - history.returns.mean(axis=1, keepdims=True)
    series = portfolio_returns(weights, own)
    spread = float(series.std())
    if spread == 0.0:
        return z, np.zeros(len(weights))
    standard, scaled = series / spread, own / spread
    square = standard * standard
    skewness, kurtosis = float((square * standard).mean()), float((square * square).mean())
    along = (standard * scaled).mean(axis=1)
    skewness_slope = 3.0 * ((square * scaled).mean(axis=1) - skewness * along)
    kurtosis_slope = 4.0 * ((square * standard * scaled).mean(axis=1) - kurtosis * along)
    excess = kurtosis - 3.0
    if excess < 0.0:
        excess, kurtosis_slope = 0.0, np.zeros_like(along)
    first, second, third = (z * z - 1.0) / 6.0, (z**3 - 3.0 * z) / 24.0, (2.0 * z**3 - 5.0 * z) / 36.0
    quantile = z + first * skewness + second * excess - third * skewness * skewness
    slope = first * skewness_slope + second * kurtosis_slope - 2.0 * third * skewness * skewness_slope
    return quantile, slope
