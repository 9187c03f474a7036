"""One-day value at risk, expected shortfall and marginal value at risk of a portfolio, by four estimators."""

from __future__ import annotations

import math
from functools import lru_cache
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
from numba import float64, njit, types

from peak_trade.core.arrays import FloatArray
from peak_trade.core.errors import DataError
from peak_trade.core.history import ReturnHistory
from peak_trade.risk.limits import EWMA_DECAY, VarMethod

SEED_DAYS = 20
"""Days whose mean square is the initial value of the volatility recursion."""
_TAIL_START = -3.5
_LARGE_WEIGHT = 1e9
"""Weight from which the product with a return may not be finite."""
_READ_ONLY = types.Array(float64, 2, "C", readonly=True)


def portfolio_returns(weights: FloatArray, returns: FloatArray) -> FloatArray:
    """Return the return of a portfolio with constant weights on every day of the history.

    Parameters
    ----------
    weights : float64 array of shape (n_symbols,), signed exposures, fractions of equity
    returns : float64 array of shape (n_symbols, n_days), fractions

    Returns
    -------
    float64 array of shape (n_days,), fractions of equity

    Notes
    -----
    The sum is computed symbol by symbol, so it does not depend on a linear algebra library.

    """
    total = np.zeros(returns.shape[1])
    for weight, own in zip(weights.tolist(), returns, strict=True):
        total += weight * own
    return total


def historical(returns: FloatArray, level: float) -> tuple[float, float]:
    """Return value at risk and expected shortfall of the empirical distribution.

    Parameters
    ----------
    returns : float64 array of shape (n_days,), fractions
    level : float, confidence, 0.95 for one day in twenty

    Returns
    -------
    (float, float), fractions; positive is a loss
        The quantile interpolates linearly between order statistics (type 7). The shortfall is the mean of the worst
        `(1 - level) * n` days, of which the last one counts in part.

    Raises
    ------
    DataError
        If the return of a day is not finite.

    References
    ----------
    Hyndman and Fan (1996), type 7; Acerbi and Tasche (2002), "On the coherence of expected shortfall", equation 11.

    """
    _check_finite(returns)
    quantile = _quantile_of(returns.size, level)
    return _of_worst(_worst_days(returns, quantile.keep + 1), quantile)


def _worst_days(returns: FloatArray, n_days: int) -> FloatArray:
    """Return the returns of the worst days, sorted from the worst one on, shape (n_days,)."""
    worst = returns.copy()
    if n_days < returns.size:
        worst.partition(n_days - 1)
        worst = worst[:n_days]
    worst.sort()
    return worst


def _of_worst(worst: FloatArray, quantile: _Quantile) -> tuple[float, float]:
    """Return value at risk and expected shortfall from the worst days, sorted."""
    n_whole = quantile.n_whole
    lower, upper = float(worst[quantile.below]), float(worst[quantile.above])
    shortfall = float(np.add.reduce(worst[:n_whole])) + (
        quantile.rest * float(worst[n_whole]) if quantile.rest > 0.0 else 0.0
    )
    return -(lower + quantile.share * (upper - lower)), -shortfall / quantile.n_worst


class _Quantile(NamedTuple):
    """Where a quantile and its tail lie among sorted days: places, whole days, and shares of a day.

    The quantile lies between the days `below` and `above`, `share` of the way. The tail has `n_worst` days: `n_whole`
    and the fraction `rest` of one more. `keep` is the last place that is read.
    """

    below: int
    above: int
    share: float
    n_worst: float
    n_whole: int
    rest: float
    keep: int


@lru_cache(maxsize=256)
def _quantile_of(n_days: int, level: float) -> _Quantile:
    tail = 1.0 - level
    place = (n_days - 1) * tail
    below = int(place)
    n_worst = tail * n_days
    n_whole = int(n_worst + 1e-9)
    rest = max(n_worst - n_whole, 0.0)
    keep = min(max(below + 1, n_whole), n_days - 1)
    above = min(below + 1, n_days - 1)
    return _Quantile(below, above, place - below, n_worst, n_whole, rest if rest > 1e-9 else 0.0, keep)


def normal(mean: float, deviation: float, level: float) -> tuple[float, float]:
    """Return value at risk and expected shortfall of a normal distribution; fractions, positive is a loss.

    References
    ----------
    McNeil, Frey and Embrechts (2015), "Quantitative Risk Management", equations 2.19 and 2.27.

    """
    z, density = normal_tail(level)
    return -(mean + deviation * z), deviation * density / (1.0 - level) - mean


def cornish_fisher(
    mean: float, deviation: float, skewness: float, excess_kurtosis: float, level: float
) -> tuple[float, float]:
    """Return value at risk and expected shortfall of the Cornish-Fisher expansion; positive is a loss.

    Parameters
    ----------
    mean, deviation : float, fractions a day
    skewness, excess_kurtosis : float
        Third standardised moment, and fourth standardised moment − 3.
    level : float, confidence

    Raises
    ------
    DataError
        If the expansion is not a distribution: its quantiles do not increase with the probability everywhere between
        3.5 standard deviations below the mean and the level.

    References
    ----------
    Maillard (2012), "A user's guide to the Cornish Fisher expansion", equations 7 and 15; Boudt, Peterson and Croux
    (2008), "Estimation and decomposition of downside risk for portfolios with non-normal returns".

    """
    s, k = skewness, excess_kurtosis
    z, density = normal_tail(level)
    if not _rises_in_tail(s, k, z):
        raise DataError(
            f"skewness {s:.2f} and excess kurtosis {k:.2f} lie outside the Cornish-Fisher domain. "
            "Use the historical method."
        )
    quantile = z + (z * z - 1.0) * s / 6.0 + (z**3 - 3.0 * z) * k / 24.0 - (2.0 * z**3 - 5.0 * z) * s * s / 36.0
    tail = 1.0 - level
    first, second, third = -density, tail - z * density, -(z * z + 2.0) * density
    mean_below = (
        first
        + (second - tail) * s / 6.0
        + (third - 3.0 * first) * k / 24.0
        - (2.0 * third - 5.0 * first) * s * s / 36.0
    )
    return -(mean + deviation * quantile), -(mean + deviation * mean_below / tail)


@lru_cache(maxsize=64)
def ledoit_wolf(history: ReturnHistory) -> FloatArray:
    """Return the covariance of daily returns, shrunk towards a multiple of the identity, shape (n_symbols, n_symbols).

    References
    ----------
    Ledoit and Wolf (2004), "A well-conditioned estimator for large-dimensional covariance matrices", theorem 3.4.

    """
    centred = history.returns - history.returns.mean(axis=1, keepdims=True)
    n_symbols, n_days = centred.shape
    sample = (centred[:, None, :] * centred[None, :, :]).sum(axis=2) / n_days
    mean_variance = float(np.trace(sample)) / n_symbols
    distance = float(((sample - mean_variance * np.eye(n_symbols)) ** 2).sum())
    noise = float(((centred**2).sum(axis=0) ** 2).sum()) / n_days - float((sample**2).sum())
    shrinkage = min(max(noise / n_days, 0.0) / distance, 1.0) if distance > 0.0 else 0.0
    shrunk: FloatArray = (1.0 - shrinkage) * sample
    shrunk[np.diag_indices(n_symbols)] += shrinkage * mean_variance
    shrunk.flags.writeable = False
    return shrunk


@lru_cache(maxsize=64)
def filtered_returns(history: ReturnHistory, decay: float) -> FloatArray:
    """Return every day's returns, scaled from the volatility of that day to the volatility after the last day.

    Returns
    -------
    float64 array of shape (n_symbols, n_days), fractions; each symbol is scaled by its own EWMA volatility

    Raises
    ------
    DataError
        If a symbol did not move in the first days of the recursion, or the return of a day is not finite.

    References
    ----------
    Hull and White (1998), "Incorporating volatility updating into the historical simulation method for value at risk";
    RiskMetrics (1996) for the recursion.

    """
    returns = history.returns
    _check_finite(returns)
    seeds = (returns[:, :SEED_DAYS] ** 2).mean(axis=1)
    unmoved = [symbol for symbol, seed in zip(history.symbols, seeds, strict=True) if not seed > 0.0]
    if unmoved:
        raise DataError(
            f"{unmoved[0]} did not move in the first {SEED_DAYS} days of {history!r}. Use the historical method."
        )
    variance = ewma_variance(returns, seeds, decay)
    scaled: FloatArray = returns * np.sqrt(variance[:, -1:] / variance[:, :-1])
    scaled.flags.writeable = False
    return scaled


@njit(float64[:, ::1](_READ_ONLY, float64[::1], float64), cache=True)
def ewma_variance(returns: FloatArray, seeds: FloatArray, decay: float) -> FloatArray:
    """Return the EWMA variance before every day and after the last one, shape (n_symbols, n_days + 1).

    The first column is `seeds`, fractions squared. Causal: column t is computed from the days before t.

    References
    ----------
    RiskMetrics (1996), "Technical document", section 5.2.

    """
    variance = np.empty((returns.shape[0], returns.shape[1] + 1))
    for row in range(returns.shape[0]):
        variance[row, 0] = seeds[row]
        for day in range(returns.shape[1]):
            own = returns[row, day]
            variance[row, day + 1] = decay * variance[row, day] + (1.0 - decay) * (own * own)
    return variance


def estimate(
    weights: FloatArray, history: ReturnHistory, method: VarMethod, level: float, ewma_decay: float = EWMA_DECAY
) -> tuple[float, float]:
    """Return one-day value at risk and expected shortfall of a portfolio.

    Parameters
    ----------
    weights : float64 array of shape (n_symbols,), signed exposures, fractions of equity, in the history's order
    history : ReturnHistory
    method : one of historical, parametric, cornish_fisher, filtered_historical
    level : float, confidence
    ewma_decay : float, of the filtered historical method

    Returns
    -------
    (float, float), fractions of equity; positive is a loss

    Notes
    -----
    Causal: only days of the history are read. Homogeneous: k times the weights give k times both values. The
    Cornish-Fisher method treats tails thinner than normal as normal.

    """
    if method == "historical" or method == "filtered_historical":
        if weights.size == 1 and 0.0 < abs(weights[0]) < _LARGE_WEIGHT:
            long, short = _tails_of_one(history, method, level, ewma_decay)
            worst = portfolio_returns(weights, long if weights[0] > 0.0 else short)
            return _of_worst(worst, _quantile_of(history.n_days, level))
        returns = history.returns if method == "historical" else filtered_returns(history, ewma_decay)
        return historical(portfolio_returns(weights, returns), level)
    mean, deviation, skewness, excess_kurtosis = portfolio_moments(weights, history)
    if method == "parametric" or skewness == excess_kurtosis == 0.0:
        return normal(mean, deviation, level)
    return cornish_fisher(mean, deviation, skewness, excess_kurtosis, level)


@lru_cache(maxsize=64)
def _tails_of_one(
    history: ReturnHistory, method: VarMethod, level: float, ewma_decay: float
) -> tuple[FloatArray, FloatArray]:
    """Return the returns of the only symbol on the worst days of a long and of a short position, the worst first.

    Both have shape (1, n_days).
    """
    (returns,) = history.returns if method == "historical" else filtered_returns(history, ewma_decay)
    _check_finite(returns)
    n_days = _quantile_of(returns.size, level).keep + 1
    return _worst_days(returns, n_days)[None, :], -_worst_days(-returns, n_days)[None, :]


def tail_estimates(
    weights: FloatArray,
    returns: FloatArray,
    method: VarMethod,
    levels: tuple[float, ...],
    ewma_decay: float = EWMA_DECAY,
) -> FloatArray:
    """Return the estimates of a method that simulates the past, for several pairs of weights and past days at once.

    Parameters
    ----------
    weights : float64 array of shape (n_pairs, n_symbols), signed exposures, fractions of equity
    returns : float64 array of shape (n_pairs, n_symbols, n_days), fractions
    method : historical or filtered_historical
    levels : tuple of float, confidences
    ewma_decay : float, of the filtered historical method

    Returns
    -------
    float64 array of shape (n_levels, 2, n_pairs)
        Value at risk and expected shortfall as `estimate` returns them, bit for bit; NaN where it raises DataError.

    """
    n_pairs, n_symbols, n_days = returns.shape
    found = np.full((len(levels), 2, n_pairs), np.nan)
    is_usable = np.isfinite(returns).all(axis=(1, 2))
    if method == "filtered_historical":
        seeds = (returns[:, :, :SEED_DAYS] ** 2).mean(axis=2)
        is_usable &= (seeds > 0.0).all(axis=1)
        seeds = seeds[is_usable]
    used, held = returns[is_usable], weights[is_usable]
    if not len(used):
        return found
    if method == "filtered_historical":
        rows = used.reshape(-1, n_days)
        variance = ewma_variance(rows, seeds.reshape(-1), ewma_decay)
        used = (rows * np.sqrt(variance[:, -1:] / variance[:, :-1])).reshape(used.shape)
    series = np.zeros((len(used), n_days))
    for place in range(n_symbols):
        series += held[:, place, None] * used[:, place]
    quantiles = [_quantile_of(n_days, level) for level in levels]
    keep = max(quantile.keep for quantile in quantiles)
    worst = np.partition(series, keep, axis=1)[:, : keep + 1]
    worst.sort(axis=1)
    for row, quantile in enumerate(quantiles):
        lower, upper = worst[:, quantile.below], worst[:, quantile.above]
        found[row, 0, is_usable] = -(lower + quantile.share * (upper - lower))
        shortfall = worst[:, : quantile.n_whole].sum(axis=1)
        if quantile.rest > 0.0:
            shortfall = shortfall + quantile.rest * worst[:, quantile.n_whole]
        found[row, 1, is_usable] = -shortfall / quantile.n_worst
    found[:, :, np.flatnonzero(is_usable)[~np.isfinite(series.sum(axis=1))]] = np.nan
    return found


def portfolio_moments(weights: FloatArray, history: ReturnHistory) -> tuple[float, float, float, float]:
    """Return mean, deviation under the shrunk covariance, skewness and excess kurtosis of the portfolio's daily return.

    The excess kurtosis is at least zero; skewness and excess kurtosis of a constant return are zero.
    """
    deviation = math.sqrt(max(float(portfolio_variance(weights, history)), 0.0))
    series = portfolio_returns(weights, history.returns)
    mean, spread = float(series.mean()), float(series.std())
    if spread == 0.0:
        return mean, deviation, 0.0, 0.0
    standard = (series - mean) / spread
    square = standard * standard
    excess_kurtosis = max(float((square * square).mean()) - 3.0, 0.0)
    return mean, deviation, float((square * standard).mean()), excess_kurtosis


def portfolio_variance(weights: FloatArray, history: ReturnHistory) -> float:
    """Return the variance of the portfolio's daily return under the shrunk covariance."""
    return float((weights[:, None] * ledoit_wolf(history) * weights[None, :]).sum())


@lru_cache(maxsize=16)
def normal_tail(level: float) -> tuple[float, float]:
    """Return the standard normal's quantile at 1 - level, and its density there."""
    standard = NormalDist()
    z = standard.inv_cdf(1.0 - level)
    return z, standard.pdf(z)


def marginal_var(
    weights: FloatArray, history: ReturnHistory, method: VarMethod, level: float, ewma_decay: float = EWMA_DECAY
) -> FloatArray:
    """Return the derivative of the one-day value at risk by each weight.

    Parameters
    ----------
    weights : float64 array of shape (n_symbols,), signed exposures, fractions of equity, in the history's order
    history : ReturnHistory
    method : one of historical, parametric, cornish_fisher, filtered_historical
    level : float, confidence
    ewma_decay : float, of the filtered historical method

    Returns
    -------
    float64 array of shape (n_symbols,), value at risk per unit of weight; negative if more weight reduces the risk
        The products of weights and derivatives sum to the value at risk (Euler), because it is homogeneous.

    Raises
    ------
    DataError
        In the same cases as `estimate`.

    Notes
    -----
    Exact derivatives of `estimate`, with m the mean returns, S the shrunk covariance, d = sqrt(w'Sw), z the normal
    quantile. Parametric: -(m + z S w / d). Cornish-Fisher: -(m + q S w / d + d q'), with q the expanded quantile and q'
    its derivative through skewness and kurtosis. Historical and filtered: minus the returns of the day on which the
    quantile lies (of two days, interpolated), so the derivative is based on two days and jumps when these change.
    If the portfolio does not move, minus the mean returns.

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
        estimate(weights, history, method, level)  # raises outside the domain of the expansion
        quantile, bend = _expanded(weights, history, quantile)
    return np.asarray(-(means + quantile * pull / deviation + deviation * bend))


def component_var(weights: FloatArray, history: ReturnHistory, level: float) -> FloatArray:
    """Return the contribution of each position to the parametric value at risk.

    Returns
    -------
    float64 array of shape (n_symbols,), fractions of equity
        The contributions sum to the parametric value at risk; a negative contribution is a hedge.

    References
    ----------
    Jorion (2007), "Value at Risk", third edition, equation 7.30.

    """
    return weights * marginal_var(weights, history, "parametric", level)


def _check_finite(returns: FloatArray) -> None:
    if not math.isfinite(float(np.add.reduce(returns, axis=None))):
        raise DataError("the returns have days that are not finite; use a complete history.")


def _rises_in_tail(s: float, k: float, end: float) -> bool:
    square, linear, constant = k / 8.0 - s * s / 6.0, s / 3.0, 1.0 - k / 8.0 + 5.0 * s * s / 36.0
    turn = -linear / (2.0 * square) if square else end
    return all(
        square * z * z + linear * z + constant > 0.0 for z in (_TAIL_START, min(max(turn, _TAIL_START), end), end)
    )


def _tail_scenario(weights: FloatArray, returns: FloatArray, level: float) -> FloatArray:
    series = portfolio_returns(weights, returns)
    _check_finite(series)
    place = (series.size - 1) * (1.0 - level)
    order = np.argsort(series, kind="stable")
    below = int(place)
    lower, upper = returns[:, order[below]], returns[:, order[min(below + 1, series.size - 1)]]
    return np.asarray(-(lower + (place - below) * (upper - lower)))


def _expanded(weights: FloatArray, history: ReturnHistory, z: float) -> tuple[float, FloatArray]:
    """Return the Cornish-Fisher quantile and its derivative by each weight."""
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
