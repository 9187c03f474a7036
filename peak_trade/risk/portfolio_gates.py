"""Measures of the portfolio that includes the proposed order: value at risk, stress, and the backtest of the model."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from peak_trade.core.arrays import FloatArray
from peak_trade.core.history import ReturnHistory
from peak_trade.core.time import NS_PER_SECOND
from peak_trade.risk.gate import Proposal, UnreadableError, instant, not_negative, number, positive, side_sign
from peak_trade.risk.limits import RiskLimits, StressLimits, VarLimits, VarMethod
from peak_trade.risk.stress import projected_drawdown, stress_losses
from peak_trade.risk.var import estimate
from peak_trade.risk.var_backtest import N_BACKTEST_DAYS, exceptions, most_yellow

_NS_PER_DAY = 86_400 * NS_PER_SECOND


Portfolio = tuple[FloatArray, ReturnHistory]
"""Signed exposures (fractions of equity) of the symbols that are not flat, in alphabetical order, and their history."""


def var_model(proposal: Proposal) -> tuple[float, float]:
    """Count the model's exceptions over 250 days, on equal weights of the symbols that are held or ordered."""
    rules = _var_limits(proposal.limits)
    counts = [
        _n_exceptions(history, rules.method, rules.level, rules.ewma_decay) if history.symbols else 0
        for _, history in proposal.shared(portfolios_after)
    ]
    return float(max(counts)), float(most_yellow(N_BACKTEST_DAYS, rules.level))


def value_at_risk(proposal: Proposal) -> tuple[float, float]:
    """Measure the one-day value at risk of the portfolio with the order, fraction of equity."""
    rules = _var_limits(proposal.limits)
    return max([number(var) for var, _ in proposal.shared(estimates_after)]), number(rules.max_var)


def expected_shortfall(proposal: Proposal) -> tuple[float, float]:
    """Measure the one-day expected shortfall of the portfolio with the order, fraction of equity."""
    rules = _var_limits(proposal.limits)
    losses = [number(shortfall) for _, shortfall in proposal.shared(estimates_after)]
    return max(losses), number(rules.max_expected_shortfall)


def stress_loss(proposal: Proposal) -> tuple[float, float]:
    """Measure the loss in the worst scenario, fraction of equity."""
    rules = _stress_limits(proposal.limits)
    losses = [
        max(map(number, stress_losses(weights, history, rules).values())) if history.symbols else 0.0
        for weights, history in proposal.shared(portfolios_after)
    ]
    return max(losses), number(rules.max_stress_loss)


def drawdown_projection(proposal: Proposal) -> tuple[float, float]:
    """Measure the bootstrapped maximum drawdown over the horizon, fraction of equity."""
    rules = _stress_limits(proposal.limits)
    deepest = [
        projected_drawdown(weights, history, rules) if history.symbols else 0.0
        for weights, history in proposal.shared(portfolios_after)
    ]
    return max(map(number, deepest)), number(rules.max_projected_drawdown)


def portfolios_after(proposal: Proposal) -> tuple[Portfolio, ...]:
    """Return the portfolio after the order has filled, and the one after all pending orders have filled too.

    A pending order may fill or not, and a hedge that does not fill protects nothing: a gate takes the worse of both.

    Returns
    -------
    tuple of Portfolio
        One without pending orders, otherwise two. Flat symbols are left out.

    Raises
    ------
    UnreadableError, KeyError
        If an input cannot be read, or the history is missing, of another source, too short, too old or from the future,
        or has a day that is unknown.

    """
    order, account, market = proposal.order, proposal.account, proposal.market
    rules, history = _var_limits(proposal.limits), market.returns
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
        used = history.select(symbols)
        if not _is_usable(used, rules.min_days, rules.n_days):
            raise UnreadableError(f"{used!r} is too short, too long or has days that are not finite")
        weights = [
            positions[symbol] * (price if symbol == order.symbol else positive(account.marks[symbol])) / equity
            for symbol in symbols
        ]
        return np.array(weights), used

    alone = portfolio()
    has_pending = False
    for symbol, leaves in account.pending:
        positions[symbol] = positions.get(symbol, 0.0) + number(leaves)
        has_pending = True
    return (alone, portfolio()) if has_pending else (alone,)


def estimates_after(proposal: Proposal) -> tuple[tuple[float, float], ...]:
    """Return value at risk and expected shortfall of each portfolio of `portfolios_after`, fractions of equity."""
    rules = _var_limits(proposal.limits)
    return tuple([_estimate(portfolio, rules) for portfolio in proposal.shared(portfolios_after)])


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


def _var_limits(limits: RiskLimits) -> VarLimits:
    if limits.var is None:
        raise UnreadableError("there are no VaR limits")
    return limits.var


def _stress_limits(limits: RiskLimits) -> StressLimits:
    if limits.stress is None:
        raise UnreadableError("there are no stress limits")
    return limits.stress
