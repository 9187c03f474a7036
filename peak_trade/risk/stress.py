"""What a portfolio loses when a scenario comes true, and how deep it may fall in a month."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np

from peak_trade.core.arrays import FloatArray, IntArray
from peak_trade.core.history import ReturnHistory
from peak_trade.risk.limits import StressLimits
from peak_trade.risk.scenarios import DATED, SCENARIO_NAMES, UNIFORM, Scenario
from peak_trade.risk.var import historical, portfolio_returns

STRESS_LEVEL = 0.99
"""Confidence of the value at risk in the scenarios that need one."""
_PATH_LEVEL = 0.95


def stress_losses(weights: FloatArray, history: ReturnHistory, rules: StressLimits) -> dict[str, float]:
    """Return the one-day loss in every scenario asked for.

    Parameters
    ----------
    weights : float64 array of shape (n_symbols,), signed exposures, fractions of equity, in the history's order
    history : ReturnHistory
        For the scenarios that stretch what has been.
    rules : StressLimits

    Returns
    -------
    dict of scenario name to loss, fraction of equity; negative is a gain

    """
    exposures = dict(zip(history.symbols, weights.tolist(), strict=True))
    losses = {scenario.name: scenario_loss(exposures, scenario) for scenario in (*DATED, *UNIFORM)}
    returns = portfolio_returns(weights, history.returns)
    mean = float(returns.mean())
    var = historical(returns, STRESS_LEVEL)[0]
    for name, stretch in (("volatility_x2", 2.0), ("volatility_x3", 3.0)):
        losses[name] = stretch * (var + mean) - mean
    down, up = _own_var(history)
    losses["correlation_1"] = sum(
        abs(weight) * (down[row] if weight > 0.0 else up[row]) for row, weight in enumerate(weights.tolist())
    )
    losses["spread_x10"] = 10.0 * 0.5 * rules.spread * sum(map(abs, exposures.values()))
    return {name: losses[name] for name in rules.scenarios or SCENARIO_NAMES}


def scenario_loss(exposures: dict[str, float], scenario: Scenario) -> float:
    """Return the loss when every shock comes true, or when unsigned ones add up by the scenario's correlation.

    The second keeps a long-short portfolio from looking safe only because each shock is stated as a fall:
    `sqrt((1 - c) * sum(x**2) + c * sum(x)**2)` with x the signed exposures times the unsigned shocks.
    """
    shocked = [exposure * abs(scenario.shock(symbol)) for symbol, exposure in exposures.items()]
    direct = -sum(exposure * scenario.shock(symbol) for symbol, exposure in exposures.items())
    own = math.fsum(part * part for part in shocked)
    return max(direct, math.sqrt((1.0 - scenario.correlation) * own + scenario.correlation * math.fsum(shocked) ** 2))


def projected_drawdown(weights: FloatArray, history: ReturnHistory, rules: StressLimits) -> float:
    """Return the maximum drawdown that 95 % of bootstrapped paths stay within.

    Parameters
    ----------
    weights : float64 array of shape (n_symbols,), signed exposures held constant
    history : ReturnHistory
    rules : StressLimits
        Horizon, block length, number of paths and seed: equal ones give equal paths.

    Returns
    -------
    float, fraction of equity, never negative

    References
    ----------
    Politis and Romano (1992), "A circular block-resampling procedure for stationary data".

    """
    days = _paths(history.n_days, rules.horizon_days, rules.block_days, rules.n_paths, rules.seed)
    growth = np.cumprod(1.0 + portfolio_returns(weights, history.returns)[days], axis=1)
    peaks = np.maximum(np.maximum.accumulate(growth, axis=1), 1.0)
    worst = np.minimum((1.0 - growth / peaks).max(axis=1), 1.0)
    return float(np.quantile(np.maximum(worst, 0.0), _PATH_LEVEL))


@lru_cache(maxsize=8)
def _paths(n_days: int, horizon: int, block: int, n_paths: int, seed: int) -> IntArray:
    n_blocks = -(-horizon // block)
    starts = np.random.default_rng(seed).integers(0, n_days, size=(n_paths, n_blocks, 1))
    days = (starts + np.arange(block)) % n_days
    return days.reshape(n_paths, -1)[:, :horizon]


@lru_cache(maxsize=64)
def _own_var(history: ReturnHistory) -> tuple[tuple[float, ...], tuple[float, ...]]:
    down = tuple(max(historical(row, STRESS_LEVEL)[0], 0.0) for row in history.returns)
    up = tuple(max(historical(-row, STRESS_LEVEL)[0], 0.0) for row in history.returns)
    return down, up
