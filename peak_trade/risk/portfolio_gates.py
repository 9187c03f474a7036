"""Measures of the portfolio that includes the proposed order: value at risk, stress, and the backtest of the model."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from operator import attrgetter
from typing import NamedTuple

import numpy as np

from peak_trade.core.arrays import FloatArray
from peak_trade.core.calendar import NS_PER_DAY
from peak_trade.core.history import ReturnHistory, WeightHistory
from peak_trade.risk.gate import Proposal, UnreadableError, instant, not_negative, number, positive, side_sign
from peak_trade.risk.limits import RiskLimits, StressLimits, VarLimits, VarMethod
from peak_trade.risk.stress import projected_drawdown, stress_losses
from peak_trade.risk.var import estimate
from peak_trade.risk.var_backtest import MIN_DAYS, N_BACKTEST_DAYS, most_yellow
from peak_trade.risk.walk_forward import complete_walk, walk_forward

Portfolio = tuple[FloatArray, ReturnHistory]
"""Signed exposures (fractions of equity) of the symbols that are not flat, in alphabetical order, and their history."""
_TESTED_LEVELS = (0.95, 0.99)
_nearness = attrgetter("nearness")


class ModelTest(NamedTuple):
    """The exceptions of the VaR model on one portfolio over the tested days, at a confidence level."""

    portfolio: str
    level: float
    n_days: int
    n_exceptions: int

    @property
    def expected(self) -> float:
        """Number of exceptions of a correct model in the mean."""
        return self.n_days * (1.0 - self.level)

    @property
    def limit(self) -> int:
        """Largest number of exceptions outside the red zone."""
        return most_yellow(self.n_days, self.level)

    def __str__(self) -> str:
        return (
            f"{self.portfolio} at {100.0 * self.level:g} %: {self.n_exceptions} exceptions in {self.n_days} days, "
            f"{self.expected:.1f} expected, red above {self.limit}"
        )


class ModelTests(NamedTuple):
    """Tests of one portfolio or of several, and the one nearest to the red zone, or farthest in it."""

    tests: tuple[ModelTest, ...]
    worst: ModelTest | None
    nearness: float
    """Exceptions of the worst test as a fraction of the smallest number in the red zone; 0.0 without a test."""

    @classmethod
    def of(cls, tests: Sequence[ModelTest]) -> ModelTests:
        """Return the tests with the worst of them."""
        worst = max(tests, key=lambda test: test.n_exceptions / (test.limit + 1), default=None)
        return cls(tuple(tests), worst, worst.n_exceptions / (worst.limit + 1) if worst else 0.0)


def var_model(proposal: Proposal) -> tuple[float, float]:
    """Count the model's exceptions in the test that is nearest to the red zone, or farthest in it; see `model_tests`.

    Zero of 250 days without any position.
    """
    worst = max(proposal.shared(model_tests), key=_nearness).worst
    if worst is None:
        return 0.0, float(most_yellow(N_BACKTEST_DAYS, _var_limits(proposal.limits).level))
    return float(worst.n_exceptions), float(worst.limit)


def describe_model(proposal: Proposal) -> str:
    """Return every test of `var_model` as text, with the expected number of exceptions."""
    return "; ".join(map(str, dict.fromkeys(test for each in proposal.shared(model_tests) for test in each.tests)))


def model_tests(proposal: Proposal) -> tuple[ModelTests, ...]:
    """Test the model on every symbol held or ordered, on their equal weights, and on the account's own portfolio.

    The own portfolio has the weights held at each day's close, on the returns of the next day. Every portfolio is
    tested at 95 %, at 99 % and at the level of the limits.

    Returns
    -------
    tuple of ModelTests
        One for each portfolio of `portfolios_after`, then one for the own portfolio. That one has no test if it was
        held on fewer than `MIN_DAYS` of the last 250 days. Days on which it had no position, no estimate or no known
        return do not count. An account without daily weights, as in records of earlier versions, is tested as these
        were: the symbols and equal weights at the level of the limits alone.

    Raises
    ------
    UnreadableError, KeyError, DataError
        If an input cannot be read, or the history of a symbol is missing or too short.

    """
    rules, weights, history = _var_limits(proposal.limits), proposal.account.daily_weights, proposal.market.returns
    levels = (rules.level,) if weights is None else _tested_levels(rules.level)
    tests = [
        _symbol_tests(used, rules.method, levels, rules.ewma_decay) for _, used in proposal.shared(portfolios_after)
    ]
    if weights is None:
        return tuple(tests)
    if not (isinstance(weights, WeightHistory) and isinstance(history, ReturnHistory)):
        raise UnreadableError("the daily weights of the account can not be read")
    if weights.as_of != history.as_of:
        raise UnreadableError(f"{weights!r} does not fit {history!r}")
    used = history.select(weights.symbols)
    return (*tests, _own_tests(weights, used, rules.method, levels, rules.ewma_decay))


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
    return proposal.shared(_worst_stress_after), number(_stress_limits(proposal.limits).max_stress_loss)


def drawdown_projection(proposal: Proposal) -> tuple[float, float]:
    """Measure the bootstrapped maximum drawdown over the horizon, fraction of equity."""
    return proposal.shared(_drawdown_after), number(_stress_limits(proposal.limits).max_projected_drawdown)


def _worst_stress_after(proposal: Proposal) -> float:
    rules = _stress_limits(proposal.limits)
    losses = [
        max(map(number, stress_losses(weights, history, rules).values())) if history.symbols else 0.0
        for weights, history in proposal.shared(portfolios_after)
    ]
    return max(losses)


def _drawdown_after(proposal: Proposal) -> float:
    rules = _stress_limits(proposal.limits)
    deepest = [
        projected_drawdown(weights, history, rules) if history.symbols else 0.0
        for weights, history in proposal.shared(portfolios_after)
    ]
    return max(map(number, deepest))


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
    if not_negative((instant(market.as_of) - instant(history.as_of)) / NS_PER_DAY) > rules.max_age_days:
        raise UnreadableError(f"{history!r} is too old")
    equity, price = positive(account.equity), positive(market.decision_price)
    positions = {symbol: number(held) for symbol, held in account.positions.items()}
    signed = side_sign(order) * positive(order.quantity)
    positions[order.symbol] = positions.get(order.symbol, 0.0) + signed

    def portfolio() -> Portfolio:
        symbols = tuple(sorted(symbol for symbol, held in positions.items() if held))
        used = history.select(symbols)
        fault = _fault_of(used, rules.min_days, rules.n_days)
        if fault:
            raise UnreadableError(fault)
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


@lru_cache(maxsize=64)
def _fault_of(history: ReturnHistory, min_days: int, n_days: int) -> str:
    """Return why no loss is estimated from a history; empty if nothing is wrong with it."""
    if min_days <= history.n_days <= n_days and history.is_finite:
        return ""
    return f"{history!r} is too short, too long or has days that are not finite"


@lru_cache(maxsize=16)
def _tested_levels(level: float) -> tuple[float, ...]:
    return tuple(sorted({*_TESTED_LEVELS, level}))


@lru_cache(maxsize=256)
def _symbol_tests(
    history: ReturnHistory, method: VarMethod, levels: tuple[float, ...], ewma_decay: float
) -> ModelTests:
    """Test the model on each symbol, and on equal weights of all if there are several."""
    tested = dict.fromkeys([*((symbol,) for symbol in history.symbols), history.symbols])
    parts = [history.select(symbols) for symbols in tested if symbols]
    return ModelTests.of([test for part in parts for test in _equal_tests(part, method, levels, ewma_decay)])


@lru_cache(maxsize=256)
def _equal_tests(
    history: ReturnHistory, method: VarMethod, levels: tuple[float, ...], ewma_decay: float
) -> tuple[ModelTest, ...]:
    """Test the model on equal weights of all symbols."""
    symbols = history.symbols
    name, weights = symbols[0] if len(symbols) == 1 else "equal weights", np.full(len(symbols), 1.0 / len(symbols))
    walks = complete_walk(weights, history, method, levels, N_BACKTEST_DAYS, ewma_decay)
    return tuple(
        ModelTest(name, level, N_BACKTEST_DAYS, int(walk.exceptions.sum()))
        for level, walk in zip(levels, walks, strict=True)
    )


@lru_cache(maxsize=256)
def _own_tests(
    weights: WeightHistory, history: ReturnHistory, method: VarMethod, levels: tuple[float, ...], ewma_decay: float
) -> ModelTests:
    """Test the model on the portfolio of the account."""
    if not np.isfinite(weights.weights).all():
        raise UnreadableError(f"{weights!r} has weights that are not finite")
    walks = walk_forward(weights.weights.T, history, method, levels, weights.n_days, ewma_decay)
    is_held = (weights.weights != 0.0).any(axis=0)
    tests = []
    for level, walk in zip(levels, walks, strict=True):
        is_known = is_held & np.isfinite(walk.value_at_risk) & np.isfinite(walk.returns)
        n_days = int(is_known.sum())
        if n_days >= MIN_DAYS:
            tests.append(ModelTest("the account", level, n_days, int(walk.exceptions[is_known].sum())))
    return ModelTests.of(tests)


def _var_limits(limits: RiskLimits) -> VarLimits:
    if limits.var is None:
        raise UnreadableError("there are no VaR limits")
    return limits.var


def _stress_limits(limits: RiskLimits) -> StressLimits:
    if limits.stress is None:
        raise UnreadableError("there are no stress limits")
    return limits.stress
