"""Measures of the portfolio with the proposed order in it: value at risk, stress, and the model's own record."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from peak_trade.core.arrays import FloatArray
from peak_trade.core.history import ReturnHistory
from peak_trade.core.time import NS_PER_SECOND
from peak_trade.core.values import AccountView, MarketView, Order
from peak_trade.risk.gate import UnreadableError, instant, not_negative, number, positive, side_sign
from peak_trade.risk.limits import RiskLimits, StressLimits, VarLimits, VarMethod
from peak_trade.risk.stress import projected_drawdown, stress_losses
from peak_trade.risk.var import estimate
from peak_trade.risk.var_backtest import N_BACKTEST_DAYS, exceptions, most_yellow

_NS_PER_DAY = 86_400 * NS_PER_SECOND


Portfolio = tuple[FloatArray, ReturnHistory]
"""Signed exposures (fractions of equity), symbols in alphabetical order, and the history of just these symbols."""


def var_model(order: Order, account: AccountView, market: MarketView, limits: RiskLimits) -> tuple[float, float]:
    """Count the model's exceptions over 250 days on the equally weighted symbols that are held or ordered."""
    rules = _var(limits)
    counts = [
        _n_exceptions(history, rules.method, rules.level, rules.ewma_decay) if history.symbols else 0
        for _, history in portfolios_after(order, account, market, rules)
    ]
    return float(max(counts)), float(most_yellow(N_BACKTEST_DAYS, rules.level))


def value_at_risk(order: Order, account: AccountView, market: MarketView, limits: RiskLimits) -> tuple[float, float]:
    """Measure one-day value at risk of the portfolio with the order, fraction of equity."""
    rules = _var(limits)
    estimates = [_estimate(portfolio, rules)[0] for portfolio in portfolios_after(order, account, market, rules)]
    return max(map(number, estimates)), number(rules.max_var)


def expected_shortfall(
    order: Order, account: AccountView, market: MarketView, limits: RiskLimits
) -> tuple[float, float]:
    """Measure one-day expected shortfall of the portfolio with the order, fraction of equity."""
    rules = _var(limits)
    estimates = [_estimate(portfolio, rules)[1] for portfolio in portfolios_after(order, account, market, rules)]
    return max(map(number, estimates)), number(rules.max_expected_shortfall)


def stress_loss(order: Order, account: AccountView, market: MarketView, limits: RiskLimits) -> tuple[float, float]:
    """Measure the loss in the worst scenario, fraction of equity."""
    rules = _stress(limits)
    losses = [
        max(map(number, stress_losses(weights, history, rules).values())) if history.symbols else 0.0
        for weights, history in portfolios_after(order, account, market, _var(limits))
    ]
    return max(losses), number(rules.max_stress_loss)


def drawdown_projection(
    order: Order, account: AccountView, market: MarketView, limits: RiskLimits
) -> tuple[float, float]:
    """Measure the bootstrapped maximum drawdown over the horizon, fraction of equity."""
    rules = _stress(limits)
    deepest = [
        projected_drawdown(weights, history, rules) if history.symbols else 0.0
        for weights, history in portfolios_after(order, account, market, _var(limits))
    ]
    return max(map(number, deepest)), number(rules.max_projected_drawdown)


def portfolios_after(order: Order, account: AccountView, market: MarketView, rules: VarLimits) -> tuple[Portfolio, ...]:
    """Return the portfolio once the order has filled, and the one once all pending orders have too.

    A pending order may fill or not, and a hedge that does not fill is none: what is measured is the worse of both.
    Five gates ask for the same: the last answer is kept, for these very objects, which never change.

    Returns
    -------
    tuple of Portfolio, one without pending orders, else two
        Flat symbols are left out.

    Raises
    ------
    UnreadableError, KeyError
        If an input can't be read, or the history is missing, of another source, too short, too old or from the future,
        or has a day that is unknown.

    """
    global _last
    asked = (order, account, market, rules)
    known, portfolios = _last
    if known[0] is order and known[1] is account and known[2] is market and known[3] is rules:
        return portfolios
    portfolios = _portfolios(*asked)
    _last = asked, portfolios
    return portfolios


_NOBODY = object()
_last: tuple[tuple[object, object, object, object], tuple[Portfolio, ...]] = ((_NOBODY,) * 4, ())


def _portfolios(order: Order, account: AccountView, market: MarketView, rules: VarLimits) -> tuple[Portfolio, ...]:
    history = market.returns
    if not isinstance(history, ReturnHistory):
        raise UnreadableError("the declared return history is missing")
    if history.source != rules.source:
        raise UnreadableError(f"the returns come from {history.source!r}, declared is {rules.source!r}")
    if not_negative((instant(market.as_of) - instant(history.as_of)) / _NS_PER_DAY) > rules.max_age_days:
        raise UnreadableError(f"{history!r} is too old")
    equity, price = positive(account.equity), positive(market.decision_price)
    positions = {symbol: number(held) for symbol, held in account.positions.items()}
    signed = side_sign(order) * positive(order.quantity)
    positions[order.symbol] = positions.get(order.symbol, 0.0) + signed

    def portfolio() -> Portfolio:
        symbols = tuple(sorted(symbol for symbol, held in positions.items() if held))
        used = history.of(symbols)
        if not _is_usable(used, rules.min_days, rules.n_days):
            raise UnreadableError(f"{used!r} is too short, too long or has days that are not finite")
        weights = [
            positions[symbol] * (price if symbol == order.symbol else positive(account.marks[symbol])) / equity
            for symbol in symbols
        ]
        return np.array(weights), used

    alone = portfolio()
    pending = False
    for symbol, leaves in account.pending:
        positions[symbol] = positions.get(symbol, 0.0) + number(leaves)
        pending = True
    return (alone, portfolio()) if pending else (alone,)


def _estimate(portfolio: Portfolio, rules: VarLimits) -> tuple[float, float]:
    weights, history = portfolio
    if not history.symbols:
        return 0.0, 0.0
    return estimate(weights, history, rules.method, rules.level, rules.ewma_decay)


@lru_cache(maxsize=256)
def _is_usable(history: ReturnHistory, min_days: int, n_days: int) -> bool:
    return min_days <= history.n_days <= n_days and bool(np.isfinite(history.returns).all())


@lru_cache(maxsize=256)
def _n_exceptions(history: ReturnHistory, method: VarMethod, level: float, ewma_decay: float) -> int:
    weights = np.full(len(history.symbols), 1.0 / len(history.symbols))
    return int(exceptions(weights, history, method, level, N_BACKTEST_DAYS, ewma_decay)[0].sum())


def _var(limits: RiskLimits) -> VarLimits:
    if limits.var is None:
        raise UnreadableError("there are no VaR limits")
    return limits.var


def _stress(limits: RiskLimits) -> StressLimits:
    if limits.stress is None:
        raise UnreadableError("there are no stress limits")
    return limits.stress
