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
from peak_trade.risk.var import estimate, tail_estimates
from peak_trade.risk.var_backtest import N_BACKTEST_DAYS

_MOST_RETURNS = 1_000_000
"""Number of returns in the windows that are estimated at once."""


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
    ends = history.as_of - np.arange(n_days - 1, -1, -1, dtype=np.int64) * NS_PER_DAY
    is_held = held != 0.0
    constant = weights.tobytes() if weights.ndim == 1 else b""
    memory = _memory_of(history.symbols, window, n_days, constant, method, levels, ewma_decay)
    stated = memory.estimates(history, held, is_held)
    simulated = np.zeros((n_paths, n_days))
    if n_paths:
        uniforms = np.random.default_rng(seed).random((n_days, n_paths))
        for day in np.flatnonzero(is_held.any(axis=1)).tolist():
            symbols = tuple(symbol for symbol, is_own in zip(history.symbols, is_held[day], strict=True) if is_own)
            past = ReturnHistory(
                history.source,
                int(ends[day]) - NS_PER_DAY,
                symbols,
                history.returns[is_held[day], day : day + window],
            )
            own = held[day, is_held[day]]
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


class _WalkMemory:
    """The estimates of a walk, kept for the next one, which forecasts most of the same days.

    A day is estimated again unless its weights and the returns before it are those of the last walk.
    """

    def __init__(self, window: int, method: VarMethod, levels: tuple[float, ...], ewma_decay: float) -> None:
        self._window, self._method, self._levels, self._ewma_decay = window, method, levels, ewma_decay
        self._last: tuple[ReturnHistory, FloatArray, FloatArray] | None = None

    def estimates(self, history: ReturnHistory, held: FloatArray, is_held: BoolArray) -> FloatArray:
        """Return the estimates of the last days, shape (n_levels, 2, n_days); NaN on a day without an estimate.

        Weights have shape (n_days, n_symbols). Days without a position have estimates of zero.
        """
        n_days = len(held)
        stated = np.zeros((len(self._levels), 2, n_days))
        is_new = np.asarray(is_held.any(axis=1))
        if self._last is not None:
            last, past_held, past_stated = self._last
            shift = (history.as_of - last.as_of) // NS_PER_DAY
            if 0 <= shift < n_days and _continues(history.returns, last.returns, shift):
                n_shared = n_days - shift
                is_known = (held[:n_shared] == past_held[shift:]).all(axis=1)
                stated[:, :, :n_shared][:, :, is_known] = past_stated[:, :, shift:][:, :, is_known]
                is_new[:n_shared] &= ~is_known
        days = np.flatnonzero(is_new)
        if days.size:
            patterns, groups = np.unique(is_held[days], axis=0, return_inverse=True)
            for place, pattern in enumerate(patterns):
                rows, own_days = np.flatnonzero(pattern), days[groups.reshape(-1) == place]
                n_at_once = max(_MOST_RETURNS // (rows.size * self._window), 1)
                for start in range(0, own_days.size, n_at_once):
                    part = own_days[start : start + n_at_once]
                    stated[:, :, part] = self._estimated(history, held, rows, part)
        stated.flags.writeable = False
        self._last = history, held.copy(), stated
        return stated

    def _estimated(self, history: ReturnHistory, held: FloatArray, rows: IntArray, days: IntArray) -> FloatArray:
        """Return the estimates of some days on which the same symbols are held, shape (n_levels, 2, n_days)."""
        weights = held[days][:, rows]
        windows = np.lib.stride_tricks.sliding_window_view(history.returns[rows], self._window, axis=1)
        returns = windows[:, days].transpose(1, 0, 2)
        if self._method in ("historical", "filtered_historical"):
            return tail_estimates(weights, returns, self._method, self._levels, self._ewma_decay)
        symbols, found = tuple(history.symbols[row] for row in rows.tolist()), []
        for day, own, known in zip(days.tolist(), weights, returns, strict=True):
            until = history.as_of - (len(held) - day) * NS_PER_DAY
            past = ReturnHistory("past days", until, symbols, known)
            found.append([self._estimate(own, past, level) for level in self._levels])
        return np.moveaxis(np.array(found), 0, 2)

    def _estimate(self, weights: FloatArray, past: ReturnHistory, level: float) -> tuple[float, float]:
        try:
            return estimate(weights, past, self._method, level, self._ewma_decay)
        except DataError:
            return np.nan, np.nan


@lru_cache(maxsize=256)
def _memory_of(
    symbols: tuple[str, ...],
    window: int,
    n_days: int,
    weights: bytes,
    method: VarMethod,
    levels: tuple[float, ...],
    ewma_decay: float,
) -> _WalkMemory:
    """Return the memory of walks that differ in their days alone, and in their weights if these are not constant."""
    return _WalkMemory(window, method, levels, ewma_decay)


def _continues(returns: FloatArray, past: FloatArray, shift: int) -> bool:
    """Return whether returns are those of the past, with the first `shift` days replaced by as many at the end."""
    return returns.shape == past.shape and returns[:, : returns.shape[1] - shift].tobytes() == past[:, shift:].tobytes()
