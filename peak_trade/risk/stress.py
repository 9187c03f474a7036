"""Stress tests: losses in scenarios, the projected drawdown, and reverse stress."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from peak_trade.core.arrays import FloatArray, IntArray
from peak_trade.core.errors import DataError
from peak_trade.core.history import ReturnHistory
from peak_trade.risk.limits import RiskLimits, StressLimits
from peak_trade.risk.scenarios import DATED, SCENARIO_NAMES, UNIFORM, Scenario
from peak_trade.risk.var import estimate, historical, portfolio_returns

STRESS_LEVEL = 0.99
"""Confidence level of the value at risk in the scenarios that use it."""
_PATH_LEVEL = 0.95
_NET_OF_ONE = 1e-12
"""Relative distance from 1 below which a net exposure is 1 up to rounding."""


def stress_losses(weights: FloatArray, history: ReturnHistory, rules: StressLimits) -> dict[str, float]:
    """Return the one-day loss in every scenario of the rules.

    Parameters
    ----------
    weights : float64 array of shape (n_symbols,), signed exposures, fractions of equity, in the history's order
    history : ReturnHistory
        For the scenarios that are computed from it.
    rules : StressLimits

    Returns
    -------
    dict of scenario name to loss, fraction of equity; a negative loss is a gain

    """
    exposures = weights.tolist()
    losses = {
        name: _loss_under(exposures, shocks, correlation) for name, shocks, correlation in _shocks_of(history.symbols)
    }
    returns = portfolio_returns(weights, history.returns)
    mean = float(np.add.reduce(returns)) / history.n_days
    var = historical(returns, STRESS_LEVEL)[0]
    for name, stretch in (("volatility_x2", 2.0), ("volatility_x3", 3.0)):
        losses[name] = stretch * (var + mean) - mean
    down, up = _own_var(history)
    losses["correlation_1"] = sum(
        abs(weight) * (down[place] if weight > 0.0 else up[place]) for place, weight in enumerate(exposures)
    )
    losses["spread_x10"] = 10.0 * 0.5 * rules.spread * sum(map(abs, exposures))
    return {name: losses[name] for name in rules.scenarios or SCENARIO_NAMES}


def scenario_loss(exposures: dict[str, float], scenario: Scenario) -> float:
    """Return the larger of two losses: under the shocks as they are, and under correlated shocks of either sign.

    The second is `sqrt((1 - c) * sum(x**2) + c * sum(x)**2)`, with x the signed exposures times the unsigned shocks and
    c the scenario's correlation. Without it a long-short portfolio would look safe because each shock is a fall.
    """
    shocks = tuple(scenario.shock(symbol) for symbol in exposures)
    return _loss_under(list(exposures.values()), shocks, scenario.correlation)


def _loss_under(exposures: list[float], shocks: tuple[float, ...], correlation: float) -> float:
    shocked = [exposure * abs(shock) for exposure, shock in zip(exposures, shocks, strict=True)]
    direct = -sum([exposure * shock for exposure, shock in zip(exposures, shocks, strict=True)])
    own = math.fsum([part * part for part in shocked])
    return max(direct, math.sqrt((1.0 - correlation) * own + correlation * math.fsum(shocked) ** 2))


@lru_cache(maxsize=256)
def _shocks_of(symbols: tuple[str, ...]) -> tuple[tuple[str, tuple[float, ...], float], ...]:
    """Return name, shock of each symbol, and correlation of the scenarios that are given by shocks."""
    return tuple(
        (scenario.name, tuple(scenario.shock(symbol) for symbol in symbols), scenario.correlation)
        for scenario in (*DATED, *UNIFORM)
    )


def projected_drawdown(weights: FloatArray, history: ReturnHistory, rules: StressLimits) -> float:
    """Return the 95 % quantile of the maximum drawdown over bootstrapped paths.

    Parameters
    ----------
    weights : float64 array of shape (n_symbols,), signed exposures held constant
    history : ReturnHistory
    rules : StressLimits
        Horizon, block length, number of paths and seed of the bootstrap.

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
    down = tuple(max(historical(own, STRESS_LEVEL)[0], 0.0) for own in history.returns)
    up = tuple(max(historical(-own, STRESS_LEVEL)[0], 0.0) for own in history.returns)
    return down, up


@dataclass(frozen=True, slots=True)
class BreakingShock:
    """The smallest uniform price move that breaks one limit.

    `setting` is the name of the limit in a limits file, and `observed` is the value before the move. `shock` is the
    simple return of every price beyond which the limit is broken: 0.0 if it is already broken, None if no move breaks
    it.
    """

    setting: str
    limit: float
    observed: float
    shock: float | None


def reverse_stress(
    weights: FloatArray,
    history: ReturnHistory,
    limits: RiskLimits,
    equity: float,
    drawdown: float = 0.0,
    daily_loss: float = 0.0,
) -> tuple[BreakingShock, ...]:
    """Return the smallest uniform price move that breaks each limit.

    Parameters
    ----------
    weights : float64 array of shape (n_symbols,), signed exposures, fractions of equity, in the history's order
    history : ReturnHistory
        For the limits on value at risk and stress; the move itself is not added to it.
    limits : RiskLimits
        Limits that are not set are left out.
    equity : float, quote currency, above zero
    drawdown, daily_loss : float
        Losses before the move, fractions of the peak and of equity at the start of the UTC day; a profit of the day is
        a negative loss.

    Returns
    -------
    tuple of BreakingShock
        Limits on losses come first.

    Raises
    ------
    DataError
        If equity, a loss or a weight is out of range, or an estimate on the history is not possible.

    Notes
    -----
    Positions are held through the move s > -1. Equity then grows by 1 + N s, with N the net exposure, and every
    exposure by k(s) = (1 + s) / (1 + N s). A loss limit L breaks beyond s = -(L - l) / (1 - l) / N, with l the loss
    before the move. Exposures, value at risk, shortfall and stress losses grow by k, concentration by its square: each
    breaks beyond s = (k - 1) / (1 - k N), with k the ratio of the limit to the observed value. If the net exposure is
    below 1, a rise increases the exposures; if it is above 1, a fall does, because equity falls faster. At 1 no move
    changes an exposure. The projected drawdown increases with k, because the logarithm of the growth over any period is
    concave in k and 0 at 0. Its k is found by `brentq`, up to the exposure at which the worst day of the history loses
    everything.

    """
    is_possible = 0.0 < equity < math.inf and 0.0 <= drawdown < 1.0 and -math.inf < daily_loss < 1.0
    if not (is_possible and np.isfinite(weights).all()):
        raise DataError(
            f"equity was {equity}, drawdown {drawdown}, daily loss {daily_loss}, weights {weights.tolist()}; give "
            "finite numbers, equity above 0, losses below 1."
        )
    net = math.fsum(weights.tolist())
    losses = [
        BreakingShock(name, limit, max(lost, 0.0), _loss_shock(lost, limit, net))
        for name, limit, lost in _loss_limits(limits, equity / (1.0 - daily_loss), drawdown, daily_loss)
    ]
    sizes = [
        BreakingShock(name, limit, observed, _size_shock(observed, limit, power, net))
        for name, limit, observed, power in _size_limits(weights, history, limits)
    ]
    return (*losses, *sizes, *_projected(weights, history, limits.stress, net))


def _loss_limits(
    limits: RiskLimits, day_start_equity: float, drawdown: float, daily_loss: float
) -> Iterator[tuple[str, float, float]]:
    state, of_day = limits.state, limits.max_daily_loss
    known = (
        ("max_drawdown", limits.max_drawdown, drawdown),
        ("max_daily_loss", None if of_day is None else of_day / day_start_equity, daily_loss),
        ("max_daily_loss_fraction", limits.max_daily_loss_fraction, daily_loss),
        ("state.reduce_drawdown", state.reduce_drawdown, drawdown),
        ("state.halt_drawdown", state.halt_drawdown, drawdown),
        ("state.reduce_daily_loss", state.reduce_daily_loss, daily_loss),
        ("state.halt_daily_loss", state.halt_daily_loss, daily_loss),
    )
    return ((name, limit, lost) for name, limit, lost in known if limit is not None)


def _size_limits(
    weights: FloatArray, history: ReturnHistory, limits: RiskLimits
) -> Iterator[tuple[str, float, float, int]]:
    """Yield name, limit, observed value, and the power of the exposures that it grows with."""
    unsigned = np.abs(weights)
    known: list[tuple[str, float | None, float, int]] = [
        ("max_symbol_exposure", limits.max_symbol_exposure, float(unsigned.max(initial=0.0)), 1),
        ("max_gross_exposure", limits.max_gross_exposure, math.fsum(unsigned.tolist()), 1),
        ("max_net_exposure", limits.max_net_exposure, abs(math.fsum(weights.tolist())), 1),
        ("max_concentration", limits.max_concentration, float((weights * weights).sum()), 2),
    ]
    rules = limits.var
    if rules is not None and (rules.max_var, rules.max_expected_shortfall) != (None, None):
        var, shortfall = estimate(weights, history, rules.method, rules.level, rules.ewma_decay)
        known.append(("var.max_var", rules.max_var, var, 1))
        known.append(("var.max_expected_shortfall", rules.max_expected_shortfall, shortfall, 1))
    if limits.stress is not None and limits.stress.max_stress_loss is not None:
        worst = max(stress_losses(weights, history, limits.stress).values())
        known.append(("stress.max_stress_loss", limits.stress.max_stress_loss, worst, 1))
    return ((name, limit, observed, power) for name, limit, observed, power in known if limit is not None)


def _projected(
    weights: FloatArray, history: ReturnHistory, rules: StressLimits | None, net: float
) -> Iterator[BreakingShock]:
    if rules is None or rules.max_projected_drawdown is None:
        return
    limit, observed = rules.max_projected_drawdown, projected_drawdown(weights, history, rules)
    if observed > limit:
        yield BreakingShock("stress.max_projected_drawdown", limit, observed, 0.0)
        return

    def excess(growth: float) -> float:
        return projected_drawdown(growth * weights, history, rules) - limit

    worst_day = -float(portfolio_returns(weights, history.returns).min())
    most = 1.0 / worst_day if worst_day > 0.0 else 0.0
    shock = None
    if most > 1.0 and excess(most) > 0.0:
        from scipy.optimize import brentq

        shock = _move_to(float(brentq(excess, 1.0, most, xtol=1e-12, rtol=1e-12)), net)
    yield BreakingShock("stress.max_projected_drawdown", limit, observed, shock)


def _loss_shock(lost: float, limit: float, net: float) -> float | None:
    if lost > limit:
        return 0.0
    headroom = (limit - lost) / (1.0 - lost)
    if net == 0.0 or headroom >= net > 0.0:
        return None
    return -headroom / net


def _size_shock(observed: float, limit: float, power: int, net: float) -> float | None:
    if observed > limit:
        return 0.0
    if observed <= 0.0:
        return None
    return _move_to((limit / observed) ** (1.0 / power), net)


def _move_to(growth: float, net: float) -> float | None:
    """Return the move that makes every exposure `growth` (at least 1) times as large; None if there is none."""
    if math.isclose(net, 1.0, rel_tol=_NET_OF_ONE) or (net < 1.0 and growth * net >= 1.0):
        return None
    return (growth - 1.0) / (1.0 - growth * net)
