"""Attribution of a portfolio: contributions to return, risk and drawdown, and correlations."""

from __future__ import annotations

from itertools import combinations
from statistics import NormalDist

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from peak_trade.core.arrays import FloatArray
from peak_trade.core.errors import ConfigError

_CHUNK_ROWS = 4096


def contributions(pnl: pd.DataFrame, initial_cash: float) -> pd.DataFrame:
    """Return the contribution of each sleeve to the portfolio's return at each bar.

    Parameters
    ----------
    pnl : DataFrame of shape (n_bars, n_sleeves), quote currency
        Cumulative PnL after costs; columns are sleeves, strategies or symbols.
    initial_cash : float, quote currency

    Returns
    -------
    DataFrame of shape (n_bars, n_sleeves), fractions of the portfolio's equity one bar before
        The contributions at one bar sum to the portfolio's return.

    """
    values = pnl.to_numpy()
    equity = initial_cash + values.sum(axis=1)
    before = np.concatenate([[initial_cash], equity[:-1]])
    change = np.diff(values, axis=0, prepend=np.zeros((1, values.shape[1])))
    return pd.DataFrame(change / before[:, None], index=pnl.index, columns=pnl.columns)


def portfolio_sharpe(
    weights: ArrayLike, means: ArrayLike, volatilities: ArrayLike, correlations: ArrayLike, bars_per_year: float
) -> float:
    """Return the annual Sharpe ratio of fixed weights: w'm / sqrt(w' S w), S = diag(v) C diag(v) (Markowitz 1952).

    Parameters
    ----------
    weights, means, volatilities : array-likes of shape (n_sleeves,), fractions, per bar
    correlations : array-like of shape (n_sleeves, n_sleeves)
    bars_per_year : float

    Returns
    -------
    float; NaN if the portfolio does not vary

    Examples
    --------
    >>> round(portfolio_sharpe([0.5, 0.5], [0.01, 0.01], [0.1, 0.1], [[1.0, 0.0], [0.0, 1.0]], 1.0), 6)
    0.141421

    """
    weight, volatility = np.asarray(weights, dtype=np.float64), np.asarray(volatilities, dtype=np.float64)
    scaled = weight * volatility
    variance = float(scaled @ np.asarray(correlations, dtype=np.float64) @ scaled)
    if variance <= 0.0:
        return float("nan")
    return float(weight @ np.asarray(means, dtype=np.float64) / np.sqrt(variance) * np.sqrt(bars_per_year))


def correlation_pairs(returns: pd.DataFrame, confidence: float = 0.95) -> pd.DataFrame:
    """Return the correlation of every pair of columns with its confidence interval.

    Parameters
    ----------
    returns : DataFrame of shape (n_bars, n_sleeves), fractions per bar
    confidence : float
        Coverage of the interval, between 0 and 1.

    Returns
    -------
    DataFrame of shape (n_pairs, 6): first, second, correlation, low, high, n_bars
        Fisher's z: tanh(atanh(r) -+ z / sqrt(n - 3)), which assumes independent normal bars. NaN if a column
        does not vary; the interval is NaN below four bars.

    References
    ----------
    Fisher (1921), Metron 1, 3-32.

    Examples
    --------
    >>> frame = pd.DataFrame({"a": [1.0, 2.0, 3.0, 4.0, 5.0], "b": [1.0, 3.0, 2.0, 5.0, 4.0]})
    >>> correlation_pairs(frame)[["correlation", "low", "high"]].iloc[0].round(4).tolist()
    [0.8, -0.2796, 0.9862]

    """
    if not 0.0 < confidence < 1.0:
        raise ConfigError(f"confidence was {confidence}: use a fraction between 0 and 1, for example 0.95.")
    values, names = returns.to_numpy(dtype=np.float64), list(returns.columns)
    quantile = NormalDist().inv_cdf(0.5 + confidence / 2.0)
    rows = []
    for first, second in combinations(range(len(names)), 2):
        estimate = float(_correlation(values[:, first], values[:, second])) if len(values) > 1 else float("nan")
        low = high = float("nan")
        if len(values) > 3 and abs(estimate) <= 1.0:
            z = np.arctanh(np.clip(estimate, -1.0 + 1e-15, 1.0 - 1e-15))
            width = quantile / np.sqrt(len(values) - 3)
            low, high = float(np.tanh(z - width)), float(np.tanh(z + width))
        rows.append((names[first], names[second], estimate, low, high, len(values)))
    return pd.DataFrame(rows, columns=["first", "second", "correlation", "low", "high", "n_bars"])


def correlation_matrix(pairs: pd.DataFrame, names: list[str]) -> pd.DataFrame:
    """Return the pairs of `correlation_pairs` as a symmetric matrix with ones on the diagonal."""
    matrix = pd.DataFrame(np.eye(len(names)), index=names, columns=names)
    for first, second, estimate in zip(pairs["first"], pairs["second"], pairs["correlation"], strict=True):
        matrix.loc[first, second] = matrix.loc[second, first] = estimate
    return matrix


def rolling_correlation(returns: pd.DataFrame, window: int) -> pd.DataFrame:
    """Return the correlation of every pair of columns over the last `window` bars.

    Parameters
    ----------
    returns : DataFrame of shape (n_bars, n_sleeves), fractions per bar
    window : int, bars, at least 3

    Returns
    -------
    DataFrame of shape (n_bars, n_pairs), columns named `first ~ second`
        NaN at the first window - 1 bars and where a column does not vary within the window.

    Notes
    -----
    Causal. Each window is centred on its own mean, so that rounding errors do not accumulate.

    """
    if window < 3:
        raise ConfigError(f"window was {window} bars: a correlation needs at least 3.")
    values, names = returns.to_numpy(dtype=np.float64), list(returns.columns)
    columns: dict[str, FloatArray] = {}
    for first, second in combinations(range(len(names)), 2):
        column = np.full(len(values), np.nan)
        for start in range(window - 1, len(values), _CHUNK_ROWS):
            stop = min(start + _CHUNK_ROWS, len(values))
            part = np.lib.stride_tricks.sliding_window_view(values[start - window + 1 : stop], window, axis=0)
            column[start:stop] = _correlation(part[:, first], part[:, second])
        columns[f"{names[first]} ~ {names[second]}"] = column
    return pd.DataFrame(columns, index=returns.index)


def drawdown_correlation(
    returns: pd.DataFrame, drawdown: pd.Series, min_drawdown: float, confidence: float = 0.95
) -> pd.DataFrame:
    """Return `correlation_pairs` over the bars at which the portfolio's drawdown is at least `min_drawdown`."""
    return correlation_pairs(returns[drawdown.to_numpy() >= min_drawdown], confidence)


def risk_contributions(contribution: pd.DataFrame) -> pd.Series:
    """Return each sleeve's part of the portfolio's volatility: cov(contribution, portfolio return) / volatility.

    Parameters
    ----------
    contribution : DataFrame of shape (n_bars, n_sleeves)
        See `contributions`.

    Returns
    -------
    Series of shape (n_sleeves,), fractions per bar; negative for a sleeve that offsets the others
        They sum to the portfolio's volatility (Euler's theorem; Tasche 1999). NaN if the portfolio does not vary.

    """
    values = contribution.to_numpy()
    centred = values - values.mean(axis=0)
    total = centred.sum(axis=1)
    variance = float((total * total).sum()) / max(len(values) - 1, 1)
    if variance <= 0.0:
        return pd.Series(np.nan, index=contribution.columns, dtype=np.float64)
    covariance = (centred * total[:, None]).sum(axis=0) / (len(values) - 1)
    return pd.Series(covariance / np.sqrt(variance), index=contribution.columns)


def diversification_ratio(contribution: pd.DataFrame) -> float:
    """Return the sum of the sleeves' volatilities / the portfolio's volatility (Choueifaty and Coignard 2008, eq. 1).

    1 means no diversification; NaN if the portfolio does not vary.
    """
    values = contribution.to_numpy()
    whole = float(values.sum(axis=1).std(ddof=1)) if len(values) > 1 else 0.0
    return float(values.std(axis=0, ddof=1).sum()) / whole if whole > 0.0 else float("nan")


def drawdown_contributions(pnl: pd.DataFrame, initial_cash: float, n_deepest: int = 5) -> pd.DataFrame:
    """Return the loss of each sleeve from peak to trough in the deepest drawdowns of the portfolio.

    Parameters
    ----------
    pnl : DataFrame of shape (n_bars, n_sleeves), quote currency, index `close_time`
    initial_cash : float, quote currency
    n_deepest : int
        Number of drawdowns; each lasts from a peak to the next close at or above it, so they do not overlap.

    Returns
    -------
    DataFrame of shape (n_drawdowns, 3 + n_sleeves), deepest first: peak, trough, drawdown, then one column per sleeve
        Fractions of the equity at the peak: positive for a loss, negative for a gain. The sleeves sum to `drawdown`.

    """
    values = pnl.to_numpy()
    equity = initial_cash + values.sum(axis=1)
    peaks = np.maximum.accumulate(np.concatenate([[initial_cash], equity]))[1:]
    episodes = np.flatnonzero(np.diff(np.concatenate([[False], equity < peaks, [False]]).astype(np.int8)))
    rows = []
    for start, stop in episodes.reshape(-1, 2):
        trough = int(start + equity[start:stop].argmin())
        before = values[start - 1] if start else np.zeros(values.shape[1])
        lost = (before - values[trough]) / peaks[trough]
        depth = 1.0 - equity[trough] / peaks[trough]
        rows.append((pnl.index[max(start - 1, 0)], pnl.index[trough], depth, *lost))
    rows.sort(key=lambda row: -row[2])
    found = pd.DataFrame(rows[:n_deepest], columns=["peak", "trough", "drawdown", *map(_label, pnl.columns)])
    return found.astype(dict.fromkeys(found.columns[2:], np.float64))


def by_level(frame: pd.DataFrame, level: str) -> pd.DataFrame:
    """Return the sum over sleeves of each strategy (`level` strategy) or symbol; columns in sorted order."""
    summed: pd.DataFrame = frame.T.groupby(level=level).sum().T
    return summed


def _label(column: object) -> str:
    return " ".join(map(str, column)) if isinstance(column, tuple) else str(column)


def _correlation(first: FloatArray, second: FloatArray) -> FloatArray:
    one, other = first - first.mean(axis=-1, keepdims=True), second - second.mean(axis=-1, keepdims=True)
    one, other = _flat_as_zero(one, first), _flat_as_zero(other, second)
    scale = np.sqrt((one * one).sum(axis=-1) * (other * other).sum(axis=-1))
    with np.errstate(invalid="ignore", divide="ignore"):
        estimate: FloatArray = np.clip((one * other).sum(axis=-1) / scale, -1.0, 1.0)
    return estimate


def _flat_as_zero(centred: FloatArray, values: FloatArray) -> FloatArray:
    varies = values.max(axis=-1, keepdims=True) > values.min(axis=-1, keepdims=True)
    return np.where(varies, centred, 0.0)
