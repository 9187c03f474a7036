"""Backtest of expected shortfall: the second test of Acerbi and Székely, with critical values of the model's own."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from peak_trade.core.arrays import FloatArray
from peak_trade.core.errors import DataError
from peak_trade.core.history import ReturnHistory
from peak_trade.risk.limits import EWMA_DECAY, VarMethod
from peak_trade.risk.var import filtered_returns, portfolio_moments, portfolio_returns


@dataclass(frozen=True, slots=True)
class ShortfallTest:
    """The statistic Z2, its critical value and its p-value, and the number of days.

    Z2 is 0 in the mean if the model is right, and negative if losses beyond the VaR are larger or more frequent than
    stated: -1 is twice the stated shortfall. The test is one-sided: it rejects if Z2 is below the critical value.
    """

    statistic: float
    critical_value: float
    p_value: float
    n_days: int


def z2(
    returns: FloatArray, value_at_risk: FloatArray, expected_shortfall: FloatArray, level: float
) -> FloatArray | np.float64:
    """Return 1 - mean(loss beyond the VaR / expected shortfall) / (1 - level), over the last axis.

    Parameters
    ----------
    returns : float64 array of shape (..., n_days), fractions
    value_at_risk, expected_shortfall : float64 arrays of shape (n_days,), stated the day before; positive is a loss
    level : float, confidence

    References
    ----------
    Acerbi and Székely (2014), "Backtesting expected shortfall", Risk, December 2014, test 2.

    """
    beyond = np.where(-returns > value_at_risk, -returns, 0.0)
    mean: FloatArray | np.float64 = 1.0 - (beyond / expected_shortfall).mean(axis=-1) / (1.0 - level)
    return mean


def acerbi_szekely(
    returns: FloatArray,
    value_at_risk: FloatArray,
    expected_shortfall: FloatArray,
    simulated: FloatArray,
    level: float,
    size: float = 0.05,
) -> ShortfallTest:
    """Test the stated expected shortfall, frequency and magnitude of the losses beyond the VaR together.

    Parameters
    ----------
    returns : float64 array of shape (n_days,), fractions
    value_at_risk, expected_shortfall : float64 arrays of shape (n_days,), stated the day before; positive is a loss
    simulated : float64 array of shape (n_paths, n_days)
        Returns drawn from the model's forecast distribution of each day; see `forecast_quantiles`.
    level : float, confidence of both
    size : float, probability that the test rejects a correct model

    Raises
    ------
    DataError
        If the shapes differ, there is no day or no path, a value is not finite, or an expected shortfall is not above
        zero.

    References
    ----------
    Acerbi and Székely (2014), "Backtesting expected shortfall", Risk, December 2014, test 2; the p-value counts the
    observed path among the simulated ones (Davison and Hinkley 1997, "Bootstrap methods", equation 4.11).

    """
    shapes = {returns.shape, value_at_risk.shape, expected_shortfall.shape, simulated.shape[1:]}
    if len(shapes) != 1 or simulated.size == 0:
        raise DataError(
            f"returns, VaR, shortfall and {len(simulated)} simulated paths have shapes {shapes}; give one value "
            "per day and at least one path."
        )
    if not all(np.isfinite(each).all() for each in (returns, value_at_risk, expected_shortfall, simulated)):
        raise DataError("a return, VaR or expected shortfall is not finite; leave days without an estimate out.")
    if not (expected_shortfall > 0.0).all():
        raise DataError("an expected shortfall is not above zero; leave days without a position out.")
    observed = float(z2(returns, value_at_risk, expected_shortfall, level))
    drawn = np.sort(np.atleast_1d(z2(simulated, value_at_risk, expected_shortfall, level)))
    n_worse = int(np.searchsorted(drawn, observed, side="right"))
    critical = float(np.quantile(drawn, size))
    return ShortfallTest(observed, critical, (1 + n_worse) / (1 + drawn.size), returns.size)


def forecast_quantiles(
    weights: FloatArray,
    history: ReturnHistory,
    method: VarMethod,
    probabilities: FloatArray,
    ewma_decay: float = EWMA_DECAY,
) -> FloatArray:
    """Return quantiles of the distribution that a method forecasts for the portfolio's return on the next day.

    Uniform probabilities give draws from that distribution.

    Parameters
    ----------
    weights : float64 array of shape (n_symbols,), signed exposures, fractions of equity, in the history's order
    history : ReturnHistory
    method : one of historical, parametric, cornish_fisher, filtered_historical
    probabilities : float64 array of shape (n,), from 0 to below 1
    ewma_decay : float, of the filtered historical method

    Returns
    -------
    float64 array of shape (n,), fractions
        The historical methods return one of their days (the inverse of the empirical distribution function).

    Notes
    -----
    Causal: only days of the history are read. The Cornish-Fisher expansion is not checked for its domain here.

    """
    if method in ("historical", "filtered_historical"):
        returns = history.returns if method == "historical" else filtered_returns(history, ewma_decay)
        days: FloatArray = np.sort(portfolio_returns(weights, returns))
        return days[(probabilities * days.size).astype(np.int64)]
    from scipy.special import ndtri

    mean, deviation, s, k = portfolio_moments(weights, history)
    z = ndtri(probabilities)
    if method == "cornish_fisher":
        z = z + (z * z - 1.0) * s / 6.0 + (z**3 - 3.0 * z) * k / 24.0 - (2.0 * z**3 - 5.0 * z) * s * s / 36.0
    return np.asarray(mean + deviation * z)
