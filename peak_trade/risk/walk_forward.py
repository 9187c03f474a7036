"""Walk-forward forecasts of a VaR model: value at risk and shortfall of each day, from the days before it."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np

from peak_trade.core.arrays import BoolArray, FloatArray, IntArray
from peak_trade.core.calendar import NS_PER_DAY
from peak_trade.core.errors import DataError
from peak_trade.core.history import ReturnHistory
from peak_trade.risk.es_backtest import forecast_quantiles
from peak_trade.risk.limits import EWMA_DECAY, VarMethod
from peak_trade.risk.var import estimate
from peak_trade.risk.var_backtest import N_BACKTEST_DAYS


class Forecasts(NamedTuple):
    """Forecasts of a portfolio's return on successive days, and its returns on these days, fractions of equity.

    `ends` are the ends of the days, ns UTC. `value_at_risk` and `expected_shortfall` are positive for a loss, and NaN
    on a day without an estimate. `simulated` has draws from the forecast distribution of each day, shape
    (n_paths, n_days).
    """

    ends: IntArray
    returns: FloatArray
    value_at_risk: FloatArray
    expected_shortfall: FloatArray
    simulated: FloatArray

    @property
    def exceptions(self) -> BoolArray:
        """Whether each day's loss is larger than its value at risk, shape (n_days,)."""
        return -self.returns > self.value_at_risk


def walk_forward(
    weights: FloatArray,
    history: ReturnHistory,
    method: VarMethod,
    levels: tuple[float, ...],
    n_days: int = N_BACKTEST_DAYS,
    ewma_decay: float = EWMA_DECAY,
    n_paths: int = 0,
    seed: int = 1,
) -> tuple[Forecasts, ...]:
    """Forecast each of the last days from the days before it.

    Parameters
    ----------
    weights : float64 array of shape (n_symbols,) or (n_days, n_symbols)
        Signed exposures, fractions of equity, in the history's order: constant, or those held when each day begins.
    history : ReturnHistory
    method : one of historical, parametric, cornish_fisher, filtered_historical
    levels : tuple of float, confidences
    n_days : int
        Number of days to forecast, the last ones of the history.
    ewma_decay : float, of the filtered historical method
    n_paths : int
        Number of simulated returns of each day.
    seed : int, of the simulation

    Returns
    -------
    tuple of Forecasts, one for each level
        Every fit uses the same number of days: those of the history minus the forecast ones, directly before the day.

    Raises
    ------
    DataError
        If fewer than two days are left to fit the model on.

    Notes
    -----
    Causal: the forecast of a day uses returns of earlier days only. Symbols without a position on a day are left out of
    its forecast, as in `portfolios_after`; a day without any position has a value at risk of zero.

    """
    window = history.n_days - n_days
    if window < 2:
        raise DataError(f"{history!r} leaves {window} days to fit a VaR model; give a longer history.")
    held = np.broadcast_to(weights, (n_days, len(history.symbols)))
    stated = np.full((len(levels), 2, n_days), np.nan)
    simulated = np.zeros((n_paths, n_days))
    uniforms = np.random.default_rng(seed).random((n_days, n_paths))
    ends = history.as_of - np.arange(n_days - 1, -1, -1, dtype=np.int64) * NS_PER_DAY
    is_held = held != 0.0
    is_whole, is_flat = is_held.all(axis=1).tolist(), (~is_held).all(axis=1).tolist()
    for day in range(n_days):
        if is_flat[day]:
            stated[:, :, day] = 0.0
            continue
        own, symbols, returns = held[day], history.symbols, history.returns[:, day : day + window]
        if not is_whole[day]:
            rows = is_held[day].nonzero()[0].tolist()
            own, symbols, returns = own[rows], tuple(symbols[row] for row in rows), returns[rows]
        until = int(ends[day]) - NS_PER_DAY
        stated[:, :, day] = _stated(tuple(own.tolist()), until, symbols, returns.tobytes(), method, levels, ewma_decay)
        if n_paths:
            past = ReturnHistory(history.source, until, symbols, returns)
            simulated[:, day] = forecast_quantiles(own, past, method, uniforms[day], ewma_decay)
    realised = np.where(is_held, held * history.returns[:, window:].T, 0.0).sum(axis=1)
    return tuple(Forecasts(ends, realised, var, shortfall, simulated) for var, shortfall in stated)


def complete_walk(
    weights: FloatArray,
    history: ReturnHistory,
    method: VarMethod,
    levels: tuple[float, ...],
    n_days: int = N_BACKTEST_DAYS,
    ewma_decay: float = EWMA_DECAY,
) -> tuple[Forecasts, ...]:
    """Return the forecasts of `walk_forward`, of which every day has one.

    Raises
    ------
    DataError
        If fewer than 100 days are left to fit the model on, or a day has no estimate.

    """
    window = history.n_days - n_days
    if window < 100:
        raise DataError(f"{history!r} leaves {window} days to fit a VaR model; 100 are needed.")
    found = walk_forward(weights, history, method, levels, n_days, ewma_decay)
    n_without = int(np.isnan([walk.value_at_risk for walk in found]).any(axis=0).sum())
    if n_without:
        raise DataError(f"{history!r}: the {method} method has no estimate on {n_without} of {n_days} days.")
    return found


@lru_cache(maxsize=8192)
def _stated(
    weights: tuple[float, ...],
    until: int,
    symbols: tuple[str, ...],
    returns: bytes,
    method: VarMethod,
    levels: tuple[float, ...],
    ewma_decay: float,
) -> list[tuple[float, float]]:
    """Return the estimates at all levels from returns as bytes; NaN without an estimate.

    Cached: successive walks share most days, and the bytes are a key that is cheaper than a history.
    """
    past = ReturnHistory("past days", until, symbols, np.frombuffer(returns).reshape(len(symbols), -1))
    found = []
    for level in levels:
        try:
            found.append(estimate(np.array(weights), past, method, level, ewma_decay))
        except DataError:
            found.append((np.nan, np.nan))
    return found
