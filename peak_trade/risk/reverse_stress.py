"""Reverse stress: the smallest move of all prices alike that breaks each limit."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from peak_trade.core.arrays import FloatArray
from peak_trade.core.errors import DataError
from peak_trade.core.history import ReturnHistory
from peak_trade.risk.limits import RiskLimits, StressLimits
from peak_trade.risk.stress import projected_drawdown, stress_losses
from peak_trade.risk.var import estimate, portfolio_returns

_NET_OF_ONE = 1e-12
"""Distance from 1, relative, below which a net exposure is 1 but for rounding."""


@dataclass(frozen=True, slots=True)
class BreakingShock:
    """What it takes to break one limit.

    `setting` is its name in a limits file, `observed` what stands against it before any move. `shock` is the simple
    return of every price beyond which the limit is broken: 0.0 when it is broken already, None when none breaks it.
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
    """Return the smallest uniform move that breaks each limit which prices can break.

    Parameters
    ----------
    weights : float64 array of shape (n_symbols,), signed exposures, fractions of equity, in the history's order
    history : ReturnHistory
        For the limits on value at risk and stress; the move itself does not join it.
    limits : RiskLimits
        Those not set are left out.
    equity : float, quote currency, above zero
    drawdown, daily_loss : float
        What is lost before the move, fractions of the peak and of equity at the start of the UTC day; a profit of the
        day is a negative loss.

    Returns
    -------
    tuple of BreakingShock, limits on loss first

    Raises
    ------
    DataError
        If equity, what is lost or a weight can't be, or an estimate on the history refuses.

    Notes
    -----
    Positions are held through the move s > -1, so equity grows by 1 + N s with N the net exposure, and every exposure
    by k(s) = (1 + s) / (1 + N s). A loss limit L breaks beyond s = -(L - l) / (1 - l) / N, with l what was lost before.
    Exposures, value at risk, shortfall and stress losses grow by k, concentration by its square: each breaks beyond
    s = (k - 1) / (1 - k N) with k the limit over what is observed. A net exposure below 1 is hurt by a rise, one above
    1 by a fall (equity falls faster); at 1 no move changes an exposure. The projected drawdown rises with k, since the
    logarithm of a growth over any stretch of days is concave in k and 0 at 0: its k is found by `brentq`, up to
    the exposure at which the worst day of the history takes all.

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


def smallest(shocks: tuple[BreakingShock, ...]) -> BreakingShock | None:
    """Return the limit that the smallest move breaks, the first of equals; None when no move breaks any."""
    breaking = [(abs(each.shock), place) for place, each in enumerate(shocks) if each.shock is not None]
    return shocks[min(breaking)[1]] if breaking else None


def _loss_limits(
    limits: RiskLimits, day_start_equity: float, drawdown: float, daily_loss: float
) -> Iterator[tuple[str, float, float]]:
    state, of_day = limits.state, limits.max_daily_loss
    told = (
        ("max_drawdown", limits.max_drawdown, drawdown),
        ("max_daily_loss", None if of_day is None else of_day / day_start_equity, daily_loss),
        ("max_daily_loss_fraction", limits.max_daily_loss_fraction, daily_loss),
        ("state.reduce_drawdown", state.reduce_drawdown, drawdown),
        ("state.halt_drawdown", state.halt_drawdown, drawdown),
        ("state.reduce_daily_loss", state.reduce_daily_loss, daily_loss),
        ("state.halt_daily_loss", state.halt_daily_loss, daily_loss),
    )
    return ((name, limit, lost) for name, limit, lost in told if limit is not None)


def _size_limits(
    weights: FloatArray, history: ReturnHistory, limits: RiskLimits
) -> Iterator[tuple[str, float, float, int]]:
    """Yield name, limit, what is observed, and the power of the exposures that it grows with."""
    unsigned = np.abs(weights)
    told: list[tuple[str, float | None, float, int]] = [
        ("max_symbol_exposure", limits.max_symbol_exposure, float(unsigned.max(initial=0.0)), 1),
        ("max_gross_exposure", limits.max_gross_exposure, math.fsum(unsigned.tolist()), 1),
        ("max_net_exposure", limits.max_net_exposure, abs(math.fsum(weights.tolist())), 1),
        ("max_concentration", limits.max_concentration, float((weights * weights).sum()), 2),
    ]
    rules = limits.var
    if rules is not None and (rules.max_var, rules.max_expected_shortfall) != (None, None):
        var, shortfall = estimate(weights, history, rules.method, rules.level, rules.ewma_decay)
        told.append(("var.max_var", rules.max_var, var, 1))
        told.append(("var.max_expected_shortfall", rules.max_expected_shortfall, shortfall, 1))
    if limits.stress is not None and limits.stress.max_stress_loss is not None:
        worst = max(stress_losses(weights, history, limits.stress).values())
        told.append(("stress.max_stress_loss", limits.stress.max_stress_loss, worst, 1))
    return ((name, limit, observed, power) for name, limit, observed, power in told if limit is not None)


def _projected(
    weights: FloatArray, history: ReturnHistory, rules: StressLimits | None, net: float
) -> Iterator[BreakingShock]:
    if rules is None or rules.max_projected_drawdown is None:
        return
    limit, observed = rules.max_projected_drawdown, projected_drawdown(weights, history, rules)
    if observed > limit:
        yield BreakingShock("stress.max_projected_drawdown", limit, observed, 0.0)
        return

    def room(growth: float) -> float:
        return projected_drawdown(growth * weights, history, rules) - limit

    worst_day = -float(portfolio_returns(weights, history.returns).min())
    most = 1.0 / worst_day if worst_day > 0.0 else 0.0
    shock = None
    if most > 1.0 and room(most) > 0.0:
        from scipy.optimize import brentq

        shock = _move_to(float(brentq(room, 1.0, most, xtol=1e-12, rtol=1e-12)), net)
    yield BreakingShock("stress.max_projected_drawdown", limit, observed, shock)


def _loss_shock(lost: float, limit: float, net: float) -> float | None:
    if lost > limit:
        return 0.0
    room = (limit - lost) / (1.0 - lost)
    if net == 0.0 or room >= net > 0.0:
        return None
    return -room / net


def _size_shock(observed: float, limit: float, power: int, net: float) -> float | None:
    if observed > limit:
        return 0.0
    if observed <= 0.0:
        return None
    return _move_to((limit / observed) ** (1.0 / power), net)


def _move_to(growth: float, net: float) -> float | None:
    """Return the move after which every exposure is `growth` times as large, at least 1; None when none leads there."""
    if math.isclose(net, 1.0, rel_tol=_NET_OF_ONE) or (net < 1.0 and growth * net >= 1.0):
        return None
    return (growth - 1.0) / (1.0 - growth * net)
